"""Progress: how far a consumer group has come, and how long it takes after a fault until it comes further."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

Place = tuple[str, int]
T = TypeVar("T")


class Progress:
    """Committed offsets of a group on some topics, read by a consumer that never joins."""

    def __init__(self, bootstrap: str, group: str, topics: dict[str, int]) -> None:
        self.group = group
        self._places = [TopicPartition(topic, one) for topic, count in topics.items() for one in range(count)]
        self._config = {
            "bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0,
            "isolation.level": "read_committed", "socket.timeout.ms": 3_000, "reconnect.backoff.max.ms": 500,
        }  # fmt: skip
        self._consumer = Consumer(self._config)
        # a broker that was silent may keep an offset whose transaction has ended, and tell nobody who wants a stable one
        self._any = self._config | {"isolation.level": "read_uncommitted"}
        self._offsets = Consumer(self._any)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._consumer.close()
            self._offsets.close()

    def _ask(self, ask: Callable[[Consumer], T]) -> T:
        """After an error the next one is asked by a new client: one that reads nothing goes on asking a leader or a coordinator
        that has died (seen with librdkafka 2.16)."""
        with self._lock:
            try:
                return ask(self._consumer)
            except KafkaException:
                self._consumer.close()
                self._consumer = Consumer(self._config)
                raise

    def committed(self) -> dict[Place, int]:
        """Committed offsets, -1 where there is none. Raises KafkaException while nobody answers."""
        with self._lock:
            try:
                found = self._offsets.committed(self._places, timeout=5)
            except KafkaException:
                self._offsets.close()
                self._offsets = Consumer(self._any)
                raise
        return {(one.topic, one.partition): max(-1, one.offset) for one in found}

    def ends(self) -> dict[Place, int]:
        """Ends of the logs, as readers of committed messages see them."""
        return self._ask(
            lambda consumer: {
                (one.topic, one.partition): consumer.get_watermark_offsets(one, timeout=3)[1] for one in self._places
            }
        )

    def unanswered(self) -> dict[Place, str]:
        """Partitions whose committed offset nobody tells, each asked alone by a new client: a transaction of theirs hangs."""
        found: dict[Place, str] = {}
        for one in self._places:
            consumer = Consumer(self._config)
            try:
                consumer.committed([one], timeout=5)
            except KafkaException as error:
                found[one.topic, one.partition] = error.args[0].str()
            finally:
                consumer.close()
        return found

    def behind(self) -> dict[Place, int]:
        """Messages that are not committed yet, where there are any. Exact only where nobody writes transactions: their
        ends are records too, whose offsets nobody is told before the next message."""
        committed, ends = self.committed(), self.ends()
        return {place: end - max(0, committed[place]) for place, end in ends.items() if end > max(0, committed[place])}

    def unread(self, within: float = 30) -> bool:
        """Whether messages wait that are committed by those who wrote them; the records that end transactions are none."""
        starts = [TopicPartition(*place, max(0, offset)) for place, offset in self.committed().items()]
        reader = Consumer(self._config | {"group.id": f"{self.group}-look", "enable.partition.eof": True})
        try:
            reader.assign(starts)
            for _ in starts:
                found = reader.poll(within)
                if found is None or not found.error():
                    return True
            return False
        finally:
            reader.close()

    def recovered(self, within: float = 60, least: int = 1) -> float:
        """Seconds until every partition in which more than `least` messages wait now has committed something new."""
        start = time.monotonic()
        before = insistent(self.committed, within)
        late = {place for place, waiting in insistent(self.behind, within).items() if waiting > least}
        while late:
            now = insistent(self.committed, within)
            late = {place for place in late if now[place] <= before[place]}
            if time.monotonic() - start > within:
                raise AssertionError(f"{self.group} does not go on at {sorted(late)} within {within} s")
            time.sleep(0.05)
        return time.monotonic() - start


def insistent(ask: Callable[[], T], within: float) -> T:
    """Ask until somebody answers."""
    deadline = time.monotonic() + within
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
