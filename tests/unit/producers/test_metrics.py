"""Metrics: declarations, labels and calls, as an application sees them."""

from __future__ import annotations

import asyncio
import enum
import gc
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import strategies as st

from streamgauge.producers import Counter, Gauge, Histogram, get_default, set_default
from streamgauge.producers.aggregate import IDLE_NS, MAX_WINDOWS, OVERFLOW
from streamgauge.producers.handles import AmountError
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.errors import DeclarationError, UndeclaredLabelError
from tests.unit.producers.decoded import metric_batches, values

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
positive = st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e300)


def test_a_counter_adds_up_by_label_set() -> None:
    producer, transport, _ = captured_producer()
    requests = Counter("requests", "Requests", ["endpoint", "status"], producer=producer)
    requests.labels("/pay", "200").inc()
    requests.labels(status=200, endpoint="/pay").inc(2)
    requests.labels("/pay", 500).inc(0.5)
    producer.flush()
    found = values(transport.delivered)
    assert (found["requests", "/pay", "200"].sum, found["requests", "/pay", "200"].count) == (3.0, 2)
    assert found["requests", "/pay", "500"].sum == 0.5


def test_the_declaration_travels_with_the_points() -> None:
    producer, transport, _ = captured_producer()
    latency = Histogram(
        "latency",
        "",
        ["endpoint"],
        namespace="shop",
        subsystem="checkout",
        unit="s",
        granularity="1m",
        producer=producer,
    )
    latency.labels("/pay").observe(0.2)
    producer.flush()
    (head,) = metric_batches(transport.delivered)[0].metrics
    assert (head.name, head.type, head.unit) == ("shop_checkout_latency", "histogram", "s")
    assert (head.labels, head.granularity) == (("endpoint",), "1m")


def test_points_fall_into_the_ten_second_window_of_their_call() -> None:
    producer, transport, clock = captured_producer()
    start = clock.wall_ns() // 1_000_000
    requests = Counter("requests", producer=producer)
    clock.advance(9.999)
    requests.inc()
    clock.advance(0.001)
    requests.inc()
    requests.inc()
    clock.step(-10)  # a time server sets the clock back
    requests.inc()
    producer.flush()
    assert values(transport.delivered)["requests",].windows == {start: 2, start + 10_000: 2}


def test_a_flush_carries_only_what_was_added_since_the_last() -> None:
    producer, transport, _ = captured_producer()
    requests = Counter("requests", producer=producer)
    requests.inc(5)
    producer.flush()
    producer.flush()
    requests.inc(2)
    producer.flush()
    assert [float(batch.sum[0]) for batch in metric_batches(transport.delivered)] == [5.0, 2.0]


def test_a_gauge_moves_by_steps_and_keeps_its_value_across_flushes() -> None:
    producer, transport, clock = captured_producer()
    queue = Gauge("queue", producer=producer)
    queue.set(5)
    producer.flush()
    clock.advance(30)
    queue.inc()
    queue.dec(3)
    producer.flush()
    batch = metric_batches(transport.delivered)[-1]
    assert (batch.last[0], batch.min[0], batch.max[0], batch.count[0]) == (3.0, 3.0, 6.0, 2)
    assert int(batch.last_ms[0]) == clock.wall_ns() // 1_000_000


def test_a_gauge_tracks_what_is_in_progress() -> None:
    producer, transport, _ = captured_producer()
    busy = Gauge("busy", producer=producer)
    with busy.track_inprogress(), busy.track_inprogress():
        pass
    producer.flush()
    value = values(transport.delivered)["busy",]
    assert (value.max, value.last[1], value.count) == (2.0, 0.0, 4)


def test_a_gauge_can_hold_the_current_time() -> None:
    producer, transport, clock = captured_producer()
    Gauge("seen", producer=producer).set_to_current_time()
    producer.flush()
    assert values(transport.delivered)["seen",].last[1] == clock.wall_ns() / 1e9


def test_a_counter_counts_exceptions_and_lets_them_pass() -> None:
    producer, transport, _ = captured_producer()
    failures = Counter("failures", producer=producer)
    with pytest.raises(KeyError), failures.count_exceptions(LookupError):
        raise KeyError
    with pytest.raises(ValueError, match="other"), failures.count_exceptions(LookupError):
        raise ValueError("other")
    producer.flush()
    assert transport.sums() == {"failures": 1.0}


