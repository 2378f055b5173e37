"""The raw log: messages at given offsets, read again by nobody's group. Commits nothing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streamgauge.console.dead_letters import Origin
from streamgauge.console.interrupts import Check
from streamgauge.console.sender import ANSWER_WITHIN_S, broker_unavailable
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.incarnations import Incarnations

READ_ON = 500
"""Up to so many messages are read over rather than sought past: a seek throws away what was fetched."""


class Absence(StrEnum):
    """Why there is no message at an offset."""

    GONE = "gone"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class RawMessage:
    """What stands in a raw topic."""

    key: bytes | None
    value: bytes | None


class RawLog:
    """Reads one message after the other; offsets of a partition that rise are read fast. `check` may raise in between."""

    def __init__(self, config: Mapping[str, Any], check: Check = lambda: None) -> None:
        group = f"streamgauge-look-{secrets.token_hex(6)}"
        own = {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 200,
        }
        self._consumer = Consumer({**config, **own, "queued.max.messages.kbytes": 16 << 10})
        self._config = config
        self._address = str(config["bootstrap.servers"])
        self._check = check
        self._bounds: dict[tuple[str, int], tuple[int, int]] = {}
        self._topics: frozenset[str] | None = None
        self._next: Origin | None = None
        self._last: tuple[Origin, RawMessage] | None = None

    def lives(self, topics: Iterable[str]) -> dict[str, str]:
        """The lives of those of these topics that are there. Raises BrokerUnavailable."""
        try:
            there = self._all_topics().intersection(topics)
            return Incarnations(self._config, ()).now(there) if there else {}
        except KafkaException as error:
            raise broker_unavailable(self._address, error) from error

    def find(self, origin: Origin) -> RawMessage | Absence:
        """The message at an origin. Raises BrokerUnavailable."""
        if self._last and self._last[0] == origin:
            return self._last[1]
        try:
            low, high = self._bounds_of(origin)
            if not low <= origin.offset < high:
                return Absence.GONE if origin.offset < low else Absence.NEVER
            if not self._ahead(origin):
                self._consumer.assign([TopicPartition(origin.topic, origin.partition, origin.offset)])
            return self._read_to(origin)
        except KafkaException as error:
            raise broker_unavailable(self._address, error) from error

    def _bounds_of(self, origin: Origin) -> tuple[int, int]:
        if origin.topic not in self._all_topics():
            return 0, 0
        place = (origin.topic, origin.partition)
        if place not in self._bounds:
            where = TopicPartition(*place)
            self._bounds[place] = cast("tuple[int, int]", self._consumer.get_watermark_offsets(where, ANSWER_WITHIN_S))
        return self._bounds[place]

    def _all_topics(self) -> frozenset[str]:
        if self._topics is None:
            # all topics: asking for one by name could create it
            self._topics = frozenset(self._consumer.list_topics(timeout=ANSWER_WITHIN_S).topics)
        return self._topics

    def _ahead(self, origin: Origin) -> bool:
        at = self._next
        return (
            at is not None
            and (at.topic, at.partition) == (origin.topic, origin.partition)
            and at.offset <= origin.offset < at.offset + READ_ON
        )

    def _read_to(self, origin: Origin) -> RawMessage | Absence:
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while time.monotonic() < deadline:
            self._check()
            message = self._consumer.poll(0.2)
            if message is None or message.error():
                continue
            offset = cast("int", message.offset())
            self._next = Origin(origin.topic, origin.partition, offset + 1)
            if offset == origin.offset:
                found = RawMessage(_bytes(message, "key"), _bytes(message, "value"))
                self._last = (origin, found)
                return found
            if offset > origin.offset:
                return Absence.GONE
        raise BrokerUnavailable(f"{origin.topic}/{origin.partition} at {self._address} cannot be read; try again")

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()


def _bytes(message: Message, part: str) -> bytes | None:
    held = message.key() if part == "key" else message.value()
    return held if isinstance(held, bytes) else None
