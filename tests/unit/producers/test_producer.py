"""The producer: when it sends, what it does when nobody answers, and that its books are always right."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers import Counter, Dimension, Event, FlushReport, Measure, Producer, ProducerSettings, unit
from streamgauge.producers.delivery import METRICS_SHARE
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.producer import new_instance
from streamgauge.producers.testing import Captured, CapturedTransport, captured_producer
from tests.unit.producers.decoded import event_batches, metric_batches, rows, values


class Viewed(Event):
    """A page was viewed."""

    page: Dimension[str]
    seconds: Measure[float, unit("s")] = 1.0


def test_metrics_are_sent_when_their_interval_has_passed() -> None:
    producer, transport, clock = captured_producer(flush_interval=2_000)
    requests = Counter("requests", producer=producer)
    requests.inc()
    clock.advance(1.9)
    assert producer.step() == pytest.approx(0.1)
    assert transport.sent == []
    clock.advance(0.1)
    producer.step()
    requests.inc()
    assert producer.step() == pytest.approx(2.0)
    assert len(transport.sent) == 1


def test_events_wait_no_longer_than_their_interval() -> None:
    producer, transport, clock = captured_producer(flush_events_interval=250)
    producer.emit(Viewed(page="/"))
    assert producer.step() == pytest.approx(0.25)
    clock.advance(0.2)
    producer.emit(Viewed(page="/cart"))
    assert producer.step() == pytest.approx(0.05)
    assert transport.sent == []
    clock.advance(0.05)
    producer.step()
    assert len(event_batches(transport.sent)[0].times) == 2


def test_a_full_batch_of_events_does_not_wait() -> None:
    producer, transport, _ = captured_producer(max_batch=3)
    for page in range(2):
        producer.emit(Viewed(page=str(page)))
    producer.step()
    assert transport.sent == []
    producer.emit(Viewed(page="2"))
    producer.step()
    assert len(transport.sent) == 1


def test_the_books_follow_every_point_from_call_to_acknowledgement() -> None:
    producer, transport, _ = captured_producer()
    transport.outcome = None
    Counter("requests", producer=producer).inc(5)
    producer.emit(Viewed(page="/"))
    assert producer.stats().waiting == {"requests": 1, "viewed": 2}
    assert producer.flush(0.05) == FlushReport(delivered=0, dropped=0, left=3)
    stats = producer.stats()
    assert (stats.waiting, stats.batches_waiting, stats.batches_sent) == ({"requests": 1, "viewed": 2}, 2, 2)
    transport.outcome = Outcome.ACKNOWLEDGED
    assert producer.flush(1) == FlushReport(delivered=3, dropped=0, left=0)
    stats = producer.stats()
    assert stats.emitted == stats.acknowledged == {"requests": 1, "viewed": 2}
    assert (stats.waiting, stats.bytes_waiting, stats.batches_acknowledged) == ({}, 0, 2)


def test_a_failed_batch_is_sent_again_byte_for_byte_with_its_own_number() -> None:
    producer, transport, clock = captured_producer()
    requests = Counter("requests", producer=producer)
    transport.outcome = Outcome.UNKNOWN
    requests.inc()
    producer.flush(0)
    transport.poll(0)
    transport.outcome = Outcome.ACKNOWLEDGED
    requests.inc(2)
    producer.step()
    assert len(transport.sent) == 1  # it pauses before it tries again
    clock.advance(2)
    producer.flush()
    first, *others = transport.sent
    assert first in others
    assert {batch.origin.seq for batch in metric_batches(transport.delivered)} == {0, 1}
    assert len(transport.delivered) == 2
    assert values(transport.delivered)["requests",].sum == 3.0


def test_a_flush_waits_for_repeats_within_its_time() -> None:
    transport = CapturedTransport(Outcome.UNKNOWN)
    producer = Producer(ProducerSettings(), transport, background=False)
    Counter("requests", producer=producer).inc()
    healer = threading.Timer(0.15, setattr, (transport, "outcome", Outcome.ACKNOWLEDGED))
    healer.start()
    try:
        assert producer.flush(10) == FlushReport(delivered=1, dropped=0, left=0)
    finally:
        healer.join()
    assert len({one.value for one in transport.sent}) == 1
    producer.close()


def test_what_the_broker_refuses_for_good_is_dropped_and_counted() -> None:
    producer, transport, _ = captured_producer()
    transport.outcome = Outcome.REFUSED
    producer.emit(Viewed(page="/"))
    assert producer.flush() == FlushReport(delivered=0, dropped=2, left=0)
    assert producer.stats().dropped == {("viewed", "refused_by_broker"): 2}


def test_a_full_event_buffer_drops_the_newest() -> None:
    producer, transport, _ = captured_producer(event_buffer=3)
    for page in range(5):
        producer.emit(Viewed(page=str(page)))
    producer.flush()
    assert [row["page"] for row in rows(transport.delivered, "viewed")] == ["0", "1", "2"]
    stats = producer.stats()
    assert stats.dropped == {("viewed", "buffer_full"): 4}
    assert stats.emitted["viewed"] == 10


def test_the_event_buffer_is_bounded_in_bytes_too() -> None:
    producer, _, _ = captured_producer(event_buffer_bytes=10_000)
    for _ in range(100):
        producer.emit(Viewed(page="x" * 1_000))
    dropped = producer.stats().dropped["viewed", "buffer_full"]
    assert 180 <= dropped < 200


def test_while_nobody_answers_metrics_wait_unnumbered_and_none_is_lost() -> None:
    producer, transport, _ = captured_producer(outbox_bytes=16_000)
    transport.outcome = None
    requests = Counter("requests", producer=producer)
    for amount in range(60):
        requests.inc(amount)
        producer.flush(0)
    stats = producer.stats()
    assert stats.bytes_waiting <= 16_000 / METRICS_SHARE + 1_000
    assert (stats.waiting, stats.dropped) == ({"requests": 60}, {})
    transport.outcome = Outcome.ACKNOWLEDGED
    producer.flush()
    batches = metric_batches(transport.delivered)
    assert [batch.origin.seq for batch in batches] == list(range(len(batches)))
    assert len(batches) < 10
    value = values(transport.delivered)["requests",]
    assert (value.count, value.sum) == (60, sum(range(60)))


def test_events_that_find_no_room_wait_unnumbered_and_their_loss_leaves_no_hole() -> None:
    producer, transport, _ = captured_producer(outbox_bytes=4_000, event_buffer=20, max_batch=5)
    transport.outcome = None
    for page in range(100):
        producer.emit(Viewed(page=str(page)))
        producer.flush(0)
    stats = producer.stats()
    assert stats.bytes_waiting < 4_000 + 1_000
    lost = stats.dropped["viewed", "buffer_full"]
    assert stats.waiting["viewed"] == 200 - lost
    assert 0 < lost < 160
    transport.outcome = Outcome.ACKNOWLEDGED
    producer.flush()
    batches = event_batches(transport.delivered)
    assert [batch.origin.seq for batch in batches] == list(range(len(batches)))
    pages = [row["page"] for row in rows(transport.delivered, "viewed")]
    assert pages == [str(page) for page in range(100 - lost // 2)]


def test_batches_stay_within_rows_and_bytes_and_are_numbered_densely() -> None:
    producer, transport, _ = captured_producer(max_batch=100, max_batch_bytes=20_000, event_buffer=2_000)
    for number in range(950):
        producer.emit(Viewed(page=f"{number:04d}" * 100))
    producer.flush()
    batches = event_batches(transport.delivered)
    assert all(len(one.value) <= 20_000 for one in transport.delivered)
    assert all(len(batch.times) <= 100 for batch in batches)
    assert [batch.origin.seq for batch in batches] == list(range(len(batches)))
    assert len(rows(transport.delivered, "viewed")) == 950
    assert producer.stats().acknowledged == {"viewed": 1_900}


def test_events_whose_times_lie_too_far_apart_for_one_batch_are_sorted_into_few() -> None:
    producer, transport, _ = captured_producer()
    for number in range(100):
        producer.emit(Viewed(page="/"), at_ms=number if number % 3 else 10**12 + number)
    producer.flush()
    assert [len(batch.times) for batch in event_batches(transport.delivered)] == [66, 34]


def test_metrics_and_events_of_one_instance_are_numbered_by_topic() -> None:
    producer, transport, _ = captured_producer(region="eu")
    for _ in range(2):
        Counter("requests", producer=producer).inc()
        producer.emit(Viewed(page="/"))
        producer.flush()
    found = [(one.topic, one.json()["stream"], one.json()["seq"]) for one in transport.delivered]
    assert found == [(f"sg.eu.{kind}.v1", "test", seq) for seq in range(2) for kind in ("metrics", "events")]


def test_closing_sends_everything_and_refuses_what_comes_later() -> None:
    producer, transport, _ = captured_producer()
    requests = Counter("requests", producer=producer)
    requests.inc()
    producer.emit(Viewed(page="/"))
    assert producer.close() == FlushReport(delivered=3, dropped=0, left=0)
    assert transport.closed
    requests.inc()
    producer.emit(Viewed(page="/"))
    stats = producer.stats()
    assert stats.dropped == {("requests", "closed"): 1, ("viewed", "closed"): 2}
    assert stats.emitted == {"requests": 2, "viewed": 4}
    assert producer.close() == FlushReport(0, 0, 0)


def test_closing_without_an_answer_counts_the_rest_as_dropped() -> None:
    producer, transport, _ = captured_producer()
    transport.outcome = None
    Counter("requests", producer=producer).inc()
    assert producer.close(0.1) == FlushReport(delivered=0, dropped=1, left=0)
    stats = producer.stats()
    assert stats.dropped == {("requests", "closed"): 1}
    assert (stats.waiting, stats.batches_waiting) == ({}, 0)


def test_the_flusher_sends_on_its_own_and_ends_with_the_producer() -> None:
    transport = CapturedTransport()
    producer = Producer(ProducerSettings(flush_interval=50, flush_events_interval=20), transport)
    assert not named_threads()
    Counter("requests", producer=producer).inc()
    producer.emit(Viewed(page="/"))
    deadline = time.monotonic() + 10
    while producer.stats().waiting and time.monotonic() < deadline:
        time.sleep(0.005)
    assert producer.stats().acknowledged == {"requests": 1, "viewed": 2}
    assert len(named_threads()) == 1
    producer.close()
    assert not named_threads()


def named_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "streamgauge-flusher"]


class FailingTransport(CapturedTransport):
    """Breaks in every way a transport can."""

    def send(self, topic: str, key: bytes, value: bytes, report: Any) -> None:
        """Fail after taking the message."""
        super().send(topic, key, value, report)
        if len(self.sent) % 2:
            raise RuntimeError("broken")


def test_the_flusher_outlives_a_transport_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    transport = FailingTransport()
    producer = Producer(ProducerSettings(flush_interval=10), transport)
    requests = Counter("requests", producer=producer)
    requests.inc()
    deadline = time.monotonic() + 10
    while not producer.stats().acknowledged and time.monotonic() < deadline:
        time.sleep(0.01)
    producer.close()
    assert producer.stats().acknowledged == {"requests": 1}
    assert "a flush failed" in caplog.text


class HangingTransport(CapturedTransport):
    """Takes a message and does not come back, as a disk may that is not there any more."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()

    def send(self, topic: str, key: bytes, value: bytes, report: Any) -> None:
        """Hang."""
        self.entered.set()
        self.released.wait(60)
        super().send(topic, key, value, report)