async def test_a_timer_times_blocks_functions_and_coroutines() -> None:
    producer, transport, _ = captured_producer()
    latency = Histogram("latency", "", ["kind"], producer=producer)

    @latency.labels("plain").time()
    def plain(depth: int) -> int:
        return depth and plain(depth - 1)

    @latency.labels("coroutine").time()
    async def coroutine() -> str:
        await asyncio.sleep(0.02)
        return "done"

    with latency.labels("block").time() as timer:
        pass
    assert plain(2) == 0
    assert await coroutine() == "done"
    with pytest.raises(KeyError), latency.labels("failing").time():
        raise KeyError
    producer.flush()
    found = values(transport.delivered)
    assert found["latency", "block"].sum == timer.duration
    assert found["latency", "plain"].count == 3
    assert found["latency", "coroutine"].min >= 0.015
    assert found["latency", "failing"].count == 1


class Color(enum.StrEnum):
    RED = "red"


class Shade(str, enum.Enum):  # noqa: UP042  # the older spelling is meant
    RED = "red"


def test_label_values_become_text_the_same_way_whatever_came_first() -> None:
    producer, transport, _ = captured_producer()
    seen = Counter("seen", "", ["color"], producer=producer)
    several: list[object] = [1, True, 1.0, None, Shade.RED, "red", Color.RED, ["a"], "half\udc80"]
    for value in several:
        seen.labels(value).inc()
        seen.labels(color=value).inc()
    producer.flush()
    sums = {key[1]: value.sum for key, value in values(transport.delivered).items()}
    assert sums == {"1": 2.0, "true": 2.0, "1.0": 2.0, "None": 2.0, "red": 6.0, "['a']": 2.0, "half?": 2.0}


@pytest.mark.parametrize(
    ("values_given", "named", "said"),
    [
        (("/pay",), {}, "got 1 values"),
        ((), {"endpoint": "/pay", "user": "u"}, "Add 'user' to its declaration, or leave it out."),
        ((), {"endpoint": "/pay"}, "Pass 'status' too"),
        (("/pay",), {"status": "200"}, "got"),
    ],
)
def test_wrong_labels_raise_in_development(values_given: tuple[str, ...], named: dict[str, str], said: str) -> None:
    producer, _, _ = captured_producer()
    requests = Counter("checkout_requests", "", ["endpoint", "status"], producer=producer)
    with pytest.raises(UndeclaredLabelError) as raised:
        requests.labels(*values_given, **named)
    assert "Counter 'checkout_requests' has labels ('endpoint', 'status'); got" in str(raised.value)
    assert said in str(raised.value)


def test_calling_a_labelled_metric_without_labels_raises_in_development() -> None:
    producer, _, _ = captured_producer()
    with pytest.raises(UndeclaredLabelError, match="Pass 'endpoint' too"):
        Counter("requests", "", ["endpoint"], producer=producer).inc()


@pytest.mark.parametrize(
    ("amount", "said"), [(-1, "only grows"), (float("nan"), "finite"), (float("inf"), "finite"), ("many", "a number")]
)
def test_wrong_amounts_raise_in_development(amount: Any, said: str) -> None:
    producer, _, _ = captured_producer()
    with pytest.raises(AmountError, match=said):
        Counter("requests", producer=producer).inc(amount)
    if amount != -1:
        with pytest.raises(AmountError, match=said):
            Histogram("latency", producer=producer).observe(amount)
        with pytest.raises(AmountError, match=said):
            Gauge("queue", producer=producer).inc(amount)


