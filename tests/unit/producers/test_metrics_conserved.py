"""Metrics: no call is lost, whatever threads, flushes and clocks do."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers import Counter, Gauge, Histogram
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.decoding import decode
from streamgauge.schemas.histogram import histogram_of
from tests.unit.producers.decoded import metric_batches, values

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
positive = st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e300)


def test_no_call_is_lost_between_threads_and_flushes() -> None:
    producer, transport, clock = captured_producer()
    requests = Counter("requests", "", ["worker"], producer=producer)
    latency = Histogram("latency", producer=producer)
    done = threading.Event()

    def work(name: int) -> None:
        for _ in range(2_000):
            requests.labels("shared").inc()
            requests.labels(str(name)).inc(2)
            latency.observe(0.25)

    def flush() -> None:
        while not done.is_set():
            producer.flush(1)
            clock.advance(4)

    workers = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    flusher = threading.Thread(target=flush)
    for thread in (flusher, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    flusher.join()
    producer.flush()
    found = values(transport.delivered)
    assert found["requests", "shared"].sum == 8_000
    assert [found["requests", str(name)].sum for name in range(4)] == [4_000.0] * 4
    assert found["latency",].buckets == histogram_of([0.25] * 8_000)
    assert producer.stats().emitted == producer.stats().acknowledged == {"requests": 16_000, "latency": 8_000}


calls = st.lists(
    st.one_of(
        st.tuples(st.just("inc"), st.sampled_from("ab"), positive),
        st.tuples(st.just("observe"), st.sampled_from("ab"), finite),
        st.tuples(st.just("set"), st.sampled_from("ab"), finite),
        st.tuples(st.just("advance"), st.just(""), st.floats(0, 30)),
        st.tuples(st.just("flush"), st.just(""), st.just(0.0)),
    ),
    max_size=60,
)


@given(calls, st.integers(1, 5))
def test_whatever_is_called_is_conserved(sequence: list[tuple[str, str, float]], max_batch: int) -> None:
    producer, transport, clock = captured_producer(max_batch=max_batch)
    counter = Counter("counter", "", ["label"], producer=producer)
    histogram = Histogram("histogram", "", ["label"], producer=producer)
    gauge = Gauge("gauge", "", ["label"], producer=producer)
    told: dict[tuple[str, str], list[float]] = {}
    names = {"inc": "counter", "observe": "histogram", "set": "gauge"}
    for action, label, amount in sequence:
        if action in names:
            told.setdefault((names[action], label), []).append(amount)
        if action == "inc":
            counter.labels(label).inc(amount)
        elif action == "observe":
            histogram.labels(label).observe(amount)
        elif action == "set":
            gauge.labels(label).set(amount)
        elif action == "advance":
            clock.advance(amount)
        else:
            producer.flush()
    producer.flush()
    found = values(transport.delivered)
    assert found.keys() == told.keys()
    for key, amounts in told.items():
        one = found[key]
        assert one.count == len(amounts)
        assert one.sum == pytest.approx(sum(amounts), rel=1e-9, abs=1e285)
        if key[0] != "counter":
            assert (one.min, one.max) == (min(amounts), max(amounts))
            assert one.last[1] == amounts[-1]
        if key[0] == "histogram":
            assert one.buckets == histogram_of(amounts)
    assert all(len(batch.index) <= max_batch for batch in metric_batches(transport.delivered))
    stats = producer.stats()
    assert stats.emitted == stats.acknowledged
    assert sum(stats.emitted.values()) == sum(map(len, told.values()))


def test_every_batch_can_be_decoded_when_the_clock_jumps_by_years() -> None:
    producer, transport, clock = captured_producer()
    requests = Counter("requests", producer=producer)
    clock.step(-1_000_000_000)
    requests.inc()
    clock.step(1_000_000_000)
    requests.inc()
    producer.flush()
    assert [int(decode(one.value).origin.seq) for one in transport.delivered] == [0, 1]
    assert values(transport.delivered)["requests",].count == 2
