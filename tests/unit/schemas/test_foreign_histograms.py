from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.foreign_histograms import (
    SPREAD,
    Distribution,
    Explicit,
    Exponential,
    InconsistentHistogram,
    extreme,
    indexed,
)
from streamgauge.schemas.histogram import GROWTH, SCALE, histogram_of, quantile

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SAMPLES = st.lists(st.floats(0.0, 50.0), min_size=1, max_size=60)


def explicit(values: list[float], bounds: tuple[float, ...] = BOUNDS, extremes: bool = True) -> Distribution:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    known = (min(values), max(values)) if extremes else (None, None)
    return Distribution(len(values), sum(values), Explicit(bounds, tuple(counts)), *known)


def exponential(values: list[float], scale: int, extremes: bool = True) -> Distribution:
    positive: dict[int, int] = {}
    negative: dict[int, int] = {}
    for value in values:
        if value:
            into = positive if value > 0 else negative
            index = math.ceil(math.log2(abs(value)) * 2.0**scale) - 1
            into[index] = into.get(index, 0) + 1
    known = (min(values), max(values)) if extremes else (None, None)
    return Distribution(len(values), sum(values), Exponential(scale, values.count(0.0), positive, negative), *known)


def bucket_in(bounds: tuple[float, ...], value: float) -> int:
    return bisect_left(bounds, value)


@given(SAMPLES, st.booleans())
def test_a_quantile_lies_in_the_explicit_bucket_of_the_observed_one(values: list[float], extremes: bool) -> None:
    buckets = explicit(values, extremes=extremes).buckets()

    assert sum(buckets.values()) == len(values)
    for q in (0.0, 0.25, 0.5, 0.9, 1.0):
        observed = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
        place = bucket_in(BOUNDS, observed)
        low, high = (0.0, *BOUNDS)[place], (*BOUNDS, math.inf)[place]
        # beyond that there is only the width of our own bucket
        assert low / GROWTH <= quantile(buckets, q) <= high * GROWTH


def test_equal_values_keep_their_value() -> None:
    assert explicit([0.3] * 7).buckets() == histogram_of([0.3] * 7)


def test_values_of_a_wide_bucket_are_spread_over_a_bounded_number_of_ours() -> None:
    buckets = explicit([5.1, *[7.0] * 1000, 9.9]).buckets()

    assert 2 < len(buckets) <= SPREAD
    assert sum(buckets.values()) == 1002
    assert 5.0 < quantile(buckets, 0.01) < quantile(buckets, 0.99) < 10.1


def test_open_ends_without_extremes_count_at_what_is_known() -> None:
    shape = Explicit((1.0, 10.0), (4, 0, 4))

    buckets = Distribution(8, 100.0, shape).buckets()

    assert 0 < quantile(buckets, 0.0) <= 1.0
    assert quantile(buckets, 1.0) == pytest.approx(10.0, rel=0.02)


def test_negative_bounds_work_as_positive_ones() -> None:
    buckets = explicit([-9.0, -0.5, 0.0, 3.0], (-5.0, 0.0, 5.0)).buckets()

    assert quantile(buckets, 0.0) == pytest.approx(-9.0, rel=0.35)
    assert -5.1 < quantile(buckets, 0.5) <= 0.0
    assert 0 < quantile(buckets, 1.0) <= 5.1


def test_a_histogram_without_bounds_counts_at_its_mean() -> None:
    assert Distribution(4, 8.0, Explicit((), (4,)), 1.0, 3.0).buckets() == histogram_of([2.0] * 4)
    assert Distribution(4, 8.0, Explicit((), ())).buckets() == histogram_of([2.0] * 4)


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=1), st.integers(5, 12))
def test_a_finer_exponential_histogram_becomes_exactly_what_observing_gives(values: list[float], scale: int) -> None:
    # values in the middle of a bucket, so that rounding of the logarithm decides nothing
    middles = [
        math.copysign(2 ** ((math.floor(math.log2(abs(x)) * 2**scale) + 0.5) / 2**scale), x) if x else 0.0
        for x in values
    ]

    assert exponential(middles, scale).buckets() == histogram_of(middles)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1), st.integers(-6, SCALE - 1), st.booleans())
