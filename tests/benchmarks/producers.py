"""Producers: what calls of the client library cost an application, beside a lock and an addition, and beside its peers.

All stand in one run. What a lock, an append and an empty loop cost here is printed with them: machines differ there.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from timeit import Timer

from streamgauge.producers import Counter, Histogram
from tests.benchmarks import producer_calls
from tests.benchmarks.options import Options
from tests.benchmarks.producer_calls import STATEMENTS, Names, Order, new_producer, our_calls, spelt
from tests.benchmarks.report import Figure

ROUNDS = 7
SERIES = 5_000
STARTS = 9
BUDGETS = {
    "inc, kept handle": ("<= 100 ns", "<= 0.25"),
    "inc, labelled": ("<= 300 ns", "<= 0.25"),
    "observe": ("<= 250 ns", "<= 0.25"),
    "time() block": ("<= 500 ns", "<= 0.33"),
}


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
    """A function that locks and adds, a lock, and an append."""
    lock, total = threading.Lock(), [0.0]

    def add() -> None:
        with lock:
            total[0] += 1

    return {"add": add, "lock": lock, "append": deque[int](maxlen=100).append}


def run(options: Options) -> Iterator[Figure]:
    """Calibration, every call, threads, events, the flusher, memory, and the import."""
    calls = options.sized(100_000, 10_000)
    least = nanoseconds("add()", bare(), calls)
    for what, statement in {"lock": "with lock: pass", "deque.append": "append(1)"}.items():
        yield Figure("this machine", what, nanoseconds(statement, bare(), calls), "ns")
    loop = Timer(timer=time.process_time_ns)
    yield Figure("this machine", "a turn of an empty loop", min(loop.repeat(ROUNDS, calls)) / calls, "ns")
    yield from every_call(calls, least)
    yield from many_threads(calls)
    yield from events(calls, least)
    yield from flusher()
    yield Figure("memory", "a counter series", series_bytes("counter"), "B", budget="<= 300")
    yield Figure("memory", "a histogram series, one value", series_bytes("histogram", 1), "B", budget="<= 600")
    yield Figure("memory", "a histogram series, 8 buckets", series_bytes("histogram", 8), "B")
    yield from imports()


def every_call(calls: int, least: float) -> Iterator[Figure]:
    """Each call in one thread, beside the same call of each peer that is installed."""
    producer, _ = new_producer()
    ours = our_calls(producer)
    with ExitStack() as stack:
        peers: dict[str, Names] = {}
        if producer_calls.has("prometheus_client"):
            peers["prometheus_client"] = producer_calls.prometheus_calls()
        if producer_calls.has("opentelemetry.sdk"):
            peers["OpenTelemetry"] = stack.enter_context(producer_calls.opentelemetry_calls())
        if producer_calls.has("datadog"):
            peers["datadogpy"] = stack.enter_context(producer_calls.datadog_calls())
        for what, statement in STATEMENTS.items():
            budget, share = BUDGETS.get(what, ("", ""))
            value = nanoseconds(statement, ours, calls)
            yield Figure("CPU a call", what, value, "ns", least, "lock and add", budget)
            for peer, names in peers.items():
                if theirs := spelt(peer, what):
                    floor = nanoseconds(theirs, names, calls if peer == "prometheus_client" else calls // 5)
                    yield Figure(
                        "CPU a call", what, value, "ns", floor, peer, share if peer == "prometheus_client" else ""
                    )


def many_threads(calls: int) -> Iterator[Figure]:
    """The same counter from several threads at once."""
    producer, _ = new_producer()
    ours = our_calls(producer)["inc"]
    theirs = producer_calls.prometheus_calls()["inc"] if producer_calls.has("prometheus_client") else None
    for threads in (1, 4, 16):
        value = together(ours, threads, calls)
        floor = together(theirs, threads, calls) if theirs else None
        yield Figure("wall time a call", f"inc from {threads} threads", value, "ns", floor, "prometheus_client")


def together(call: Callable[[], object], threads: int, calls: int) -> float:
    """Nanoseconds a call while so many threads call in a loop: wall time over all their calls, the loop included."""

    def work() -> None:
        for _ in range(calls // threads):
            call()

    best = float("inf")
    for _ in range(ROUNDS):
        workers = [threading.Thread(target=work) for _ in range(threads)]
        begun = time.perf_counter_ns()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, (time.perf_counter_ns() - begun) / (calls // threads * threads))
    return best


def events(calls: int, least: float) -> Iterator[Figure]:
    """A typed event: built, validated and queued."""
    producer, transport = new_producer()

    def forget() -> None:
        producer.flush(5)
        transport.sent.clear()
        transport.delivered.clear()

    # the buffer holds 10,000 events
    statement = "emit(Order(country='JP', segment='pro', amount=42.5))"
    value = nanoseconds(statement, {"emit": producer.emit, "Order": Order}, min(calls, 5_000), forget)
    yield Figure("CPU a call", "emit, typed event built", value, "ns", least, "lock and add", "<= 1,500 ns")


def flusher() -> Iterator[Figure]:
    """What a flush costs for each series that was recorded to: taken, encoded, handed over and settled."""
    for kind, values in (("counter", 1), ("histogram", 1), ("histogram", 8)):
        producer, transport = new_producer()
        counter = Counter("flushed_counter", "Counts", ["key"], producer=producer)
        histogram = Histogram("flushed_histogram", "Observes", ["key"], producer=producer)
        best = float("inf")
        for _ in range(ROUNDS):
            for number in range(2_000):
                if kind == "counter":
                    counter.labels(str(number)).inc()
                else:
                    for step in range(values):
                        histogram.labels(str(number)).observe(0.01 * 2**step)
            begun = time.process_time_ns()
            producer.flush(5)
            best = min(best, (time.process_time_ns() - begun) / 2_000)
            transport.sent.clear()
            transport.delivered.clear()
        what = f"a {kind} series" + (f", {values} buckets" if values > 1 else "")
        yield Figure("CPU a flush", what, best, "ns", budget="<= 200 ns" if kind == "counter" else "")


def series_bytes(kind: str, values: int = 1) -> float:
    """Memory of one more series with one label, its text included, after so many values in buckets of their own."""
    producer, _ = new_producer(2 * SERIES)
    counter = Counter("bytes_counter", "Counts", ["key"], producer=producer)
    histogram = Histogram("bytes_histogram", "Observes", ["key"], producer=producer)

    def grow(first: int) -> None:
        for number in range(first, first + SERIES // 2):
            if kind == "counter":
                counter.labels(str(number)).inc()
            else:
                handle = histogram.labels(str(number))
                for step in range(values):
                    handle.observe(0.01 * 2**step)

    grow(0)
    tracemalloc.start()
    try:
        grow(SERIES // 2)
        return tracemalloc.get_traced_memory()[0] / (SERIES // 2)
    finally:
        tracemalloc.stop()


def imports() -> Iterator[Figure]:
    """CPU time of an interpreter that imports a library, less one that imports nothing."""
    with TemporaryDirectory() as cache:
        nothing = start("pass", cache)
        ours = start("import streamgauge.producers", cache) - nothing
        for peer, module in {"prometheus_client": "prometheus_client", "OpenTelemetry": "opentelemetry.sdk"}.items():
            if producer_calls.has(module):
                statement = "import opentelemetry.sdk.metrics" if peer == "OpenTelemetry" else f"import {module}"
                theirs = start(statement, cache) - nothing
                yield Figure("CPU", "import", ours, "ms", theirs, peer, "<= 60 ms")


def start(statement: str, cache: str) -> float:
    """Milliseconds of CPU of an interpreter that runs a statement: the least of several. Bytecode is kept in `cache`, as it
    is beside a package that was installed; where nothing may be kept, every start compiles, which is no part of this."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPYCACHEPREFIX"] = cache
    best = float("inf")
    for _ in range(STARTS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", statement], check=True, env=environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best * 1_000
