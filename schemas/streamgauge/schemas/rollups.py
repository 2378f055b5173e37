"""Rollups: what a worker adds per transaction and rollup partition, as packed columns; the sink merges and inserts them.

A row is a partial: what one series of one metric gained in one window of its entry tier. Partials of equal
(metric, series, entry, window) add up, whoever merges them and in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
import orjson

from streamgauge.schemas.batches import WIRE_VERSION
from streamgauge.schemas.columns import (
    Array,
    narrow,
    pack_array,
    saturated,
    unpack,
    unpack_finite,
    unpack_index,
    unpack_narrow,
)
from streamgauge.schemas.decoding import SHORT_LIMIT, need, need_list, need_natural, need_object, parse
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.histogram import KEY_OFFSET
from streamgauge.schemas.packing import Json, index_type
from streamgauge.schemas.windows import FIRST_MONTHLY_TIER, TIER_NAMES, TIERS, tier_index

METRIC_TYPES = ("counter", "gauge", "histogram", "event", "measure", "distinct")


@dataclass(frozen=True, slots=True)
class RollupMetric:
    """A metric as the store knows it. `type` is one of `METRIC_TYPES`; an event's metric is its count.

    `family` is the name that the series ids were made with: the event of a measure, else the metric itself.
    """

    name: str
    type: str
    family: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    granularity: str = "10s"


def united(known: RollupMetric | None, said: RollupMetric) -> RollupMetric:
    """What is said last, with all the labels and the finest tier that were ever said.

    While services of two versions run, both declarations come again and again: the views must not change each time.
    """
    if known is None:
        return said
    finest = min(known.granularity, said.granularity, key=tier_index)
    return replace(said, labels=tuple(dict.fromkeys((*known.labels, *said.labels))), granularity=finest)


@dataclass(frozen=True, slots=True)
class SeriesLabels:
    """The labels behind one series id."""

    series_id: int
    family: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RawRange:
    """The offsets [start, end) of one raw partition that a message was made from."""

    topic: str
    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Histograms:
    """Ragged histograms of rows: `per_row` entries each, keys (see `histogram`) and counts one after another.

    Counts are unsigned, of any width: wide ones would be most of a block's memory.
    """

    per_row: Array
    keys: Array
    counts: Array

    def take(self, rows: Array) -> Histograms:
        """The histograms of the given rows, in their order."""
        lengths = self.per_row.astype(np.int64)
        taken, starts = lengths[rows], (np.cumsum(lengths) - lengths)[rows]
        positions = np.repeat(starts - (np.cumsum(taken) - taken), taken)
        positions += np.arange(len(positions))
        return Histograms(self.per_row[rows], self.keys[positions], self.counts[positions])


@dataclass(frozen=True, slots=True)
class RollupRows:
    """Columns of equal length. `metric` indexes a list of `RollupMetric`, `entry` indexes `windows.TIERS`,
    `window` is in seconds since the epoch, `last_ms` in milliseconds."""

    metric: Array
    series_id: Array
    entry: Array
    window: Array
    count: Array
    sum: Array
    min: Array
    max: Array
    last: Array
    last_ms: Array
    hist: Histograms

    def __len__(self) -> int:
        return len(self.series_id)

    @property
    def nbytes(self) -> int:
        """Memory of all columns."""
        columns = sum(getattr(self, f.name).nbytes for f in fields(self) if f.name != "hist")
        return int(columns + sum(getattr(self.hist, f.name).nbytes for f in fields(self.hist)))

    def take(self, rows: Array) -> RollupRows:
        """The given rows, in their order."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "hist"}
        return RollupRows(**columns, hist=self.hist.take(rows))

    def split(self, cuts: Iterable[tuple[int, int]]) -> Iterator[RollupRows]:
        """Runs of rows [first, last), without a copy."""
        ends = np.concatenate([[0], np.cumsum(self.hist.per_row, dtype=np.int64)])
        for first, last in cuts:
            columns = {f.name: getattr(self, f.name)[first:last] for f in fields(self) if f.name != "hist"}
            entries = slice(ends[first], ends[last])
            hist = Histograms(self.hist.per_row[first:last], self.hist.keys[entries], self.hist.counts[entries])
            yield RollupRows(**columns, hist=hist)


