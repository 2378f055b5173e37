"""prometheus_client's API: the instruments are ours, what they count travels, and /metrics shows the same as ever."""

from __future__ import annotations

import gc
import logging
import os
import pickle

import numpy as np
import pytest

from streamgauge.producers import Counter as NativeCounter
from streamgauge.producers import Producer, get_default, set_default
from streamgauge.producers.aggregate import OVERFLOW
from streamgauge.producers.prometheus.core import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from streamgauge.producers.prometheus.distributions import MOST_WAITING
from streamgauge.producers.testing import CapturedTransport, ManualClock, captured_producer
from streamgauge.schemas.errors import DeclarationError
from streamgauge.schemas.histogram import histogram_of
from tests.unit.producers.decoded import metric_batches, told, values

Kit = tuple[Producer, CapturedTransport, ManualClock]


@pytest.fixture
def kit() -> Kit:
    return captured_producer(environment="production")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_what_is_counted_is_shown_and_travels(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    requests = Counter(
        "requests_total", "Requests", ["endpoint", "status"], namespace="shop", registry=registry, producer=producer
    )
    requests.labels("/pay", 200).inc()
    requests.labels(status="200", endpoint="/pay").inc(2)
    requests.labels("/pay", "500").inc(0.5)
    producer.flush()
    requests.labels("/pay", "200").inc()
    producer.flush()
    found = values(transport.delivered)
    assert (found["shop_requests", "/pay", "200"].sum, found["shop_requests", "/pay", "200"].count) == (4.0, 3)
    assert found["shop_requests", "/pay", "500"].sum == 0.5
    assert registry.get_sample_value("shop_requests_total", {"endpoint": "/pay", "status": "200"}) == 4.0
    assert producer.stats().emitted == {"shop_requests": 4}


def test_a_distribution_travels_as_an_exponential_histogram_and_shows_its_declared_buckets(
    kit: Kit, registry: CollectorRegistry
) -> None:
    producer, transport, _ = kit
    latency = Histogram("latency", "", unit="seconds", buckets=[0.1, 1], registry=registry, producer=producer)
    size = Summary("size", "", unit="bytes", registry=registry, producer=producer)
    seen = [0.01 * step for step in range(1, 2 * MOST_WAITING)]
    for value in seen:
        latency.observe(value)
        size.observe(value)
    producer.flush()
    found = values(transport.delivered)
    assert found["latency_seconds",].buckets == found["size_bytes",].buckets == histogram_of(seen)
    assert (found["latency_seconds",].min, found["latency_seconds",].max) == (seen[0], seen[-1])
    assert found["latency_seconds",].sum == pytest.approx(sum(seen))
    units = {metric.name: metric.unit for batch in metric_batches(transport.delivered) for metric in batch.metrics}
    assert units == {"latency_seconds": "s", "size_bytes": "By"}
    shown = [registry.get_sample_value("latency_seconds_bucket", {"le": bound}) for bound in ("0.1", "1.0", "+Inf")]
    assert shown == [10, 100, len(seen)]
    assert registry.get_sample_value("size_bytes_count") == len(seen)


def test_a_gauge_travels_with_its_extremes_and_its_last_value(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    queue = Gauge("queue", "", registry=registry, producer=producer, multiprocess_mode="livesum")
    queue.set(4)
    queue.inc()
    queue.dec(7.5)
    queue.set(2)
    producer.flush()
    queue.inc(2)
    producer.flush()
    found = values(transport.delivered)["queue",]
    assert (found.count, found.min, found.max, found.last[1]) == (5, -2.5, 5.0, 4.0)
    assert registry.get_sample_value("queue") == 4.0


def test_what_a_function_an_info_and_an_enum_say_travels_once_in_every_window(
    kit: Kit, registry: CollectorRegistry
) -> None:
    producer, transport, clock = kit
    jobs = ["a", "b"]
    Gauge("jobs", "", registry=registry, producer=producer).set_function(lambda: len(jobs))
    Info("build", "", registry=registry, producer=producer).info({"version": "1.2", "service": "shop"})
    state = Enum("state", "", states=["up", "down"], registry=registry, producer=producer)
    state.state("down")
    for _ in range(3):
        producer.flush()
        producer.flush()
        clock.advance(10)
        jobs.append("c")
    found = values(transport.delivered)
    assert (found["jobs",].count, found["jobs",].sum, len(found["jobs",].windows)) == (3, 2 + 3 + 4, 3)
    assert found["build_info", "1.2", "shop"].sum == 3
    assert (found["state", "up"].sum, found["state", "down"].sum) == (0, 3)
    heads = {metric.name: metric.labels for batch in metric_batches(transport.delivered) for metric in batch.metrics}
    assert heads["build_info"] == ("version", "exported_service")
    state.state("up")
    producer.flush()
    assert values(transport.delivered)["state", "up"].sum == 1


def test_names_that_a_view_cannot_have_are_renamed_on_the_way_and_shown_as_declared(
    kit: Kit, registry: CollectorRegistry
) -> None:
    producer, transport, _ = kit
    labels = ["service", "exported_service", "region", "my.label"]
    Counter("shop:orders", "", labels, registry=registry, producer=producer).labels("a", "b", "c", "d").inc()
    producer.flush()
    ((head,),) = [batch.metrics for batch in metric_batches(transport.delivered)]
    assert (head.name, head.labels) == (
        "shop_orders",
        ("exported_service", "exported_exported_service", "exported_region", "my_label"),
    )
    assert registry.get_sample_value("shop:orders_total", dict(zip(labels, "abcd", strict=True))) == 1


def test_two_registries_may_know_one_name_and_what_cannot_share_it_is_counted(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    producer, transport, _ = kit
    first = Counter("calls", "", registry=CollectorRegistry(), producer=producer)
    again = Counter("calls", "", registry=CollectorRegistry(), producer=producer)
    other = Counter("calls", "", ["by"], registry=None, producer=producer)
    gauge = Gauge("calls", "", registry=CollectorRegistry(), producer=producer)
    NativeCounter("hits", producer=producer).inc()
    hits = Gauge("hits", "", registry=None, producer=producer)
    for one in (first, again, other.labels("me"), gauge, hits):
        one.inc()
    producer.flush()
    assert told(transport) == {"calls": 3.0, "hits": 1.0}
    assert producer.stats().dropped == {("calls", "name_clash"): 1, ("hits", "name_clash"): 1}
    assert "calls (a gauge) is not sent" in caplog.text
    with pytest.raises(DeclarationError):
        NativeCounter("calls", producer=producer).inc()


def test_a_name_that_producers_have_for_themselves_is_shown_and_not_sent(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    Counter("streamgauge_producer_dropped", "", registry=registry, producer=producer).inc()
    producer.flush()
    assert told(transport) == {}
    assert producer.stats().dropped == {("streamgauge_producer_dropped", "reserved_name"): 1}
    assert registry.get_sample_value("streamgauge_producer_dropped_total") == 1


def test_amounts_that_no_sum_can_hold_are_shown_and_do_not_travel(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    paid = Counter("paid", "", registry=registry, producer=producer)
    load = Gauge("load", "", registry=registry, producer=producer)
    size = Histogram("size", "", registry=registry, producer=producer)
    for amount in (1.5, float("nan"), float("inf"), 2):
        paid.inc(amount)
        load.set(amount)
        size.observe(amount)
    producer.flush()
    assert told(transport) == {"paid": 3.5, "load": 3.5, "size": 3.5}
    assert producer.stats().dropped == {(name, "not_finite"): 2 for name in ("paid", "load", "size")}
    assert np.isnan(registry.get_sample_value("paid_total") or 0)
    assert registry.get_sample_value("size_count") == 3


def test_beyond_the_budget_everything_is_shown_and_the_overflow_series_is_sent(registry: CollectorRegistry) -> None:
    producer, transport, _ = captured_producer(series_budget=3)
    calls = Counter("calls", "", ["user"], registry=registry, producer=producer)
    for user in range(5):
        calls.labels(user).inc(user + 1)
    producer.flush()
    found = values(transport.delivered)
    assert found["calls", OVERFLOW].sum == 4 + 5
    assert registry.get_sample_value("calls_total", {"user": "4"}) == 5
    assert producer.stats().overflowed == {"calls": 2}
    calls.remove("0")
    calls.labels("new").inc()
    producer.flush()
    assert values(transport.delivered)["calls", "new"].sum == 1


def test_an_enum_beyond_the_budget_is_an_overflow_series_with_its_states(registry: CollectorRegistry) -> None:
    producer, transport, _ = captured_producer(series_budget=1)
    state = Enum("state", "", ["by"], states=["up", "down"], registry=registry, producer=producer)
    for name in ("a", "b"):
        state.labels(name).state("down")
    producer.flush()
    found = values(transport.delivered)
    assert {key: one.sum for key, one in found.items() if key[0] == "state"} == {
        ("state", "a", "up"): 0,
        ("state", "a", "down"): 1,
        ("state", OVERFLOW, "up"): 0,
        ("state", OVERFLOW, "down"): 1,
    }


def test_a_handler_of_logs_that_counts_them_is_not_caught_in_a_circle(
    kit: Kit, registry: CollectorRegistry, request: pytest.FixtureRequest
) -> None:
    producer, transport, _ = kit
    Gauge("lines", "", registry=None, producer=producer).set(1)
    lines = Counter("lines", "", registry=registry, producer=producer)
    every = Counter("every_line", "", registry=registry, producer=producer)

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.inc()
            every.inc()

    handler = Counting()
    logging.getLogger("streamgauge").addHandler(handler)
    request.addfinalizer(lambda: logging.getLogger("streamgauge").removeHandler(handler))
    lines.inc()
    producer.flush()
    seen = registry.get_sample_value("every_line_total")
    assert 1 <= (seen or 0) <= 2
    assert told(transport) == {"lines": 1.0, "every_line": seen}


def test_a_removed_child_is_shown_no_longer_and_what_it_counted_travels(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    calls = Counter("calls", "", ["by", "at"], registry=registry, producer=producer)
    kept = calls.labels("me", "home")
    kept.inc()
    calls.labels("me", "work").inc()
    calls.labels("you", "home").inc()
    calls.remove_by_labels({"by": "me"})
    kept.inc()
    assert [sample.labels["by"] for metric in registry.collect() for sample in metric.samples] == ["you", "you"]
    calls.clear()
    assert [sample for metric in registry.collect() for sample in metric.samples] == []
    producer.flush()
    assert told(transport) == {"calls": 4.0}


def test_a_label_value_that_is_too_long_is_shown_and_counted_as_dropped(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    calls = Counter("calls", "", ["by"], registry=registry, producer=producer)
    calls.labels("x" * (1 << 20)).inc()
    calls.labels("half \ud800 pair").inc()
    producer.flush()
    assert [key for key in values(transport.delivered) if key[0] == "calls"] == [("calls", "half ? pair")]
    assert producer.stats().dropped == {("calls", "too_long"): 1}


def test_instruments_follow_the_default_producer_and_leave_what_they_counted_with_the_former(
    registry: CollectorRegistry,
) -> None:
    first, second = captured_producer(), captured_producer()
    set_default(first[0])
    calls = Counter("calls", "", registry=registry)
    size = Histogram("size", "", registry=registry)
    calls.inc()
    size.observe(1.5)
    set_default(second[0])
    calls.inc(10)
    size.observe(2.5)
    second[0].flush()
    first[0].flush()
    assert first[1].sums() == {"calls": 1.0, "size": 1.5}
    assert second[1].sums() == {"calls": 10.0, "size": 2.5}
    set_default(first[0])
    calls.inc(100)
    first[0].flush()
    assert first[1].sums()["calls"] == 101.0
    assert registry.get_sample_value("calls_total") == 111.0
    assert get_default() is first[0]


def test_what_holds_goes_to_the_next_default_producer_too(registry: CollectorRegistry) -> None:
    first, second = captured_producer(), captured_producer()
    set_default(first[0])
    build = Info("build", "", registry=registry)
    build.info({"version": "1"})
    first[0].flush()
    set_default(second[0])
    for producer, _, clock in (first, second):
        clock.advance(10)
        producer.flush()
    set_default(None)
    assert (first[1].sums(), second[1].sums()) == ({"build_info": 1.0}, {"build_info": 1.0})


def test_after_closing_calls_are_shown_and_counted_as_dropped(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    calls = Counter("calls", "", registry=registry, producer=producer)
    calls.inc()
    producer.close()
    calls.inc()
    calls.inc(2)
    assert told(transport) == {"calls": 1.0}
    assert producer.stats().dropped == {("calls", "closed"): 2}
    assert registry.get_sample_value("calls_total") == 4.0


def test_a_call_counts_in_the_window_that_was_open(kit: Kit) -> None:
    producer, transport, clock = kit
    calls = Counter("calls", "", registry=None, producer=producer)
    start = clock.wall_ns() // 1_000_000
    for _ in range(3):
        calls.inc()
        clock.advance(10)
    producer.flush()
    assert values(transport.delivered)["calls",].windows == {start + place * 10_000: 1 for place in range(3)}


def test_a_forked_child_sends_its_own_and_shows_what_it_inherited(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    calls = Counter("calls", "", registry=registry, producer=producer)
    size = Histogram("size", "", registry=registry, producer=producer)
    for _ in range(5):
        calls.inc()
        size.observe(0.5)
    calls.inc(2.5)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            producer.flush()
            inherited = told(transport)
            calls.inc(3)
            size.observe(0.25)
            producer.flush()
            shown = registry.get_sample_value("calls_total"), registry.get_sample_value("size_count")
            os.write(write, pickle.dumps((inherited, told(transport), shown)))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    inherited, sums, shown = pickle.loads(os.read(read, 4096))  # our own
    os.close(read)
    os.close(write)
    assert inherited == {}
    assert sums == {"calls": 3.0, "size": 0.25}
    assert shown == (10.5, 6.0)
    producer.flush()
    assert told(transport) == {"calls": 7.5, "size": 2.5}


def test_reset_shows_zero_and_takes_nothing_back(kit: Kit, registry: CollectorRegistry) -> None:
    producer, transport, _ = kit
    calls = Counter("calls", "", registry=registry, producer=producer)
    calls.inc(3)
    calls.inc()
    calls.reset()
    assert registry.get_sample_value("calls_total") == 0
    calls.inc()
    producer.flush()
    assert (told(transport), registry.get_sample_value("calls_total")) == ({"calls": 5.0}, 1.0)


def test_a_record_inside_a_record_counts(kit: Kit) -> None:
    producer, transport, _ = kit
    calls = Counter("calls", "", registry=None, producer=producer)
    size = Histogram("size", "", registry=None, producer=producer)

    class Dying:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            calls.inc()
            size.observe(1.0)

    for _ in range(3 * MOST_WAITING):
        Dying()
        size.observe(2.0)
    gc.collect()
    producer.flush()
    assert told(transport) == {"calls": 3.0 * MOST_WAITING, "size": 9.0 * MOST_WAITING}


def test_a_function_that_fails_costs_its_own_sample_only(kit: Kit) -> None:
    producer, transport, _ = kit
    broken = Gauge("broken", "", registry=None, producer=producer)
    broken.set_function(lambda: 1 / 0)
    Counter("calls", "", registry=None, producer=producer).inc()
    producer.flush()
    assert producer.stats().dropped == {("broken", "callback_failed"): 1}
    assert told(transport) == {"calls": 1.0}