def test_nothing_raises_in_production_and_every_refused_call_is_on_the_books(caplog: pytest.LogCaptureFixture) -> None:
    producer, transport, _ = captured_producer(environment="production")
    requests = Counter("requests", "", ["endpoint"], producer=producer)
    requests.labels("/pay", "extra").inc()
    requests.labels(user="u").inc()
    requests.inc()
    requests.labels("x" * 5000).inc()
    handle = requests.labels("/pay")
    for amount in (-1, float("nan"), "many", None, 10**400, 1):
        handle.inc(cast("float", amount))
    gauge = Gauge("queue", producer=producer)
    wrong: list[Any] = [float("inf"), [], 2]
    for value in wrong:
        gauge.set(value)
        gauge.dec(value)
    producer.flush()
    stats = producer.stats()
    assert stats.dropped == {
        ("requests", "undeclared_label"): 3,
        ("requests", "too_long"): 1,
        ("requests", "negative_counter"): 1,
        ("requests", "not_finite"): 2,
        ("requests", "wrong_type"): 2,
        ("queue", "not_finite"): 2,
        ("queue", "wrong_type"): 2,
    }
    assert (stats.emitted["requests"], stats.emitted["queue"]) == (10, 6)
    assert (stats.acknowledged["requests"], stats.acknowledged["queue"]) == (1, 2)
    # said once for each metric and reason
    assert len([one for one in caplog.records if "negative_counter" in one.getMessage()]) == 1
    assert len([one for one in caplog.records if "undeclared_label" in one.getMessage()]) == 1
    assert transport.sums()["requests"] == 1.0


def test_strictness_can_be_set_whatever_the_environment_is_called() -> None:
    producer, _, _ = captured_producer(environment="production", strict=True)
    with pytest.raises(AmountError):
        Counter("requests", producer=producer).inc(-1)
    lenient, _, _ = captured_producer(strict=False)
    Counter("requests", producer=lenient).inc(-1)
    assert lenient.stats().dropped == {("requests", "negative_counter"): 1}


def test_numbers_of_other_kinds_are_recorded_as_floats() -> None:
    producer, transport, _ = captured_producer()
    paid = Counter("paid", producer=producer)
    latency = Histogram("latency", producer=producer)
    queue = Gauge("queue", producer=producer)
    for amount in (Decimal("1.5"), True, "2"):
        paid.inc(cast("float", amount))
        latency.observe(cast("float", amount))
        queue.dec(cast("float", amount))
    producer.flush()
    found = values(transport.delivered)
    assert (found["paid",].sum, found["paid",].count) == (4.5, 3)
    assert (found["latency",].sum, found["latency",].count) == (4.5, 3)
    assert (found["queue",].last[1], found["queue",].count) == (-4.5, 3)


def test_a_sum_beyond_all_numbers_is_dropped_and_takes_nobody_along() -> None:
    producer, transport, _ = captured_producer()
    large, other = Counter("large", producer=producer), Counter("other", producer=producer)
    for _ in range(3):
        large.inc(1.7e308)
        other.inc()
    producer.flush()
    assert transport.sums() == {"other": 3.0, "streamgauge_producer_dropped": 3.0}
    assert producer.stats().dropped == {("large", "not_finite"): 3}
    assert (producer.stats().emitted["large"], producer.stats().emitted["other"]) == (3, 3)


def test_beyond_the_budget_series_share_one_and_the_sum_stays_exact(caplog: pytest.LogCaptureFixture) -> None:
    producer, transport, _ = captured_producer(series_budget=10)
    requests = Counter("requests", "", ["endpoint", "user"], producer=producer)
    for user in range(25):
        requests.labels("/pay", user).inc(2)
    requests.labels("/pay", 3).inc()
    producer.flush()
    found = {key: one for key, one in values(transport.delivered).items() if key[0] == "requests"}
    assert len(found) == 11
    assert found["requests", OVERFLOW, OVERFLOW].sum == 30.0
    assert sum(one.sum for one in found.values()) == 51.0
    assert producer.stats().overflowed == {"requests": 15}
    assert producer.stats().dropped == {}
    warnings = [one.getMessage() for one in caplog.records]
    assert len(warnings) == 1
    assert "user" in warnings[0]


def test_a_metric_may_declare_a_budget_of_its_own() -> None:
    producer, transport, _ = captured_producer(series_budget=2)
    wide = Counter("wide", "", ["user"], budget=4, producer=producer)
    usual = Counter("usual", "", ["user"], producer=producer)
    for user in range(6):
        wide.labels(user).inc()
        usual.labels(user).inc()
    producer.flush()
    assert producer.stats().overflowed == {"wide": 2, "usual": 4}
    assert transport.sums() == {"wide": 6.0, "usual": 6.0, "streamgauge_producer_overflowed": 6.0}
    with pytest.raises(DeclarationError, match="budget 0"):
        Counter("none", budget=0, producer=producer)


