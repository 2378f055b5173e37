"""One program of OpenTelemetry's SDK, exported by our exporter and through the gateway: what arrives is the same."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

from streamgauge.producers.bridges.opentelemetry import BUCKETS, StreamgaugeMetricExporter
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.decoding import MetricBatch, decode
from streamgauge.schemas.histogram import SCALE
from tests.support.gateways import Row, RunningGateway, rows_of
from tests.unit.producers.decoded import metric_batches

KINDS = (Counter, ObservableCounter, UpDownCounter, ObservableUpDownCounter, Histogram)
SHAPES: Mapping[str, Aggregation] = {
    "explicit": ExplicitBucketHistogramAggregation([0.0, 0.1, 0.5, 1.0]),
    "no extremes": ExplicitBucketHistogramAggregation([0.0, 0.1, 0.5, 1.0], record_min_max=False),
    "no bounds": ExplicitBucketHistogramAggregation([]),
    "exponential": ExponentialBucketHistogramAggregation(),
    "coarse": ExponentialBucketHistogramAggregation(max_size=4),
    "ours": ExponentialBucketHistogramAggregation(max_size=BUCKETS, max_scale=SCALE),
}
AWKWARD: Mapping[str, Any] = {
    "http.route": "/a",
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "tenant.id": "acme",
    "service": "other",
    "service.name": "other",
    "value": 2.5,
    "__name__": "n",
    "2xx": True,
    "größe": "ß",
    "db.system": "b",
    "db_system": "a",
    "list": ("x", "é"),
    "long." * 60: "x",
}


def run(provider: MeterProvider) -> None:
    """The program: every instrument, several exports."""
    meter = provider.get_meter("shop", "1.0")
    total = 0

    def grows(_: CallbackOptions) -> list[Observation]:
        return [Observation(total, {"core": "0"})]

    orders = meter.create_counter("Shop.Orders-Placed", "{order}")
    took = meter.create_histogram("http.server.request.duration", "s")
    busy = meter.create_up_down_counter("http.server.active_requests")
    level = meter.create_gauge("room.temperature", "Cel")
    meter.create_observable_counter("cpu.time", [grows], "s\n" + "x" * 50)
    meter.create_observable_up_down_counter("threads", [grows])
    meter.create_counter("names." * 42).add(1)
    for turn in range(4):
        total += turn
        if turn != 2:  # then everything rests
            orders.add(turn + 1, AWKWARD)
            orders.add(2.5, {"endpoint": "/b"})
            for i in range(10):
                took.record(0.03 * (i + turn), {"http.route": "/a", "error.type": ""})
            took.record(7.5, {"http.route": "/b"})
            took.record(-0.25, {"http.route": "/b"})
        busy.add(3 - turn, {"server.port": 80})
        level.set(20.5 + turn)
        assert provider.force_flush()


def told(rows: list[Row], name: str) -> dict[Any, Any]:
    """What is known of each series of a metric over all windows."""
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[name, row.type, row.unit, tuple(row.labels.items())].append(row)
    return {series: summed(series[1], sorted(every, key=lambda row: row.window_ms)) for series, every in found.items()}


def summed(kind: str, rows: list[Row]) -> Any:
    if kind == "gauge":
        return rows[-1].last
    total = math.fsum(row.sum for row in rows)
    count = sum(row.count for row in rows)
    if kind == "counter":
        return count, total
    buckets: dict[int, int] = defaultdict(int)
    for row in rows:
        for key, held in row.buckets.items():
            buckets[key] += held
    return count, pytest.approx(total), min(row.min for row in rows), max(row.max for row in rows), dict(buckets)


@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:], ids=lambda one: one.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_names_labels_sums_and_buckets_are_those_of_our_exporter(
    tmp_path: Path, temporality: AggregationTemporality, shape: str
) -> None:
    asked: dict[str, Any] = {
        "preferred_temporality": dict.fromkeys(KINDS, temporality),
        "preferred_aggregation": {Histogram: SHAPES[shape]},
    }
    producer, transport, _ = captured_producer()
    with RunningGateway(tmp_path) as gateway:
        ours = StreamgaugeMetricExporter(producer, **asked, flush_before_fork=False)
        theirs = OTLPMetricExporter(f"{gateway.addresses['http']}/v1/metrics", **asked)
        readers = [PeriodicExportingMetricReader(one, export_interval_millis=math.inf) for one in (ours, theirs)]
        provider = MeterProvider(readers, shutdown_on_exit=False)
        run(provider)
        provider.shutdown()
        producer.close()
        gateway.stop()
    refused = dict(gateway.gateway.account.refused)
    through = [decode(one.value) for one in gateway.transport.delivered if ".metrics." in one.topic]
    direct = metric_batches(transport.delivered)
    names = {head.name for batch in direct for head in batch.metrics if not head.name.startswith("streamgauge_")}
    expected = {key: found for name in names for key, found in told(rows_of(direct, name), name).items()}
    answered = [batch for batch in through if isinstance(batch, MetricBatch)]
    actual = {key: found for name in names for key, found in told(rows_of(answered, name), name).items()}

    assert refused == {}
    assert len(names) == 7
    assert actual == expected
