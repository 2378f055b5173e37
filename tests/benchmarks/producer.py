"""Producer: what a call of the client library costs an application, beside the least that a safe count can cost.

That least is a lock and an addition. Where prometheus_client is installed, its same calls stand beside ours too.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from timeit import Timer
from typing import Any

from streamgauge.producers import Counter, Dimension, Event, Histogram, Measure, Producer, ProducerSettings, unit
from streamgauge.producers.testing import CapturedTransport
from tests.benchmarks.options import Options
from tests.benchmarks.report import Figure

ROUNDS = 7
SERIES = 5_000


class Order(Event, version=1, owner="benchmark"):
    """An event of the usual size."""

    country: Dimension[str]
    segment: Dimension[str]
    amount: Measure[float, unit("{USD}")]


STATEMENTS = {
    "inc, kept handle": "inc()",
    "inc, labelled": "labels('/orders', '200').inc()",
    "observe": "observe(0.0123)",
    "time() block": "with timer(): pass",
}
BUDGETS = {
    "inc, kept handle": ("<= 100 ns", "<= 0.25"),
    "inc, labelled": ("<= 300 ns", "<= 0.25"),
    "observe": ("<= 250 ns", "<= 0.25"),
    "time() block": ("<= 500 ns", "<= 0.33"),
}
Names = Mapping[str, Any]


def nanoseconds(statement: str, names: Names, calls: int, after: Callable[[], object] = lambda: None) -> float:
    """CPU time of one statement: the best of several rounds, less an empty loop. `after` follows each round, untimed."""
    timer = Timer(statement, globals=dict(names), timer=time.process_time_ns)
    empty = Timer(timer=time.process_time_ns)
    best = nothing = float("inf")
    for _ in range(ROUNDS):
        best = min(best, timer.timeit(calls))
        after()
        nothing = min(nothing, empty.timeit(calls))
    return max(0.0, best - nothing) / calls


def bare() -> Names:
    """A function that locks and adds."""
    lock, total = threading.Lock(), [0.0]

    def add() -> None:
        with lock:
            total[0] += 1

    return {"add": add}


def new_producer() -> tuple[Producer, CapturedTransport]:
    """A producer on the system's clock that sends nowhere and has no thread."""
    transport = CapturedTransport()
    settings = ProducerSettings(service="shop", environment="production", series_budget=2 * SERIES)
    return Producer(settings, transport, background=False), transport


def our_calls(producer: Producer) -> Names:
    """What the statements need, of ours."""
    seconds = Histogram("latency_seconds", "Latency", producer=producer).labels()
    return {
        "inc": Counter("requests", "Requests", producer=producer).labels().inc,
        "labels": Counter("responses", "Responses", ["endpoint", "status"], producer=producer).labels,
        "observe": seconds.observe,
        "timer": seconds.time,
    }


def their_calls() -> Names | None:
    """The same of prometheus_client; None where it is not installed."""
    if importlib.util.find_spec("prometheus_client") is None:
        return None
    library: Any = importlib.import_module("prometheus_client")
    registry = library.CollectorRegistry()
    seconds = library.Histogram("latency_seconds", "Latency", registry=registry)
    return {
        "inc": library.Counter("requests", "Requests", registry=registry).inc,
        "labels": library.Counter("responses", "Responses", ["endpoint", "status"], registry=registry).labels,
        "observe": seconds.observe,
        "timer": seconds.time,
    }


def run(options: Options) -> Iterator[Figure]:
    """Every call, then the memory of series."""
    calls = options.sized(100_000, 10_000)
    producer, transport = new_producer()
    ours, theirs = our_calls(producer), their_calls()
    least = nanoseconds("add()", bare(), calls)
    for what, statement in STATEMENTS.items():
        budget, share = BUDGETS[what]
        value = nanoseconds(statement, ours, calls)
        yield Figure("CPU a call", what, value, "ns", least, "lock and add", budget)
        if theirs is not None:
            floor = nanoseconds(statement, theirs, calls)
            yield Figure("CPU a call", what, value, "ns", floor, "prometheus_client", share)
    if theirs is None:
        print("   prometheus_client is not installed: nothing to compare with; pip install prometheus_client")

    def forget() -> None:
        producer.flush(5)
        transport.sent.clear()
        transport.delivered.clear()

    # the buffer holds 10,000 events
    statement = "emit(Order(country='JP', segment='pro', amount=42.5))"
    value = nanoseconds(statement, {"emit": producer.emit, "Order": Order}, min(calls, 5_000), forget)
    yield Figure("CPU a call", "emit, typed event built", value, "ns", least, "lock and add", "<= 1,500 ns")
    yield Figure("memory", "a counter series", series_bytes("counter"), "B", budget="<= 300")
    yield Figure("memory", "a histogram series, 8 buckets", series_bytes("histogram"), "B", budget="<= 600")


def series_bytes(kind: str) -> float:
    """Memory of one more series with one label, its text included."""
    producer, _ = new_producer()
    counter = Counter("bytes_counter", "Counts", ["key"], producer=producer)
    histogram = Histogram("bytes_histogram", "Observes", ["key"], producer=producer)

    def grow(first: int) -> None:
        for number in range(first, first + SERIES // 2):
            if kind == "counter":
                counter.labels(str(number)).inc()
            else:
                handle = histogram.labels(str(number))
                for step in range(8):
                    handle.observe(0.01 * 2**step)

    grow(0)
    tracemalloc.start()
    try:
        grow(SERIES // 2)
        return tracemalloc.get_traced_memory()[0] / (SERIES // 2)
    finally:
        tracemalloc.stop()
