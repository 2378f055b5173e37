"""Exact: why recording without a lock loses nothing, and that locking handles do the same."""

from __future__ import annotations

import dis
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamgauge.producers import Counter, Gauge, Histogram, Producer
from streamgauge.producers.aggregate import Family
from streamgauge.producers.handles import CounterHandle, GaugeHandle, Handle, HistogramHandle, ObservedTime
from streamgauge.producers.locked_handles import LockedCounterHandle, LockedGaugeHandle, LockedHistogramHandle
from streamgauge.producers.rough_keys import rough_key, wire_key
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.histogram import bucket_of
from tests.unit.producers.decoded import values

THREADS, CALLS = 8, 20_000
ACCUMULATORS = {"_ones", "_count", "_sum", "_min", "_max", "_last", "_last_ns", "_buckets"}
# a thread can be interrupted, and a collection can run finalizers, at these instructions only
INTERRUPTIBLE = ("CALL", "PRECALL", "JUMP_BACKWARD", "FOR_ITER", "RESUME", "SEND", "YIELD", "IMPORT")
ALLOCATING = ("BUILD_TUPLE", "BUILD_LIST", "BUILD_MAP", "BUILD_SET", "LIST_", "SET_", "DICT_", "MAKE_")


def runs(function: Callable[..., object]) -> Iterator[list[dis.Instruction]]:
    """The instructions of a function in runs that nothing interrupts."""
    run: list[dis.Instruction] = []
    for one in dis.get_instructions(function):
        if one.opname.startswith(INTERRUPTIBLE + ALLOCATING):
            yield run
            run = []
        else:
            run.append(one)
    yield run


@pytest.mark.parametrize(
    ("of", "function", "stored"),
    [
        (CounterHandle, "inc", {"_ones", "_sum", "_count"}),
        (CounterHandle, "take", {"_dirty", "_ones", "_sum", "_count"}),
        (GaugeHandle, "set", {"_sum", "_count", "_min", "_max", "_last", "_last_ns"}),
        (GaugeHandle, "_step", {"_sum", "_count", "_min", "_max", "_last", "_last_ns"}),
        (GaugeHandle, "take", {"_dirty", "_sum", "_count", "_min", "_max"}),
        (HistogramHandle, "observe", {"_sum", "_min", "_max", "_last"}),
        (ObservedTime, "__exit__", {"_sum", "_min", "_max", "_last"}),
        (HistogramHandle, "take", {"_dirty", "_buckets", "_sum", "_min", "_max"}),
    ],
)
def test_what_must_not_be_torn_apart_is_one_run_of_instructions(of: type, function: str, stored: set[str]) -> None:
    changing = [run for run in runs(getattr(of, function)) if any(one.opname == "STORE_ATTR" for one in run)]
    (run,) = [run for run in changing if stored & {one.argval for one in run if one.opname == "STORE_ATTR"}]
    assert {one.argval for one in run if one.opname == "STORE_ATTR"} >= stored
    for place, one in enumerate(run):
        if one.opname in ("STORE_ATTR", "STORE_SUBSCR"):
            # what an addition starts from is read in the same run
            name = "_buckets" if one.opname == "STORE_SUBSCR" else one.argval
            read = any(other.opname.startswith("LOAD_ATTR") and other.argval == name for other in run[:place])
            assert read or name in {"_dirty", "_last", "_last_ns", "_stepped"}, f"{name} is stored, read elsewhere"


def test_a_series_is_never_announced_in_a_list_that_somebody_has_taken_in_between() -> None:
    (run,) = [run for run in runs(getattr(Family, "_hold")) if any(one.argval == "extend" for one in run)]  # noqa: B009
    assert any(one.argval == "_dirty" for one in run)


def hammer(
    record: Callable[[], object], meanwhile: Callable[[], object], calls: int = CALLS, threads: int = THREADS
) -> None:
    """Record from many threads that are interrupted as often as can be, while another thread takes."""
    done = threading.Event()

    def work() -> None:
        for _ in range(calls):
            record()

    def take() -> None:
        while not done.is_set():
            meanwhile()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    taker = threading.Thread(target=take)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in (taker, *workers):
            thread.start()
        for thread in workers:
            thread.join()
    finally:
        sys.setswitchinterval(before)
        done.set()
        taker.join()


def of_class(producer: Producer, handle: type[Handle], kind: str) -> Any:
    """A series of this class."""
    family: Family[Any] = producer.family(MetricHead("told", kind), cast("Any", handle))
    return family.get(())


