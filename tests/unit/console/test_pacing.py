"""Pacing: a sender never runs further ahead of a group than its limit, and never stands still for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console.pacing import Lead


def test_bytes_in_flight_count_until_they_are_committed() -> None:
    lead = Lead(limit=100)
    lead.sent(60)
    assert not lead.room(60)
    lead.landed(0, 7, 60)
    assert (lead.ahead(), lead.in_flight) == (60, 0)
    assert not lead.committed({0: 7})
    assert lead.committed({0: 8})
    assert lead.room(100)


def test_partitions_do_not_add_up() -> None:
    lead = Lead(limit=100)
    for partition in (0, 1):
        lead.sent(60)
        lead.landed(partition, 0, 60)
    assert lead.ahead() == 60
    assert lead.room(40)
    assert not lead.room(41)


def test_a_message_larger_than_the_limit_goes_alone() -> None:
    lead = Lead(limit=100)
    assert lead.room(500)
    lead.sent(500)
    assert not lead.room(1)


def test_what_failed_is_not_waited_for() -> None:
    lead = Lead(limit=100)
    lead.sent(100)
    lead.failed(100)
    assert lead.room(100)


def test_a_group_that_is_ahead_already_counts_nothing_twice() -> None:
    lead = Lead(limit=100)
    lead.sent(50)
    lead.landed(0, 5, 50)
    assert lead.committed({0: 1000, 3: 9})
    assert not lead.committed({0: 1000})
    assert lead.ahead() == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), max_size=60))
def test_the_lead_never_exceeds_its_limit_and_always_drains(messages: list[tuple[int, int]]) -> None:
    lead = Lead(limit=100)
    ends = [0, 0, 0]
    waiting = [0, 0, 0]
    for partition, size in messages:
        while not lead.room(size):
            assert lead.committed(dict(enumerate(ends)))
            waiting = [0, 0, 0]
        lead.sent(size)
        lead.landed(partition, ends[partition], size)
        ends[partition] += 1
        waiting[partition] += size
        assert lead.ahead() == max(waiting) <= 100
