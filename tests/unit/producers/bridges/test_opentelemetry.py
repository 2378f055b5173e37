from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY as SUPPRESSED  # pyright: ignore[reportPrivateUsage]
from opentelemetry.context import get_value
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Counter, Histogram, UpDownCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExportResult,
)
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from streamgauge.producers.bridges import opentelemetry_points as points
from streamgauge.producers.bridges.opentelemetry import StreamgaugeMetricExporter
from streamgauge.producers.own_metrics import NAMES
from streamgauge.producers.producer import Producer
from streamgauge.producers.testing import CapturedTransport, captured_producer
from streamgauge.schemas.histogram import histogram_of, quantile
from tests.unit.producers.bridges.otel import numbers, provider_of
from tests.unit.producers.decoded import metric_batches, told, values

CUMULATIVE: dict[type, AggregationTemporality] = dict.fromkeys((Counter, Histogram), AggregationTemporality.CUMULATIVE)


@pytest.fixture
def producer() -> Iterator[Producer]:
    one, _, _ = captured_producer()
    yield one
    one.close()


@pytest.fixture
def transport(producer: Producer) -> CapturedTransport:
    found = producer._transport  # pyright: ignore[reportPrivateUsage]
    assert isinstance(found, CapturedTransport)
    return found


def test_every_instrument_arrives_as_what_it_is(producer: Producer, transport: CapturedTransport) -> None:
    provider = provider_of(StreamgaugeMetricExporter(producer))
    meter = provider.get_meter("shop")

    def observed(value: float) -> Any:
        def call(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, {"core": "0"})]

        return [call]

    counter = meter.create_counter("Orders.Placed", "{order}")
    counter.add(2, {"country": "JP"})
    counter.add(3, {"country": "JP"})
    level = meter.create_up_down_counter("queue")
    level.add(5)
    level.add(-2)
    meter.create_gauge("temperature", "Cel").set(-3.5)
    seconds = meter.create_histogram("http.server.request.duration", "s")
    for value in (0.25, 0.5, 4.0):
        seconds.record(value, {"http.route": "/pay", "http.response.status_code": 200})
    meter.create_observable_counter("cpu.time", observed(7), "s")
    meter.create_observable_up_down_counter("threads", observed(9))
    meter.create_observable_gauge("load", observed(0.5))
    assert provider.force_flush()

    heads = {head.name: head for batch in metric_batches(transport.delivered) for head in batch.metrics}
    assert {name: (head.type, head.unit, head.labels) for name, head in heads.items()} == {
        "orders_placed": ("counter", "{order}", ("country",)),
        "queue": ("gauge", "", ()),
        "temperature": ("gauge", "Cel", ()),
        "http_server_request_duration": ("histogram", "s", ("operation", "status")),
        "cpu_time": ("counter", "s", ("core",)),
        "threads": ("gauge", "", ("core",)),
        "load": ("gauge", "", ("core",)),
    }
    found = values(transport.delivered)
    assert found["orders_placed", "JP"].sum == 5
    assert found["queue",].last[1] == 3
    assert found["temperature",].last[1] == -3.5
    assert found["cpu_time", "0"].sum == 7
    assert found["threads", "0"].last[1] == 9
    assert found["load", "0"].last[1] == 0.5
    duration = found["http_server_request_duration", "/pay", "200"]
    assert (duration.count, duration.sum, duration.min, duration.max) == (3, 4.75, 0.25, 4.0)
    assert duration.buckets == histogram_of([0.25, 0.5, 4.0])