@dataclass(frozen=True, slots=True)
class DistinctRows:
    """Columns of equal length: `hash` was seen for a series in a window of its entry tier."""

    metric: Array
    series_id: Array
    entry: Array
    window: Array
    hash: Array

    def __len__(self) -> int:
        return len(self.series_id)

    @property
    def nbytes(self) -> int:
        """Memory of all columns."""
        return sum(int(getattr(self, f.name).nbytes) for f in fields(self))

    def take(self, rows: Array) -> DistinctRows:
        """The given rows, in their order."""
        return DistinctRows(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def split(self, cuts: Iterable[tuple[int, int]]) -> Iterator[DistinctRows]:
        """Runs of rows [first, last), without a copy."""
        for first, last in cuts:
            yield DistinctRows(**{f.name: getattr(self, f.name)[first:last] for f in fields(self)})


@dataclass(frozen=True, slots=True)
class RollupMessage:
    """One decoded message of the rollups topic, or of the distinct topic (then `rows` are DistinctRows)."""

    region: str
    version: int
    raw: RawRange
    metrics: tuple[RollupMetric, ...]
    rows: RollupRows | DistinctRows
    labels: tuple[SeriesLabels, ...]


def concat_rows(parts: Sequence[RollupRows]) -> RollupRows:
    """Rows of several tables over the same list of metrics, one after another."""
    columns = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(RollupRows) if f.name != "hist"
    }
    hist = Histograms(*(np.concatenate([getattr(p.hist, f.name) for p in parts]) for f in fields(Histograms)))
    return RollupRows(**columns, hist=hist)


def concat_distinct(parts: Sequence[DistinctRows]) -> DistinctRows:
    """The same for distinct rows."""
    return DistinctRows(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(DistinctRows)})


