"""Producer calls: the same calls of our library and of its peers, by name, ready to be timed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from streamgauge.producers import Counter, Dimension, Event, Gauge, Histogram, Measure, Producer, ProducerSettings, unit
from streamgauge.producers.testing import CapturedTransport

Names = Mapping[str, Any]
"""What a timed statement may name."""

STATEMENTS = {
    "inc, kept handle": "inc()",
    "inc(2.5), kept handle": "inc(2.5)",
    "inc, labelled": "labels('/orders', '200').inc()",
    "inc, labelled by name": "labels(endpoint='/orders', status='200').inc()",
    "set": "set(2.5)",
    "observe": "observe(0.0123)",
    "time() block": "with timer(): pass",
}
"""A call and how it is spelt, for us and for prometheus_client."""
THEIRS = {
    "OpenTelemetry": {
        "inc, kept handle": "add(1)",
        "inc, labelled": "add(1, {'endpoint': '/orders', 'status': '200'})",
        "observe": "record(0.0123)",
    },
    "datadogpy": {
        "inc, kept handle": "increment('requests')",
        "inc, labelled": "increment('responses', tags=['endpoint:/orders', 'status:200'])",
        "set": "gauge('queue', 2.5)",
        "observe": "distribution('latency', 0.0123)",
        "time() block": "with timed('latency'): pass",
    },
}
"""The same in other libraries' spelling."""


class Order(Event, version=1, owner="benchmark"):
    """An event of the usual size."""

    country: Dimension[str]
    segment: Dimension[str]
    amount: Measure[float, unit("{USD}")]


def new_producer(series: int = 10_000) -> tuple[Producer, CapturedTransport]:
    """A producer on the system's clock that sends nowhere and has no thread."""
    transport = CapturedTransport()
    settings = ProducerSettings(service="shop", environment="production", series_budget=series)
    return Producer(settings, transport, background=False), transport


def our_calls(producer: Producer) -> Names:
    """What the statements need, of ours."""
    seconds = Histogram("latency_seconds", "Latency", producer=producer).labels()
    return {
        "inc": Counter("requests", "Requests", producer=producer).labels().inc,
        "labels": Counter("responses", "Responses", ["endpoint", "status"], producer=producer).labels,
        "set": Gauge("queue", "Queue", producer=producer).labels().set,
        "observe": seconds.observe,
        "timer": seconds.time,
    }


def prometheus_calls() -> Names:
    """The same of prometheus_client."""
    library: Any = importlib.import_module("prometheus_client")
    registry = library.CollectorRegistry()
    seconds = library.Histogram("latency_seconds", "Latency", registry=registry)
    return {
        "inc": library.Counter("requests", "Requests", registry=registry).inc,
        "labels": library.Counter("responses", "Responses", ["endpoint", "status"], registry=registry).labels,
        "set": library.Gauge("queue", "Queue", registry=registry).set,
        "observe": seconds.observe,
        "timer": seconds.time,
    }


@contextmanager
def opentelemetry_calls() -> Generator[Names]:
    """The same of the OpenTelemetry SDK, with a reader that nobody reads."""
    metrics: Any = importlib.import_module("opentelemetry.sdk.metrics")
    export: Any = importlib.import_module("opentelemetry.sdk.metrics.export")
    provider = metrics.MeterProvider(metric_readers=[export.InMemoryMetricReader()], shutdown_on_exit=False)
    try:
        meter = provider.get_meter("benchmark")
        yield {"add": meter.create_counter("requests").add, "record": meter.create_histogram("latency").record}
    finally:
        provider.shutdown()


@contextmanager
def datadog_calls() -> Generator[Names]:
    """The same of datadogpy, which aggregates in the process and sends into a port that nobody reads."""
    library: Any = importlib.import_module("datadog.dogstatsd.base")
    client = library.DogStatsd(
        host="127.0.0.1", port=9, disable_telemetry=True, flush_interval=3600, disable_aggregation=False
    )
    try:
        yield {name: getattr(client, name) for name in ("increment", "gauge", "distribution", "timed")}
    finally:
        client.stop()


def has(module: str) -> bool:
    """Whether a peer is installed."""
    return importlib.util.find_spec(module) is not None


def spelt(peer: str, what: str) -> str | None:
    """How a peer spells a call; None where it has none like it."""
    return STATEMENTS[what] if peer == "prometheus_client" else THEIRS[peer].get(what)