@pytest.mark.parametrize("temporality", [None, CUMULATIVE])
def test_sums_are_exact_over_many_exports(temporality: Any, producer: Producer, transport: CapturedTransport) -> None:
    provider = provider_of(StreamgaugeMetricExporter(producer, temporality))
    counter = provider.get_meter("m").create_counter("requests")
    seconds = provider.get_meter("m").create_histogram("seconds")
    observed: list[float] = []
    for turn in range(5):
        counter.add(turn + 1, {"a": "x"})
        if turn % 2:
            counter.add(1, {"a": "y"})
        observed.append(0.001 * 3**turn)
        seconds.record(observed[-1])
        provider.force_flush()
    provider.force_flush()

    found = values(transport.delivered)
    assert (found["requests", "x"].sum, found["requests", "y"].sum) == (15.0, 2.0)
    assert found["seconds",].count == 5
    assert found["seconds",].sum == pytest.approx(sum(observed))
    assert found["seconds",].buckets == histogram_of(observed)
    # observed values are the sums, so both extremes come in new; between them they are known to a bucket
    assert (found["seconds",].min, found["seconds",].max) == (observed[0], observed[-1])


@pytest.mark.parametrize("temporality", [None, CUMULATIVE])
def test_explicit_buckets_become_ours_within_their_width(
    temporality: Any, producer: Producer, transport: CapturedTransport
) -> None:
    view = View(instrument_name="*", aggregation=ExplicitBucketHistogramAggregation((0.1, 0.5, 1.0, 5.0)))
    provider = provider_of(StreamgaugeMetricExporter(producer, temporality), views=[view])
    seconds = provider.get_meter("m").create_histogram("seconds")
    for value in (0.3, 0.3, 0.7, 3.0):
        seconds.record(value)
    provider.force_flush()
    for value in (0.2, 0.9, 4.5):
        seconds.record(value)
    provider.force_flush()

    found = values(transport.delivered)["seconds",]
    assert (found.count, found.min, found.max) == (7, 0.2, 4.5)
    assert found.sum == pytest.approx(9.9)
    assert sum(found.buckets.values()) == 7
    assert 0.1 <= quantile(found.buckets, 0.3) <= 0.51
    assert 0.49 <= quantile(found.buckets, 0.6) <= 1.01
    assert 1.0 <= quantile(found.buckets, 1.0) <= 5.05


def test_differences_of_up_down_counters_are_understood_too(producer: Producer, transport: CapturedTransport) -> None:
    provider = provider_of(StreamgaugeMetricExporter(producer, {UpDownCounter: AggregationTemporality.DELTA}))
    level = provider.get_meter("m").create_up_down_counter("queue")
    for change in (5, -2, 4):
        level.add(change)
        provider.force_flush()

    assert values(transport.delivered)["queue",].last[1] == 7


def test_attributes_of_every_kind_become_text(producer: Producer, transport: CapturedTransport) -> None:
    provider = provider_of(StreamgaugeMetricExporter(producer))
    counter = provider.get_meter("m").create_counter("requests")
    counter.add(1, {"b": True, "f": 0.5, "i": 3, "s": ["x", "y"], "service": "other"})
    provider.force_flush()

    (batch,) = metric_batches(transport.delivered)
    assert dict(zip(batch.metrics[0].labels, batch.series[0][1:], strict=True)) == {
        "b": "true",
        "f": "0.5",
        "i": "3",
        "s": '["x","y"]',
        "exported_service": "other",
    }


def test_attributes_that_no_one_expects_cost_their_own_point_at_most(
    producer: Producer, transport: CapturedTransport
) -> None:
    exporter = StreamgaugeMetricExporter(producer)
    half = "\ud800"
    for attributes in ({"a": half}, {"a": (half, b"x")}, {half: "a"}, {"": "a"}, {"a": "x" * 5_000}, {"a": ["x"]}):
        exporter.export(numbers((1, 10, 1.0), attributes=attributes))
    producer.flush()

    found = {key[1:]: one.sum for key, one in values(transport.delivered).items() if key[0] not in NAMES}
    assert found == {("?",): 1.0, ('["?","eA=="]',): 1.0, ("a",): 2.0}
    assert producer.stats().dropped == {("requests", "too_long"): 1, ("requests", "internal_error"): 1}