def part_keys(entry: Array, window: Array) -> Array:
    """Which of the store's partitions each row touches: its UTC day in the fine tiers, else its UTC month (negative)."""
    seconds = window.astype(np.int64)
    months = seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    return np.where(entry < FIRST_MONTHLY_TIER, seconds // 86_400, -months - 1)


def split_rows(weights: Array, parts: Array, max_weight: int, max_parts: int) -> Iterator[tuple[int, int]]:
    """Cut rows sorted by part into runs [first, last) of at most `max_weight` (or one row) and `max_parts` distinct parts."""
    reached: Array = np.cumsum(weights)
    rank: Array = np.concatenate([[0], np.cumsum(parts[1:] != parts[:-1])])
    first, before = 0, 0
    while first < len(weights):
        light = int(np.searchsorted(reached, before + max_weight, side="right"))
        few = int(np.searchsorted(rank, int(rank[first]) + max_parts))
        last = max(first + 1, min(light, few))
        yield first, last
        first, before = last, int(reached[last - 1])


def encode(message: RollupMessage) -> bytes:
    """A message of the rollups or of the distinct topic."""
    rows = message.rows
    metrics, metric_index = _used(message.metrics, rows.metric)
    body: Json = {
        "v": WIRE_VERSION,
        "kind": "rollups" if isinstance(rows, RollupRows) else "distinct",
        "region": message.region,
        "mv": message.version,
        "raw": raw_json(message.raw),
        "n": len(rows),
        "metrics": [
            {
                "name": m.name,
                "type": m.type,
                "family": m.family,
                "unit": m.unit,
                "labels": list(m.labels),
                "granularity": m.granularity,
            }
            for m in metrics
        ],
        "m": pack_array(index_type(len(metrics)), metric_index),
        "series": pack_array("u8", rows.series_id),
        "entry": pack_array("u1", rows.entry),
        "w": pack_array("u4", rows.window),
    }
    if message.labels:
        body["labels"] = {
            "id": pack_array("u8", np.array([one.series_id for one in message.labels], np.uint64)),
            "family": [one.family for one in message.labels],
            "labels": [dict(one.labels) for one in message.labels],
        }
    if isinstance(rows, DistinctRows):
        body["hash"] = pack_array("u8", rows.hash)
    else:
        body |= _values_json(rows)
    return orjson.dumps(body)


def _values_json(rows: RollupRows) -> Json:
    body: Json = {"count": narrow(rows.count), "sum": pack_array("f8", saturated(rows.sum))}
    if rows.min.any() or rows.max.any():
        body |= {"min": pack_array("f8", rows.min), "max": pack_array("f8", rows.max)}
    if rows.last_ms.any():
        body |= {"last": pack_array("f8", rows.last), "last_t": pack_array("i8", rows.last_ms)}
    if len(rows.hist.keys):
        body["hist"] = {
            "n": narrow(rows.hist.per_row),
            "b": pack_array("i2", rows.hist.keys),
            "c": narrow(rows.hist.counts),
        }
    return body


def _used(metrics: Sequence[RollupMetric], index: Array) -> tuple[list[RollupMetric], Array]:
    used, compact = np.unique(index, return_inverse=True)
    return [metrics[int(i)] for i in used], compact


def decode_rollups(value: bytes | None) -> RollupMessage:
    """Read a message of the rollups or of the distinct topic. Raises Refused when it is not one."""
    body = parse(value)
    if need(body, "v", int) != WIRE_VERSION:
        raise Refused("unknown_version")
    kind, n = need(body, "kind", str), need(body, "n", int)
    if kind not in {"rollups", "distinct"}:
        raise Refused("unknown_kind")
    metrics = tuple(_metric(head) for head in need_list(body, "metrics"))
    keys: dict[str, Array] = {
        "metric": unpack_index(body.get("m"), n, len(metrics)),
        "series_id": unpack(body.get("series"), "u8", n),
        "entry": unpack(body.get("entry"), "u1", n),
        "window": unpack(body.get("w"), "u4", n),
    }
    if n and int(keys["entry"].max()) >= len(TIERS):
        raise Refused("index_out_of_range", "entry")
    rows: RollupRows | DistinctRows
    if kind == "distinct":
        rows = DistinctRows(**keys, hash=unpack(body.get("hash"), "u8", n))
    else:
        rows = RollupRows(**keys, **_values(body, n), hist=_histograms(body, n))
    return RollupMessage(
        need(body, "region", str),
        need_natural(body, "mv", SHORT_LIMIT),
        raw_of(body),
        metrics,
        rows,
        _labels(body),
    )


def raw_json(raw: RawRange) -> Json:
    """A range of raw offsets as a JSON object."""
    return {"topic": raw.topic, "partition": raw.partition, "from": raw.start, "to": raw.end}


def raw_of(body: Json) -> RawRange:
    """The range of raw offsets that a message names. Raises Refused."""
    raw = need_object(body, "raw")
    return RawRange(
        need(raw, "topic", str),
        need_natural(raw, "partition", SHORT_LIMIT),
        need_natural(raw, "from"),
        need_natural(raw, "to"),
    )


def _metric(head: Any) -> RollupMetric:
    if type(head) is not dict:
        raise Refused("wrong_type", "metrics")
    one = cast("Json", head)
    texts = {key: need(one, key, str) for key in ("name", "type", "family", "unit", "granularity")}
    labels = need_list(one, "labels")
    if not texts["name"] or texts["type"] not in METRIC_TYPES or texts["granularity"] not in TIER_NAMES:
        raise Refused("wrong_type", "metrics")
    if not all(type(label) is str for label in labels):
        raise Refused("wrong_type", "labels")
    return RollupMetric(**texts, labels=tuple(labels))


def _values(body: Json, n: int) -> dict[str, Array]:
    zeros = np.zeros(n)
    if ("min" in body) != ("max" in body) or ("last" in body) != ("last_t" in body):
        raise Refused("missing_key", "min, max, last or last_t")
    values = {key: unpack_finite(body[key], n) if key in body else zeros for key in ("min", "max", "last")}
    last_ms = unpack(body["last_t"], "i8", n) if "last_t" in body else np.zeros(n, np.int64)
    return {
        **values,
        "count": unpack_narrow(body.get("count"), n).astype(np.uint64),
        "sum": unpack_finite(body.get("sum"), n),
        "last_ms": last_ms,
    }


def _histograms(body: Json, n: int) -> Histograms:
    if "hist" not in body:
        return no_histograms(n)
    hist = need_object(body, "hist")
    per_row = unpack_narrow(hist.get("n"), n).astype(np.uint64)
    keys = unpack(hist.get("b"), "i2", None)
    # as doubles, whose sum cannot wrap around
    if per_row.sum(dtype=np.float64) != len(keys):
        raise Refused("wrong_length", "hist")
    if len(keys) and int(keys.min()) <= -2 * KEY_OFFSET:
        raise Refused("index_out_of_range", "hist")
    return Histograms(per_row, keys, unpack_narrow(hist.get("c"), len(keys)))


def no_histograms(n: int) -> Histograms:
    """Empty histograms for `n` rows."""
    return Histograms(np.zeros(n, np.uint64), np.zeros(0, np.int16), np.zeros(0, np.uint64))


def _labels(body: Json) -> tuple[SeriesLabels, ...]:
    if "labels" not in body:
        return ()
    section = need_object(body, "labels")
    families, labels = need_list(section, "family"), need_list(section, "labels")
    ids = unpack(section.get("id"), "u8", len(families))
    if len(labels) != len(families):
        raise Refused("wrong_length", "labels")
    if not all(type(family) is str for family in families) or not all(map(_texts, labels)):
        raise Refused("wrong_type", "labels")
    return tuple(SeriesLabels(int(i), f, one) for i, f, one in zip(ids, families, labels, strict=True))


def _texts(labels: Any) -> bool:
    return type(labels) is dict and all(type(text) is str for text in cast("Json", labels).values())
