"""One suite for every committer: the fake that the tests of partitions rest on, and transactions of a real broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as AioTopicPartition
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streamgauge.processors.broker import NO_OFFSET, Broker, Committed, Record
from streamgauge.processors.outputs import Output
from streamgauge.processors.transactions import CommitTarget, Committer, TransactionalCommitter
from streamgauge.schemas.errors import PositionLost
from tests.support import kafka as kafka_support
from tests.unit.processors.fakes import FakeBroker, FakeCommitter, Store


@dataclass
class Edge:
    """How to make committers of one raw partition; and what its readers see: messages, and the group's offset."""

    new: Callable[[], Committer]
    seen: Callable[[], list[bytes]]
    name: str
    other: Callable[[], Committer]
    """Makes committers of another raw partition of the same group."""
    state: Callable[[int | None], Awaitable[list[bytes]]]
    """Reads the topic's first partition from an anchor on, as an owner does that restores state."""

    def outputs(self, *values: bytes) -> list[Output]:
        """Messages for two partitions of the topic in turn."""
        return [Output(self.name, number % 2, value) for number, value in enumerate(values)]


def committed_messages(bootstrap: str, topic: str) -> list[bytes]:
    """All messages that a reader of committed records finds now, in both partitions."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(2)])
        found: list[bytes] = []
        ends: set[int | None] = set()
        deadline = time.monotonic() + 30
        while len(ends) < 2 and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                ends.add(message.partition())
            elif isinstance(value := message.value(), bytes):
                found.append(value)
        assert len(ends) == 2, "the topic cannot be read to its end"
        return sorted(found)
    finally:
        consumer.close()


async def values(reading: Awaitable[list[Record]]) -> list[bytes]:
    """What the records of the state hold."""
    return [value for _, value in await reading]


@pytest.fixture(params=["fake", pytest.param("kafka", marks=pytest.mark.kafka)])
def edge(request: pytest.FixtureRequest, unique: str) -> Iterator[Edge]:
    """Each kind in turn."""
    if request.param == "fake":
        store, apart = Store(), Store()

        def seen() -> list[bytes]:
            return sorted(one.value for made in (*store.transactions, *apart.transactions) for one in made)

        lookups = FakeBroker(store)
        yield Edge(
            lambda: FakeCommitter(store),
            seen,
            unique,
            lambda: FakeCommitter(apart),
            lambda anchor: values(lookups.state(unique, 0, anchor)),
        )
        return
    bootstrap: str = request.getfixturevalue("kafka").bootstrap
    raw, group = f"{unique}-raw", f"{unique}-group"
    kafka_support.create_topic(bootstrap, raw, 2)
    kafka_support.create_topic(bootstrap, unique, 2)
    broker = Broker({"bootstrap.servers": bootstrap}, group)
    config = {"bootstrap_servers": [bootstrap]}

    def committer(partition: int) -> Committer:
        return TransactionalCommitter(CommitTarget(raw, partition, group, f"{unique}-ledger"), broker, config)

    yield Edge(
        lambda: committer(0),
        lambda: committed_messages(bootstrap, unique),
        unique,
        lambda: committer(1),
        lambda anchor: values(broker.state(unique, 0, anchor)),
    )


async def seen(edge: Edge) -> list[bytes]:
    """What readers see, without stopping the clients of this loop."""
    return await asyncio.to_thread(edge.seen)


async def test_a_partition_that_was_never_committed_has_no_offset(edge: Edge) -> None:
    committer = edge.new()
    assert (await committer.open()).offset == NO_OFFSET
    await committer.close()


async def test_outputs_and_offset_are_committed_together(edge: Edge) -> None:
    committer = edge.new()
    await committer.open()
    await committer.commit(edge.outputs(b"1", b"2", b"3"), 7)
    await committer.commit([], 8)
    await committer.commit(edge.outputs(b"4"), 9)
    assert await seen(edge) == [b"1", b"2", b"3", b"4"]
    await committer.close()
    again = edge.new()
    assert (await again.open()).offset == 9
    await again.close()


async def test_a_commit_that_fails_leaves_nothing_behind(edge: Edge) -> None:
    committer = edge.new()
    await committer.open()
    await committer.commit(edge.outputs(b"1"), 3)
    with pytest.raises(Exception, match=r"(?i)large|1048576"):
        await committer.commit(edge.outputs(b"2", b"x" * (2 << 20), b"3"), 5)
    await committer.close()
    assert (await committer.open()).offset == 3
    assert await seen(edge) == [b"1"]
    await committer.commit(edge.outputs(b"4"), 5)
    assert await seen(edge) == [b"1", b"4"]
    await committer.close()


async def test_opening_a_partition_fences_its_previous_owner(edge: Edge) -> None:
    zombie, owner = edge.new(), edge.new()
    await zombie.open()
    await zombie.commit(edge.outputs(b"1"), 1)
    assert (await owner.open()).offset == 1
    with pytest.raises(Exception):  # noqa: B017, PT011  # which one is the client's business: its outcome is unknown
        await zombie.commit(edge.outputs(b"twice"), 2)
    await owner.commit(edge.outputs(b"2"), 2)
    assert await seen(edge) == [b"1", b"2"]
    await zombie.close()
    await owner.close()
    # a zombie that opens anew is the owner
    assert (await zombie.open()).offset == 2
    await zombie.commit(edge.outputs(b"3"), 3)
    assert await seen(edge) == [b"1", b"2", b"3"]
    await zombie.close()


async def test_who_opens_during_a_commit_finds_all_of_it_or_nothing(edge: Edge) -> None:
    expected: list[bytes] = []
    offset = 0
    for turn in range(3):
        first, second = edge.new(), edge.new()
        await first.open()
        value = b"%d" % turn
        _, opened = await asyncio.gather(
            first.commit(edge.outputs(value), turn + 1), second.open(), return_exceptions=True
        )
        assert isinstance(opened, Committed)
        if opened.offset == turn + 1:
            expected.append(value)
            offset = turn + 1
        assert max(opened.offset, 0) == offset
        assert await seen(edge) == expected
        await first.close()
        await second.close()


async def test_partitions_do_not_disturb_one_another(edge: Edge) -> None:
    one, other = edge.new(), edge.other()
    await one.open()
    assert (await other.open()).offset == NO_OFFSET
    await asyncio.gather(one.commit(edge.outputs(b"1"), 5), other.commit(edge.outputs(b"2"), 6))
    await one.commit(edge.outputs(b"3"), 7)
    assert await seen(edge) == [b"1", b"2", b"3"]
    await one.close()
    await other.close()
    assert [(await one.open()).offset, (await other.open()).offset] == [7, 6]
    await one.close()
    await other.close()


async def test_the_next_owner_finds_the_last_anchor_and_reads_on_from_there(edge: Edge) -> None:
    def state(*values: bytes, anchor: bool = False) -> list[Output]:
        return [Output(edge.name, 0, value, b"key", anchor and n == 0) for n, value in enumerate(values)]

    committer = edge.new()
    assert (await committer.open()).anchor is None
    assert await edge.state(None) == []
    await committer.commit(state(b"1", b"2", anchor=True), 1)
    await committer.commit(state(b"3"), 2)
    await committer.close()
    heir = edge.new()
    opened = await heir.open()
    assert opened.offset == 2
    assert await edge.state(opened.anchor) == [b"1", b"2", b"3"]
    with pytest.raises(Exception, match=r"(?i)large|1048576"):
        await heir.commit([*state(b"4", anchor=True), Output(edge.name, 1, b"x" * (2 << 20))], 3)
    await heir.close()
    opened = await heir.open()
    assert await edge.state(opened.anchor) == [b"1", b"2", b"3"]
    await heir.commit(state(b"5", b"6", anchor=True), 3)
    await heir.commit([], 4)
    await heir.commit(state(b"7"), 5)
    await heir.close()
    last = edge.new()
    opened = await last.open()
    await last.close()
    assert opened.offset == 5
    assert await edge.state(opened.anchor) == [b"5", b"6", b"7"]
    assert await edge.state(None) == [b"1", b"2", b"3", b"5", b"6", b"7"]


async def test_a_record_without_a_value_says_that_its_key_is_gone_and_is_not_read(edge: Edge) -> None:
    committer = edge.new()
    await committer.open()
    await committer.commit([Output(edge.name, 0, b"1", b"a"), Output(edge.name, 0, b"2", b"b")], 1)
    await committer.commit([Output(edge.name, 0, b"", b"a"), Output(edge.name, 0, b"3", b"c")], 2)
    await committer.close()
    assert await edge.state(None) == [b"1", b"2", b"3"]  # compaction has not run


async def test_closing_twice_or_before_opening_is_nothing(edge: Edge) -> None:
    committer = edge.new()
    await committer.close()
    await committer.open()
    await committer.close()
    await committer.close()
    with pytest.raises(RuntimeError, match="not open"):
        await committer.commit(edge.outputs(b"1"), 1)
    assert await seen(edge) == []


async def test_closing_while_it_opens_ends_it(edge: Edge) -> None:
    for turns in (1, 3, 30, 300, 3_000):
        committer = edge.new()
        opening = asyncio.ensure_future(committer.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(committer.close(), 20)
        await asyncio.wait_for(asyncio.gather(opening, return_exceptions=True), 20)
        await committer.close()
        deadline = time.monotonic() + 10
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            assert time.monotonic() < deadline, others
            await asyncio.sleep(0.01)
    owner = edge.new()
    assert (await owner.open()).offset == NO_OFFSET
    await owner.commit(edge.outputs(b"1"), 1)
    assert await seen(edge) == [b"1"]
    await owner.close()


async def test_closing_while_it_commits_ends_the_commit(edge: Edge) -> None:
    values: list[bytes] = []
    for turns in (1, 2, 4, 8, 16, 32, 64):
        committer = edge.new()
        start = max((await committer.open()).offset, 0)
        committing = asyncio.ensure_future(committer.commit(edge.outputs(b"%02d" % turns), start + 1))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(committer.close(), 20)
        await asyncio.wait_for(asyncio.gather(committing, return_exceptions=True), 20)
        if (await committer.open()).offset == start + 1:  # it had gone through
            values.append(b"%02d" % turns)
        await committer.close()
        assert await seen(edge) == values


@pytest.mark.kafka
async def test_an_offset_is_told_only_after_a_transaction_that_may_change_it_has_ended(
    kafka: kafka_support.Broker, unique: str
) -> None:
    kafka_support.create_topic(kafka.bootstrap, unique, 1)
    patient, hasty = (Broker({"bootstrap.servers": kafka.bootstrap}, unique, timeout_s) for timeout_s in (20, 1))
    assert (await patient.committed(unique, 0)).offset == NO_OFFSET
    # not the partition's own: opening that one would end the transaction
    other: Any = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{unique}-other")
    await other.start()
    try:
        await other.begin_transaction()
        await other.send_offsets_to_transaction({AioTopicPartition(unique, 0): 5}, unique)
        with pytest.raises(KafkaException):
            await hasty.committed(unique, 0)
        waiting = asyncio.ensure_future(patient.committed(unique, 0))
        await other.commit_transaction()
        assert (await waiting).offset == 5
    finally:
        await other.stop()


@pytest.mark.kafka
async def test_state_is_read_only_when_the_transactions_of_others_have_ended_and_not_beyond_what_is_there(
    kafka: kafka_support.Broker, unique: str
) -> None:
    kafka_support.create_topic(kafka.bootstrap, unique, 1)
    broker = Broker({"bootstrap.servers": kafka.bootstrap}, unique)
    own, other = (
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{unique}-{name}") for name in "ab"
    )
    await own.start()
    await other.start()
    try:
        await other.begin_transaction()
        await other.send_and_wait(unique, b"of another", partition=0)
        async with own.transaction():
            await own.send_and_wait(unique, b"mine", partition=0)
        reading = asyncio.ensure_future(values(broker.state(unique, 0, 0)))
        await asyncio.sleep(0.5)
        assert not reading.done(), "what is mine stands behind a transaction that is still open"
        await other.abort_transaction()
        assert await asyncio.wait_for(reading, 20) == [b"mine"]
        with pytest.raises(PositionLost, match="is gone"):
            await broker.state(unique, 0, 99)
    finally:
        await own.stop()
        await other.stop()
