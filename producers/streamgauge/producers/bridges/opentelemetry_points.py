"""OpenTelemetry points: what the SDK's data points add, as deltas of open families."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from streamgauge.producers.cumulative import MAX_STREAMS, Cumulative, Number, Running, TooManyStreams
from streamgauge.producers.open_families import Labels, OpenFamilies, open_series
from streamgauge.producers.text import attribute_text
from streamgauge.schemas.batches import Delta, MetricHead
from streamgauge.schemas.errors import place_of
from streamgauge.schemas.foreign_histograms import (
    Distribution,
    Explicit,
    Exponential,
    InconsistentHistogram,
    extreme,
    indexed,
)
from streamgauge.schemas.names import metric_name

log = logging.getLogger(__name__)

MAX_KEPT = 1_024
"""Label values of a series that is remembered have at most so many characters together."""
Points = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint


class PointReader:
    """Turns points into deltas; remembers where cumulative streams stand. Not thread-safe: readers export one at a time."""

    def __init__(self) -> None:
        self._sums: Cumulative[Number] = Cumulative()
        self._histograms: Cumulative[Distribution] = Cumulative()
        self._running = Running()
        self._series: dict[Hashable, tuple[MetricHead, Labels]] = {}

    def read(self, scope: str, metric: Metric, families: OpenFamilies) -> None:
        """Add every point of a metric. One that cannot be added is counted as dropped, by reason."""
        name, kind = metric_name(metric.name), kind_of(metric.data)
        for point in metric.data.data_points:
            points = 1 if isinstance(point, NumberDataPoint) else point.count
            try:
                self._add(scope, metric, kind, point, families)
            except TooManyStreams:
                families.refuse(name, "too_many_streams", points)
            except (InconsistentHistogram, ArithmeticError):
                families.refuse(name, "inconsistent", points)
            except Exception as error:  # whatever is wrong with one point, the others go on
                log.debug("a point of %s cannot be read (%s)", metric.name, place_of(error))
                families.refuse(name, "internal_error", points)

    def _add(self, scope: str, metric: Metric, kind: str, point: Points, families: OpenFamilies) -> None:
        attributes: Mapping[str, Any] = point.attributes or {}
        stream = (scope, metric.name, metric.unit, kind, frozenset(attributes.items()))
        delta = self._delta(metric.data, stream, point)
        if delta is not None:
            families.add(*self._series_of(stream, metric, kind, attributes), delta)

    def _series_of(
        self, stream: Hashable, metric: Metric, kind: str, attributes: Mapping[str, Any]
    ) -> tuple[MetricHead, Labels]:
        """What a stream is called here, remembered: telemetry repeats itself."""
        # equal keys can be spelt differently: true, 1 and 1.0 are one
        key = (stream, tuple(map(type, attributes.values())))
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= MAX_STREAMS:
                self._series.clear()
            texts = [(name, attribute_text(value)) for name, value in attributes.items()]
            found = open_series(metric.name, kind, metric.unit or "", texts)
            if sum(map(len, found[1])) <= MAX_KEPT:
                self._series[key] = found
        return found

    def _delta(self, data: Any, stream: Hashable, point: Points) -> Delta | None:
        start_ns, time_ns = point.start_time_unix_nano or 0, point.time_unix_nano
        at_ms = time_ns // 1_000_000
        cumulative = getattr(data, "aggregation_temporality", None) is AggregationTemporality.CUMULATIVE
        if not isinstance(point, NumberDataPoint):
            total = distribution_of(point)
            added = self._histograms.added(stream, start_ns, time_ns, total).total if cumulative else total
            return None if added is None or not added.count else histogram_delta(at_ms, added)
        value = float(point.value)
        if isinstance(data, Sum) and data.is_monotonic:
            if cumulative:
                known = self._sums.added(stream, start_ns, time_ns, Number(value)).total
                if known is None or (not known.value and value):  # it rests; a first zero shows that there is a series
                    return None
                value = known.value
            return Delta(at_ms, 1, value)
        if isinstance(data, Sum) and not cumulative:
            value = self._running.total(stream, value)
        return Delta(at_ms, 1, value, value, value, value, at_ms)


def kind_of(data: Any) -> str:
    """The metric type that points of a kind become. Sums that also go down are gauges: their last value counts."""
    if isinstance(data, Histogram | ExponentialHistogram):
        return "histogram"
    if isinstance(data, Gauge) or (isinstance(data, Sum) and not data.is_monotonic):
        return "gauge"
    return "counter"


def distribution_of(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> Distribution:
    """A histogram point. Views can leave its extremes out: then they are infinite."""
    if isinstance(point, HistogramDataPoint):
        shape: Explicit | Exponential = Explicit(tuple(point.explicit_bounds), tuple(point.bucket_counts))
    else:
        shape = Exponential(
            point.scale,
            point.zero_count,
            indexed(point.positive.offset, point.positive.bucket_counts),
            indexed(point.negative.offset, point.negative.bucket_counts),
        )
    return Distribution(point.count, float(point.sum), shape, extreme(point.min), extreme(point.max))


def histogram_delta(at_ms: int, added: Distribution) -> Delta:
    """A histogram's gain as a delta. OpenTelemetry knows no last value; the mean stands in for it."""
    buckets = added.buckets()
    total, (low, high) = added.total(buckets), added.extremes(buckets)
    return Delta(at_ms, added.count, total, low, high, total / added.count, at_ms, buckets)
