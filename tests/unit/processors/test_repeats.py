"""A batch that producers send twice counts once, whoever owns the partition when the second copy comes."""

from __future__ import annotations

import asyncio

from streamgauge.schemas.again import AGAIN_HEADER, Again
from streamgauge.schemas.batches import Origin, encode_events
from streamgauge.schemas.packing import pack_strings
from tests.unit.processors.bench import Bench, once, opened
from tests.unit.processors.raw import NOW


def batch(seq: int, contract: int = 1) -> bytes:
    """A batch of one event, whose country tells its number."""
    return encode_events(
        Origin({"instance": "i"}, "s", 1, seq), "order", contract, [NOW], {"country": pack_strings([f"o{seq}"])}
    )


async def deliver(bench: Bench, start: int, *seqs: int) -> None:
    """Batches, at raw offsets from `start` on, committed."""
    for offset, seq in enumerate(seqs, start):
        await bench.partition.add(offset, batch(seq))
    await bench.commit_when_due()


def accounts(bench: Bench) -> list[tuple[int, int, int]]:
    """What the ledger says of each transaction: messages, repeats, gaps."""
    return [(one.messages, one.sequence_repeats, one.sequence_gaps) for one in bench.store.totals().ledger]


async def test_a_repeat_is_a_message_of_the_range_and_adds_no_point() -> None:
    bench = await opened()
    await deliver(bench, 0, 0, 1, 1, 0, 2)
    assert bench.countries() == once(0, 1, 2)
    assert accounts(bench) == [(5, 2, 0)]
    assert bench.ranges() == [(0, 5)]


async def test_the_next_owner_knows_what_was_committed() -> None:
    bench = await opened()
    await deliver(bench, 0, 5, 6, 7)
    await deliver(bench, 3, 0, 1)
    await bench.partition.close()
    bench.partition = bench.new_partition()
    await bench.partition.open()
    await deliver(bench, 5, 5, 0, 2, 7, 8)
    assert bench.countries() == once(0, 1, 2, 5, 6, 7, 8)
    assert accounts(bench)[-1] == (5, 3, 0)


async def test_what_was_added_and_not_committed_is_no_repeat_when_it_comes_again() -> None:
    bench = await opened()
    await deliver(bench, 0, 0)
    bench.faults["begin"] = 1
    await deliver(bench, 1, 1, 2)
    assert bench.countries() == once(0)
    await deliver(bench, 1, 1, 2)
    assert bench.countries() == once(0, 1, 2)
    assert [repeats for _, repeats, _ in accounts(bench)] == [0, 0]


async def test_a_commit_that_took_effect_unseen_is_remembered() -> None:
    bench = await opened()
    bench.faults["done"] = 1
    await deliver(bench, 0, 0, 1)
    await deliver(bench, 2, 1, 0, 2)
    assert bench.countries() == once(0, 1, 2)
    assert accounts(bench) == [(2, 0, 0), (3, 2, 0)]


async def test_what_is_added_during_a_commit_belongs_to_the_next_one() -> None:
    bench = await opened()
    await bench.partition.add(0, batch(0))
    bench.clock.now_ms += 2_000
    bench.block("begin")
    committing = asyncio.create_task(bench.partition.tick())
    await bench.reached["begin"].wait()
    await bench.partition.add(1, batch(1))
    bench.faults["done"] = 1  # its outcome looks like a failure: what came since is dropped, and delivered again
    bench.release("begin")
    await committing
    await deliver(bench, 1, 1)
    assert bench.countries() == once(0, 1)


async def test_a_batch_that_waits_for_its_contract_is_new_when_the_contract_has_come() -> None:
    bench = await opened()
    bench.contracts, known = {}, bench.contracts
    await bench.partition.add(0, batch(0))
    bench.contracts = known
    await deliver(bench, 0, 0)
    assert bench.countries() == once(0)


async def test_a_batch_that_is_refused_twice_leaves_one_letter() -> None:
    bench = await opened()
    bench.contracts = {}
    await bench.partition.add(0, batch(0))
    bench.clock.now_ms += 121_000
    await deliver(bench, 0, 0, 0)
    assert [letter.offset for letter in bench.store.totals().dead] == [0]
    assert accounts(bench) == [(2, 1, 0)]


async def test_a_replay_counts_once_whoever_owns_the_partition_then() -> None:
    bench = await opened()
    again = {AGAIN_HEADER: Again(0, "too_old").encode()}
    await bench.partition.add(0, batch(0, contract=9), {})
    bench.clock.now_ms += 121_000
    await deliver(bench, 0)
    await bench.partition.add(0, batch(0, contract=9), {})
    await bench.partition.add(1, batch(0), again)
    await deliver(bench, 2)
    assert bench.countries() == once(0)
    await bench.partition.close()
    bench.partition = bench.new_partition()
    await bench.partition.open()
    await bench.partition.add(2, batch(0), again)
    await deliver(bench, 3)
    assert bench.countries() == once(0)
    assert accounts(bench)[-1] == (1, 1, 0)


async def test_a_replay_that_was_not_committed_counts_when_it_comes_again() -> None:
    bench = await opened()
    again = {AGAIN_HEADER: Again(0, "too_old").encode()}
    await deliver(bench, 0, 7)
    bench.faults["begin"] = 1
    await bench.partition.add(1, batch(0), again)
    await deliver(bench, 2)
    assert bench.countries() == once(7)
    await bench.partition.add(1, batch(0), again)
    await deliver(bench, 2)
    assert bench.countries() == once(0, 7)
