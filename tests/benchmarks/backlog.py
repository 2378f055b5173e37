"""Backlogs: messages put into a topic before anyone reads them, and how to see that they were dealt with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streamgauge.schemas.ledger import decode_ledger
from streamgauge.schemas.topics import LEDGER
from tests.benchmarks.options import BenchmarkFailed

STUCK_AFTER_S = 120.0


@dataclass(frozen=True, slots=True)
class Record:
    """One message; `partition` -1 leaves the choice to the key."""

    key: bytes
    value: bytes
    partition: int = -1


def produce(bootstrap: str, topic: str, records: Iterable[Record], compression: str = "lz4") -> int:
    """Send all and wait until each is acknowledged; how many bytes they have. Order is kept within a partition."""
    failures: list[str] = []

    def landed(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error.str())

    sender = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": compression,
            "enable.idempotence": True,
            "linger.ms": 20,
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 128 << 10,
            "message.max.bytes": 1_000_000,
            "log_level": 3,
        }
    )
    size = 0
    for number, one in enumerate(records):
        size += len(one.value)
        while True:
            try:
                sender.produce(topic, value=one.value, key=one.key, partition=one.partition, on_delivery=landed)
                break
            except BufferError:
                sender.poll(0.1)
        if number % 256 == 0:
            sender.poll(0)
    left = sender.flush(60)
    if left or failures:
        raise BenchmarkFailed(f"{topic}: {left} messages not acknowledged, {len(failures)} refused: {failures[:1]}")
    return size


class Progress:
    """Fails when nothing has moved for too long, or when the process that should move it has ended."""

    def __init__(self, what: str, alive: Callable[[], bool], stuck_after_s: float = STUCK_AFTER_S) -> None:
        self._what = what
        self._alive = alive
        self._stuck_after_s = stuck_after_s
        self._seen = -1
        self._moved = time.monotonic()

    def check(self, done: int, wanted: int) -> bool:
        """Whether all is done; raises BenchmarkFailed instead of waiting for ever."""
        if done >= wanted:
            return True
        if not self._alive():
            raise BenchmarkFailed(f"{self._what} ended by itself at {done:,} of {wanted:,}")
        if done != self._seen:
            self._seen, self._moved = done, time.monotonic()
        elif time.monotonic() - self._moved > self._stuck_after_s:
            raise BenchmarkFailed(f"{self._what} is stuck at {done:,} of {wanted:,}")
        return False


class Ledger:
    """The committed transactions of one region, as they become visible. `messages`, `points` and `commits` add up."""

    def __init__(self, bootstrap: str, region: str) -> None:
        self.messages = self.points = self.refused = self.commits = 0
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"benchmark-{region}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "log_level": 3,
            }
        )
        self._consumer.assign([TopicPartition(LEDGER.name(region), 0, 0)])

    def wait(self, messages: int, alive: Callable[[], bool]) -> None:
        """Until this many raw messages are in committed transactions."""
        progress = Progress("the worker", alive)
        while not progress.check(self.messages, messages):
            for one in self._consumer.consume(1000, 0.05):
                if one.error() is None:
                    self._add(cast("bytes", one.value()))

    def _add(self, value: bytes) -> None:
        entry = decode_ledger(value)
        self.messages += entry.messages
        self.points += entry.total
        self.refused += sum(entry.refused.values())
        self.commits += 1

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


def wait_for_commits(bootstrap: str, group: str, topic: str, ends: dict[int, int], alive: Callable[[], bool]) -> None:
    """Until the group has committed `ends` (partition to offset) of the topic."""
    # asked as a member would: the admin client's list_consumer_group_offsets ends the process with a segmentation fault
    # when the answer is that the coordinator is elsewhere (librdkafka issue 5040, seen with 2.16.0 on a fresh broker)
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 3,
        }
    )
    wanted = [TopicPartition(topic, partition) for partition in ends]
    progress = Progress(f"group {group}", alive)
    try:
        while True:
            found: dict[int, int] = {}
            with contextlib.suppress(KafkaException):  # a coordinator on the move: asked again
                found = {one.partition: max(0, one.offset) for one in reader.committed(wanted, timeout=20)}
            if progress.check(sum(min(found.get(p, 0), end) for p, end in ends.items()), sum(ends.values())):
                return
            time.sleep(0.05)
    finally:
        reader.close()
