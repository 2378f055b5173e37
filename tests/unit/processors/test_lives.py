"""A raw topic that is made anew starts at offset 0 again: nothing of it is passed by, and nothing counts twice."""

from __future__ import annotations

import asyncio
import logging

import pytest

from streamgauge.processors.broker import Committed, Known
from streamgauge.processors.lives import Lives
from streamgauge.schemas.again import AGAIN_HEADER, Again
from streamgauge.schemas.errors import PositionLost
from tests.unit.processors.bench import Bench, once, opened, within
from tests.unit.processors.test_repeats import batch, deliver

TO_EARLIEST = r"--topic sg\.local\.events\.v1 --reset-offsets --to-earliest"


async def worked(*offsets: int) -> Bench:
    """A partition that has committed these in the first life of its topic."""
    bench = await opened()
    await bench.add(*offsets)
    await bench.commit_when_due()
    return bench


def make_anew(bench: Bench, offsets_too: bool = True) -> None:
    """Delete the topic and make it anew; Kafka forgets the group's offsets of it."""
    bench.broker.topic_life, bench.broker.end = "second", 0
    if offsets_too:
        bench.store.offset, bench.store.anchor, bench.store.life = -1, None, ""


def follow_the_advice(bench: Bench) -> None:
    """What kafka-consumer-groups --reset-offsets --to-earliest does; then somebody sends, and a worker starts."""
    bench.store.offset, bench.store.anchor, bench.store.life = 0, None, ""
    bench.broker.end = 1 << 40
    bench.partition = bench.new_partition()


async def test_commits_and_messages_name_the_life_of_the_topic() -> None:
    bench = await opened()
    await bench.partition.add(0, b"{")
    await bench.add(1)
    await bench.commit_when_due()
    totals = bench.store.totals()
    assert bench.store.life == "first"
    named = [{one.incarnation for one in totals.ledger}, {one.incarnation for one in totals.dead}]
    assert [*named, {one.incarnation for one in totals.state}] == [{"first"}] * 3


@pytest.mark.parametrize("offsets_too", [True, False])
async def test_a_topic_made_anew_under_a_running_worker_stops_it_before_anything_of_it_is_committed(
    offsets_too: bool,
) -> None:
    bench = await worked(0, 1)
    make_anew(bench, offsets_too)
    await bench.add(2, 3)  # these may be of the new topic: nothing tells
    with pytest.raises(PositionLost, match=TO_EARLIEST):
        await bench.commit_when_due()
    assert bench.ranges() == [(0, 2)]
    adding = asyncio.create_task(bench.add(4))
    await asyncio.sleep(0)
    await bench.partition.commit()
    await within(bench.partition.close())
    await within(adding)
    assert bench.ranges() == [(0, 2)]


async def test_brokers_that_keep_the_offsets_of_a_topic_that_was_made_anew_change_nothing() -> None:
    bench = await worked(0, 1)
    bench.store.life = ""  # set by hand, and a partition is opened there
    bench.partition = bench.new_partition()
    await bench.partition.open()
    bench.broker.topic_life = "second"
    bench.faults["life"] = 1
    await bench.add(2)
    with pytest.raises(PositionLost, match=TO_EARLIEST):
        await bench.commit_when_due()


async def test_a_topic_made_anew_while_a_commit_fails_stops_the_worker() -> None:
    bench = await worked(0, 1)
    await bench.add(2)
    bench.faults["begin"] = 1
    bench.block("opened")
    bench.clock.now_ms += 1_000
    committing = asyncio.create_task(bench.partition.tick())
    await within(bench.reached["opened"].wait())
    make_anew(bench)
    bench.release("opened")
    with pytest.raises(PositionLost, match=TO_EARLIEST):
        await within(committing)
    assert bench.ranges() == [(0, 2)]


