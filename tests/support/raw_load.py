"""Raw load: batches as producers send them, from a seed, with the rows that they stand for.

Several instances with dense numbers per stream; counters, gauges, histograms and events; late and unordered times; batches
that come twice, and the order after an outage (5 to 9, then 0 to 4). The same seed and clock give the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from streamgauge.schemas.batches import MetricHead, Origin, Point, encode_events, encode_metrics
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.packing import pack_optional, pack_strings
from tests.support.truth import Rows, bucket_keys, labels_text

DAY_MS = 86_400_000
HEADS = (
    MetricHead("fault_calls", "counter", "{call}", ("route", "code")),
    MetricHead("fault_depth", "gauge", "", ("queue",)),
    MetricHead("fault_seconds", "histogram", "s", ("route",)),
)
SERIES: tuple[tuple[int, *tuple[str, ...]], ...] = (
    (0, "/pay", "200"), (0, "/pay", "500"), (0, "/cart", "200"), (1, "mail"), (1, "paid"), (2, "/pay"), (2, "/cart"),
)  # fmt: skip
CONTRACT = Contract(
    "fault_order",
    1,
    {
        "country": Field("dimension"),
        "channel": Field("dimension", values=("web", "app")),
        "amount": Field("measure", "number", "{USD}", optional=True),
        "items": Field("measure", "integer"),
        "customer": Field("unique"),
    },
    owner="checkout",
)
TYPES = {
    "fault_calls": "counter", "fault_depth": "gauge", "fault_seconds": "histogram",
    "fault_order": "event", "fault_order.amount": "measure", "fault_order.items": "measure", "fault_order.weight": "measure",
    "fault_order.customer": "distinct",
}  # fmt: skip
DISTINCT = "fault_order.customer"


@dataclass(frozen=True)
class Batch:
    """A message of a raw topic (`kind` is metrics or events), and what it counts for. Equal ones have equal identities."""

    kind: str
    stream: str
    seq: int
    value: bytes = field(repr=False)
    rows: Rows = field(repr=False)
    repeat: bool = False

    @property
    def identity(self) -> tuple[str, str, int]:
        """What a repeat is recognised by."""
        return self.kind, self.stream, self.seq


class RawLoad:
    """An endless stream of batches; `clock_ms` is what producers take for now."""

    def __init__(
        self, seed: int, region: str, clock_ms: int, instances: int = 8, contract: Contract = CONTRACT
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.region = region
        self.clock_ms = clock_ms
        self.epoch = clock_ms
        self.contract = contract
        self.streams = [f"{region}-{seed}-{number}" for number in range(instances)]
        self.repeated = 0
        self._next: dict[tuple[str, str], int] = {}
        self._used: set[tuple[str, int]] = set()

    def context(self, stream: str) -> dict[str, str]:
        """Who sends."""
        service = "shop" if sum(stream.encode()) % 2 else "depot"
        return {
            "service": service, "environment": "test", "version": "1.0", "instance": stream, "region": self.region
        }  # fmt: skip

    def _origin(self, kind: str, stream: str) -> Origin:
        seq = self._next.get((kind, stream), 0)
        self._next[kind, stream] = seq + 1
        return Origin(self.context(stream), stream, self.epoch, seq)

    def _instant(self) -> int:
        """Mostly now, sometimes late, within the accepted age."""
        share, back = self.random.random(), self.random.random()
        late = 120_000 if share < 0.8 else 2 * DAY_MS if share < 0.95 else 6 * DAY_MS
        return self.clock_ms - int(back * late)

    def _series(self, rows: Rows, metric: str, labels: dict[str, str]) -> int:
        key = (metric, labels_text(labels))
        if key not in rows.series:
            rows.series.append(key)
        return rows.series.index(key)

    def metrics(self, stream: str, at_ms: int | None = None) -> Batch:
        """A batch of points of all metrics, in one or two windows."""
        origin, rows, points = self._origin("metrics", stream), Rows(), list[Point]()
        shared = {name: value for name, value in origin.context.items() if name not in {"version", "instance"}}
        base = self._instant() if at_ms is None else at_ms
        for window in {base // 10_000 * 10_000, (base - int(self.random.integers(20_000))) // 10_000 * 10_000}:
            for position, (which, *values) in enumerate(SERIES):
                head = HEADS[which]
                own = {"instance": stream} if head.type == "gauge" else {}
                labels = shared | own | dict(zip(head.labels, values, strict=True))
                number = self._series(rows, head.name, labels)
                given = np.round(self.random.lognormal(0, 2, int(self.random.integers(1, 12))), 6)
                if head.type == "gauge":
                    given = given - 3
                if head.type == "histogram" and self.random.random() < 0.2:
                    given[0] = self.random.choice([0.0, -1.5, 2.0, 1024.0])
                point, buckets = self._point(position, window, head.type, given, f"{stream}{position}")
                points.append(point)
                truth = (point.count, point.sum, point.min, point.max, point.last, point.last_ms)
                rows.points.append((number, window, *truth))
                rows.buckets += [(number, window, key, n) for key, n in buckets.items()]
        return Batch("metrics", stream, origin.seq, encode_metrics(origin, HEADS, SERIES, points), rows)

    def _point(
        self, position: int, window: int, kind: str, given: np.ndarray[Any, Any], series: str
    ) -> tuple[Point, dict[int, int]]:
        total, count = float(given.sum()), len(given)
        if kind == "counter":
            return Point(position, window, count, total), {}
        last_ms = window + int(self.random.integers(10_000))
        while (series, last_ms) in self._used:  # of two values at one instant neither is the last
            last_ms = window + int(self.random.integers(10_000))
        self._used.add((series, last_ms))
        buckets: dict[int, int] = {}
        if kind == "histogram":
            keys, counts = np.unique(bucket_keys(given), return_counts=True)
            buckets = dict(zip(keys.tolist(), counts.tolist(), strict=True))
        extremes = float(given.min()), float(given.max()), float(given[-1])
        return Point(position, window, count, total, *extremes, last_ms, buckets), buckets

    def events(self, stream: str, at_ms: int | None = None, n: int = 0, days: int = 0) -> Batch:
        """A batch of events within a minute; or of so many `days` before, at most 49, however old that is."""
        n = n or int(self.random.integers(10, 90))
        origin, rows = replace(self._origin("events", stream), backfill=days > 0), Rows()
        base = self._instant() if at_ms is None else at_ms
        times = [base - int(one) for one in self.random.integers(60_000 + days * DAY_MS, size=n)]
        dimensions = {
            "country": self.random.choice(["JP", "AU", "BR"], n).tolist(),
            "channel": self.random.choice(["web", "app"], n).tolist(),
        }
        customers = [f"c-{one}" for one in self.random.integers(2_000, size=n)]
        measures: dict[str, list[float | None]] = {
            "amount": [round(float(v), 2) if v > 1 else None for v in self.random.lognormal(3, 1.5, n)],
            "items": [int(one) for one in self.random.integers(0, 20, n)],
        }
        if "weight" in self.contract.fields:
            measures["weight"] = [float(one) for one in self.random.normal(0, 10, n)]
        fields = {name: pack_strings(values) for name, values in (dimensions | {"customer": customers}).items()}
        fields |= {name: pack_optional("i8" if name == "items" else "f8", one) for name, one in measures.items()}
        value = encode_events(origin, self.contract.name, self.contract.version, times, fields)
        shared = {name: value for name, value in origin.context.items() if name not in {"version", "instance"}}
        for row, t in enumerate(times):
            labels = shared | {name: values[row] for name, values in dimensions.items()}
            rows.points.append((self._series(rows, self.contract.name, labels), t, 1, 1.0, 0.0, 0.0, 0.0, 0))
            rows.distinct.append((self._series(rows, DISTINCT, labels), t, customers[row]))
            for name, given in measures.items():
                one = given[row]
                if one is not None:
                    number = self._series(rows, f"{self.contract.name}.{name}", labels)
                    rows.points.append((number, t, 1, float(one), float(one), float(one), 0.0, 0))
                    rows.buckets.append((number, t, int(bucket_keys([one])[0]), 1))
        return Batch("events", stream, origin.seq, value, rows)

    def alike(self, n: int, count: int) -> Iterator[Batch]:
        """So many batches of `n` events each, every stream's with the same rows: cheap to make, and each of them counts."""
        first = [self.events(stream, n=n) for stream in self.streams]
        for number in range(count):
            one = first[number % len(first)]
            seq = one.seq
            if number >= len(first):
                seq = self._next["events", one.stream]
                self._next["events", one.stream] = seq + 1
            yield Batch("events", one.stream, seq, orjson.dumps(orjson.loads(one.value) | {"seq": seq}), one.rows)

    def any(self, stream: str = "") -> Batch:
        """A batch of some kind of some stream."""
        stream = stream or str(self.random.choice(self.streams))
        return self.metrics(stream) if self.random.random() < 0.5 else self.events(stream)

    def batches(self) -> Iterator[Batch]:
        """In the order in which they arrive: each at least once; about one in twelve again, at once or far behind; now and
        then a whole outage, whose later half arrives before the earlier one."""
        again: deque[tuple[int, Batch]] = deque()
        sent = 0
        while True:
            if self.random.random() < 0.01:
                stream = str(self.random.choice(self.streams))
                some = [self.any(stream) for _ in range(10)]
                coming = some[5:] + some[:5]
            else:
                coming = [self.any()]
            for one in coming:
                yield one
                sent += 1
                if self.random.random() < 1 / 12:
                    again.append((sent + int(self.random.choice([0, 3, 40, 400])), one))
                while again and again[0][0] <= sent:
                    self.repeated += 1
                    first = again.popleft()[1]
                    yield Batch(first.kind, first.stream, first.seq, first.value, first.rows, repeat=True)
