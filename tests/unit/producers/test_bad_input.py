"""Bad input: what a call does with values that no metric or event can hold, and at moments no call should come."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from streamgauge.producers import Counter, Dimension, Event, Gauge, Histogram, Measure, unit
from streamgauge.producers.testing import captured_producer
from tests.unit.producers.decoded import values

NUMBERS: list[Any] = [
    True,
    2,
    2.0,
    "2",
    Decimal(2),
    Fraction(2),
    np.float64(2),
    np.float32(2),
    np.int64(2),
    np.uint8(2),
    np.array(2.0),
]
NO_NUMBERS: list[Any] = [None, "two", b"two", [], {}, object(), datetime.now(UTC), 2j, np.array([1.0, 2.0]), float]
NOT_FINITE: list[Any] = [float("nan"), float("inf"), -float("inf"), Decimal("nan"), np.float64("nan"), 10**400]
CALLS: list[tuple[str, Callable[[Any, Any], None]]] = [
    ("counter", lambda metrics, amount: metrics[0].inc(amount)),
    ("gauge", lambda metrics, amount: metrics[1].set(amount)),
    ("gauge", lambda metrics, amount: metrics[1].inc(amount)),
    ("histogram", lambda metrics, amount: metrics[2].observe(amount)),
]


@pytest.mark.parametrize(("kind", "call"), CALLS)
@pytest.mark.parametrize("used", [False, True], ids=["first", "later"])
def test_numbers_of_any_kind_are_recorded_and_nothing_else_is(
    kind: str, call: Callable[[Any, Any], None], used: bool
) -> None:
    producer, transport, _ = captured_producer(environment="production")
    metrics = [made(made.kind, producer=producer) for made in (Counter, Gauge, Histogram)]
    if used:  # a series in use takes another way through the code
        call(metrics, 1)
        call(metrics, 2.5)
    for amount in (*NUMBERS, *NO_NUMBERS, *NOT_FINITE):
        call(metrics, amount)
    producer.flush()
    stats = producer.stats()
    assert values(transport.delivered)[kind,].count == len(NUMBERS) + 2 * used
    assert stats.dropped[kind, "wrong_type"] == len(NO_NUMBERS)
    refused = stats.dropped[kind, "not_finite"] + stats.dropped.get((kind, "negative_counter"), 0)
    assert refused == len(NOT_FINITE)
    assert not isinstance(values(transport.delivered)[kind,].sum, np.floating)


def test_a_negative_zero_and_a_smallest_number_are_numbers() -> None:
    producer, transport, _ = captured_producer()
    sizes = Histogram("sizes", producer=producer)
    for amount in (0.0, -0.0, 0, 5e-324, -5e-324, 1e307):
        sizes.observe(amount)
        sizes.observe(amount)
    producer.flush()
    assert values(transport.delivered)["sizes",].count == 12


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"/pay", "b'/pay'"), (None, "None"), (1.0, "1.0"), (True, "true"), ("\x00\u202e", "\x00\u202e"), ("", "")],
)
def test_a_label_value_of_any_type_is_text(value: object, text: str) -> None:
    producer, transport, _ = captured_producer()
    Counter("seen", "", ["endpoint"], producer=producer).labels(value).inc()
    producer.flush()
    assert list(values(transport.delivered)) == [("seen", text)]


def test_a_label_value_of_a_megabyte_and_one_whose_text_fails_are_counted_not_kept() -> None:
    producer, transport, _ = captured_producer()

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    seen = Counter("seen", "", ["endpoint"], producer=producer)
    seen.labels("x" * (1 << 20)).inc()
    seen.labels(Broken()).inc()
    seen.labels({"unhashable": []}).inc()
    producer.flush()
    assert producer.stats().dropped == {("seen", "too_long"): 1, ("seen", "wrong_label"): 1}
    assert [one for one in values(transport.delivered) if one[0] == "seen"] == [("seen", "{'unhashable': []}")]


class Paid(Event, owner="checkout"):
    """A basket was paid for."""

    country: Dimension[str]
    amount: Measure[float, unit("{USD}")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": datetime.now(UTC)}, "wrong_type"),
        ({"amount": "12"}, "wrong_type"),
        ({"amount": float("nan")}, "not_finite"),
        ({"amount": 10**400}, "wrong_type"),
        ({"country": b"JP"}, "wrong_type"),
        ({"country": datetime.now(UTC)}, "wrong_type"),
        ({"country": "x" * (1 << 20)}, "too_long"),
        ({"country": None}, "missing"),
    ],
)
def test_an_event_with_a_value_that_cannot_travel_is_counted_by_reason(changes: dict[str, Any], reason: str) -> None:
    producer, transport, _ = captured_producer(environment="production")
    given: dict[str, Any] = {"country": "JP", "amount": 1.5} | changes
    producer.emit(Paid(**given))
    producer.emit(Paid(country="JP", amount=1.5))
    producer.flush()
    assert producer.stats().dropped == {("paid", reason): 1}
    assert len(transport.events("paid")) == 1


@pytest.mark.parametrize("amount", [Decimal("1.5"), Fraction(3, 2), np.float64(1.5), np.float32(1.5)])
def test_an_events_measure_takes_numbers_of_other_kinds(amount: Any) -> None:
    producer, transport, _ = captured_producer()
    producer.emit(Paid(country="JP", amount=amount))
    producer.flush()
    assert transport.events("paid") == [{"country": "JP", "amount": 1.5}]


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread")
def test_a_signal_handler_may_record_whatever_it_interrupts() -> None:
    producer, transport, _ = captured_producer()
    told = Counter("told", producer=producer)
    sizes = Histogram("sizes", "", ["kind"], producer=producer)
    handled = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal handled
        handled += 1
        told.inc()
        sizes.labels(str(handled)).observe(0.5)
        producer.emit(Paid(country="JP", amount=1.0))
        if handled % 50 == 0:
            producer.flush(0)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    calls = 0
    try:
        while handled < 500:
            calls += 1
            told.inc()
            sizes.labels(str(calls % 100)).observe(0.5)
            producer.emit(Paid(country="JP", amount=1.0))
            if calls % 100 == 0:
                producer.flush(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    producer.flush()
    stats = producer.stats()
    assert transport.sums()["told"] == calls + handled
    assert stats.emitted["sizes"] == calls + handled
    assert len(transport.events("paid")) + stats.dropped.get(("paid", "buffer_full"), 0) == calls + handled
    assert sum(stats.waiting.values()) == 0
