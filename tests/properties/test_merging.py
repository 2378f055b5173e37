"""Merging conserves what was counted, whatever the order and the parts in which rows arrive."""

from __future__ import annotations

import math
from dataclasses import fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.columns import Array
from streamgauge.schemas.histogram import merge
from streamgauge.schemas.merging import merge_distinct, merge_rows
from streamgauge.schemas.rollups import (
    DistinctRows,
    RollupRows,
    concat_distinct,
    concat_rows,
    no_histograms,
    part_keys,
    split_rows,
)
from tests.properties.messages import MODERATE, distinct_rows, histogram_values, rollup_rows

Key = tuple[int, int, int, int]


def row_keys(rows: RollupRows | DistinctRows) -> list[Key]:
    """Metric, entry tier, series and window of every row."""
    columns = (rows.metric, rows.entry, rows.series_id, rows.window)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def expected(rows: RollupRows) -> dict[Key, dict[str, Any]]:
    """What merging must give, computed row by row."""
    found: dict[Key, dict[str, Any]] = {}
    for row, (key, hist) in enumerate(zip(row_keys(rows), histogram_values(rows.hist), strict=True)):
        last = (int(rows.last_ms[row]), float(rows.last[row]))
        low, high = float(rows.min[row]), float(rows.max[row])
        one = found.setdefault(key, {"count": 0, "sums": [], "min": low, "max": high, "last": last, "hist": {}})
        one["count"] += int(rows.count[row])
        one["sums"].append(float(rows.sum[row]))
        one["min"], one["max"] = min(one["min"], low), max(one["max"], high)
        one["last"] = max(one["last"], last)
        one["hist"] = merge(one["hist"], hist)
    return found


def check(merged: RollupRows, wanted: dict[Key, dict[str, Any]]) -> None:
    """Every key once and in order, with everything that its rows held."""
    assert row_keys(merged) == sorted(wanted)
    for row, (key, hist) in enumerate(zip(row_keys(merged), histogram_values(merged.hist), strict=True)):
        one = wanted[key]
        assert int(merged.count[row]) == one["count"]
        scale = sum(map(abs, one["sums"]))
        assert math.isclose(float(merged.sum[row]), math.fsum(one["sums"]), rel_tol=1e-12, abs_tol=1e-12 * scale)
        assert (float(merged.min[row]), float(merged.max[row])) == (one["min"], one["max"])
        assert (int(merged.last_ms[row]), float(merged.last[row])) == one["last"]
        assert hist == one["hist"]
    for row, length in zip(np.cumsum(merged.hist.per_row), merged.hist.per_row, strict=True):
        keys = merged.hist.keys[int(row) - int(length) : int(row)].tolist()
        assert keys == sorted(set(keys))


@MODERATE
@given(rollup_rows(few_keys=True, max_rows=25))
def test_merging_conserves_counts_sums_extremes_last_values_and_histograms(rows: RollupRows) -> None:
    check(merge_rows(rows), expected(rows))


@MODERATE
@given(rollup_rows(few_keys=True, max_rows=25), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_but_last_bits_of_sums(rows: RollupRows, random: Any) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    check(merge_rows(rows.take(np.array(order, np.int64))), expected(rows))


@MODERATE
@given(rollup_rows(few_keys=True, max_rows=25), st.lists(st.integers(0, 25), max_size=4))
def test_merging_merged_parts_is_merging_everything(rows: RollupRows, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [merge_rows(rows.take(np.arange(first, last))) for first, last in pairwise(edges)]
    check(merge_rows(concat_rows(parts)), expected(rows))


@MODERATE
@given(rollup_rows(few_keys=True))
def test_equal_rows_in_equal_order_give_equal_bytes(rows: RollupRows) -> None:
    once, again = merge_rows(rows), merge_rows(concat_rows([rows]))
    for column in fields(RollupRows):
        if column.name != "hist":
            assert getattr(once, column.name).tobytes() == getattr(again, column.name).tobytes()
    assert [getattr(once.hist, one.name).tobytes() for one in fields(once.hist)] == [
        getattr(again.hist, one.name).tobytes() for one in fields(again.hist)
    ]


@MODERATE
@given(rollup_rows(max_rows=10), st.data())
def test_taken_rows_bring_their_histograms(rows: RollupRows, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(rows) - 1))) if len(rows) else []
    taken = rows.take(np.array(places, np.int64))
    everything = list(zip(row_keys(rows), histogram_values(rows.hist), rows.count.tolist(), strict=True))
    got = list(zip(row_keys(taken), histogram_values(taken.hist), taken.count.tolist(), strict=True))
    assert got == [everything[place] for place in places]


