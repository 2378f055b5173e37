"""Registry bridge: what an unmodified prometheus_client program holds travels, once, also over resets and forks."""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections.abc import Iterable
from typing import Any, cast

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric

import streamgauge.producers.prometheus as ours
from streamgauge.producers.prometheus.readings import Distribution, Readings, estimate, spread
from streamgauge.producers.prometheus.registry_bridge import RegistryBridge, send_registry
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.histogram import RELATIVE_ERROR, bucket_of, quantile
from tests.unit.producers.decoded import metric_batches, values


class Collected:
    """A custom collector that shows what it is told to."""

    def __init__(self, *families: Metric) -> None:
        self.families: Iterable[Metric] = families

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self.families


def test_what_an_unmodified_program_counts_travels_as_increments() -> None:
    producer, transport, _ = captured_producer()
    registry = prometheus_client.CollectorRegistry()
    calls = prometheus_client.Counter("calls", "", ["service"], registry=registry)
    level = prometheus_client.Gauge("level", "", registry=registry)
    size = prometheus_client.Histogram("size_bytes", "", unit="bytes", registry=registry, buckets=[1, 10])
    seconds = prometheus_client.Summary("seconds", "", registry=registry)
    bridge = RegistryBridge(registry, producer)
    for round_ in range(3):
        calls.labels("shop").inc(1.5)
        level.set(round_)
        size.observe(4)
        size.observe(40)
        seconds.observe(-0.25)
        bridge.read()
        bridge.read()
    producer.flush()
    found = values(transport.delivered)
    assert found["calls", "shop"].sum == 4.5
    assert (found["level",].count, found["level",].last[1]) == (6, 2.0)
    assert (found["size_bytes",].count, found["size_bytes",].sum) == (6, 132.0)
    assert sum(found["size_bytes",].buckets.values()) == 6
    assert (found["seconds_count",].sum, found["seconds_sum",].sum) == (3.0, -0.75)
    heads = {one.name: one for batch in metric_batches(transport.delivered) for one in batch.metrics}
    assert (heads["size_bytes"].type, heads["size_bytes"].unit) == ("histogram", "By")
    assert heads["calls"].labels == ("exported_service",)


def test_custom_collectors_and_process_metrics_travel_and_our_own_instruments_not_twice() -> None:
    producer, transport, _ = captured_producer()
    registry = prometheus_client.CollectorRegistry()
    ours.Counter("own", "", registry=registry, producer=producer).inc()
    prometheus_client.ProcessCollector(registry=registry)
    rooms = GaugeMetricFamily("rooms", "", labels=["house"])
    rooms.add_metric(["a"], 3)
    waiting = GaugeHistogramMetricFamily("waiting", "", buckets=[("1", 2), ("+Inf", 5)], gsum_value=9)
    registry.register(Collected(rooms, waiting))
    RegistryBridge(registry, producer).read()
    producer.flush()
    found = values(transport.delivered)
    assert found["own",].sum == 1
    assert found["rooms", "a"].last[1] == 3
    assert found["waiting_gcount",].last[1] == 5
    assert found["process_resident_memory_bytes",].last[1] > 1_000_000


def test_a_counter_that_began_anew_counts_from_zero_and_an_old_one_from_where_it_is_found() -> None:
    readings = Readings()

    def read(value: float, created: float | None = None) -> float:
        one = CounterMetricFamily("told", "", labels=["by"])
        one.add_metric(["me"], value, created)
        return sum(gain.delta.sum for gain in readings.read([one]))

    assert read(1_000) == 0
    assert read(1_003) == 3
    assert read(5) == 5
    dated = CounterMetricFamily("dated", "", value=7, created=1.0)
    late = CounterMetricFamily("late", "", value=9)
    assert sum(gain.delta.sum for gain in Readings().read([dated])) == 7
    assert sum(gain.delta.sum for gain in readings.read([late])) == 9
    assert readings.read([late]) == []


def test_a_histogram_that_began_anew_or_has_other_buckets_counts_whole() -> None:
    readings = Readings()

    def read(buckets: list[tuple[str, float]], total: float | None) -> tuple[int, float]:
        one = HistogramMetricFamily("told", "", buckets=buckets, sum_value=total)
        return next(((gain.delta.count, gain.delta.sum) for gain in readings.read([one])), (0, 0.0))

    assert read([("1", 2), ("+Inf", 5)], 12) == (0, 0.0)
    assert read([("1", 2), ("+Inf", 6)], 20) == (1, 8.0)
    assert read([("1", 1), ("+Inf", 1)], 0.5) == (1, 0.5)
    assert read([("2", 4), ("+Inf", 4)], 3) == (4, 3.0)


def test_a_summary_that_began_anew_counts_whole_though_its_sum_is_higher() -> None:
    readings = Readings()
    told: list[dict[str, float]] = []
    for count, total in ((10, 3.0), (12, 2.0), (1, 5.0)):
        family = SummaryMetricFamily("told", "", count_value=count, sum_value=total)
        told.append({gain.name: gain.delta.sum for gain in readings.read([family])})
    assert told == [{}, {"told_count": 2.0, "told_sum": -1.0}, {"told_count": 1.0, "told_sum": 5.0}]


