"""Histograms: how far a bucket may be from its values, and that merging is addition."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamgauge.processors.grouping import buckets_of
from streamgauge.schemas.histogram import (
    GROWTH,
    KEY_OFFSET,
    MAX_INDEX,
    PER_DOUBLING,
    RELATIVE_ERROR,
    Buckets,
    bucket_of,
    downscale,
    histogram_of,
    merge,
    quantile,
    value_of,
)
from tests.properties.messages import MODERATE, finite, keys

LIMIT = 2.0 ** (MAX_INDEX / PER_DOUBLING)
"""Magnitudes from 1 / LIMIT to LIMIT have buckets of their own; what lies outside counts in the outermost ones."""
SLACK = 1e-12
"""A logarithm is rounded, so that a value at the very edge of a bucket may count in the next one."""

histograms = st.dictionaries(keys, st.integers(1, 1 << 30), max_size=8)
quantiles = st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0]) | st.floats(0, 1)
magnitudes = st.floats(1 / LIMIT, LIMIT)
measured = st.just(0.0) | magnitudes | magnitudes.map(lambda value: -value)
"""What a histogram resolves."""


@MODERATE
@given(finite)
@example(0.0)
@example(-0.0)
@example(5e-324)
@example(-5e-324)
@example(sys.float_info.min)
@example(sys.float_info.max)
@example(-sys.float_info.max)
@example(LIMIT)
@example(1 / LIMIT)
def test_the_value_of_a_bucket_is_near_every_value_in_it(value: float) -> None:
    got = value_of(bucket_of(value))
    clamped = math.copysign(min(max(abs(value), 1 / LIMIT), LIMIT), value) if value else 0.0
    assert abs(got - clamped) <= abs(clamped) * (RELATIVE_ERROR + SLACK)
    assert math.copysign(1, got) == math.copysign(1, value) or value == 0
    assert -KEY_OFFSET - MAX_INDEX <= bucket_of(value) <= KEY_OFFSET + MAX_INDEX


@MODERATE
@given(finite, finite)
def test_the_order_of_keys_is_the_order_of_values(one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert bucket_of(low) <= bucket_of(high)


@MODERATE
@given(finite)
def test_opposite_values_have_opposite_keys(value: float) -> None:
    assert bucket_of(-value) == -bucket_of(value)


@MODERATE
@given(keys)
def test_the_value_of_a_key_lies_in_its_bucket(key: int) -> None:
    assert bucket_of(value_of(key)) == key


def test_values_of_keys_rise_evenly_and_stay_finite() -> None:
    values = [value_of(key) for key in range(-2 * KEY_OFFSET + 1, 2 * KEY_OFFSET)]
    assert all(low < high for low, high in pairwise(values))
    assert all(map(math.isfinite, values))
    assert value_of(KEY_OFFSET + 1) / value_of(KEY_OFFSET) == pytest.approx(GROWTH)
    assert round(RELATIVE_ERROR, 4) == 0.0108


@pytest.mark.parametrize(
    ("value", "key"), [(1.0, 16_383), (2.0, 16_415), (1.0 + 1e-9, 16_384), (0.5, 16_351), (-4.0, -16_447)]
)
def test_a_bucket_holds_its_upper_bound_and_not_its_lower_one(value: float, key: int) -> None:
    assert bucket_of(value) == key


@MODERATE
@given(histograms, histograms, histograms)
def test_merging_is_addition(a: Buckets, b: Buckets, c: Buckets) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, {}) == merge({}, a) == a
    assert sum(merge(a, b).values()) == sum(a.values()) + sum(b.values())


@MODERATE
@given(st.lists(finite), st.lists(finite))
def test_merged_histograms_are_the_histogram_of_all_values(one: list[float], other: list[float]) -> None:
    left = histogram_of(one)
    untouched = dict(left)
    assert merge(left, histogram_of(other)) == histogram_of([*one, *other])
    assert left == untouched


@MODERATE
@given(st.lists(st.floats(1e-100, 1e100)), st.integers(1, 5), st.integers(0, 4))
def test_scaling_down_is_exact(values: list[float], by: int, more: int) -> None:
    def indexes(scale: int) -> Buckets:
        found: Buckets = {}
        for value in values:
            # as the scale's definition says, from an index of the finest scale so that rounding falls alike
            index = (math.ceil(math.log2(value) * (1 << 10)) - 1) >> (10 - scale)
            found[index] = found.get(index, 0) + 1
        return found

    assert downscale(indexes(10), by) == indexes(10 - by)
    assert downscale(downscale(indexes(10), by), more) == downscale(indexes(10), by + more)
    assert downscale(indexes(10), 0) == indexes(10)


@pytest.mark.parametrize(("index", "scaled"), [(0, 0), (1, 0), (2, 1), (-1, -1), (-2, -1), (-3, -2)])
def test_indexes_below_zero_scale_towards_minus_infinity(index: int, scaled: int) -> None:
    assert downscale({index: 5}, 1) == {scaled: 5}


@MODERATE
@given(st.lists(measured, min_size=1, max_size=200), quantiles)
def test_a_quantile_is_near_the_nearest_rank_of_the_raw_values(values: list[float], q: float) -> None:
    nearest = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    got = quantile(histogram_of(values), q)
    assert abs(got - nearest) <= abs(nearest) * (RELATIVE_ERROR + SLACK)


@pytest.mark.parametrize(("q", "rank"), [(0.0, 1), (0.001, 1), (0.5, 5), (0.51, 6), (0.9, 9), (0.91, 10), (1.0, 10)])
def test_ranks_are_nearest_ranks(q: float, rank: int) -> None:
    assert quantile(histogram_of(map(float, range(1, 11))), q) == value_of(bucket_of(rank))


@pytest.mark.parametrize(
    ("buckets", "q"), [({}, 0.5), ({1: 0}, 0.5), ({1: 1}, -0.1), ({1: 1}, 1.1), ({1: 1}, math.nan)]
)
def test_a_quantile_of_nothing_or_outside_0_to_1_is_an_error(buckets: Buckets, q: float) -> None:
    with pytest.raises(ValueError, match="a quantile needs"):
        quantile(buckets, q)


@MODERATE
@given(st.lists(finite, min_size=1))
@example([5e-324, -5e-324, 0.0, -0.0, sys.float_info.max, -sys.float_info.max, LIMIT, 1 / LIMIT])
@example([2.0 ** (n / 32) for n in range(-64, 65)])
def test_a_column_of_values_falls_into_the_buckets_of_its_values(values: list[float]) -> None:
    many = buckets_of(np.array(values)).tolist()
    for value, key in zip(values, many, strict=True):
        # the two logarithms may round apart, but only where the value is at the edge of both buckets
        assert abs(key - bucket_of(value)) <= 1
        if key != bucket_of(value):
            edge = 2.0 ** ((max(abs(key), abs(bucket_of(value))) - KEY_OFFSET) / PER_DOUBLING)
            assert abs(value) == pytest.approx(edge, rel=SLACK)