def test_a_coarser_one_keeps_every_quantile_in_its_bucket(values: list[float], scale: int, extremes: bool) -> None:
    buckets = exponential(values, scale, extremes).buckets()

    width = 2.0 ** (2.0**-scale)
    assert sum(buckets.values()) == len(values)
    for q in (0.0, 0.5, 1.0):
        observed = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
        assert observed / (width * 1.03) <= quantile(buckets, q) <= observed * width * 1.03


def test_a_coarse_scale_reaches_the_ends_of_what_doubles_hold() -> None:
    shape = Exponential(-10, 0, {0: 1, -1: 1}, {0: 1})

    assert sum(Distribution(3, 0.0, shape, -1e308, 1e308).buckets().values()) == 3
    assert sum(Distribution(3, 0.0, shape).buckets().values()) == 3


@given(SAMPLES, SAMPLES, st.integers(-2, 8), st.integers(0, 4))
def test_what_was_added_is_the_difference_even_if_the_scale_got_coarser(
    before: list[float], after: list[float], scale: int, coarser: int
) -> None:
    added = exponential(before + after, scale - coarser).minus(exponential(before, scale))

    assert added is not None
    assert added.count == len(after)
    assert added.shape == exponential(after, scale - coarser).shape or _without_zeros(added) == _without_zeros(
        exponential(after, scale - coarser)
    )


def _without_zeros(one: Distribution) -> object:
    shape = one.shape
    assert isinstance(shape, Exponential)
    return shape.scale, shape.zero, {k: v for k, v in shape.positive.items() if v}


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        (explicit([1.0]), explicit([1.0, 2.0])),
        (explicit([1.0, 2.0]), explicit([3.0])),
        (explicit([1.0, 2.0]), explicit([1.0], (1.0, 2.0))),
        (explicit([1.0, 2.0]), exponential([1.0], 5)),
        (exponential([1.0, 2.0], 5), exponential([1.0], 4)),
        (exponential([1.0, 2.0], 5), exponential([3.0], 5)),
        (exponential([1.0, 2.0], 5), exponential([0.0], 5)),
    ],
)
def test_what_does_not_continue_is_recognised(later: Distribution, earlier: Distribution) -> None:
    assert later.minus(earlier) is None


def test_a_new_extreme_is_known_and_an_old_one_bounds_what_was_added() -> None:
    added = explicit([2.0, 3.0, 0.01]).minus(explicit([2.0, 3.0]))

    assert added is not None
    assert (added.min, added.max) == (0.01, None)
    low, high = added.extremes(added.buckets())
    assert low == 0.01
    assert high == pytest.approx(0.01, rel=0.02)


def test_extremes_that_nobody_told_lie_within_those_of_the_whole_life() -> None:
    added = explicit([3.1, 3.1, 3.1]).minus(explicit([3.1]))

    assert added is not None
    assert added.extremes(added.buckets()) == (3.1, 3.1)
    assert extreme(3.1) == 3.1
    assert [extreme(told) for told in (None, math.inf, -math.inf, math.nan)] == [None] * 4


def test_a_sum_that_nobody_told_is_what_the_buckets_add_up_to() -> None:
    shape = Explicit((1.0,), (0, 4))
    one = Distribution(4, None, shape, 3.0, 3.0)

    assert one.total(one.buckets()) == pytest.approx(12.0, rel=0.011)
    assert (gained := Distribution(8, None, Explicit((1.0,), (0, 8))).minus(one)) is not None
    assert (gained.count, gained.sum) == (4, None)


def test_buckets_that_hold_more_than_the_count_are_refused() -> None:
    with pytest.raises(InconsistentHistogram, match="more values"):
        Distribution(1, 1.0, Explicit((1.0,), (1, 1))).buckets()
    with pytest.raises(InconsistentHistogram, match="bounds"):
        Distribution(2, 1.0, Explicit((2.0, 1.0), (1, 1, 0))).buckets()


def test_runs_of_counts_are_read_from_their_offset() -> None:
    assert indexed(-2, [1, 0, 3]) == {-2: 1, 0: 3}