def quantile_of_prometheus(q: float, bounds: tuple[float, ...], counts: tuple[int, ...]) -> float:
    """What `histogram_quantile` gives."""
    rank, below, low = q * sum(counts), 0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if below + count >= rank:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / count
        below, low = below + count, bound
    raise AssertionError


@given(
    st.lists(st.floats(0.001, 1_000), min_size=1, max_size=6, unique=True).map(sorted),
    st.lists(st.integers(1, 5_000), min_size=7, max_size=7),
    st.floats(0.05, 0.999),
)
def test_percentiles_are_those_of_prometheus_within_the_stated_error(
    bounds: list[float], numbers: list[int], q: float
) -> None:
    every = (*bounds, float("inf"))
    counts = tuple(numbers[: len(every)])
    delta = estimate(Distribution(every, counts, 42.0))
    assert delta is not None
    assert (delta.count, delta.sum, sum(delta.buckets.values())) == (sum(counts), 42.0, sum(counts))
    theirs = quantile_of_prometheus(q, every, counts)
    width = max(high - low for low, high in zip((0.0, *bounds), (*bounds, bounds[-1]), strict=True))
    # one rank more or less is what the two definitions of a quantile may differ by
    step = max((high - low) / count for low, high, count in zip((0.0, *bounds), bounds, counts, strict=False))
    assert abs(quantile(delta.buckets, q) - theirs) <= RELATIVE_ERROR * 1.001 * bounds[-1] + 0.011 * width + step


@given(st.floats(0, 100), st.floats(0.001, 100), st.integers(1, 10_000))
def test_spreading_a_bucket_keeps_its_count_and_its_bounds(low: float, width: float, count: int) -> None:
    found = spread(low, low + width, count)
    assert sum(found.values()) == count
    assert min(found) >= bucket_of(low)
    assert max(found) <= bucket_of(low + width)


def test_a_collector_that_fails_costs_one_reading_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    producer, transport, _ = captured_producer(environment="production")
    registry = prometheus_client.CollectorRegistry()
    calls = prometheus_client.Counter("calls", "", registry=registry)
    broken = Collected()
    registry.register(broken)
    bridge = RegistryBridge(registry, producer)
    calls.inc()
    broken.families = (cast("Metric", 1 / 0) for _ in "x")
    with caplog.at_level(logging.ERROR):
        assert bridge.read() == 0
    broken.families = ()
    calls.inc()
    assert bridge.read() == 1
    producer.flush()
    assert transport.sums() == {"calls": 2.0}
    assert "could not be read" in caplog.text


def test_a_family_that_holds_no_numbers_costs_no_other_one(caplog: pytest.LogCaptureFixture) -> None:
    producer, transport, _ = captured_producer(environment="production")
    registry = prometheus_client.CollectorRegistry()
    wrong = GaugeMetricFamily("wrong", "")
    wrong.add_metric([], cast("Any", "three"))
    registry.register(
        Collected(CounterMetricFamily("before", "", 1, created=1.0), wrong, GaugeMetricFamily("after", "", 2))
    )
    with caplog.at_level(logging.ERROR):
        assert RegistryBridge(registry, producer).read() == 2
    producer.flush()
    assert transport.sums() == {"before": 1.0, "after": 2.0}
    assert "show as wrong" in caplog.text


def test_it_reads_by_itself_and_once_more_when_it_is_closed() -> None:
    producer, transport, _ = captured_producer()
    registry = prometheus_client.CollectorRegistry()
    calls = prometheus_client.Counter("calls", "", registry=registry)
    bridge = send_registry(registry, producer, 0.01)
    calls.inc()
    deadline = time.monotonic() + 30
    while transport.sums() != {"calls": 1.0} and time.monotonic() < deadline:
        producer.flush()
    assert transport.sums() == {"calls": 1.0}
    bridge.close()
    calls.inc()
    bridge.close()
    producer.flush()
    assert transport.sums() == {"calls": 2.0}
    assert [one.name for one in threading.enumerate() if one.name == "streamgauge-registry"] == []


def test_a_forked_child_sends_what_it_counted_itself_and_the_parent_all_of_its_own() -> None:
    producer, transport, _ = captured_producer()
    registry = prometheus_client.CollectorRegistry()
    calls = prometheus_client.Counter("calls", "", registry=registry)
    bridge = send_registry(registry, producer, 60)
    calls.inc(5)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            calls.inc(3)
            threads = [one.name for one in threading.enumerate()]
            bridge.close()
            producer.flush()
            os.write(write, pickle.dumps((transport.sums(), threads)))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    told: tuple[dict[str, float], list[Any]] = pickle.loads(os.read(read, 4096))  # our own
    os.close(read)
    os.close(write)
    calls.inc()
    bridge.close()
    producer.flush()
    assert transport.sums() == {"calls": 6.0}
    assert told[0] == {"calls": 3.0}
    assert "streamgauge-registry" in told[1]
