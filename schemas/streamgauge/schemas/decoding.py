"""Decoding: a raw Kafka message into a batch of columns, or `Refused` with the reason it is counted under.

The reasons are `errors.DECODING_REASONS`, no others.
Nothing here trusts the sender: sizes, types, lengths, indexes and numbers are checked before anyone computes with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import orjson

from streamgauge.schemas.batches import MAX_INSTANT_MS as MAX_INSTANT_MS  # readers look for it here
from streamgauge.schemas.batches import WIRE_VERSION, MetricHead, Origin
from streamgauge.schemas.columns import (
    Array,
    Numbers,
    Strings,
    unpack,
    unpack_finite,
    unpack_index,
    unpack_numbers,
    unpack_strings,
)
from streamgauge.schemas.consent import Consent, consent_of
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.histogram import KEY_OFFSET
from streamgauge.schemas.packing import Json
from streamgauge.schemas.windows import TIER_NAMES

MAX_BYTES = 16 << 20
MAX_ROWS = 1_000_000
MAX_COUNT = 1 << 40
"""No more calls than this in one batch: so many batches fit no transaction that sums of counts could overflow 64 bits."""
INTEGER_LIMIT = 1 << 63
SHORT_LIMIT = 1 << 16
"""Numbers of partitions and materialization versions lie below this: the store keeps them in 16 bits."""

KNOWN_KEYS = frozenset(
    [
        "v",
        "kind",
        "context",
        "epoch",
        "stream",
        "seq",
        "backfill",
        "consent",
        "n",
        "t0",
        "t",
        "event",
        "contract",
        "fields",
        "metrics",
        "series",
        "s",
        "count",
        "sum",
        "min",
        "max",
        "last",
        "last_t",
        "hist",
    ]
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one type: `times` in ms, and one column of the same length per field. `consents`: what was granted, and which
    of it with each row; None where nothing was, with any."""

    origin: Origin
    event: str
    contract: int
    times: Array
    fields: dict[str, Strings | Numbers]
    unknown_keys: int = 0
    consents: tuple[list[Consent | None], Array] | None = None


@dataclass(frozen=True, slots=True)
class MetricBatch:
    """Points of metrics. Row i belongs to `series[index[i]]` = (metric, *label values) and to the windows of any tier
    that hold the instant `windows[i]` (ms): that it is the start of one is not checked.

    Where only counters are, min, max and last are 0. `buckets` (entries per row, keys, counts) is None when no row has
    a histogram; that the counts of a row's buckets add up to its count is not checked.
    """

    origin: Origin
    metrics: tuple[MetricHead, ...]
    series: list[tuple[Any, ...]]
    index: Array
    windows: Array
    count: Array
    sum: Array
    min: Array
    max: Array
    last: Array
    last_ms: Array
    buckets: tuple[Array, Array, Array] | None = None
    unknown_keys: int = 0


Batch = EventBatch | MetricBatch


def decode(value: bytes | None, max_bytes: int = MAX_BYTES) -> Batch:
    """Read one batch. Raises Refused, and nothing else, whatever the bytes are."""
    message = parse(value, max_bytes)
    if need(message, "v", int) != WIRE_VERSION:
        raise Refused("unknown_version")
    kind = need(message, "kind", str)
    if kind == "events":
        return decode_events(message)
    if kind == "metrics":
        return decode_metrics(message)
    raise Refused("unknown_kind")


