from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import pytest

from streamgauge.producers import Counter
from streamgauge.producers.open_families import MAX_METRICS, open_series
from streamgauge.producers.own_metrics import NAMES
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.testing import CapturedTransport, captured_producer
from streamgauge.schemas.batches import Delta, MetricHead
from streamgauge.schemas.names import MAX_LABELS
from tests.unit.producers.decoded import metric_batches, told, values

NOW = 1_800_000_000_000
HEAD = MetricHead("requests", "counter")


def test_deltas_reach_the_wire_under_their_own_labels() -> None:
    producer, transport, _ = captured_producer()
    one = open_series("http.requests", "counter", "{request}", [("http.route", "/a"), ("ok", "true")])
    other = open_series("http.requests", "counter", "{request}", [("queue", "x")])

    assert producer.open_families.add(*one, Delta(NOW, 2, 5.0))
    assert producer.open_families.add(*other, Delta(NOW, 1, 1.0))
    report = producer.flush()

    assert report.delivered == 3
    (batch,) = metric_batches(transport.delivered)
    assert [head.labels for head in batch.metrics] == [("ok", "operation"), ("queue",)]
    assert {key: (one.count, one.sum) for key, one in values(transport.delivered).items()} == {
        ("http_requests", "true", "/a"): (2, 5.0),
        ("http_requests", "x"): (1, 1.0),
    }


def test_deltas_of_one_series_and_window_merge_and_of_others_do_not() -> None:
    producer, transport, _ = captured_producer()
    head = MetricHead("seconds", "histogram")
    add = producer.open_families.add
    add(head, (), Delta(NOW + 1, 2, 3.0, 1.0, 2.0, 2.0, NOW + 500, {5: 2}))
    add(head, (), Delta(NOW + 9_999, 1, 0.5, 0.5, 0.5, 0.5, NOW + 400, {5: 1, 6: 1}))
    add(head, (), Delta(NOW + 10_000, 1, 8.0, 8.0, 8.0, 8.0, NOW + 10_000, {7: 1}))
    producer.flush()

    (batch,) = metric_batches(transport.delivered)
    assert batch.windows.tolist() == [NOW, NOW + 10_000]
    assert batch.count.tolist() == [3, 1]
    assert batch.min.tolist() == [0.5, 8.0]
    assert batch.max.tolist() == [2.0, 8.0]
    assert batch.last.tolist() == [2.0, 8.0]
    assert values(transport.delivered)["seconds",].buckets == {5: 3, 6: 1, 7: 1}


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        (Delta(NOW, 1, math.nan), "not_finite"),
        (Delta(NOW, 1, 1.0, min=-math.inf), "not_finite"),
        (Delta(-1, 1, 1.0), "out_of_range"),
        (Delta(1 << 45, 1, 1.0), "out_of_range"),
        (Delta(NOW, 0, 1.0), "out_of_range"),
        (Delta(NOW, 1 << 30, 1.0), "out_of_range"),
    ],
)
def test_what_cannot_travel_is_counted_as_dropped(delta: Delta, reason: str) -> None:
    producer, transport, _ = captured_producer()

    assert not producer.open_families.add(HEAD, (), delta)
    producer.flush()

    assert told(transport) == {}
    assert producer.stats().dropped == {("requests", reason): max(delta.count, 0)}


def test_what_producers_say_of_themselves_nobody_else_can_say() -> None:
    producer, transport, _ = captured_producer()
    for name in NAMES:
        assert not producer.open_families.add(MetricHead(name, "counter"), (), Delta(NOW, 1, 1.0))
    producer.flush()
    assert transport.sums() == {}
    assert producer.stats().dropped == {(name, "reserved_name"): 1 for name in NAMES}


def test_sums_that_leave_the_range_of_numbers_lose_only_what_made_them_do_so() -> None:
    producer, transport, _ = captured_producer()
    for _ in range(2):
        producer.open_families.add(HEAD, (), Delta(NOW, 1, 1.5e308))
    producer.flush()

    assert told(transport) == {"requests": 1.5e308}
    assert producer.stats().dropped == {("requests", "out_of_range"): 1}


def test_a_name_belongs_to_one_type_and_unit_whoever_declared_it_first() -> None:
    producer, transport, _ = captured_producer()
    Counter("requests", producer=producer).inc()
    add = producer.open_families.add

    assert add(HEAD, (), Delta(NOW, 1, 1.0))
    assert not add(replace(HEAD, type="gauge"), (), Delta(NOW, 1, 9.0))
    assert not add(replace(HEAD, unit="s"), (), Delta(NOW, 1, 9.0))
    producer.flush()

    assert told(transport) == {"requests": 2.0}
    assert producer.stats().dropped == {("requests", "name_clash"): 2}


