"""The outbox: order, bounds and pace of batches that wait for their acknowledgement."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers.batching import Batch
from streamgauge.producers.outbox import Outbox, OutboxPolicy, Outcome

POLICY = OutboxPolicy(max_bytes=1_000, max_in_flight_bytes=1_000, first_pause=1.0, longest_pause=4.0)


def batch(order: int, size: int = 100, topic: str = "metrics") -> Batch:
    return Batch(topic, b"key", b"x" * size, {"requests": 1}, order)


def test_batches_go_out_oldest_first_within_a_topic() -> None:
    outbox = Outbox(POLICY, lambda: 1.0)
    for order in (2, 1):
        outbox.add(batch(order))
    assert [one.order for one in outbox.ready(0.0)] == [1, 2]
    assert outbox.ready(0.0) == []


def test_a_failed_batch_pauses_longer_each_time_and_comes_before_younger_ones() -> None:
    outbox = Outbox(POLICY, lambda: 1.0)
    one = batch(1)
    outbox.add(one)
    pauses: list[float] = []
    now = 0.0
    for _ in range(5):
        assert outbox.ready(now) == [one]
        outbox.settle(one, Outcome.UNKNOWN, now)
        assert outbox.next_retry() is not None
        pauses.append(one.retry_at - now)
        assert outbox.ready(now) == []
        now = one.retry_at
    assert pauses == [1.0, 2.0, 4.0, 4.0, 4.0]
    outbox.add(batch(2))
    assert [ready.order for ready in outbox.ready(now)] == [1, 2]


def test_a_topic_that_fails_does_not_hold_up_another() -> None:
    outbox = Outbox(POLICY, lambda: 1.0)
    failing, fine = batch(1), batch(2, topic="events")
    outbox.add(failing)
    outbox.ready(0.0)
    outbox.settle(failing, Outcome.UNKNOWN, 0.0)
    outbox.add(fine)
    assert outbox.ready(0.0) == [fine]


def test_only_a_quarter_of_the_bound_is_in_flight_at_once() -> None:
    outbox = Outbox(POLICY, lambda: 1.0)
    for order in range(8):
        outbox.add(batch(order))
    assert [one.order for one in outbox.ready(0.0)] == [0, 1]


def test_a_batch_larger_than_the_window_still_goes_alone() -> None:
    outbox = Outbox(POLICY, lambda: 1.0)
    outbox.add(batch(1, size=900))
    assert len(outbox.ready(0.0)) == 1


def test_it_says_what_fits_and_drops_nothing_that_has_a_number() -> None:
    outbox = Outbox(POLICY, lambda: 1.0)
    for order in range(11):
        outbox.add(batch(order, topic="events" if order % 2 else "metrics"))
    assert (outbox.room(), outbox.bytes, len(outbox)) == (-100, 1_100, 11)
    assert (outbox.bytes_of("metrics"), outbox.bytes_of("events")) == (600, 500)
    (first, *_) = outbox.ready(0.0)
    assert outbox.settle(first, Outcome.ACKNOWLEDGED, 0.0)
    assert (outbox.room(), outbox.bytes_of("metrics")) == (0, 500)
    assert sorted(one.order for one in outbox.everything()) == list(range(1, 11))
    assert not outbox.holds(first)


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_between_half_and_all_of_what_the_attempts_ask_for(attempts: int, chance: float) -> None:
    whole = min(4.0, 2.0 ** (attempts - 1))
    assert whole / 2 <= POLICY.pause(attempts, chance) <= whole


def test_processes_that_lost_a_broker_together_do_not_come_back_together() -> None:
    chances = random.Random(7)
    starts = {round(POLICY.pause(10, chances.random()), 2) for _ in range(1_000)}
    assert len(starts) > 150  # of the 200 hundredths of a second that there are
    assert max(starts) - min(starts) > 1.9


def test_a_report_that_comes_twice_counts_once() -> None:
    outbox = Outbox(POLICY, lambda: 1.0)
    one = batch(1)
    outbox.add(one)
    outbox.ready(0.0)
    assert outbox.settle(one, Outcome.ACKNOWLEDGED, 0.0)
    assert not outbox.settle(one, Outcome.UNKNOWN, 0.0)
    assert (len(outbox), outbox.bytes, outbox.in_flight()) == (0, 0, 0)
