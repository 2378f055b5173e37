"""Ledger and dead letters: what every transaction added, and what was refused and why. No record holds a raw value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, cast

import orjson

from streamgauge.schemas.batches import MAX_INSTANT_MS, WIRE_VERSION
from streamgauge.schemas.consent import DENIALS
from streamgauge.schemas.decoding import (
    INTEGER_LIMIT,
    SHORT_LIMIT,
    need,
    need_list,
    need_natural,
    need_object,
    versioned,
)
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.packing import Json
from streamgauge.schemas.row_sets import RowSet, read_row_set
from streamgauge.schemas.settings import MAX_LIFE
from streamgauge.schemas.windows import DAY_MS, TIERS

_SECONDS_LIMIT = MAX_INSTANT_MS // 1000
_DAY_LIMIT = MAX_INSTANT_MS // DAY_MS + 1
MAX_POLICY = 64
"""The longest name of a policy's version."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One transaction of one raw partition: offsets [start, end), and what was added for them.

    `messages` is what was added, not the width of the range: they must be equal. `points` maps (entry tier index, UTC
    day as days since the epoch) to points, `sums` to the sum of all values and the sum of their magnitudes; `refused`
    counts points by reason, `scrubbed` values by rule, `skipped` points by the tier they were too old for.
    `incarnation` is the life of the raw topic that the offsets are of; empty where a release or a broker did not say.
    `policies` names the versions of the policies by which its events and labels were cleaned. `events` are rows that were
    sent on as single events.
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
    sums: Mapping[tuple[int, int], tuple[float, float]] = field(
        default_factory=dict[tuple[int, int], tuple[float, float]]
    )
    incarnation: str = ""
    policies: tuple[str, ...] = ()
    events: int = 0

    @property
    def total(self) -> int:
        """Points added."""
        return sum(self.points.values())

    def encode(self) -> bytes:
        """As a message of the ledger topic."""
        body: Json = {
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
        if self.sums:
            body["sums"] = [[tier, day, *both] for (tier, day), both in sorted(self.sums.items())]
        if self.incarnation:
            body["incarnation"] = self.incarnation
        if self.policies:
            body["policies"] = list(self.policies)
        if self.events:
            body["events"] = self.events
        return orjson.dumps(body)


REPEATED = frozenset({"repeated_key", "repeat"})


def has_letter(reason: str) -> bool:
    """Whether what is refused for this reason is in a dead letter. A repeat is nobody's mistake, and what a person has not
    granted must not be kept for later."""
    return reason not in REPEATED and reason.partition(":")[0] not in DENIALS


def natural(value: Any, limit: int = INTEGER_LIMIT, what: str = "") -> int:
    """An entry of a list, which must be an integer from 0 up to, not including, `limit`."""
    if type(value) is not int:
        raise Refused("wrong_type", what)
    if not 0 <= value < limit:
        raise Refused("out_of_range", what)
    return value


def life_of(body: Json) -> str:
    """The life of the raw topic that a message names, if it does."""
    found: str = need(body, "incarnation", str) if "incarnation" in body else ""
    if len(found) > MAX_LIFE:
        raise Refused("out_of_range", "incarnation")
    return found


def _numbers(body: Json, key: str) -> dict[str, int]:
    return {word: natural(count, what=key) for word, count in need_object(body, key).items()}


def _entries(body: Json, key: str, width: int) -> list[list[Any]]:
    rows = need_list(body, key)
    if not all(type(row) is list and len(cast("list[Any]", row)) == width for row in rows):
        raise Refused("wrong_type", key)
    return rows


def _sums(body: Json) -> dict[tuple[int, int], tuple[float, float]]:
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for tier, day, total, magnitude in _entries(body, "sums", 4):
        key = natural(tier, len(TIERS), "sums"), natural(day, _DAY_LIMIT, "sums")
        if type(total) not in {int, float} or type(magnitude) not in {int, float}:
            raise Refused("wrong_type", "sums")
        found[key] = float(total), float(magnitude)
    return found


def _policies(body: Json) -> tuple[str, ...]:
    names = need_list(body, "policies") if "policies" in body else []
    if not all(type(one) is str and 0 < len(one) <= MAX_POLICY for one in names):
        raise Refused("wrong_type", "policies")
    return tuple(names)


def decode_ledger(value: bytes | None) -> LedgerEntry:
    """Read a message of the ledger topic. Raises Refused when it is not one."""
    body = versioned(value, "ledger")
    return LedgerEntry(
        region=need(body, "region", str),
        topic=need(body, "topic", str),
        partition=need_natural(body, "partition", SHORT_LIMIT),
        start=need_natural(body, "from"),
        end=need_natural(body, "to"),
        messages=need_natural(body, "messages"),
        batches=need_natural(body, "batches"),
        points={
            (natural(tier, len(TIERS), "points"), natural(day, _DAY_LIMIT, "points")): natural(n, what="points")
            for tier, day, n in _entries(body, "points", 3)
        },
        committed_ms=need_natural(body, "committed", MAX_INSTANT_MS),
        refused=_numbers(body, "refused"),
        scrubbed=_numbers(body, "scrubbed"),
        skipped=_numbers(body, "skipped"),
        min_window=need_natural(body, "min_window", _SECONDS_LIMIT),
        max_window=need_natural(body, "max_window", _SECONDS_LIMIT),
        sequence_gaps=need_natural(body, "gaps"),
        sequence_repeats=need_natural(body, "repeats"),
        sums=_sums(body) if "sums" in body else {},
        incarnation=life_of(body),
        policies=_policies(body),
        events=_optional_natural(body, "events"),
    )


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One refused row: its number in the batch, its instant, and what its contract admits of it, cleaned.

    `metric` is the metric's name where the row is a point of one.
    """

    row: int
    at_ms: int
    fields: Mapping[str, str | float | None]
    metric: str = ""

    def json(self) -> Json:
        """As a JSON object."""
        body: Json = {"row": self.row, "at": self.at_ms, "fields": dict(self.fields)}
        return body | {"metric": self.metric} if self.metric else body


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Something that was refused: a whole message, or `which` rows of one. The raw message is read again at its origin.

    `rows` counts points. `size` and `hash` (keyed) recognise the raw message; a letter without a hash is of a release that
    did not write one. `again` is the offset of the replayed copy that was refused, `offset` is the origin's all the same;
    0: it was no replay. `incarnation` is the life of the raw topic that the offsets are of, where it is known.
    """

    region: str
    topic: str
    partition: int
    offset: int
    reason: str
    rows: int
    at_ms: int
    event: str = ""
    detail: str = ""
    contract: int = 0
    service: str = ""
    size: int = 0
    hash: str = ""
    which: RowSet | None = None
    sample: tuple[SampleRow, ...] = ()
    again: int = 0
    incarnation: str = ""

    def encode(self) -> bytes:
        """As a message of the dead topic."""
        body: Json = {"v": WIRE_VERSION, "kind": "dead", "region": self.region, "topic": self.topic}
        body |= {"partition": self.partition, "offset": self.offset, "reason": self.reason, "rows": self.rows}
        body |= {"at": self.at_ms, "event": self.event, "detail": self.detail}
        more: Json = {"contract": self.contract, "service": self.service, "size": self.size, "hash": self.hash}
        more["which"] = self.which and self.which.json()
        more["sample"] = [row.json() for row in self.sample]
        more["again"] = self.again
        more["incarnation"] = self.incarnation
        return orjson.dumps(body | {key: value for key, value in more.items() if value})

    def which_text(self) -> str:
        """The refused rows as JSON, as the store keeps them; empty for the whole message."""
        return orjson.dumps(self.which.json()).decode() if self.which else ""

    def sample_text(self) -> str:
        """The sample as JSON, as the store keeps it; empty when there is none."""
        return orjson.dumps([row.json() for row in self.sample]).decode() if self.sample else ""


MAX_SAMPLE = 8
MAX_SAMPLE_FIELDS = 32
MAX_SAMPLE_CHARS = 200
"""What a letter's sample may hold at most."""


def decode_dead(value: bytes | None) -> DeadLetter:
    """Read a message of the dead topic. Raises Refused when it is not one."""
    body = versioned(value, "dead")
    texts = {key: need(body, key, str) for key in ("region", "topic", "reason", "event", "detail")}
    return DeadLetter(
        **texts,
        partition=need_natural(body, "partition", SHORT_LIMIT),
        offset=need_natural(body, "offset"),
        rows=need_natural(body, "rows"),
        at_ms=need_natural(body, "at", MAX_INSTANT_MS),
        contract=_optional_natural(body, "contract"),
        service=need(body, "service", str) if "service" in body else "",
        size=_optional_natural(body, "size"),
        hash=need(body, "hash", str) if "hash" in body else "",
        which=read_row_set(body["which"]) if "which" in body else None,
        sample=read_sample(need_list(body, "sample")) if "sample" in body else (),
        again=_optional_natural(body, "again"),
        incarnation=life_of(body),
    )


def _optional_natural(body: Json, key: str) -> int:
    return need_natural(body, key) if key in body else 0


def read_sample(rows: list[Any]) -> tuple[SampleRow, ...]:
    """The sample of a letter from its JSON. Raises Refused."""
    if len(rows) > MAX_SAMPLE:
        raise Refused("wrong_length", "sample")
    return tuple(map(_sample_row, rows))


def _sample_row(row: Any) -> SampleRow:
    if type(row) is not dict:
        raise Refused("wrong_type", "sample")
    body = cast("Json", row)
    fields = need_object(body, "fields")
    if len(fields) > MAX_SAMPLE_FIELDS:
        raise Refused("wrong_length", "sample")
    for one in fields.values():
        if not (one is None or type(one) is float or (type(one) is str and len(one) <= MAX_SAMPLE_CHARS)):
            raise Refused("wrong_type", "sample")
        if type(one) is float and not isfinite(one):
            raise Refused("not_finite", "sample")
    metric = need(body, "metric", str) if "metric" in body else ""
    return SampleRow(need_natural(body, "row"), need_natural(body, "at", MAX_INSTANT_MS), fields, metric)
