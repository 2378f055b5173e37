from __future__ import annotations

import pytest

from streamgauge.producers.cumulative import Cumulative, Gained, Number, Running, TooManyStreams


def test_each_point_adds_what_is_new() -> None:
    sums: Cumulative[Number] = Cumulative()

    assert [sums.added("a", 1, at, Number(value)).total for at, value in ((2, 5.0), (3, 5.0), (4, 12.0))] == [
        Number(5.0),
        Number(0.0),
        Number(7.0),
    ]


@pytest.mark.parametrize(("start", "value"), [(3, 100.0), (1, 2.0)])
def test_a_stream_that_starts_anew_adds_all_it_says(start: int, value: float) -> None:
    sums: Cumulative[Number] = Cumulative()
    sums.added("a", 1, 2, Number(50.0))

    assert sums.added("a", start, 4, Number(value)).total == Number(value)
    assert sums.added("a", start, 5, Number(value + 1)).total == Number(1.0)


def test_a_point_that_is_not_newer_adds_nothing() -> None:
    sums: Cumulative[Number] = Cumulative()
    sums.added("a", 1, 4, Number(50.0))

    assert sums.added("a", 1, 4, Number(60.0)).total is None
    assert sums.added("a", 1, 3, Number(20.0)).total is None
    assert sums.added("a", 1, 5, Number(51.0)).total == Number(1.0)


def test_a_stream_older_than_its_follower_begins_where_it_stands() -> None:
    sums: Cumulative[Number] = Cumulative(since_ns=10)

    assert sums.added("old", 9, 12, Number(50.0)).total is None
    assert sums.added("old", 9, 13, Number(53.0)).total == Number(3.0)
    assert sums.added("new", 10, 12, Number(50.0)).total == Number(50.0)


def test_memory_is_bounded_and_known_streams_go_on() -> None:
    sums: Cumulative[Number] = Cumulative(max_streams=2)
    for stream in "ab":
        sums.added(stream, 0, 1, Number(1.0))

    with pytest.raises(TooManyStreams):
        sums.added("c", 0, 1, Number(1.0))
    assert sums.added("a", 0, 2, Number(4.0)).total == Number(3.0)
    assert len(sums) == 2


@pytest.mark.parametrize(
    ("start", "at", "value", "note"),
    [(1, 3, 60.0, ""), (1, 2, 60.0, "repeated"), (1, 3, 9.0, "reset"), (3, 4, 9.0, "reset")],
)
def test_what_is_special_has_a_word(start: int, at: int, value: float, note: str) -> None:
    sums: Cumulative[Number] = Cumulative(since_ns=1)

    assert sums.added("old", 0, 2, Number(50.0)) == Gained(None, "baseline")
    sums.added("a", 1, 2, Number(50.0))
    assert sums.added("a", start, at, Number(value)).note == note


def test_a_forgotten_stream_that_comes_back_never_counts_twice() -> None:
    sums: Cumulative[Number] = Cumulative(2, 0, 1_000_000)

    def added(stream: str, start_ms: int, at_ms: int, value: float) -> tuple[float | None, str]:
        gained = sums.added(stream, start_ms * 1_000_000, at_ms * 1_000_000, Number(value), at_ms)
        return None if gained.total is None else gained.total.value, gained.note

    assert added("a", 10, 20, 5.0) == (5.0, "")
    assert added("b", 10, 30, 5.0) == (5.0, "")
    # takes the place of a, which was seen at 20 ms: whatever began before that may be one that was forgotten
    assert added("c", 10, 40, 5.0) == (None, "baseline")
    assert len(sums) == 2
    assert added("a", 10, 50, 9.0) == (None, "baseline")
    assert added("a", 10, 60, 10.0) == (1.0, "")
    assert added("d", 55, 70, 2.0) == (2.0, "")


def test_what_rests_longer_than_it_may_is_forgotten_and_what_was_seen_is_not() -> None:
    sums: Cumulative[Number] = Cumulative(9, 0, 100)
    for at in (0, 90):
        sums.added("seen", 0, at + 1, Number(1.0), at)
        sums.added(f"rests since {at}", 0, at + 1, Number(1.0), at)

    sums.added("new", 200_000_000, 200_000_000, Number(1.0), 150)
    assert len(sums) == 3
    assert sums.added("seen", 0, 95, Number(3.0), 160).total == Number(2.0)


def test_differences_add_up_to_where_a_stream_stands() -> None:
    running = Running(max_streams=1)

    assert [running.total("a", change) for change in (5.0, -2.0, 1.0)] == [5.0, 3.0, 4.0]
    with pytest.raises(TooManyStreams):
        running.total("b", 1.0)
