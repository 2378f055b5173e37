"""Small cells, by brute force: whatever is computed from what is shown is about `k` people or more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.small_cells import Cell, Verdict, decide

People = Mapping[int, frozenset[int]]
"""Who is in each cell."""

people = st.integers(0, 12)
windows = st.dictionaries(st.integers(0, 6), st.frozensets(people, max_size=9), min_size=1, max_size=7)
thresholds = st.integers(2, 8)


def in_order(window: People) -> list[Cell]:
    """The cells as the store lists them: smallest first, with the running number of different people."""
    cells: list[Cell] = []
    seen: set[int] = set()
    for series, who in sorted(window.items(), key=lambda one: (len(one[1]), one[0])):
        seen |= who
        cells.append(Cell(series, len(who), len(seen)))
    return cells


def hidden_of(window: People, verdict: Verdict) -> list[int]:
    return [series for series in window if series not in verdict.shown]


def union(window: People, cells: Sequence[int]) -> frozenset[int]:
    return frozenset(person for one in cells for person in window[one])


def subsets(cells: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for size in range(len(cells) + 1):
        yield from combinations(cells, size)


@given(windows, thresholds)
def test_no_shown_cell_and_no_remainder_is_about_fewer_than_k_people(window: People, k: int) -> None:
    verdict = decide(in_order(window), k)
    assert all(len(window[one]) >= k for one in verdict.shown)
    hidden = hidden_of(window, verdict)
    if verdict.withheld:
        assert not verdict.shown
        assert len(union(window, list(window))) < k
    else:
        assert len(hidden) == verdict.hidden
        assert not hidden or len(union(window, hidden)) >= k


@given(windows, thresholds)
def test_no_difference_of_roll_ups_is_about_fewer_than_k_people(window: People, k: int) -> None:
    """A roll-up is a sum over some of the shown cells, with the remainder or without. What a reader can isolate by taking
    one from another is what one holds and the other lacks; a cell that is hidden is never there without all the others."""
    verdict = decide(in_order(window), k)
    if verdict.withheld:
        return
    hidden = hidden_of(window, verdict)
    sums = [
        frozenset(some) | frozenset(rest)
        for some in subsets(verdict.shown)
        for rest in ([(), tuple(hidden)] if hidden else [()])
    ]
    for one in sums:
        for other in sums:
            if more := one - other:
                assert len(union(window, sorted(more))) >= k, (one, other)


@given(windows, thresholds)
def test_no_smaller_choice_in_this_order_would_do(window: People, k: int) -> None:
    """By brute force: of all prefixes of the cells in order, the shortest that holds every small one and has k people."""
    order = [cell.series_id for cell in in_order(window)]
    small = {series for series, who in window.items() if len(who) < k}
    fits = [
        size
        for size in range(len(order) + 1)
        if small <= set(order[:size]) and (not size or len(union(window, order[:size])) >= k)
    ]
    verdict = decide(in_order(window), k)
    assert verdict == (Verdict(tuple(order[fits[0] :]), fits[0]) if fits else Verdict((), withheld=True))


@given(windows, thresholds, st.integers(1, 4))
def test_a_higher_threshold_never_shows_more(window: People, k: int, more: int) -> None:
    assert set(decide(in_order(window), k + more).shown) <= set(decide(in_order(window), k).shown)


@given(windows, thresholds, st.dictionaries(st.integers(0, 9), st.frozensets(people, min_size=1), max_size=4))
def test_whatever_comes_late_leaves_every_group_at_k_people_or_more(window: People, k: int, late: People) -> None:
    """Decided once: late people, in cells that are shown, hidden or new, only ever add to groups that are large enough."""
    verdict = decide(in_order(window), k)
    if verdict.withheld:
        return
    after = {series: window.get(series, frozenset()) | late.get(series, frozenset()) for series in {*window, *late}}
    assert all(len(after[one]) >= k for one in verdict.shown)
    if verdict.hidden:
        assert len(union(after, hidden_of(after, verdict))) >= k


def test_the_smallest_large_cells_are_hidden_with_the_small_ones() -> None:
    cells = [Cell(7, 1, 1), Cell(3, 5, 5), Cell(1, 8, 8), Cell(2, 90, 95)]
    assert decide(cells, 5) == Verdict((1, 2), 2)
    assert decide(cells[1:], 5) == Verdict((3, 1, 2))
    assert decide(cells[:1], 5) == Verdict((), withheld=True)
    overlapping = [Cell(3, 4, 4), Cell(7, 4, 4), Cell(1, 9, 9)]
    assert decide(overlapping, 5) == Verdict((), 3), "the two together are four people, not eight"


def test_cells_that_are_not_in_order_are_refused() -> None:
    with pytest.raises(ValueError, match="each once"):
        decide([Cell(1, 3, 3), Cell(2, 2, 4)], 2)
    with pytest.raises(ValueError, match="each once"):
        decide([Cell(1, 3, 3), Cell(1, 3, 3)], 2)