RECORDS: list[tuple[type[Handle], str, Callable[[Any], object], float]] = [
    (CounterHandle, "counter", lambda one: one.inc(), 1.0),
    (CounterHandle, "counter", lambda one: one.inc(0.5), 0.5),
    (LockedCounterHandle, "counter", lambda one: one.inc(), 1.0),
    (HistogramHandle, "histogram", lambda one: one.observe(0.25), 0.25),
    (LockedHistogramHandle, "histogram", lambda one: one.observe(0.25), 0.25),
    (GaugeHandle, "gauge", lambda one: one.set(0.25), 0.25),
    (LockedGaugeHandle, "gauge", lambda one: one.set(0.25), 0.25),
]


@pytest.mark.parametrize(("handle", "kind", "record", "amount"), RECORDS)
def test_no_record_is_lost_or_doubled_between_threads_that_are_interrupted_everywhere(
    handle: type[Handle], kind: str, record: Callable[[Any], object], amount: float
) -> None:
    producer, transport, _ = captured_producer()
    one = of_class(producer, handle, kind)
    hammer(lambda: record(one), producer.flush)
    producer.flush()
    told = values(transport.delivered)["told",]
    assert (told.count, told.sum) == (THREADS * CALLS, THREADS * CALLS * amount)
    assert sum(told.buckets.values()) == (THREADS * CALLS if kind == "histogram" else 0)


def test_a_gauge_that_is_stepped_by_many_threads_ends_where_it_began() -> None:
    for handle in (GaugeHandle, LockedGaugeHandle):
        producer, transport, _ = captured_producer()
        one = of_class(producer, handle, "gauge")

        def up_and_down(one: Any = one) -> None:
            one.inc()
            one.dec()

        hammer(up_and_down, producer.flush)
        one.inc(0)
        producer.flush()
        told = values(transport.delivered)["told",]
        assert (told.count, told.last[1]) == (2 * THREADS * CALLS + 1, 0.0)


def timed(one: Any) -> None:
    """An empty block."""
    with one.time():
        pass


@pytest.mark.parametrize("handle", [HistogramHandle, LockedHistogramHandle])
def test_no_timed_block_is_lost_between_threads(handle: type[Handle]) -> None:
    producer, transport, _ = captured_producer()
    one = of_class(producer, handle, "histogram")
    hammer(lambda: timed(one), producer.flush, CALLS // 4)
    producer.flush()
    told = values(transport.delivered)["told",]
    assert told.count == sum(told.buckets.values()) == THREADS * (CALLS // 4)
    assert 0 <= told.min <= told.max


class TornCounterHandle(CounterHandle):
    """Adds as one should not: other threads run between reading and storing."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        """Lose some."""
        if ones := self._ones:
            time.sleep(0)
            self._ones = ones + 1
        else:
            self._record(amount)


def test_a_lost_record_would_be_seen() -> None:
    producer, transport, _ = captured_producer()
    one = of_class(producer, TornCounterHandle, "counter")
    hammer(one.inc, producer.flush, 1_000)
    producer.flush()
    assert transport.sums()["told"] != THREADS * 1_000


def test_what_finalizers_record_while_a_series_is_taken_is_kept() -> None:
    producer, transport, _ = captured_producer()
    counter = Counter("told_counter", producer=producer)
    gauge = Gauge("told_gauge", producer=producer)
    histogram = Histogram("told_histogram", producer=producer)

    class Tracked:
        def __init__(self) -> None:
            self.itself = self  # freed by the collector only, at a moment of its choice

        def __del__(self) -> None:
            counter.inc()
            counter.inc(0.5)
            gauge.set(1.0)
            histogram.observe(1.0)

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(300):
            Tracked()
            producer.flush()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    producer.flush()
    found = values(transport.delivered)
    assert (found["told_counter",].count, found["told_counter",].sum) == (600, 450.0)
    assert (found["told_gauge",].count, found["told_histogram",].count) == (300, 300)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(-sys.float_info.max)
@example(2.0**-600)
@example(0.0)
@example(-0.0)
def test_a_rough_key_becomes_the_key_of_the_same_bucket(amount: float) -> None:
    assert wire_key(rough_key(amount)) == bucket_of(amount)


def test_equal_rough_keys_are_one_object() -> None:
    assert rough_key(0.0123) is rough_key(0.012300000001)