def parse(value: bytes | None, max_bytes: int = MAX_BYTES) -> Json:
    """A JSON object without duplicate keys, of at most `max_bytes`: of a larger message nothing is read."""
    if not value:
        raise Refused("empty")
    if len(value) > max_bytes:
        raise Refused("too_large", f"{len(value)} bytes")
    try:
        message: Any = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Refused("bad_json") from error
    if type(message) is not dict:
        raise Refused("wrong_type", "the message is not an object")
    try:
        # what our encoder wrote comes out byte for byte; only other writers pay for the search for duplicate keys
        ours = orjson.dumps(message) == value
    except orjson.JSONEncodeError as error:  # orjson reads deeper nesting than it writes
        raise Refused("bad_json", "nested too deeply") from error
    if not ours:
        try:
            json.loads(value, object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise Refused("bad_json") from error
    return cast("Json", message)


def versioned(value: bytes | None, kind: str) -> Json:
    """A message of this version and kind."""
    body = parse(value)
    if need(body, "v", int) != WIRE_VERSION:
        raise Refused("unknown_version")
    if need(body, "kind", str) != kind:
        raise Refused("unknown_kind")
    return body


def part_of(body: Json, limit: int) -> tuple[int, int]:
    """Which part a message is, and of how many."""
    parts, part = need_natural(body, "parts", limit), need_natural(body, "part", limit)
    if part >= parts:
        raise Refused("out_of_range", "part")
    return part, parts


def _without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Refused("duplicate_key")


def need(message: Json, key: str, kind: type[T]) -> T:
    """`message[key]`, which must be of exactly this type (so that true is no integer)."""
    value = message.get(key)
    if type(value) is not kind:
        raise Refused("wrong_type" if key in message else "missing_key", key)
    return value


def need_natural(message: Json, key: str, limit: int = INTEGER_LIMIT) -> int:
    """`message[key]`, which must be an integer from 0 up to, not including, `limit`."""
    value = need(message, key, int)
    if not 0 <= value < limit:
        raise Refused("out_of_range", key)
    return value


def need_object(message: Json, key: str) -> Json:
    """`message[key]`, which must be an object."""
    return cast("Json", need(message, key, dict))


def need_list(message: Json, key: str) -> list[Any]:
    """`message[key]`, which must be a list."""
    return cast("list[Any]", need(message, key, list))


def origin_of(message: Json) -> Origin:
    """The identity of a batch."""
    context = need_object(message, "context")
    if len(context) > 32 or not all(type(v) is str and len(k) <= 64 and len(v) <= 256 for k, v in context.items()):
        raise Refused("wrong_type", "the context is not a small object of short strings")
    epoch, seq = need_natural(message, "epoch"), need_natural(message, "seq")
    stream = need(message, "stream", str)
    backfill = message.get("backfill", False)
    if type(backfill) is not bool or not 0 < len(stream) <= 128:
        raise Refused("wrong_type", "stream or backfill")
    return Origin(cast("dict[str, str]", context), stream, epoch, seq, backfill)


def _rows_and_times(message: Json) -> tuple[int, Array]:
    n, t0 = need(message, "n", int), need(message, "t0", int)
    if not 0 < n <= MAX_ROWS:
        raise Refused("wrong_length", "n")
    if not 0 <= t0 < MAX_INSTANT_MS:
        raise Refused("time_out_of_range")
    return n, _instants(message, "t", n, t0)


def _instants(message: Json, key: str, n: int, t0: int) -> Array:
    instants = unpack(message.get(key), "u4", n).astype(np.int64) + t0
    # later ones would come out of their 32 bits as another window
    if int(instants.max()) >= MAX_INSTANT_MS:
        raise Refused("time_out_of_range")
    return instants


def _name(name: Any) -> str:
    if type(name) is not str or not 0 < len(name) <= 200 or not name.replace(".", "_").isidentifier():
        raise Refused("bad_name")
    return name


def _column(column: Json, n: int) -> Strings | Numbers:
    return unpack_strings(column, n) if "d" in column else unpack_numbers(column, n)


def decode_events(message: Json) -> EventBatch:
    """The body of a batch of events."""
    n, times = _rows_and_times(message)
    fields: dict[str, Strings | Numbers] = {}
    for name, column in need_object(message, "fields").items():
        if type(column) is not dict or len(fields) >= 256:
            raise Refused("wrong_type", "fields")
        fields[_name(name)] = _column(cast("Json", column), n)
    return EventBatch(
        origin_of(message),
        _name(message.get("event")),
        need_natural(message, "contract"),
        times,
        fields,
        sum(key not in KNOWN_KEYS for key in message),
        _consents(message, n),
    )


def _consents(message: Json, n: int) -> tuple[list[Consent | None], Array] | None:
    """What cannot be read grants nothing, and is no reason to refuse events that need no consent."""
    if message.get("consent") is None:
        return None
    try:
        column = need_object(message, "consent")
        given = need_list(column, "d")
        return [consent_of(one) for one in given], unpack_index(column.get("i"), n, len(given))
    except Refused:
        return None


def _metric_head(head: Any) -> MetricHead:
    if type(head) is not dict:
        raise Refused("wrong_type", "metrics")
    one = cast("Json", head)
    labels = need_list(one, "labels")
    kind, unit, granularity = need(one, "type", str), need(one, "unit", str), one.get("granularity", "10s")
    if (
        kind not in {"counter", "gauge", "histogram"}
        or granularity not in TIER_NAMES
        or len(labels) > 64
        or len(unit) > 64
    ):
        raise Refused("wrong_type", "metrics")
    if len({_name(label) for label in labels}) != len(labels):
        raise Refused("duplicate_key", "labels")
    return MetricHead(_name(one.get("name")), kind, unit, tuple(labels), granularity)


def _series(rows: list[Any], metrics: tuple[MetricHead, ...]) -> list[tuple[Any, ...]]:
    series: list[tuple[Any, ...]] = []
    for row in rows:
        if type(row) is not list or not row:
            raise Refused("wrong_type", "series")
        metric, *values = cast("list[Any]", row)
        if type(metric) is not int or not 0 <= metric < len(metrics):
            raise Refused("index_out_of_range", "series")
        if len(values) != len(metrics[metric].labels):
            raise Refused("wrong_length", "series")
        if not all(type(value) is str and len(value) <= 4096 for value in values):
            raise Refused("wrong_type", "series")
        series.append((metric, *values))
    return series


def _extremes(message: Json, n: int, windows: Array, counters_only: bool) -> tuple[Array, Array, Array, Array]:
    if "min" not in message:
        if not counters_only:
            raise Refused("missing_key", "min")
        zeros = np.zeros(n)
        return zeros, zeros, zeros, windows
    last_ms = _instants(message, "last_t", n, need(message, "t0", int))
    low, high, last = (unpack_finite(message.get(key), n) for key in ("min", "max", "last"))
    return low, high, last, last_ms


def _buckets(message: Json, n: int) -> tuple[Array, Array, Array] | None:
    if "hist" not in message:
        return None
    hist = need_object(message, "hist")
    per_row = unpack(hist.get("n"), "u4", n)
    total = int(per_row.sum(dtype=np.uint64))
    if total > MAX_ROWS * 16:
        raise Refused("too_large", "hist")
    keys = unpack(hist.get("b"), "i2", total)
    if total and int(np.abs(keys.astype(np.int32)).max()) > 2 * KEY_OFFSET - 1:
        raise Refused("index_out_of_range", "hist")
    return per_row, keys, _counts(hist.get("c"), total)


def _counts(text: Any, n: int) -> Array:
    counts = unpack(text, "u8", n)
    # as doubles, whose sum cannot wrap around
    if counts.sum(dtype=np.float64) > MAX_COUNT:
        raise Refused("out_of_range", "count")
    return counts


def decode_metrics(message: Json) -> MetricBatch:
    """The body of a batch of metric points."""
    n, windows = _rows_and_times(message)
    metrics = tuple(_metric_head(head) for head in need_list(message, "metrics"))
    series = _series(need_list(message, "series"), metrics)
    counters_only = all(metrics[int(one[0])].type == "counter" for one in series)
    low, high, last, last_ms = _extremes(message, n, windows, counters_only)
    return MetricBatch(
        origin_of(message),
        metrics,
        series,
        unpack_index(message.get("s"), n, len(series)),
        windows,
        _counts(message.get("count"), n),
        unpack_finite(message.get("sum"), n),
        low,
        high,
        last,
        last_ms,
        _buckets(message, n),
        sum(key not in KNOWN_KEYS for key in message),
    )
