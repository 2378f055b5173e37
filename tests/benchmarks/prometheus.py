"""Prometheus: what calls of the prometheus_client drop-in cost, beside the same calls of prometheus_client, in one run."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import prometheus_client

import streamgauge.producers.prometheus as ours
from streamgauge.producers import Producer
from streamgauge.producers.testing import CapturedTransport
from tests.benchmarks.options import Options
from tests.benchmarks.producer_calls import STATEMENTS, Names, new_producer
from tests.benchmarks.producers import bare, nanoseconds
from tests.benchmarks.report import Figure

MORE = {"gauge inc": "raise_()", "summary observe": "summarise(0.0123)", "exemplar": "inc(1, {'trace_id': 'abc'})"}
BUDGETS = {
    "inc, kept handle": ("<= 150 ns", "<= 0.25"),
    "inc, labelled": ("<= 300 ns", "<= 0.25"),
    "observe": ("<= 250 ns", "<= 0.33"),
}
SERIES = 2_000


def calls_of(library: Any, **given: Any) -> Names:
    """What the statements need, of ours or of prometheus_client's."""
    registry = library.CollectorRegistry()
    seconds = library.Histogram("latency_seconds", "Latency", registry=registry, **given)
    queue = library.Gauge("queue", "Queue", registry=registry, **given)
    return {
        "inc": library.Counter("requests", "Requests", registry=registry, **given).inc,
        "labels": library.Counter("responses", "Responses", ["endpoint", "status"], registry=registry, **given).labels,
        "set": queue.set,
        "raise_": queue.inc,
        "observe": seconds.observe,
        "timer": seconds.time,
        "summarise": library.Summary("size", "Size", registry=registry, **given).observe,
    }


def run(options: Options) -> Iterator[Figure]:
    """Every call, a scrape, a flush, and memory."""
    calls = options.sized(100_000, 10_000)
    producer, _ = new_producer()
    same, theirs = calls_of(ours, producer=producer), calls_of(prometheus_client)
    yield Figure("this machine", "lock", nanoseconds("with lock: pass", bare(), calls), "ns")
    for what, statement in {**STATEMENTS, **MORE}.items():
        budget, share = BUDGETS.get(what, ("", ""))
        value, floor = nanoseconds(statement, same, calls), nanoseconds(statement, theirs, calls)
        yield Figure("CPU a call", what, value, "ns", floor, "prometheus_client", " ".join((budget, share)).strip())
    yield from scrapes(producer)
    yield from flusher(*new_producer())
    for kind in ("Counter", "Histogram"):
        value, floor = series_bytes(kind, ours, producer=new_producer()[0]), series_bytes(kind, prometheus_client)
        yield Figure("memory", f"a {kind.lower()} series", value, "B", floor, "prometheus_client")


def scrapes(producer: Producer) -> Iterator[Figure]:
    """What /metrics costs for each histogram."""
    texts: dict[str, float] = {}
    for name, library, given in (("ours", ours, {"producer": producer}), ("theirs", prometheus_client, {})):
        registry = library.CollectorRegistry()
        metric = library.Histogram(f"scraped_{name}", "", ["key"], registry=registry, **given)
        for number in range(200):
            metric.labels(str(number)).observe(0.1)
        texts[name] = nanoseconds("generate(registry)", {"generate": library.generate_latest, "registry": registry}, 3)
    yield Figure("CPU", "/metrics, a histogram", texts["ours"] / 200, "ns", texts["theirs"] / 200, "prometheus_client")


def flusher(producer: Producer, transport: CapturedTransport) -> Iterator[Figure]:
    """What a flush costs for each counter that was recorded to: announced, taken, encoded, handed over and settled."""
    metric = ours.Counter("flushed", "", ["key"], registry=None, producer=producer)
    handles = [metric.labels(str(number)) for number in range(SERIES)]

    def record() -> None:
        for one in handles:
            one.inc()

    def flush() -> None:
        producer.flush(5)
        transport.sent.clear()
        transport.delivered.clear()

    record()
    names = {"record": record, "flush": flush}
    recorded = nanoseconds("record()", names, 3)
    both = nanoseconds("record(); flush()", names, 3)
    yield Figure("CPU", "flusher, a counter series", (both - recorded) / SERIES, "ns")


def series_bytes(kind: str, library: Any, **given: Any) -> float:
    """Memory of one more series with one label."""
    metric = getattr(library, kind)("bytes", "", ["key"], registry=None, **given)

    def grow(first: int) -> None:
        for number in range(first, first + SERIES // 2):
            one = metric.labels(str(number))
            one.inc() if kind == "Counter" else one.observe(0.1)

    grow(0)
    tracemalloc.start()
    try:
        grow(SERIES // 2)
        return tracemalloc.get_traced_memory()[0] / (SERIES // 2)
    finally:
        tracemalloc.stop()
