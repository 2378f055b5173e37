"""One raw partition: only the next message counts, whatever fails, and whoever owned it before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamgauge.processors.partition import OFFSETS_LOST, Partition
from streamgauge.processors.policy import CommitPolicy
from streamgauge.schemas.errors import PositionLost
from tests.unit.processors.bench import Bench, message, once, opened, within
from tests.unit.processors.raw import CONTRACTS


async def test_a_new_group_begins_where_the_log_begins() -> None:
    bench = Bench()
    bench.broker.start = 5
    await bench.partition.open()
    assert (bench.seeks, bench.partition.committed) == ([5], 5)
    await bench.add(5, 6)
    await bench.commit_when_due()
    assert (bench.ranges(), bench.store.offset, bench.partition.committed) == ([(5, 7)], 7, 7)


async def test_only_the_next_message_is_added() -> None:
    bench = await opened()
    await bench.add(0, 1, 0, 1, 2)
    await bench.commit_when_due()
    await bench.add(1, 2, 3)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 2, 3)
    assert bench.ranges() == [(0, 3), (3, 4)]
    assert bench.seeks == []


async def test_a_message_too_far_ahead_is_sought_back_for_once_and_then_waited_for() -> None:
    bench = await opened()
    await bench.add(0, 5, 6, 7)
    assert bench.seeks == [1]
    await bench.add(8, 1, 2, 3)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 2, 3)
    await bench.add(9)
    assert bench.seeks == [1, 4]


async def test_a_seek_that_got_lost_is_repeated_every_second_even_if_no_message_ever_comes() -> None:
    bench = await opened()
    await bench.add(0, 5, 6)
    assert bench.seeks == [1]
    for _ in range(25):
        bench.clock.now_ms += 100
        await bench.partition.tick()
    assert bench.seeks == [1, 1, 1]
    await bench.add(1)
    for _ in range(25):
        bench.clock.now_ms += 100
        await bench.partition.tick()
    assert bench.seeks == [1, 1, 1]


async def test_a_seek_that_fails_is_repeated_even_if_no_message_ever_comes() -> None:
    bench = await opened()
    bench.faults["seek"] = 2
    await bench.add(0, 5)
    assert bench.seeks == []
    for _ in range(2):
        bench.clock.now_ms += 1_000
        await bench.partition.tick()
    assert bench.seeks == [1]


@pytest.mark.parametrize("step", ["begin", "done"])
async def test_after_a_commit_that_failed_it_seeks_back_at_once(step: str) -> None:
    bench = await opened()
    await bench.add(0, 1, 2)
    bench.faults[step] = 1
    await bench.commit_when_due()
    final = 0 if step == "begin" else 3
    # no further message was needed
    assert bench.seeks == [final]
    assert bench.partition.committed == final
    await bench.add(3, *range(final, 5))
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 2, 3, 4)


async def test_a_seek_that_got_lost_after_a_failed_commit_is_repeated_even_if_no_message_ever_comes() -> None:
    bench = await opened()
    await bench.add(0, 1, 2)
    bench.faults["begin"] = 1
    await bench.commit_when_due()
    assert bench.seeks == [0]
    for _ in range(2):
        bench.clock.now_ms += 1_000
        await bench.partition.tick()
    assert bench.seeks == [0, 0, 0]
    await bench.add(0, 1, 2)
    await bench.commit_when_due()
    await bench.commit_when_due()
    assert bench.seeks == [0, 0, 0]
    assert bench.countries() == once(0, 1, 2)


@pytest.mark.parametrize("step", ["open", "opened", "seek", "close", "log_start", "ledger"])
async def test_opening_is_tried_again_until_it_works(step: str) -> None:
    bench = await opened()
    await bench.add(0, 1)
    bench.faults.update({"begin": 1, step: 3})
    if step == "close":
        bench.faults["close"] = 0  # a committer's close does not raise
    await within(bench.commit_when_due())
    assert bench.seeks == [0]
    await bench.add(0, 1, 2)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 2)


async def test_what_is_delivered_while_it_opens_waits_and_is_judged_by_where_it_then_stands() -> None:
    bench = await opened()
    await bench.add(0, 1)
    bench.faults["begin"] = 1
    bench.block("open")
    bench.clock.now_ms += 1_000
    committing = asyncio.create_task(bench.partition.tick())
    await within(bench.reached["open"].wait())
    adding = asyncio.create_task(bench.add(2))
    await asyncio.sleep(0)
    assert not adding.done()
    bench.release("open")
    await within(asyncio.gather(committing, adding))
    await bench.add(0, 1, 2)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 2)


async def test_messages_are_added_while_a_commit_is_under_way() -> None:
    bench = await opened()
    await bench.add(0, 1)
    bench.block("begin")
    bench.clock.now_ms += 1_000
    committing = asyncio.create_task(bench.partition.tick())
    await within(bench.reached["begin"].wait())
    await within(bench.add(2, 3))
    bench.release("begin")
    await within(committing)
    await bench.commit_when_due()
    assert bench.ranges() == [(0, 2), (2, 4)]
    assert bench.countries() == once(0, 1, 2, 3)


async def test_a_commit_is_due_a_second_after_the_first_message() -> None:
    bench = await opened()
    await bench.commit_when_due()
    assert bench.ranges() == []
    await bench.add(0)
    bench.clock.now_ms += 999
    await bench.partition.tick()
    assert bench.ranges() == []
    bench.clock.now_ms += 1
    await bench.partition.tick()
    assert bench.ranges() == [(0, 1)]


async def test_when_it_is_full_it_commits_early_and_adding_waits_for_that() -> None:
    bench = await opened(commit_policy=CommitPolicy(max_points=3))
    bench.block("begin")
    adding = asyncio.create_task(bench.add(0, 1, 2, 3))
    await within(bench.reached["begin"].wait())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not adding.done()
    bench.release("begin")
    await within(adding)
    await bench.commit_when_due()
    assert bench.ranges() == [(0, 3), (3, 4)]


async def test_when_it_is_full_by_bytes_it_commits_early_too() -> None:
    bench = await opened(commit_policy=CommitPolicy(max_bytes=2 * len(message(0))))
    await bench.add(0, 1, 2)
    assert bench.ranges() == [(0, 2)]


async def test_a_commit_that_failed_when_full_loses_nothing() -> None:
    bench = await opened(commit_policy=CommitPolicy(max_points=2))
    bench.faults["begin"] = 1
    await within(bench.add(0, 1, 2, 0, 1, 2))
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 2)


async def test_transactions_that_a_slow_broker_does_not_take_in_time_get_smaller_and_slowly_larger_again() -> None:
    bench = await opened(commit_policy=CommitPolicy(max_points=8), fault=TimeoutError)
    bench.faults["begin"] = 2
    await within(bench.add(*range(8)))  # as many as there may be: they do not get through
    await within(bench.add(*range(4)))  # nor does half of it
    for start in range(0, 96, 8):
        await within(bench.add(*range(start, start + 8)))
    sizes = [end - start for start, end in bench.ranges()]
    assert sizes[0] == 2
    assert sizes == sorted(sizes)
    assert sizes[-1] > 2
    assert bench.countries() == once(*range(sum(sizes)))


async def test_transactions_that_fail_otherwise_stay_as_large_as_they_were() -> None:
    bench = await opened(commit_policy=CommitPolicy(max_points=8))
    bench.faults["begin"] = 2
    for _ in range(3):
        await within(bench.add(*range(8)))
    assert bench.ranges() == [(0, 8)]


async def test_messages_other_than_the_range_says_are_not_committed() -> None:
    bench = await opened()
    await bench.add(0, 1)
    accumulator = vars_of(bench.partition)["_accumulator"]
    accumulator.messages -= 1  # whatever made it so
    await bench.commit_when_due()
    assert (bench.ranges(), bench.seeks) == ([], [0])
    await bench.add(0, 1)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1)


def vars_of(partition: Partition) -> dict[str, Any]:
    """What it holds."""
    return vars(partition)


async def test_a_hole_stops_the_worker_with_advice_and_nothing_is_stepped_over() -> None:
    bench = await opened()
    await bench.add(0, 1)
    bench.broker.start = 6
    await bench.add(6)
    with pytest.raises(PositionLost, match=r"^4 messages of .* from offset 2 on are gone.*GO_ON_AFTER_LOSS=true"):
        await bench.add(6)
    assert bench.ranges() == [(0, 2)], "what was ready is committed"


async def test_the_state_goes_with_a_hole_and_the_next_owner_does_not_think_it_was_set_by_hand(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = await opened(go_on_after_loss=True)
    await bench.add(0, 1)
    bench.broker.start = 6
    await bench.add(6)
    await bench.add(6)
    await bench.new_partition().open()
    assert "set by hand" not in caplog.text


async def test_a_hole_is_recorded_and_stepped_over() -> None:
    bench = await opened(go_on_after_loss=True)
    await bench.add(0, 1)
    bench.broker.start = 6
    await bench.add(6)  # sought back for
    await bench.add(6)  # the log begins later
    assert bench.ranges() == [(0, 2), (2, 6)]
    assert bench.store.totals().ledger[1].refused == {OFFSETS_LOST: 4}
    assert (bench.store.totals().ledger[1].messages, bench.store.totals().ledger[1].total) == (0, 0)
    assert bench.seeks == [2, 6]
    await bench.add(6, 7)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 6, 7)
    assert bench.ranges()[-1] == (6, 8)


@pytest.mark.parametrize("step", ["begin", "done"])
async def test_a_hole_that_cannot_be_recorded_is_found_again(step: str) -> None:
    bench = await opened(go_on_after_loss=True)
    await bench.add(0)
    await bench.commit_when_due()
    bench.broker.start = 4
    bench.faults[step] = 1
    await bench.add(4, 4)
    for offset in (4, 4, 4):
        bench.clock.now_ms += 1_000
        await bench.add(offset)
    await bench.add(5)
    await bench.commit_when_due()
    assert bench.ranges() == [(0, 1), (1, 4), (4, 6)]
    assert bench.countries() == once(0, 4, 5)


async def test_what_was_read_but_is_lost_with_a_failing_commit_is_in_the_hole() -> None:
    bench = await opened(go_on_after_loss=True)
    await bench.add(0)
    await bench.commit_when_due()
    await bench.add(1, 2)
    bench.broker.start = 6
    bench.faults["begin"] = 1
    await bench.add(6, 6)
    assert bench.ranges() == [(0, 1), (1, 6)]
    assert bench.store.totals().ledger[1].refused == {OFFSETS_LOST: 5}


@pytest.mark.parametrize("go_on", [True, False])
async def test_a_hole_behind_which_another_owner_stands_is_none(go_on: bool) -> None:
    bench = await opened(go_on_after_loss=go_on)
    await bench.add(0, 1)
    bench.broker.start = 4
    other = bench.new_partition()
    await other.open()
    bench.store.offset = 9  # as far as the other one came
    await bench.add(4, 4)
    assert bench.store.offset == 9
    assert bench.partition.committed == 9


async def test_where_the_log_starts_is_asked_at_most_once_a_second_and_may_fail() -> None:
    bench = await opened()
    asked = bench.broker.asked
    bench.faults["log_start"] = 1
    await bench.add(5, *[6] * 20)
    assert bench.broker.asked == asked + 1
    bench.clock.now_ms += 999
    await bench.add(7)
    assert bench.broker.asked == asked + 1
    bench.clock.now_ms += 1
    await bench.add(8)
    assert bench.broker.asked == asked + 2


async def test_offsets_that_are_gone_though_the_ledger_knows_the_partition_stop_everything() -> None:
    bench = await opened()
    await bench.add(0, 1)
    await bench.commit_when_due()
    bench.store.offset = -1
    with pytest.raises(PositionLost, match="reset-offsets"):
        await bench.new_partition().open()
    await bench.add(2)
    bench.faults["begin"] = 1
    with pytest.raises(PositionLost):
        await bench.commit_when_due()
    assert bench.ranges() == [(0, 2)]


async def test_the_first_transaction_of_another_owner_meanwhile_is_no_lost_position() -> None:
    bench = Bench()
    bench.block("ledger")
    opening = asyncio.create_task(bench.partition.open())
    await within(bench.reached["ledger"].wait())
    other = bench.new_partition()
    ledger = bench.gates.pop("ledger")
    await other.open()
    await other.add(0, message(0))
    await other.commit()
    ledger.set()
    await within(opening)
    assert bench.partition.committed == 1


async def test_a_message_whose_contract_comes_late_is_counted_with_all_behind_it() -> None:
    bench = await opened(contracts={})
    await bench.add(0, 1, 2)
    bench.clock.now_ms += 60_000
    await bench.partition.tick()
    assert bench.seeks == [0]
    bench.contracts = CONTRACTS
    await bench.add(0, 1, 2)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 2)
    assert bench.ranges() == [(0, 3)]


async def test_a_contract_that_never_comes_is_waited_for_once_and_not_by_every_message() -> None:
    bench = await opened(contracts={})
    await bench.add(0)
    bench.clock.now_ms += 119_999
    await bench.add(0)
    assert bench.partition.committed == 0
    bench.clock.now_ms += 1
    await bench.add(0, 1, 2)
    await bench.commit_when_due()
    assert bench.store.totals().refused == {"unknown_contract": 3}
    assert bench.ranges() == [(0, 3)]
    # it is in force as soon as it does come
    bench.contracts = CONTRACTS
    await bench.add(3)
    await bench.commit_when_due()
    assert bench.countries() == once(3)


async def test_while_it_waits_for_a_contract_it_asks_once_a_second_and_commits_what_came_before() -> None:
    bench = await opened()
    await bench.add(0)
    bench.contracts = {}
    await bench.add(1)
    for _ in range(20):
        bench.clock.now_ms += 100
        await bench.partition.tick()
    assert bench.ranges() == [(0, 1)]
    assert bench.seeks == [1, 1]


async def test_closing_lets_go_whoever_waits() -> None:
    bench = Bench(commit_policy=CommitPolicy(max_points=1))
    adding = asyncio.create_task(bench.add(0))
    await asyncio.sleep(0)
    await bench.partition.close()
    await within(adding)
    assert bench.ranges() == []
    await within(bench.add(1))
    await within(bench.partition.tick())


@pytest.mark.parametrize("step", ["begin", "done", "open"])
async def test_closing_during_a_commit_ends_it_and_blocks_nobody(step: str) -> None:
    bench = await opened()
    await bench.add(0, 1)
    if step == "open":
        bench.faults["begin"] = 1
    bench.block(step)
    bench.clock.now_ms += 1_000
    committing = asyncio.create_task(bench.partition.tick())
    await within(bench.reached[step].wait())
    adding = asyncio.create_task(bench.add(2))
    await within(bench.partition.close())
    bench.release(step)
    await within(asyncio.gather(committing, adding))
    await within(bench.add(3))
    bench.partition = bench.new_partition()
    await bench.partition.open()
    await bench.add(*range(bench.partition.committed, 4))
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1, 2, 3)
