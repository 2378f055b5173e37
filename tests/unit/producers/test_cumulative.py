from __future__ import annotations

import pytest

from streamgauge.producers.cumulative import Cumulative, Number, Running, TooManyStreams


def test_each_point_adds_what_is_new() -> None:
    sums: Cumulative[Number] = Cumulative()

    assert [sums.added("a", 1, at, Number(value)) for at, value in ((2, 5.0), (3, 5.0), (4, 12.0))] == [
        Number(5.0),
        Number(0.0),
        Number(7.0),
    ]


@pytest.mark.parametrize(("start", "value"), [(3, 100.0), (1, 2.0)])
def test_a_stream_that_starts_anew_adds_all_it_says(start: int, value: float) -> None:
    sums: Cumulative[Number] = Cumulative()
    sums.added("a", 1, 2, Number(50.0))

    assert sums.added("a", start, 4, Number(value)) == Number(value)
    assert sums.added("a", start, 5, Number(value + 1)) == Number(1.0)


def test_a_point_that_is_not_newer_adds_nothing() -> None:
    sums: Cumulative[Number] = Cumulative()
    sums.added("a", 1, 4, Number(50.0))

    assert sums.added("a", 1, 4, Number(60.0)) is None
    assert sums.added("a", 1, 3, Number(20.0)) is None
    assert sums.added("a", 1, 5, Number(51.0)) == Number(1.0)


def test_a_stream_older_than_its_follower_begins_where_it_stands() -> None:
    sums: Cumulative[Number] = Cumulative(since_ns=10)

    assert sums.added("old", 9, 12, Number(50.0)) is None
    assert sums.added("old", 9, 13, Number(53.0)) == Number(3.0)
    assert sums.added("new", 10, 12, Number(50.0)) == Number(50.0)


def test_memory_is_bounded_and_known_streams_go_on() -> None:
    sums: Cumulative[Number] = Cumulative(max_streams=2)
    for stream in "ab":
        sums.added(stream, 0, 1, Number(1.0))

    with pytest.raises(TooManyStreams):
        sums.added("c", 0, 1, Number(1.0))
    assert sums.added("a", 0, 2, Number(4.0)) == Number(3.0)
    assert len(sums) == 2


def test_differences_add_up_to_where_a_stream_stands() -> None:
    running = Running(max_streams=1)

    assert [running.total("a", change) for change in (5.0, -2.0, 1.0)] == [5.0, 3.0, 4.0]
    with pytest.raises(TooManyStreams):
        running.total("b", 1.0)