def test_a_flusher_that_hangs_does_not_hold_up_the_end() -> None:
    transport = HangingTransport()
    producer = Producer(ProducerSettings(flush_interval=10), transport)
    Counter("requests", producer=producer).inc()
    assert transport.entered.wait(20)
    started = time.monotonic()
    try:
        report = producer.close(0.1)
        assert time.monotonic() - started < 10
        assert (report.delivered, report.dropped, report.left) == (0, 0, 1)
    finally:
        transport.released.set()


def test_every_process_gets_an_instance_of_its_own() -> None:
    assert len({new_instance("host-1") for _ in range(100)}) == 100
    assert new_instance("host-1").startswith("host-1-")
    assert new_instance("") != new_instance("")
    assert len(new_instance("x" * 500)) <= 128


actions = st.lists(
    st.one_of(
        st.tuples(st.just("inc"), st.integers(1, 5)),
        st.tuples(st.just("emit"), st.integers(1, 5)),
        st.tuples(st.just("outcome"), st.integers(0, 3)),
        st.tuples(st.just("advance"), st.integers(0, 20)),
        st.tuples(st.just("step"), st.just(0)),
        st.tuples(st.just("poll"), st.just(0)),
        st.tuples(st.just("bad"), st.just(0)),
    ),
    max_size=40,
)
OUTCOMES = (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN, Outcome.REFUSED, None)