@pytest.mark.parametrize("offsets_too", [True, False])
async def test_a_topic_made_anew_while_no_worker_ran_stops_the_next_one_until_the_advice_is_followed(
    offsets_too: bool,
) -> None:
    bench = await worked(0, 1, 2)
    await bench.partition.close()
    make_anew(bench, offsets_too)
    with pytest.raises(PositionLost, match=f"id was first, now it is second.*{TO_EARLIEST}"):
        await bench.new_partition().open()
    follow_the_advice(bench)
    await bench.partition.open()
    await bench.add(0, 1)
    await bench.commit_when_due()
    entries = [(one.incarnation, one.start, one.end) for one in bench.store.totals().ledger]
    assert entries == [("first", 0, 3), ("second", 0, 2)]
    assert (bench.store.offset, bench.store.life) == (2, "second")


async def test_batches_that_a_producer_sends_again_into_the_new_topic_count_once() -> None:
    bench = await opened()
    await deliver(bench, 0, 0, 1, 2)
    await bench.partition.close()
    make_anew(bench)
    follow_the_advice(bench)
    await bench.partition.open()
    await deliver(bench, 0, 1, 2, 3, 0)
    assert bench.countries() == once(0, 1, 2, 3)
    await bench.partition.close()
    bench.partition = bench.new_partition()
    await bench.partition.open()
    await deliver(bench, 4, 3, 4)
    assert bench.countries() == once(0, 1, 2, 3, 4)


async def test_a_replay_of_the_new_topic_is_not_taken_for_one_of_the_old_topic_at_its_offset() -> None:
    bench = await opened()
    again = [(AGAIN_HEADER, Again(0, "bad_json").encode())]
    for offset, (value, headers) in enumerate([(b"{", None), (batch(0), again)]):
        await bench.partition.add(offset, value, headers)
    await bench.commit_when_due()
    await bench.partition.close()
    make_anew(bench)
    follow_the_advice(bench)
    await bench.partition.open()
    for offset, (value, headers) in enumerate([(b"[", None), (batch(1), again), (batch(1), again)]):
        await bench.partition.add(offset, value, headers)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1)
    await bench.partition.close()
    bench.partition = bench.new_partition()
    await bench.partition.open()
    await bench.partition.add(3, batch(1), again)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1)


async def test_offsets_that_are_gone_in_the_same_life_are_restored_to_where_the_ledger_ended() -> None:
    bench = await worked(0, 1, 2)
    bench.store.offset, bench.store.life = -1, ""
    with pytest.raises(PositionLost, match=r"--topic sg\.local\.events\.v1:3 --reset-offsets --to-offset 3 --execute"):
        await bench.new_partition().open()


async def test_where_an_older_release_did_not_say_the_life_both_ways_out_are_named() -> None:
    bench = Bench()
    bench.broker.topic_life = ""
    await bench.partition.open()
    await bench.add(0, 1)
    await bench.commit_when_due()
    make_anew(bench)
    with pytest.raises(PositionLost, match=f"--to-offset 2 --execute; if it was made anew since, say: .*{TO_EARLIEST}"):
        await bench.new_partition().open()


@pytest.mark.parametrize(("life", "stops"), [("first", True), ("second", False), ("", False), (None, False)])
async def test_a_partition_that_had_nothing_is_set_back_together_with_the_others_of_its_topic(
    life: str | None, stops: bool
) -> None:
    bench = Bench()
    bench.broker.topic_life = "second"
    bench.broker.known = Known(topic_life=life)
    if stops:
        with pytest.raises(PositionLost, match=TO_EARLIEST):
            await bench.partition.open()
    else:
        await bench.partition.open()
        assert bench.partition.committed == 0


async def test_a_worker_that_reads_nothing_asks_now_and_then_whether_its_topics_are_the_same() -> None:
    bench = Bench()
    watching = asyncio.create_task(Lives(bench.broker, ["a", "sg.local.events.v1"]).run(asyncio.Event(), every_s=0))
    bench.faults["life"] = 3  # nobody answers for a while, or the topic is not there yet
    for _ in range(50):
        await asyncio.sleep(0)
    assert (bench.faults["life"], watching.done()) == (0, False)
    bench.broker.lives["sg.local.events.v1"] = "second"
    with pytest.raises(PositionLost, match=f"id was first, now it is second.*{TO_EARLIEST}"):
        await within(watching)


