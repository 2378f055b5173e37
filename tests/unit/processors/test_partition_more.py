"""One raw partition: only the next message counts, whatever fails, and whoever owned it before."""

from __future__ import annotations

import asyncio

from tests.unit.processors.bench import Bench, message, once, opened, within


async def test_closing_while_it_opens_leaves_no_owner_behind() -> None:
    bench = Bench()
    bench.block("opened")
    opening = asyncio.create_task(bench.partition.open())
    await within(bench.reached["opened"].wait())
    await bench.partition.close()
    bench.release("opened")
    await within(opening)
    assert bench.seeks == []
    await within(bench.add(0))


async def test_a_zombie_cannot_commit_after_its_partition_moved() -> None:
    bench = await opened()
    zombie = bench.partition
    await bench.add(0, 1)
    bench.partition = bench.new_partition()
    await bench.partition.open()
    await bench.add(0, 1, 2)
    await bench.commit_when_due()
    bench.clock.now_ms += 1_000
    await zombie.tick()
    assert zombie.committed == 3
    assert bench.countries() == once(0, 1, 2)


async def test_a_clock_that_steps_back_does_not_hold_up_commits() -> None:
    bench = await opened()
    bench.clock.now_ms -= 3_600_000
    bench.stepped_ms = -3_600_000
    await bench.partition.add(0, message(0))
    bench.clock.now_ms -= 540_000
    bench.stepped_ms -= 540_000
    await bench.commit_when_due()
    assert bench.ranges() == [(0, 1)]


async def test_what_was_noticed_in_a_commit_that_failed_is_told_again() -> None:
    bench = await opened()
    await bench.add(0, 1)
    bench.faults["begin"] = 1
    await bench.commit_when_due()
    assert bench.store.totals().ledger == []
    await bench.add(0, 1)
    await bench.commit_when_due()
    (entry,) = bench.store.totals().ledger
    assert entry.noticed


async def test_what_was_noticed_and_never_committed_is_told_again_by_whoever_reads_it_next() -> None:
    bench = await opened()
    inbox = bench.partition._around.tools.inbox  # shared with the worker's other partitions  # pyright: ignore[reportPrivateUsage]
    await bench.add(0)
    assert inbox.told
    await bench.partition.close()
    assert not inbox.told
