"""Columns become one key and come back; buckets of arrays are those of single values."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamgauge.processors.grouping import buckets_of, combine, counted
from streamgauge.schemas.histogram import PER_DOUBLING, bucket_of

sizes = st.lists(st.sampled_from([1, 2, 7, 1 << 16, 1 << 29, 1 << 32]), min_size=1, max_size=6)


@st.composite
def columns(draw: st.DrawFn) -> list[tuple[np.ndarray, int]]:
    """Columns of codes, some with many more possible values than rows."""
    rows = draw(st.integers(1, 12))
    return [
        (
            np.array(draw(st.lists(st.sampled_from([0, size // 2, size - 1]), min_size=rows, max_size=rows)), np.int64),
            size,
        )
        for size in draw(sizes)
    ]


@settings(max_examples=300)
@given(columns(), st.sampled_from([16, 1 << 20, 1 << 46]))
def test_equal_rows_and_only_they_have_equal_keys_that_stay_small(
    given: list[tuple[np.ndarray, int]], limit: int
) -> None:
    keys, space = combine(given, limit)
    rows = list(zip(*(codes.tolist() for codes, _ in given), strict=True))
    assert len({*zip(keys.tolist(), rows, strict=True)}) == len(set(keys.tolist())) == len(set(rows))
    assert int(keys.min()) >= 0
    assert int(keys.max()) < max(limit, len(rows))
    assert [column.tolist() for column in space.columns(keys)] == [codes.tolist() for codes, _ in given]


@settings(max_examples=300)
@given(st.lists(st.integers(0, 5), min_size=1))
def test_runs_are_counted(given: list[int]) -> None:
    keys, counts = counted(np.array(given))
    assert dict(zip(keys.tolist(), counts.tolist(), strict=True)) == {key: given.count(key) for key in set(given)}


@settings(max_examples=500)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@example([0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, 2.0**512, 2.0**-512, 2.0**513])
def test_buckets_of_an_array_are_those_of_its_values(given: list[float]) -> None:
    assert buckets_of(np.array(given)).tolist() == [bucket_of(value) for value in given]


def test_every_bound_of_a_bucket_and_its_neighbours_fall_where_single_values_do() -> None:
    bounds = [2.0 ** (index / PER_DOUBLING) for index in range(-64 * PER_DOUBLING, 64 * PER_DOUBLING)]
    around = [one for bound in bounds for one in (bound, math.nextafter(bound, 0), math.nextafter(bound, math.inf))]
    assert buckets_of(np.array(around)).tolist() == [bucket_of(value) for value in around]
