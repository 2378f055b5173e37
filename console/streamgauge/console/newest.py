"""Newest: the last messages of a topic, committed ones only. Reads in no group's name and commits nothing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streamgauge.console.interrupts import Check
from streamgauge.console.sender import broker_unavailable
from streamgauge.schemas.errors import InputError

ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """A message as it is in the topic; `headers` is how many it has."""

    key: bytes | None
    value: bytes | None
    headers: int


class Newest:
    """Use as a context manager."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        own = {"group.id": f"streamgauge-look-{secrets.token_hex(6)}", "enable.auto.commit": False}
        self._address = str(config["bootstrap.servers"])
        self._consumer = Consumer(
            {
                **config,
                **own,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self, topic: str, most: int, until: float, check: Check) -> Iterator[Held]:
        """At most so many messages, from all partitions alike, to the end as it is now or until that monotonic second.

        Raises InputError when there is no such topic, BrokerUnavailable when nobody answers.
        """
        try:
            yield from self._read(topic, most, until, check)
        except KafkaException as error:
            raise broker_unavailable(self._address, error) from error

    def _read(self, topic: str, most: int, until: float, check: Check) -> Iterator[Held]:
        # all topics: asking for one by name could create it
        topics = self._consumer.list_topics(timeout=ANSWER_WITHIN_S).topics
        if topic not in topics:
            raise InputError(f"{self._address} has no topic {topic}; say --brokers of its region, and check --region")
        partitions = sorted(topics[topic].partitions)
        share = -(-most // len(partitions))
        places: list[TopicPartition] = []
        for partition in partitions:
            low, high = cast(
                "tuple[int, int]",
                self._consumer.get_watermark_offsets(TopicPartition(topic, partition), ANSWER_WITHIN_S),
            )
            # the marker of the last transaction takes an offset, too
            places.append(TopicPartition(topic, partition, max(low, high - share - 1)))
        self._consumer.assign(places)
        open_, left = set(partitions), most
        while open_ and left and time.monotonic() < until:
            check()
            for message in self._consumer.consume(500, 0.2):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # the client's name for it
                    open_.discard(cast("int", message.partition()))
                elif error is None and left:
                    left -= 1
                    yield Held(_bytes(message.key()), _bytes(message.value()), len(message.headers() or ()))
        self._consumer.unassign()


def _bytes(held: object) -> bytes | None:
    return held if isinstance(held, bytes) else None
