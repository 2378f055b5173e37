"""Sending: batches into one topic through an idempotent producer, everything acknowledged or accounted for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from streamgauge.console.interrupts import Check
from streamgauge.console.pacing import Lead
from streamgauge.schemas.errors import BrokerUnavailable, InputError, StreamgaugeError

MAX_QUEUED_BYTES = 32 << 20
ANSWER_WITHIN_S = 8.0
STUCK_AFTER_S = 120.0
LOOK_EVERY_S = 0.05

PRODUCER_SETTINGS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 20,
    "queue.buffering.max.kbytes": 2 * MAX_QUEUED_BYTES >> 10,
    "message.timeout.ms": 60_000,
}


class GroupStuck(StreamgaugeError):
    """The group that the sender waits for commits nothing."""


@dataclass(frozen=True, slots=True)
class Batch:
    """An encoded batch on its way, with what it holds."""

    stream: str
    value: bytes
    rows: int
    points: int


@dataclass(slots=True)
class Delivered:
    """What the broker has acknowledged, and what it has not taken."""

    batches: int = 0
    rows: int = 0
    points: int = 0
    failed_batches: int = 0
    failures: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, batch: Batch) -> None:
        """The broker has this batch."""
        self.batches += 1
        self.rows += batch.rows
        self.points += batch.points

    def fail(self, reason: str) -> None:
        """The broker did not take a batch."""
        self.failed_batches += 1
        self.failures[reason] = self.failures.get(reason, 0) + 1


class Sender(Protocol):
    """Where batches go."""

    delivered: Delivered

    def send(self, batch: Batch) -> None:
        """Take a batch; may wait until there is room."""
        ...

    def wait(self, seconds: float) -> None:
        """Let this much time pass usefully."""
        ...

    def close(self, within_s: float) -> None:
        """Wait until all is acknowledged or refused, at most so long."""
        ...


class DrySender:
    """Counts batches as delivered and sends none."""

    def __init__(self) -> None:
        self.delivered = Delivered()

    def send(self, batch: Batch) -> None:
        """Count it."""
        self.delivered.add(batch)

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def close(self, within_s: float) -> None:
        """Nothing is open."""


class KafkaSender:
    """Sends to Kafka. `lead` and `group`: wait for the group's commits before running ahead of them any further.

    `check` is called while it waits, and may raise.
    Raises BrokerUnavailable when no broker answers or the first batch is not taken, InputError when the topic is missing.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        group: str = "",
        lead: Lead | None = None,
        clock: Callable[[], float] = time.monotonic,
        check: Check = lambda: None,
    ) -> None:
        self.delivered = Delivered()
        self._producer = Producer({**PRODUCER_SETTINGS, **config})
        self._topic = topic
        self._clock = clock
        self._check = check
        self._queued = 0
        self._address = str(config["bootstrap.servers"])
        self.partitions = find_topic(self._producer, topic, self._address)
        self._lead = (lead or Lead()) if group else None
        self._group = Commits(config, group, topic) if group else None

    def send(self, batch: Batch) -> None:
        """Hand over a batch once there is room for it."""
        size = len(batch.value)
        self._wait_for_group(size)
        while self._queued and self._queued + size > MAX_QUEUED_BYTES:
            self._poll(0.1)
        self._queued += size
        if self._lead:
            self._lead.sent(size)

        def landed(error: KafkaError | None, message: Message) -> None:
            self._landed(batch, error, message)

        while True:
            try:
                self._producer.produce(self._topic, key=batch.stream, value=batch.value, on_delivery=landed)
            except BufferError:
                self._poll(0.1)
            else:
                break
        self._poll(0)

    def wait(self, seconds: float) -> None:
        """Serve acknowledgements for this long."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self._producer.poll(min(0.1, left))
            self._check()

    def close(self, within_s: float) -> None:
        """Wait for acknowledgements; what has none by then is counted as failed."""
        until = self._clock() + within_s
        while len(self._producer) and self._clock() < until:
            self._producer.flush(0.1)
            self._check()
        for _ in range(len(self._producer)):
            self.delivered.fail("not acknowledged")
        self._producer.purge()

    def _poll(self, seconds: float) -> None:
        self._producer.poll(seconds)
        self._check()
        if self.delivered.failed_batches:
            reasons = ", ".join(self.delivered.failures)
            raise BrokerUnavailable(f"{self._address} did not take a batch for {self._topic}: {reasons}")

    def _landed(self, batch: Batch, error: KafkaError | None, message: Message) -> None:
        size = len(batch.value)
        self._queued -= size
        if error is not None:
            self.delivered.fail(error.str())
            if self._lead:
                self._lead.failed(size)
            return
        self.delivered.add(batch)
        if self._lead:
            self._lead.landed(cast("int", message.partition()), cast("int", message.offset()), size)

    def _wait_for_group(self, size: int) -> None:
        if self._lead is None or self._group is None:
            return
        moved = self._clock()
        while not self._lead.room(size):
            self._poll(LOOK_EVERY_S)
            if self._lead.committed(self._group.read(self._lead.partitions)):
                moved = self._clock()
            elif self._clock() - moved > STUCK_AFTER_S:
                raise GroupStuck(
                    f"group {self._group.name!r} has committed nothing for {STUCK_AFTER_S:g} s and is "
                    f"{self._lead.ahead():,} bytes behind; start the processors (`streamgauge process`), "
                    "or name another --pace-group"
                )


class Commits:
    """The committed offsets of one group in one topic."""

    def __init__(self, config: Mapping[str, Any], group: str, topic: str) -> None:
        self.name = group
        self._topic = topic
        # not the admin client: its look-up of offsets can crash the process while a coordinator moves (librdkafka 2.16)
        self._consumer = Consumer({**config, "group.id": group, "enable.auto.commit": False})

    def read(self, partitions: tuple[int, ...]) -> dict[int, int]:
        """The next offset to read by partition, where the group has committed one. Empty when nobody answers now."""
        if not partitions:
            return {}
        try:
            found = self._consumer.committed([TopicPartition(self._topic, p) for p in partitions], timeout=5)
        except KafkaException:
            return {}  # a coordinator on the move; the caller looks again
        return {one.partition: one.offset for one in found if one.offset >= 0}


def find_topic(producer: Producer, topic: str, address: str) -> int:
    """How many partitions the topic has. Raises BrokerUnavailable or InputError."""
    try:
        # all topics: asking for one by name would create it, with whatever partitions the broker likes
        topics = producer.list_topics(timeout=ANSWER_WITHIN_S).topics
    except KafkaException as error:
        raise broker_unavailable(address, error) from error
    if topic not in topics:
        raise InputError(f"{address} has no topic {topic}; create it with `streamgauge topics`, or check --region")
    return len(topics[topic].partitions)


def broker_unavailable(address: str, error: KafkaException) -> BrokerUnavailable:
    """What to say when Kafka does not answer at `address`."""
    said = cast("KafkaError", error.args[0]).str() if error.args else str(error)
    return BrokerUnavailable(
        f"no Kafka broker answers at {address} ({said}); start one (`streamgauge dev` brings its own), or correct --brokers"
    )