def one_cell(sums: list[float]) -> RollupRows:
    """Rows of one key."""
    n = len(sums)
    zeros = np.zeros(n)
    whole = np.zeros(n, np.int64)
    count = np.ones(n, np.uint64)
    return RollupRows(
        whole,
        whole.astype(np.uint64),
        whole,
        whole,
        count,
        np.array(sums),
        zeros,
        zeros,
        zeros,
        whole,
        no_histograms(n),
    )


@pytest.mark.parametrize(
    ("sums", "merged"), [([1.7e308] * 3, np.finfo(float).max), ([-1.7e308] * 3, -np.finfo(float).max)]
)
def test_a_sum_that_leaves_the_range_of_doubles_stays_at_its_end(sums: list[float], merged: float) -> None:
    assert merge_rows(one_cell(sums)).sum.tolist() == [merged]


@MODERATE
@given(distinct_rows(few_keys=True, max_rows=25), st.integers(0, 25), st.randoms(use_true_random=False))
def test_distinct_hashes_are_a_set(rows: DistinctRows, cut: int, random: Any) -> None:
    def members(some: DistinctRows) -> list[tuple[Any, ...]]:
        return [(*key, seen) for key, seen in zip(row_keys(some), some.hash.tolist(), strict=True)]

    merged = merge_distinct(rows)
    assert members(merged) == sorted(set(members(rows)))
    order = list(range(len(rows)))
    random.shuffle(order)
    parts = [merge_distinct(rows.take(np.array(part, np.int64))) for part in (order[:cut], order[cut:])]
    assert members(merge_distinct(concat_distinct(parts))) == members(merged)


def array_of(values: list[int]) -> Array:
    """As numpy has them."""
    return np.array(values, np.int64)


@MODERATE
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), max_size=60), st.integers(1, 25), st.integers(1, 4))
def test_a_split_covers_every_row_once_in_order_within_both_limits(
    rows: list[tuple[int, int]], max_weight: int, max_parts: int
) -> None:
    weights = [weight for weight, _ in rows]
    parts = sorted(part for _, part in rows)
    runs = list(split_rows(array_of(weights), array_of(parts), max_weight, max_parts))
    assert [row for first, last in runs for row in range(first, last)] == list(range(len(rows)))
    for first, last in runs:
        assert last - first == 1 or sum(weights[first:last]) <= max_weight
        assert len(set(parts[first:last])) <= max_parts
    # no run ends before it must
    for (first, last), (_, until) in pairwise(runs):
        assert last < until
        grown = slice(first, last + 1)
        assert sum(weights[grown]) > max_weight or len(set(parts[grown])) > max_parts


def test_splitting_nothing_gives_nothing() -> None:
    assert list(split_rows(array_of([]), array_of([]), 10, 1)) == []


seconds = st.integers(0, (1 << 32) - 1)


@MODERATE
@given(st.lists(st.tuples(st.integers(0, 3), seconds), min_size=1, max_size=30))
def test_rows_share_a_part_exactly_when_they_share_a_partition_of_the_store(rows: list[tuple[int, int]]) -> None:
    entries, windows = np.array([tier for tier, _ in rows], np.uint8), np.array([at for _, at in rows], np.uint32)
    days = [datetime.fromtimestamp(at, UTC).date() for _, at in rows]
    # tiers below an hour are kept by day, the others by month
    partitions = [(day if tier < 2 else (day.year, day.month)) for (tier, _), day in zip(rows, days, strict=True)]
    parts = part_keys(entries, windows).tolist()
    assert len(set(zip(parts, partitions, strict=True))) == len(set(parts)) == len(set(partitions))


def test_a_month_is_one_part_from_its_first_to_its_last_second() -> None:
    first, last = (
        datetime(2026, 1, 1, tzinfo=UTC).timestamp(),
        datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp(),
    )
    january, february = part_keys(np.array([2, 3, 2]), np.array([first, last, last + 1])).tolist()[1:]
    assert part_keys(np.array([2]), np.array([int(first)])).tolist() == [january]
    assert january != february
    assert january < 0
