"""Ledger and dead letters: what every transaction added, and what was refused and why. No record holds a raw value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from streamgauge.schemas.batches import WIRE_VERSION
from streamgauge.schemas.decoding import need, need_list, need_object, parse
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.packing import Json


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One transaction of one raw partition: offsets [start, end), and what was added for them.

    `messages` is what was added, not the width of the range: they must be equal. `points` maps (entry tier index, UTC
    day as days since the epoch) to points; `refused` counts points by reason, `scrubbed` values by rule, `skipped`
    points by the tier they were too old for.
    """

    region: str
    topic: str
    partition: int
    start: int
    end: int
    messages: int
    batches: int
    points: Mapping[tuple[int, int], int]
    committed_ms: int
    refused: Mapping[str, int] = field(default_factory=dict[str, int])
    scrubbed: Mapping[str, int] = field(default_factory=dict[str, int])
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    min_window: int = 0
    max_window: int = 0
    sequence_gaps: int = 0
    sequence_repeats: int = 0

    @property
    def total(self) -> int:
        """Points added."""
        return sum(self.points.values())

    def encode(self) -> bytes:
        """As a message of the ledger topic."""
        return orjson.dumps(
            {
                "v": WIRE_VERSION,
                "kind": "ledger",
                "region": self.region,
                "topic": self.topic,
                "partition": self.partition,
                "from": self.start,
                "to": self.end,
                "messages": self.messages,
                "batches": self.batches,
                "points": [[tier, day, n] for (tier, day), n in sorted(self.points.items())],
                "committed": self.committed_ms,
                "refused": dict(self.refused),
                "scrubbed": dict(self.scrubbed),
                "skipped": dict(self.skipped),
                "min_window": self.min_window,
                "max_window": self.max_window,
                "gaps": self.sequence_gaps,
                "repeats": self.sequence_repeats,
            }
        )


def _versioned(value: bytes, kind: str) -> Json:
    body = parse(value)
    if need(body, "v", int) != WIRE_VERSION:
        raise Refused("unknown_version")
    if need(body, "kind", str) != kind:
        raise Refused("unknown_kind")
    return body


def decode_ledger(value: bytes) -> LedgerEntry:
    """Read a message of the ledger topic. Raises Refused when it is not one."""
    body = _versioned(value, "ledger")
    integers = {key: need(body, key, int) for key in ("partition", "messages", "batches", "min_window", "max_window")}
    points: list[Any] = need_list(body, "points")
    return LedgerEntry(
        region=need(body, "region", str),
        topic=need(body, "topic", str),
        start=need(body, "from", int),
        end=need(body, "to", int),
        points={(int(tier), int(day)): int(n) for tier, day, n in points},
        committed_ms=need(body, "committed", int),
        refused=need_object(body, "refused"),
        scrubbed=need_object(body, "scrubbed"),
        skipped=need_object(body, "skipped"),
        sequence_gaps=need(body, "gaps", int),
        sequence_repeats=need(body, "repeats", int),
        **integers,
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something that was refused: a whole batch, or `rows` of one. The raw message is read again at its origin."""

    region: str
    topic: str
    partition: int
    offset: int
    reason: str
    rows: int
    at_ms: int
    event: str = ""
    detail: str = ""

    def encode(self) -> bytes:
        """As a message of the dead topic."""
        body: Json = {"v": WIRE_VERSION, "kind": "dead", "region": self.region, "topic": self.topic}
        body |= {"partition": self.partition, "offset": self.offset, "reason": self.reason, "rows": self.rows}
        return orjson.dumps(body | {"at": self.at_ms, "event": self.event, "detail": self.detail})


def decode_dead(value: bytes) -> DeadLetter:
    """Read a message of the dead topic. Raises Refused when it is not one."""
    body = _versioned(value, "dead")
    texts = {key: need(body, key, str) for key in ("region", "topic", "reason", "event", "detail")}
    return DeadLetter(
        **texts,
        partition=need(body, "partition", int),
        offset=need(body, "offset", int),
        rows=need(body, "rows", int),
        at_ms=need(body, "at", int),
    )


@dataclass(frozen=True, slots=True)
class StreamState:
    """What recognises repeats of one stream: every seq below `contiguous` was seen, and those in `above`."""

    stream: str
    epoch: int
    contiguous: int
    above: tuple[int, ...] = ()


def encode_state(topic: str, partition: int, streams: tuple[StreamState, ...]) -> bytes:
    """As a message of the state topic."""
    body: Json = {"v": WIRE_VERSION, "kind": "state", "topic": topic, "partition": partition}
    return orjson.dumps(body | {"streams": [[s.stream, s.epoch, s.contiguous, list(s.above)] for s in streams]})


def decode_state(value: bytes) -> tuple[str, int, tuple[StreamState, ...]]:
    """Read a message of the state topic. Raises Refused when it is not one."""
    body = _versioned(value, "state")
    try:
        rows: list[Any] = need_list(body, "streams")
        streams = tuple(StreamState(str(s), int(e), int(c), tuple(map(int, above))) for s, e, c, above in rows)
    except (TypeError, ValueError) as error:
        raise Refused("wrong_type", "streams") from error
    return need(body, "topic", str), need(body, "partition", int), streams