@given(actions, st.booleans())
def test_emitted_is_always_acknowledged_waiting_or_dropped(sequence: list[tuple[str, int]], close: bool) -> None:
    producer, transport, clock = captured_producer(
        environment="production", event_buffer=6, outbox_bytes=1_500, max_batch=3
    )
    requests = Counter("requests", "", ["label"], producer=producer)
    told = {"requests": 0, "viewed": 0}
    for action, number in sequence:
        if action == "inc":
            requests.labels(number).inc()
            told["requests"] += 1
        elif action == "emit":
            for _ in range(number):
                producer.emit(Viewed(page=str(number)))
            told["viewed"] += 2 * number
        elif action == "outcome":
            transport.outcome = OUTCOMES[number]
        elif action == "advance":
            clock.advance(number / 4)
        elif action == "step":
            producer.step()
        elif action == "bad":
            requests.labels("a", "b").inc()
            told["requests"] += 1
        elif transport.outcome is not None:
            transport.poll(0)
        check_books(producer, told)
    if close:
        producer.close(0)
        check_books(producer, told)
        assert not producer.stats().waiting
    # nothing is delivered under a number that was used before for something else
    by_number: dict[tuple[str, str, int], Captured] = {}
    for one in transport.sent:
        message = one.json()
        assert by_number.setdefault((one.topic, message["stream"], message["seq"]), one) == one


def check_books(producer: Producer, told: dict[str, int]) -> None:
    """What was told to the producer is what its books say, name by name."""
    stats = producer.stats()
    for name, points in told.items():
        dropped = sum(count for (one, _), count in stats.dropped.items() if one == name)
        assert stats.emitted.get(name, 0) == points
        here = stats.waiting.get(name, 0) + stats.spooled.get(name, 0)
        assert stats.acknowledged.get(name, 0) + here + dropped == points
