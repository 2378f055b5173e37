"""Broker look-ups that the stream library lacks: stable committed offsets, log starts, partition counts, an old ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streamgauge.schemas.errors import BrokerUnavailable, Refused
from streamgauge.schemas.ledger import decode_ledger

NO_OFFSET = -1
MOVING = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""What a broker answers while the group's coordinator moves: soon another one will know."""
RETRY_S = 0.1


class Broker:
    """Look-ups for one consumer group. `config` are librdkafka settings, bootstrap.servers among them."""

    def __init__(self, config: Mapping[str, Any], group: str, timeout_s: float = 10.0) -> None:
        self._config = dict(config)
        self._admin = AdminClient(self._config)
        self._group = group
        self._timeout_s = timeout_s

    async def committed(self, topic: str, partition: int) -> int:
        """The group's committed offset, after every pending transaction has ended; `NO_OFFSET` when there is none."""
        return await asyncio.to_thread(self._committed, topic, partition)

    def _committed(self, topic: str, partition: int) -> int:
        # not the admin client: its look-up of offsets crashes the whole process (librdkafka 2.16) when the group's
        # coordinator moves or is loading. Who reads committed messages is told stable offsets only
        config = {"group.id": self._group, "enable.auto.commit": False, "isolation.level": "read_committed"}
        consumer = Consumer(self._config | config)
        deadline = time.monotonic() + self._timeout_s
        try:
            while True:
                try:
                    (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=self._timeout_s)
                    break
                except KafkaException as error:
                    if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                        raise
                time.sleep(RETRY_S)
        finally:
            consumer.close()
        if found.error:
            raise KafkaException(found.error)
        return max(found.offset, NO_OFFSET)

    async def log_start(self, topic: str, partition: int) -> int:
        """The first offset that the partition still has."""
        return (await asyncio.to_thread(self._watermarks, topic, partition))[0]

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        consumer = Consumer(self._config | {"group.id": f"{self._group}-look", "enable.auto.commit": False})
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=self._timeout_s)
        finally:
            consumer.close()

    def partitions(self, topics: list[str]) -> dict[str, int]:
        """Partition counts. Raises BrokerUnavailable when no broker answers, or a topic does not exist."""
        counts: dict[str, int] = {}
        for topic in topics:
            try:
                metadata = self._admin.list_topics(topic, timeout=self._timeout_s).topics[topic]
            except KafkaException as error:
                raise BrokerUnavailable(
                    f"no Kafka broker answers at {self._config['bootstrap.servers']} ({error.args[0].str()}); "
                    "start one (`streamgauge dev` brings its own), or set STREAMGAUGE_BROKERS"
                ) from error
            if metadata.error is not None or not metadata.partitions:
                raise BrokerUnavailable(
                    f"topic {topic} does not exist; make the region's topics with: streamgauge topics"
                )
            counts[topic] = len(metadata.partitions)
        return counts

    async def ledger_knows(self, ledger_topic: str, topic: str, partition: int) -> bool:
        """Whether a transaction of this partition was ever recorded. Reads the ledger until it finds one."""
        return await asyncio.to_thread(self._ledger_knows, ledger_topic, topic, partition)

    def _ledger_knows(self, ledger_topic: str, topic: str, partition: int) -> bool:
        consumer = Consumer(
            self._config
            | {
                "group.id": f"{self._group}-ledger-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        try:
            low, _ = cast(
                "tuple[int, int]",
                consumer.get_watermark_offsets(TopicPartition(ledger_topic, 0), timeout=self._timeout_s),
            )
            consumer.assign([TopicPartition(ledger_topic, 0, low)])
            while True:
                message = consumer.poll(self._timeout_s)
                if message is None:
                    raise BrokerUnavailable(f"the ledger {ledger_topic} cannot be read")
                if message.error():  # the end of the partition
                    return False
                if _is_of(message.value(), topic, partition):
                    return True
        finally:
            consumer.close()


def _is_of(value: bytes | str | None, topic: str, partition: int) -> bool:
    try:
        entry = decode_ledger(value if isinstance(value, bytes) else b"")
    except Refused:
        return False
    return entry.topic == topic and entry.partition == partition
