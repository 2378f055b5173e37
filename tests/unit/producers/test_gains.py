"""Gains: columns say what rows say, byte for byte, however they are cut."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers import Counter, Histogram
from streamgauge.producers.aggregate import IDLE_NS
from streamgauge.producers.batching import Batch, Batcher, Limits
from streamgauge.producers.gains import Gains, Taken, encode_gains, gains_of, points_by_name, rows_of, slices
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.batches import MAX_SPAN_MS, Delta, MetricHead, Origin, Point, encode_metrics
from streamgauge.schemas.spread import Spread
from tests.unit.producers.decoded import metric_batches, values

ORIGIN = Origin({"service": "shop"}, "one", 1, 0)
CALLS = MetricHead("calls", "counter", "", ("name",))
QUEUE = MetricHead("queue", "gauge", "", ("name",))
LATENCY = MetricHead("latency", "histogram", "s")
START = 1_800_000_000_000
numbers = st.floats(-1e9, 1e9)


@st.composite
def rows(draw: st.DrawFn) -> Taken:
    head = draw(st.sampled_from([CALLS, QUEUE, LATENCY]))
    window = START + 10_000 * draw(st.integers(0, 2))
    labels = (draw(st.sampled_from(["a", "b", 'x],["'])),) if head.labels else ()
    count, total = draw(st.integers(1, 9)), draw(numbers)
    if head is CALLS:
        return Taken(head, labels, Delta(window, count, total))
    buckets = draw(st.dictionaries(st.integers(-9, 9), st.integers(1, 9), max_size=3)) if head is LATENCY else {}
    last_ms = window + draw(st.integers(0, 9_999))
    delta = Delta(window, count, total, draw(numbers), draw(numbers), draw(numbers), last_ms, buckets)
    return Taken(head, labels, delta)


some_rows = st.lists(rows(), min_size=1, max_size=40)


def as_rows(taken: list[Taken]) -> bytes:
    """The batch of these rows, made row by row."""
    heads = list(dict.fromkeys(one.head for one in taken))
    series: list[Any] = list(dict.fromkeys((heads.index(one.head), *one.labels) for one in taken))
    points = [
        Point(series.index((heads.index(head), *labels)), d.window_ms, d.count, d.sum, d.min, d.max, d.last, d.last_ms, d.buckets)
        for head, labels, d in taken
    ]  # fmt: skip
    return encode_metrics(ORIGIN, heads, series, points)


@given(some_rows)
def test_columns_are_the_same_bytes_as_rows(taken: list[Taken]) -> None:
    gains = gains_of(taken)
    grouped = list(rows_of(gains))
    assert encode_gains(ORIGIN, gains) == as_rows(grouped)
    of_series: dict[object, list[Taken]] = defaultdict(list)
    for one in taken:
        of_series[one.head, one.delta.window_ms].append(one)
    assert grouped == [one for some in of_series.values() for one in some]


@given(some_rows, st.integers(1, 9))
def test_slices_hold_every_row_once_and_are_full_but_for_the_last(taken: list[Taken], most: int) -> None:
    gains = gains_of(taken)
    parts = list(slices(gains, most))
    sizes = [sum(map(len, part)) for part in parts]
    assert sizes[:-1] == [most] * (len(parts) - 1)
    assert 0 < sizes[-1] <= most
    assert all(len(one) for part in parts for one in part)
    assert [row for part in parts for row in rows_of(part)] == list(rows_of(gains))
    assert sum((points_by_name(part) for part in parts[1:]), points_by_name(parts[0])) == points_by_name(gains)


def batches(gains: list[Gains], limits: Limits) -> list[Batch]:
    lost: list[str] = []
    made = list(Batcher({}, "one", 1, limits, lambda _, why: lost.append(why)).metrics("metrics", gains))
    assert lost == []
    return made


@given(some_rows, st.integers(300, 2_000))
def test_a_batch_that_would_be_too_long_is_halved_until_it_fits_or_is_one_row(taken: list[Taken], most: int) -> None:
    gains = gains_of(taken)
    made = batches(gains, Limits(2_000, most))
    read = metric_batches(made)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # a value is all it asks for
    assert all(len(one.value) <= most or len(rows.count) == 1 for one, rows in zip(made, read, strict=True))
    assert [int(count) for one in read for count in one.count] == [one.delta.count for one in rows_of(gains)]


def test_windows_that_lie_too_far_apart_go_in_batches_of_their_own() -> None:
    far = START + MAX_SPAN_MS
    taken = [Taken(CALLS, (name,), Delta(at, 1, 1.0)) for name in "ab" for at in (far, START, far + 1)]
    made = batches(gains_of(taken), Limits())
    assert [dict(one.points) for one in made] == [{"calls": 4}, {"calls": 2}]


def test_counters_beside_gauges_have_nothing_in_their_columns() -> None:
    spread = Spread()
    spread.add(1.0, 2.0, 1.5, 7, {3: 4, 5: 6})
    spread.blank(2, 9)
    assert [spread.low, spread.last_ms, spread.sizes] == [[1.0, 0.0, 0.0], [7, 9, 9], [2, 0, 0]]
    assert list(spread.buckets()) == [{3: 4, 5: 6}, {}, {}]
    assert list(spread.part(0, 1).buckets()) == [{3: 4, 5: 6}]
    assert spread.part(1, 3).keys == []


def test_a_forgotten_series_and_the_one_that_took_its_place_come_as_one() -> None:
    producer, transport, clock = captured_producer(series_budget=2)
    counter = Counter("calls", "", ["name"], producer=producer)
    kept = counter.labels("a")
    kept.inc()
    producer.flush()
    clock.advance(2 * IDLE_NS / 1e9)
    counter.labels("a").inc(2)
    kept.inc(3)
    transport.delivered.clear()
    producer.flush()
    (batch,) = metric_batches(transport.delivered)
    assert [tuple(one) for one in batch.series] == [(0, "a")]
    assert values(transport.delivered)["calls", "a"].sum == 5.0


def test_amounts_beyond_the_outermost_bucket_are_one_bucket_on_the_wire() -> None:
    producer, transport, _ = captured_producer()
    histogram = Histogram("sizes", producer=producer)
    for amount in (1e300, 3e305, -1e300, -3e305, 1e-300, 5e-324, 1.0):
        histogram.observe(amount)
    producer.flush()
    (batch,) = metric_batches(transport.delivered)
    assert batch.buckets is not None
    sizes, keys, counts = (column.tolist() for column in batch.buckets)
    assert sizes == [4]
    assert dict(zip(keys, counts, strict=True)) == {32_767: 2, -32_767: 2, 1: 2, 16_383: 1}
