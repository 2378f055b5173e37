"""Batches: what producers send. One Kafka message is one batch of one stream: context once, then packed columns.

Encoding needs orjson and the standard library only. `decoding` reads both kinds back.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from streamgauge.schemas.packing import TYPECODES, Json, index_type, pack
from streamgauge.schemas.spread import Spread

WIRE_VERSION = 1
MAX_SPAN_MS = (1 << 32) - 1
"""The times of one batch lie at most this far apart (49.7 days)."""

MAX_INSTANT_MS = (1 << 32) * 1000
"""Instants lie before this (7 February 2106): windows travel and are stored as seconds in 32 bits."""

Context = Mapping[str, str]
"""Who sends: service, environment, version, instance, region and further canonical columns."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Identity of a batch: `(instance, epoch, topic, stream, seq)`; `seq` is dense per stream from 0 and never renumbered."""

    context: Context
    stream: str
    epoch: int
    seq: int
    backfill: bool = False

    def head(self, kind: str) -> Json:
        """The envelope's first keys."""
        head: Json = {
            "v": WIRE_VERSION,
            "kind": kind,
            "context": dict(self.context),
            "epoch": self.epoch,
            "stream": self.stream,
            "seq": self.seq,
        }
        if self.backfill:
            head["backfill"] = True
        return head


@dataclass(frozen=True, slots=True)
class MetricHead:
    """Declaration of a metric as it travels: `type` is counter, gauge or histogram; `granularity` its finest tier."""

    name: str
    type: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    granularity: str = "10s"

    def json(self) -> Json:
        """As a JSON object."""
        return {
            "name": self.name,
            "type": self.type,
            "unit": self.unit,
            "labels": list(self.labels),
            "granularity": self.granularity,
        }


@dataclass(slots=True)
class Delta:
    """What one series gained in one window since the last flush. `last_ms` is the instant of `last`.

    Counters use `sum` (of increments) and `count` (of calls); gauges also min, max, last; histograms also `buckets`.
    Nobody changes one; it is not frozen because that would make the making of one three times as dear.
    """

    window_ms: int
    count: int
    sum: float
    min: float = 0.0
    max: float = 0.0
    last: float = 0.0
    last_ms: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True, slots=True)
class Point:
    """A delta of the series at the index `series` of its batch."""

    series: int
    window_ms: int
    count: int
    sum: float
    min: float = 0.0
    max: float = 0.0
    last: float = 0.0
    last_ms: int = 0
    buckets: Mapping[int, int] = field(default_factory=dict[int, int])


def encode_events(
    origin: Origin,
    event: str,
    contract: int,
    times_ms: Sequence[int],
    fields: Mapping[str, Json],
    consent: Json | None = None,
) -> bytes:
    """One batch of events. `times_ms` (within `MAX_SPAN_MS` of each other) and every packed column have one length.
    `consent` is a column too, of contracts that depend on it.

    Raises OverflowError when the times lie too far apart.
    """
    t0 = min(times_ms)
    message = origin.head("events")
    message["event"] = event
    message["contract"] = contract
    message["n"] = len(times_ms)
    message["t0"] = t0
    message["t"] = pack("u4", [t - t0 for t in times_ms])
    message["fields"] = dict(fields)
    if consent is not None:
        message["consent"] = consent
    return orjson.dumps(message)


def encode_metrics(
    origin: Origin,
    metrics: Sequence[MetricHead],
    series: Sequence[tuple[int, *tuple[str, ...]]],
    points: Sequence[Point],
) -> bytes:
    """One batch of metric points.

    `series` holds, for each series, the index of its metric and its label values in declared order; `Point.series`
    indexes it. Raises OverflowError when the windows lie too far apart.
    """
    only_counters = all(metric.type == "counter" for metric in metrics)
    spread = None if only_counters else Spread()
    if spread is not None:
        for d in points:
            spread.add(d.min, d.max, d.last, d.last_ms or d.window_ms, d.buckets)
    return encode_columns(
        origin,
        metrics,
        series,
        pack(index_type(len(series)), [point.series for point in points]),
        [(point.window_ms, 1) for point in points],
        [point.count for point in points],
        [point.sum for point in points],
        spread,
    )


def encode_columns(
    origin: Origin,
    metrics: Sequence[MetricHead],
    series: Sequence[tuple[int, *tuple[str, ...]]],
    index: str,
    windows: Sequence[tuple[int, int]],
    counts: Sequence[int],
    sums: Sequence[float],
    spread: Spread | None,
) -> bytes:
    """The same of columns: `index` is packed, `windows` holds each window and how many points in a row lie in it.

    `spread` is None where every metric is a counter.
    """
    t0 = min(window for window, _ in windows)
    if spread is not None:
        t0 = min(t0, min(spread.last_ms))
    times: array[int] = array(TYPECODES["u4"])
    for window, points in windows:
        times += array(TYPECODES["u4"], (window - t0,)) * points
    message = origin.head("metrics")
    message["n"] = len(counts)
    message["metrics"] = [metric.json() for metric in metrics]
    message["series"] = series
    message["s"] = index
    message["t0"] = t0
    message["t"] = pack("u4", times)
    message["count"] = pack("u8", counts)
    message["sum"] = pack("f8", sums)
    if spread is not None:
        message["min"] = pack("f8", spread.low)
        message["max"] = pack("f8", spread.high)
        message["last"] = pack("f8", spread.last)
        message["last_t"] = pack("u4", [at - t0 for at in spread.last_ms])
        if spread.keys:
            message["hist"] = {
                "n": pack("u4", spread.sizes),
                "b": pack("i2", spread.keys),
                "c": pack("u8", spread.amounts),
            }
    return orjson.dumps(message)
