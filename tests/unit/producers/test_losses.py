"""Losses travel in band: what was dropped, by name and reason, is a counter like any other, and never tells of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers import Counter, Dimension, Event, FlushReport
from streamgauge.producers.aggregate import OVERFLOW
from streamgauge.producers.metrics import head_problems
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.own_metrics import HEADS, MAX_SERIES, NAMES, OwnMetrics
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.errors import DeclarationError
from tests.unit.producers.decoded import metric_batches, values


class Viewed(Event):
    """A page was viewed."""

    page: Dimension[str]


def test_what_was_dropped_travels_with_the_next_window_by_name_and_reason() -> None:
    producer, transport, clock = captured_producer(environment="production", event_buffer=2)
    requests = Counter("requests", producer=producer)
    requests.inc(-1)
    requests.inc(float("nan"))
    requests.inc(-2)
    for _ in range(5):
        producer.emit(Viewed(page="/"))
    clock.advance(2)
    producer.step()
    transport.poll(0)
    found = {name[1:]: value for name, value in values(transport.delivered).items() if "dropped" in name[0]}
    assert {name: value.sum for name, value in found.items()} == {
        ("requests", "negative_counter"): 2.0,
        ("requests", "not_finite"): 1.0,
        ("viewed", "buffer_full"): 3.0,
    }
    assert {window % 10_000 for value in found.values() for window in value.windows} == {0}
    producer.flush()
    clock.advance(60)
    producer.step()
    assert len(metric_batches(transport.sent)) == 1  # told once


def test_points_beyond_the_budget_are_told_with_the_label_to_look_at() -> None:
    producer, transport, _ = captured_producer(series_budget=3)
    requests = Counter("requests", "", ["endpoint", "user"], producer=producer)
    for user in range(10):
        requests.labels("/pay", user).inc()
    producer.flush()
    requests.labels("/pay", "eleventh").inc(5)
    producer.flush()
    found = values(transport.delivered)
    assert found["streamgauge_producer_overflowed", "requests", "user"].sum == 8.0
    assert found["requests", OVERFLOW, OVERFLOW].sum == 12.0


def test_losses_of_an_outage_are_told_when_it_is_over() -> None:
    producer, transport, clock = captured_producer(environment="production", outbox_bytes=8_000)
    transport.outcome = None
    requests = Counter("requests", "", ["number"], producer=producer)
    for number in range(2_000):
        requests.labels(number).inc(-1)
        requests.labels(number).inc()
        if number % 20 == 0:
            clock.advance(10)
            producer.step()
    assert producer.stats().bytes_waiting < 8_000
    transport.outcome = Outcome.ACKNOWLEDGED
    for _ in range(200):
        clock.advance(2)
        producer.step()
        transport.poll(0)
    producer.flush()
    sums = transport.sums()
    assert sums["streamgauge_producer_dropped"] == 2_000
    assert sums["requests"] == 2_000
    stats = producer.stats()
    assert stats.emitted == {
        "requests": 4_000,
        "streamgauge_producer_dropped": stats.acknowledged["streamgauge_producer_dropped"],
    }


def test_the_loss_of_the_loss_metric_is_on_the_books_and_nothing_more_is_said_of_it() -> None:
    producer, transport, clock = captured_producer(environment="production")
    transport.outcome = Outcome.REFUSED
    Counter("requests", producer=producer).inc(-1)
    for _ in range(5):
        clock.advance(2)
        producer.step()
        transport.poll(0)
    producer.flush()
    assert len(transport.sent) == 1
    assert producer.stats().dropped == {
        ("requests", "negative_counter"): 1,
        ("streamgauge_producer_dropped", "refused_by_broker"): 1,
    }


@given(st.lists(st.tuples(st.integers(0, 3 * MAX_SERIES), st.sampled_from(["a", "b"])), max_size=50), st.booleans())
def test_its_series_are_bounded_and_no_loss_goes_uncounted(drops: list[tuple[int, str]], crowded: bool) -> None:
    own = OwnMetrics()
    if crowded:
        own.taken({("dropped", f"m{number}", "a"): 1 for number in range(MAX_SERIES)}, 0)
    told = own.taken({("dropped", f"m{number}", reason): number + 1 for number, reason in drops}, 10_000)
    assert sum(one.delta.sum for one in told) == sum(number + 1 for number, _ in set(drops))
    assert len({one.labels for one in told}) == len(told)
    if crowded:
        kept = {f"m{number}" for number in range(MAX_SERIES)}
        assert {one.labels for one in told if one.labels[0] not in kept} <= {(OVERFLOW, "a"), (OVERFLOW, "b")}


def test_its_heads_are_declared_as_any_metric_must_be_and_their_names_are_taken() -> None:
    assert [problem for head in HEADS.values() for problem in head_problems(head)] == []
    producer, _, _ = captured_producer()
    for name in NAMES:
        with pytest.raises(DeclarationError, match="choose another name"):
            Counter(name, producer=producer)


def test_a_report_divides_what_was_dropped_by_reason_and_leaves_out_what_producers_say_of_themselves() -> None:
    producer, transport, clock = captured_producer(environment="production", event_buffer=1)
    requests = Counter("requests", producer=producer)
    requests.inc(-1)
    assert producer.flush() == FlushReport(delivered=0, dropped=0, left=0)  # it was lost before
    requests.inc()
    producer.emit(Viewed(page="/"))
    transport.outcome = Outcome.REFUSED
    report = producer.flush()
    assert (report.delivered, report.dropped, dict(report.by_reason)) == (0, 2, {"refused_by_broker": 2})
    transport.outcome = None
    requests.inc()
    producer.emit(Viewed(page="/"))
    report = producer.close(0)
    assert (report.dropped, dict(report.by_reason), report.spooled) == (2, {"closed": 2}, 0)
    clock.advance(1)