def test_beyond_the_budget_sums_stay_exact_in_the_overflow_series(caplog: pytest.LogCaptureFixture) -> None:
    producer, transport, _ = captured_producer(series_budget=3)
    head = replace(HEAD, labels=("user",))
    for user in range(10):
        producer.open_families.add(head, (str(user),), Delta(NOW, 1, 2.0))
    for key in range(5):  # nor does a label per user help
        producer.open_families.add(replace(HEAD, labels=(f"user_{key}",)), ("x",), Delta(NOW, 1, 2.0))
    producer.flush()

    found = values(transport.delivered)
    assert len(found) == 4
    assert found["requests", "__overflow__"].sum == 24.0
    assert told(transport) == {"requests": 30.0}
    assert producer.stats().overflowed == {"requests": 12}
    assert caplog.text.count("more than 3 series") == 1


def test_label_names_are_bounded_too() -> None:
    producer, transport, _ = captured_producer()
    for key in range(MAX_LABELS + 5):
        producer.open_families.add(replace(HEAD, labels=(f"user_{key}",)), ("x",), Delta(NOW, 1, 1.0))
    producer.flush()

    names = {name for batch in metric_batches(transport.delivered) for head in batch.metrics for name in head.labels}
    assert len(names) == MAX_LABELS
    assert told(transport) == {"requests": MAX_LABELS + 5}


def test_series_that_rest_make_room() -> None:
    producer, transport, clock = captured_producer(series_budget=1)
    head = replace(HEAD, labels=("user",))
    producer.open_families.add(head, ("a",), Delta(NOW, 1, 1.0))
    clock.advance(3_600)
    producer.open_families.add(head, ("b",), Delta(NOW, 1, 1.0))
    producer.flush()

    assert set(values(transport.delivered)) == {("requests", "a"), ("requests", "b")}


def test_metrics_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    producer, _, _ = captured_producer()
    for number in range(MAX_METRICS):
        assert producer.open_families.add(MetricHead(f"m{number}", "counter"), (), Delta(NOW, 1, 1.0))

    assert not producer.open_families.add(HEAD, (), Delta(NOW, 1, 1.0))
    assert producer.stats().dropped == {("requests", "too_many_metrics"): 1}


def test_long_label_values_are_refused_like_those_of_handles() -> None:
    producer, _, _ = captured_producer()

    assert not producer.open_families.add(replace(HEAD, labels=("a",)), ("x" * 5_000,), Delta(NOW, 1, 1.0))
    assert producer.stats().dropped == {("requests", "too_long"): 1}


def test_the_books_hold_what_waits_and_a_closed_producer_takes_nothing() -> None:
    producer, _, _ = captured_producer()
    producer.open_families.add(HEAD, (), Delta(NOW, 4, 1.0))

    assert (producer.stats().emitted, producer.stats().waiting) == ({"requests": 4}, {"requests": 4})
    producer.close()
    producer.open_families.add(HEAD, (), Delta(NOW, 2, 1.0))

    stats = producer.stats()
    assert stats.acknowledged == {"requests": 4}
    assert stats.dropped == {("requests", "closed"): 2}


def test_a_child_begins_empty() -> None:
    producer, transport, _ = captured_producer()
    producer.open_families.add(HEAD, (), Delta(NOW, 4, 1.0))
    producer.after_fork()
    producer.flush()

    assert transport.delivered == []
    assert producer.stats().emitted == {}


def test_a_delta_wakes_the_flusher_of_a_producer_that_has_nothing_else_to_do() -> None:
    transport = CapturedTransport()
    producer = Producer(ProducerSettings(flush_interval=10), transport)
    producer.open_families.add(HEAD, (), Delta(NOW, 1, 1.0))

    deadline = time.monotonic() + 10
    while not transport.delivered and time.monotonic() < deadline:
        time.sleep(0.005)
    assert told(transport) == {"requests": 1.0}
    producer.close()


def test_threads_lose_no_delta() -> None:
    producer, transport, _ = captured_producer()

    def work() -> None:
        for _ in range(2_000):
            producer.open_families.add(HEAD, (), Delta(NOW, 1, 1.0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        producer.flush()
    producer.flush()

    assert told(transport) == {"requests": 8_000.0}
