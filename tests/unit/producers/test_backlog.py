"""The backlog: whatever is merged, however coarse windows become, every count, sum, bucket, extreme and last value stays."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers.backlog import ENTRY_BYTES, WIDTHS_MS, Backlog, merged
from streamgauge.producers.gains import Taken
from streamgauge.schemas.batches import Delta, MetricHead

GAUGE = MetricHead("queue", "gauge", "", ("name",))
LATENCY = MetricHead("latency", "histogram")
START = 1_800_000_000_000
PLENTY = 1 << 30

numbers = st.integers(-(1 << 40), 1 << 40).map(float)  # their sums are exact in any order


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    window = START + 10_000 * draw(st.integers(0, 1_000))
    low, high = sorted((draw(numbers), draw(numbers)))
    buckets = draw(st.dictionaries(st.integers(-5, 5), st.integers(1, 9), max_size=4))
    last_ms = window + draw(st.integers(0, 9_999))
    return Delta(window, draw(st.integers(1, 9)), draw(numbers), low, high, draw(numbers), last_ms, buckets)


taken_lists = st.lists(
    st.builds(Taken, st.just(GAUGE), st.tuples(st.sampled_from(["a", "b"])), deltas())
    | st.builds(Taken, st.just(LATENCY), st.just(()), deltas()),
    max_size=60,
)


@dataclass
class Total:
    """What all deltas of one series come to."""

    count: int = 0
    sum: float = 0.0
    min: float = float("inf")
    max: float = float("-inf")
    last_ms: int = 0
    lasts: set[float] = field(default_factory=set[float])
    """Last values of the newest instant: of several any may win."""
    buckets: Counter[int] = field(default_factory=Counter[int])


def totals(taken: list[Taken]) -> dict[tuple[str, ...], Total]:
    found: dict[tuple[str, ...], Total] = {}
    for one in taken:
        total, d = found.setdefault((one.head.name, *one.labels), Total()), one.delta
        total.count += d.count
        total.sum += d.sum
        total.min, total.max = min(total.min, d.min), max(total.max, d.max)
        if d.last_ms > total.last_ms:
            total.last_ms, total.lasts = d.last_ms, set()
        if d.last_ms == total.last_ms:
            total.lasts.add(d.last)
        total.buckets.update(d.buckets)
    return found


def same(before: list[Taken], after: list[Taken]) -> None:
    """Every series comes to the same; of equally new last values one is left."""
    given_in, come_out = totals(before), totals(after)
    assert given_in.keys() == come_out.keys()
    for name, total in given_in.items():
        out = come_out[name]
        assert out.lasts <= total.lasts
        out.lasts = total.lasts
        assert out == total


@given(taken_lists, st.lists(st.integers(1, 30), min_size=1), st.integers(8, 40))
def test_merging_conserves_counts_sums_buckets_extremes_and_the_newest_value(
    taken: list[Taken], parts: list[int], entries: int
) -> None:
    backlog = Backlog(entries * ENTRY_BYTES * 5)
    place, turn = 0, 0
    while place < len(taken):
        size = parts[turn % len(parts)]
        assert backlog.add(taken[place : place + size]) == {}
        place, turn = place + size, turn + 1
    assert backlog.points() == Counter(point for one in taken for point in [one.head.name] * one.delta.count)
    out: list[Taken] = []
    while some := backlog.take(7):
        assert len(some) <= 7
        out += some
    same(taken, out)
    assert (len(backlog), backlog.bytes, backlog.points()) == (0, 0, {})


@given(deltas(), deltas())
def test_of_two_last_values_the_newer_one_counts_in_either_order(one: Delta, other: Delta) -> None:
    both, reverse = merged(one, other, START), merged(other, one, START)
    assert both.last_ms == reverse.last_ms == max(one.last_ms, other.last_ms)
    if one.last_ms != other.last_ms:
        assert both == reverse


def windows_of(minutes: int, series: int = 1) -> list[Taken]:
    return [
        Taken(GAUGE, (str(one),), Delta(START + 10_000 * window, 1, 1.0, 1.0, 1.0, 1.0, START + 10_000 * window))
        for window in range(6 * minutes)
        for one in range(series)
    ]


def test_resolution_is_lost_before_counts_the_oldest_first_and_the_newest_last() -> None:
    taken = windows_of(minutes=720)
    backlog = Backlog(40 * ENTRY_BYTES)
    for one in taken:
        assert backlog.add([one]) == {}
    widths = [after - before for before, after in zip(backlog.windows(), backlog.windows()[1:], strict=False)]
    assert len(backlog.windows()) <= 40
    assert widths[:6] == [3_600_000] * 6
    assert widths[-3:] == [10_000] * 3
    assert set(WIDTHS_MS) & set(widths) == {600_000, 3_600_000}
    same(taken, backlog.take(1_000))


def test_within_its_bound_nothing_is_merged_but_what_is_of_one_window() -> None:
    taken = windows_of(minutes=3)
    backlog = Backlog(PLENTY)
    backlog.add(taken)
    backlog.add(taken)
    assert backlog.windows() == [START + 10_000 * window for window in range(18)]
    assert [one.delta.count for one in backlog.take(100)] == [2] * 18


def test_when_hours_are_too_many_the_oldest_is_given_up_and_counted() -> None:
    backlog = Backlog(4 * ENTRY_BYTES)
    lost = backlog.add(windows_of(minutes=8 * 60))
    kept = backlog.points()["queue"]
    assert lost == {"backlog_full": Counter(queue=8 * 360 - kept)}
    assert kept >= 360
    assert backlog.bytes <= 4 * ENTRY_BYTES
    assert backlog.windows()[-1] >= START + 6 * 3_600_000


def test_a_sum_that_leaves_the_range_of_numbers_takes_nobody_along() -> None:
    backlog = Backlog(PLENTY)
    large = Taken(LATENCY, (), Delta(START, 2, 1.7e308))
    assert backlog.add([large]) == {}
    assert backlog.add([large]) == {"not_finite": Counter(latency=2)}
    assert backlog.take(9) == [large]


def test_its_bound_is_about_what_it_takes_of_memory() -> None:
    bound = 2 << 20
    backlog = Backlog(bound)
    tracemalloc.start()
    try:
        for window in range(200):
            backlog.add(
                Taken(
                    LATENCY,
                    (str(one),),
                    Delta(START + 10_000 * window, 9, one + 0.5, 0.1, 0.7, 0.3, START + 10_000 * window + one, {}),
                )
                for one in range(200)
            )
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert backlog.points() == {"latency": 200 * 200 * 9}
    assert 0.5 * bound < taken < 1.2 * bound
