"""The outbox: order, bounds and pace of batches that wait for their acknowledgement."""

from __future__ import annotations

from streamgauge.producers.batching import Batch
from streamgauge.producers.outbox import Outbox, OutboxPolicy, Outcome

POLICY = OutboxPolicy(max_bytes=1_000, max_in_flight_bytes=1_000, first_pause=1.0, longest_pause=4.0)


def batch(order: int, size: int = 100, topic: str = "metrics") -> Batch:
    return Batch(topic, b"key", b"x" * size, {"requests": 1}, order)


def test_batches_go_out_oldest_first_within_a_topic() -> None:
    outbox = Outbox(POLICY)
    for order in (2, 1):
        outbox.add(batch(order))
    assert [one.order for one in outbox.ready(0.0)] == [1, 2]
    assert outbox.ready(0.0) == []


def test_a_failed_batch_pauses_longer_each_time_and_comes_before_younger_ones() -> None:
    outbox = Outbox(POLICY)
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
    outbox = Outbox(POLICY)
    failing, fine = batch(1), batch(2, topic="events")
    outbox.add(failing)
    outbox.ready(0.0)
    outbox.settle(failing, Outcome.UNKNOWN, 0.0)
    outbox.add(fine)
    assert outbox.ready(0.0) == [fine]


def test_only_a_quarter_of_the_bound_is_in_flight_at_once() -> None:
    outbox = Outbox(POLICY)
    for order in range(8):
        outbox.add(batch(order))
    assert [one.order for one in outbox.ready(0.0)] == [0, 1]


def test_a_batch_larger_than_the_window_still_goes_alone() -> None:
    outbox = Outbox(POLICY)
    outbox.add(batch(1, size=900))
    assert len(outbox.ready(0.0)) == 1


def test_the_oldest_that_waits_makes_room_and_what_is_in_flight_stays() -> None:
    outbox = Outbox(POLICY)
    for order in range(10):
        assert outbox.add(batch(order)) == []
    flying = outbox.ready(0.0)
    dropped = outbox.add(batch(10, size=150, topic="events"))
    assert [one.order for one in dropped] == [2, 3]
    assert outbox.bytes == 950
    assert outbox.settle(flying[0], Outcome.ACKNOWLEDGED, 0.0)
    assert outbox.bytes == 850


def test_a_batch_that_finds_no_room_at_all_is_itself_dropped() -> None:
    outbox = Outbox(POLICY)
    large = batch(1, size=1_001)
    assert outbox.add(large) == [large]
    assert len(outbox) == 0


def test_a_report_that_comes_twice_counts_once() -> None:
    outbox = Outbox(POLICY)
    one = batch(1)
    outbox.add(one)
    outbox.ready(0.0)
    assert outbox.settle(one, Outcome.ACKNOWLEDGED, 0.0)
    assert not outbox.settle(one, Outcome.UNKNOWN, 0.0)
    assert (len(outbox), outbox.bytes, outbox.in_flight()) == (0, 0, 0)
