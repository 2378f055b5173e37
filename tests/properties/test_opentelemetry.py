"""Whatever an application records through OpenTelemetry, and whenever the SDK exports it: what leaves through the producer
is what the SDK's own reader has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    NumberDataPoint,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

from streamgauge.producers.bridges.opentelemetry import StreamgaugeMetricExporter
from streamgauge.producers.testing import captured_producer
from tests.unit.producers.decoded import Value, metric_batches, values

CLASSES = (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter)
AGGREGATIONS: tuple[Aggregation | None, ...] = (
    None,
    ExplicitBucketHistogramAggregation(),
    ExponentialBucketHistogramAggregation(max_size=4),
    ExponentialBucketHistogramAggregation(max_size=2_000, max_scale=8),
)
# numbers whose sums are exact, so that the order of addition does not matter
AMOUNTS = st.integers(0, 1 << 20).map(lambda n: n / 64)
Step = tuple[str, float, dict[str, Any]]
ATTRIBUTES = st.fixed_dictionaries({}, optional={"a": st.sampled_from("xy"), "b": st.booleans()})
KINDS = st.sampled_from(["add", "level", "record", "set", "seen", "held"])
RECORD: st.SearchStrategy[Step] = st.tuples(KINDS, AMOUNTS, ATTRIBUTES)
OTHER: list[Step] = [("export", 0.0, {}), ("flush", 0.0, {})]
# a flush comes now and then, so that several exports meet in the producer
PROGRAMS = st.lists(st.one_of(RECORD, st.sampled_from(OTHER)), max_size=40)


@dataclass
class Application:
    """Instruments of every kind over one provider."""

    provider: MeterProvider
    watched: dict[str, dict[frozenset[tuple[str, Any]], float]] = field(
        default_factory=lambda: {"seen": {}, "held": {}, "shown": {}}
    )

    def __post_init__(self) -> None:
        meter = self.provider.get_meter("m")
        self.counter = meter.create_counter("count")
        self.level = meter.create_up_down_counter("level")
        self.histogram = meter.create_histogram("seconds")
        self.gauge = meter.create_gauge("gauge")
        meter.create_observable_counter("seen", [lambda options: self._observed("seen", options)])
        meter.create_observable_up_down_counter("held", [lambda options: self._observed("held", options)])

    def _observed(self, which: str, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(key)) for key, value in self.watched[which].items()]

    def do(self, what: str, amount: float, attributes: Mapping[str, Any]) -> None:
        """One call of an application."""
        match what:
            case "add":
                self.counter.add(amount, attributes)
            case "level":
                self.level.add(amount - 5_000, attributes)
            case "record":
                self.histogram.record(amount, attributes)
            case "set":
                self.gauge.set(amount - 5_000, attributes)
            case _:
                key = frozenset(attributes.items())
                before = self.watched[what].get(key, 0.0)
                # an observable counter only grows, the other goes anywhere
                self.watched[what][key] = before + amount if what == "seen" else amount - 5_000


def truth(reader: InMemoryMetricReader) -> dict[tuple[str, ...], tuple[float, ...]]:
    """What the SDK says at the end: value, or count, sum, min and max, by metric and label values."""
    data = reader.get_metrics_data()
    found: dict[tuple[str, ...], tuple[float, ...]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    texts = [str(value).lower() for _, value in sorted((point.attributes or {}).items())]
                    key = (metric.name, *texts, *sorted(point.attributes or {}))
                    if isinstance(point, NumberDataPoint):
                        found[key] = (point.value,)
                    else:
                        found[key] = (point.count, point.sum, point.min, point.max)
    return found


def captured(found: Mapping[tuple[str, ...], Value], extremes: bool) -> dict[tuple[str, ...], tuple[float, ...]]:
    """The same of what left through the producer."""
    said: dict[tuple[str, ...], tuple[float, ...]] = {}
    for key, one in found.items():
        match key[0]:
            case "count" | "seen":
                said[key] = (one.sum,)
            case "seconds":
                assert sum(one.buckets.values()) == one.count
                said[key] = (one.count, one.sum, one.min, one.max) if extremes else (one.count, one.sum)
            case _:
                said[key] = (one.last[1],)
    return said


@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:], ids=lambda one: one.name.lower())
@settings(max_examples=100)
@given(program=PROGRAMS, aggregation=st.sampled_from(AGGREGATIONS))
def test_what_leaves_is_what_the_sdk_has(
    temporality: AggregationTemporality,
    program: list[Step],
    aggregation: Aggregation | None,
) -> None:
    producer, transport, _ = captured_producer()
    exporter = StreamgaugeMetricExporter(
        producer,
        dict.fromkeys(CLASSES, temporality),
        {Histogram: aggregation} if aggregation else None,
        flush_before_fork=False,
    )
    ours = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    theirs = InMemoryMetricReader()
    provider = MeterProvider([ours, theirs], shutdown_on_exit=False)
    application = Application(provider)
    for what, amount, attributes in program:
        if what == "export":
            ours.collect()
        elif what == "flush":
            producer.flush()
        else:
            application.do(what, amount, attributes)
    ours.force_flush()
    expected = truth(theirs)
    provider.shutdown()

    assert producer.stats().dropped == {}
    found = {(name, *labels, *names): value for (name, *labels), names, value in _named(transport.delivered)}
    delta = temporality is AggregationTemporality.DELTA
    # from cumulative points the extremes of what was added are known to a bucket only
    shown = expected if delta else {key: one[:2] if key[0] == "seconds" else one for key, one in expected.items()}
    assert captured(found, delta) == shown
    producer.close()


def _named(messages: Any) -> Iterable[tuple[tuple[str, ...], tuple[str, ...], Value]]:
    """Series with their label names, which may differ from point to point."""
    names: dict[tuple[str, ...], tuple[str, ...]] = {}
    for batch in metric_batches(messages):
        for series in cast("list[tuple[int, *tuple[str, ...]]]", batch.series):
            head = batch.metrics[int(series[0])]
            key = (head.name, *series[1:])
            assert names.setdefault(key, head.labels) == head.labels
    return [(key, names[key], value) for key, value in values(messages).items()]