def test_equal_names_in_two_scopes_add_up(producer: Producer, transport: CapturedTransport) -> None:
    provider = provider_of(StreamgaugeMetricExporter(producer, CUMULATIVE))
    for _ in range(2):
        for scope in ("a", "b"):
            provider.get_meter(scope).create_counter("requests").add(1)
        provider.force_flush()

    assert told(transport) == {"requests": 4.0}


def test_a_name_with_two_types_loses_the_second_one_and_says_so(
    producer: Producer, transport: CapturedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    provider = provider_of(StreamgaugeMetricExporter(producer))
    provider.get_meter("a").create_counter("x").add(2)
    provider.get_meter("b").create_gauge("x").set(7)
    provider.force_flush()

    assert told(transport) == {"x": 2.0}
    assert producer.stats().dropped == {("x", "name_clash"): 1}
    assert "metric x: some points are not recorded (name_clash)" in caplog.text


def test_a_point_that_cannot_be_read_costs_the_others_nothing(
    producer: Producer, transport: CapturedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = provider_of(StreamgaugeMetricExporter(producer))
    meter = provider.get_meter("m")
    meter.create_gauge("bad").set(math.inf)
    meter.create_observable_gauge("nan", [lambda _: [Observation(math.nan)]])
    meter.create_counter("good").add(1)
    real = points.histogram_delta

    def broken(*_: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(points, "histogram_delta", broken)
    meter.create_histogram("broken").record(1)
    provider.force_flush()
    monkeypatch.setattr(points, "histogram_delta", real)

    assert told(transport) == {"good": 1.0}
    dropped = producer.stats().dropped
    assert dropped["broken", "inconsistent"] == 1
    assert {name for name, _ in dropped} <= {"broken", "bad", "nan"}


def test_a_counter_that_starts_anew_counts_from_there(producer: Producer, transport: CapturedTransport) -> None:
    exporter = StreamgaugeMetricExporter(producer)
    for start, time, value in ((1, 10, 5.0), (1, 20, 9.0), (15, 30, 9.0), (15, 40, 4.0), (15, 40, 4.0)):
        assert exporter.export(numbers((start, time, value))) is MetricExportResult.SUCCESS
    producer.flush()

    # 5 + 4, then 9 of a new life, then 4 of one that does not say so; what comes twice counts once
    assert told(transport) == {"requests": 22.0}


def test_streams_beyond_what_is_followed_are_counted_as_dropped(
    producer: Producer, transport: CapturedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = StreamgaugeMetricExporter(producer)
    monkeypatch.setattr(exporter._reader._sums, "_max", 1)  # pyright: ignore[reportPrivateUsage]
    for name in ("a", "b"):
        exporter.export(numbers((1, 10, 5.0), attributes={"name": name}))
    producer.flush()

    assert told(transport) == {"requests": 5.0}
    assert producer.stats().dropped == {("requests", "too_many_streams"): 1}


def test_nothing_is_instrumented_inside_an_export(producer: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = StreamgaugeMetricExporter(producer)
    seen: list[object] = []

    def read(*_: object) -> None:
        seen.append(get_value(SUPPRESSED))

    monkeypatch.setattr(exporter._reader, "read", read)  # pyright: ignore[reportPrivateUsage]
    exporter.export(numbers((1, 10, 5.0)))

    assert seen == [True]
    assert get_value(SUPPRESSED) is None


def test_histograms_without_extremes_have_those_of_their_buckets(
    producer: Producer, transport: CapturedTransport
) -> None:
    aggregation = ExponentialBucketHistogramAggregation(max_scale=5, record_min_max=False)
    provider = provider_of(StreamgaugeMetricExporter(producer, None, {Histogram: aggregation}))
    for value in (0.25, 8.0):
        provider.get_meter("m").create_histogram("seconds").record(value)
    provider.force_flush()

    found = values(transport.delivered)["seconds",]
    assert found.min == pytest.approx(0.25, rel=0.011)
    assert found.max == pytest.approx(8.0, rel=0.011)