async def test_watching_over_topics_ends_when_the_worker_does() -> None:
    ended = asyncio.Event()
    watching = asyncio.create_task(Lives(Bench().broker, ["a"]).run(ended))
    await asyncio.sleep(0)
    ended.set()
    await within(watching)


async def test_messages_behind_the_next_one_have_it_asked_within_a_second() -> None:
    bench = await worked(0, 1, 2)
    await bench.add(0, 1)
    bench.clock.now_ms += 1_000
    await bench.partition.tick()
    make_anew(bench)
    await bench.add(0)
    bench.clock.now_ms += 1_000
    with pytest.raises(PositionLost, match=TO_EARLIEST):
        await bench.partition.tick()


async def test_messages_that_the_brokers_have_lost_are_no_reason_to_pass_by_those_that_follow() -> None:
    bench = await worked(0, 1, 2)
    bench.broker.end = 2
    await bench.add(1)
    bench.clock.now_ms += 1_000
    with pytest.raises(
        PositionLost, match=r"next offset .* is 3, but the topic ends at 2: .*:3 --reset-offsets --to-latest"
    ):
        await bench.partition.tick()


async def test_an_offset_beyond_the_end_of_which_no_life_is_known_stops_the_worker() -> None:
    bench = await worked(0, 1, 2)
    bench.store.life, bench.broker.end = "", 2
    with pytest.raises(PositionLost, match=TO_EARLIEST):
        await bench.new_partition().open()
    bench.broker.end = 3
    await bench.new_partition().open()


async def test_nothing_is_committed_while_nobody_says_which_life_it_is() -> None:
    bench = await worked(0)
    await bench.add(1)
    bench.faults["life"] = 2  # before the commit, and when the partition is opened anew
    await bench.commit_when_due()
    assert (bench.ranges(), bench.seeks) == ([(0, 1)], [1])
    await bench.add(1)
    await bench.commit_when_due()
    assert bench.countries() == once(0, 1)


async def test_while_nobody_says_which_life_it_is_messages_behind_the_next_one_are_asked_about_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    bench = await worked(0, 1)
    await bench.add(0)
    bench.faults["life"] = 1
    bench.clock.now_ms += 1_000
    await bench.partition.tick()
    assert "whether it is the same topic is not known" in caplog.text
    make_anew(bench)
    bench.clock.now_ms += 1_000
    with pytest.raises(PositionLost, match=TO_EARLIEST):
        await bench.partition.tick()


@pytest.mark.parametrize(
    ("committed", "metadata"),
    [
        (Committed(7), ""),
        (Committed(7, 12), "state 12\0"),
        (Committed(7, None, "Nq3v0bXgQ0a7v1mBq8s5Kw"), "topic Nq3v0bXgQ0a7v1mBq8s5Kw\0"),
        (Committed(7, 12, "+/3v0bXgQ0a7v1mBq8s5Kw"), "state 12 topic +/3v0bXgQ0a7v1mBq8s5Kw\0"),
    ],
)
def test_what_is_committed_beside_an_offset_is_read_back(committed: Committed, metadata: str) -> None:
    assert committed.metadata == metadata
    assert Committed.read(7, metadata) == committed


def test_what_stands_in_memory_behind_metadata_is_not_read() -> None:
    committed = Committed(7, 12, "Nq3v0bXgQ0a7v1mBq8s5Kw")
    assert Committed.read(7, f"{committed.metadata}1 topic other") == committed


@pytest.mark.parametrize(
    ("metadata", "anchor", "life"),
    [
        ("state 12", 12, ""),
        (None, None, ""), ("by hand", None, ""), ("state", None, ""), ("state x topic y", None, "y"), ("state 1e3", None, ""),
        ("state 9 topic y later 5", 9, "y"), ("later 5 topic y state 9", 9, "y"), ("state 9" + 19 * "0", None, ""),
    ],
)  # fmt: skip
def test_metadata_of_others_and_of_later_releases_is_read_as_far_as_it_is_known(
    metadata: str | None, anchor: int | None, life: str
) -> None:
    assert Committed.read(7, metadata) == Committed(7, anchor, life)