def test_series_that_rest_make_room_and_kept_handles_of_them_still_count() -> None:
    producer, transport, clock = captured_producer(series_budget=2)
    requests = Counter("requests", "", ["user"], producer=producer)
    kept = requests.labels("a")
    kept.inc()
    requests.labels("b").inc()
    producer.flush()
    requests.labels("c").inc()
    clock.advance(IDLE_NS / 1e9 + 20)
    requests.labels("d").inc()
    kept.inc()
    producer.flush()
    found = values(transport.delivered)
    sums = {key[1]: one.sum for key, one in found.items() if key[0] == "requests"}
    assert sums == {"a": 2.0, "b": 1.0, OVERFLOW: 1.0, "d": 1.0}


def test_a_gauge_moved_by_steps_is_never_forgotten() -> None:
    producer, transport, clock = captured_producer(series_budget=2)
    open_files = Gauge("open_files", "", ["user"], producer=producer)
    open_files.labels("a").inc(5)
    open_files.labels("b").set(1)
    producer.flush()
    clock.advance(IDLE_NS / 1e9 + 20)
    open_files.labels("c").set(1)  # makes room by forgetting b
    open_files.labels("a").dec()
    producer.flush()
    found = values(transport.delivered)
    assert found["open_files", "a"].last[1] == 4.0
    assert ("open_files", "c") in found


def test_windows_that_nobody_takes_are_bounded_and_counted() -> None:
    producer, _, clock = captured_producer()
    requests = Counter("requests", producer=producer)
    for _ in range(MAX_WINDOWS + 11):
        requests.inc()
        clock.advance(10)
    stats = producer.stats()
    assert stats.dropped == {("requests", "never_flushed"): 11}
    assert stats.emitted == {"requests": MAX_WINDOWS + 11}
    assert stats.waiting == {"requests": MAX_WINDOWS}


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("checkout requests", [], "is not a name"),
        ("requests", ["end-point"], "label 'end-point' is not a name"),
        ("requests", ["region"], "every view has a column of this name already"),
        ("requests", ["a", "a"], "named twice"),
    ],
)
def test_a_wrong_declaration_raises_at_once(name: str, labels: list[str], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        Counter(name, "", labels)


def test_a_metric_declared_twice_alike_is_one_and_differently_an_error() -> None:
    producer, transport, _ = captured_producer()
    Counter("requests", "", ["a"], producer=producer).labels("x").inc()
    Counter("requests", "again", ["a"], producer=producer).labels("x").inc()
    producer.flush()
    assert values(transport.delivered)["requests", "x"].sum == 2.0
    with pytest.raises(DeclarationError, match="declared twice"):
        Counter("requests", "", ["a", "b"], producer=producer)
    with pytest.raises(DeclarationError, match="declared twice"):
        Gauge("requests", "", ["a"], producer=producer)


def test_metrics_without_a_producer_follow_the_default(unique: str) -> None:
    requests = Counter(unique, "", ["a"])
    first, first_transport, _ = captured_producer()
    second, second_transport, _ = captured_producer()
    try:
        set_default(first)
        assert get_default() is first
        kept = requests.labels("x")
        kept.inc()
        set_default(second)
        requests.labels("x").inc(2)
        kept.inc(4)
        first.flush()
        second.flush()
    finally:
        set_default(None)
    assert first_transport.sums() == {unique: 5.0}
    assert second_transport.sums() == {unique: 2.0}
    with pytest.raises(DeclarationError, match="declared twice"):
        Gauge(unique)


def test_a_finalizer_may_record_while_its_metric_is_recording() -> None:
    producer, transport, _ = captured_producer()
    freed = Counter("freed", producer=producer)
    sizes = Histogram("sizes", producer=producer)

    class Tracked:
        def __init__(self) -> None:
            self.itself = self  # freed by the collector only, at a moment of its choice

        def __del__(self) -> None:
            freed.inc()
            sizes.observe(1.0)

    before = gc.get_threshold()
    gc.set_threshold(3, 2, 2)
    try:
        for number in range(2_000):
            Tracked()
            sizes.observe(float(number))
            freed.inc(0)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    producer.flush()
    found = values(transport.delivered)
    assert found["freed",].sum == 2_000
    assert found["sizes",].count == 4_000
