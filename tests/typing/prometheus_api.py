"""What a type checker must see of prometheus_client's API. Checked by mypy and pyright in strict mode, never run."""

from __future__ import annotations

from typing import assert_type

from streamgauge.producers import Producer
from streamgauge.producers.prometheus import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Summary
from streamgauge.producers.prometheus.context_managers import BlockTimer
from streamgauge.producers.prometheus.registry_bridge import RegistryBridge, send_registry

REQUESTS = Counter("requests_total", "Requests", ["endpoint"], registry=CollectorRegistry(), producer=Producer())
LATENCY = Histogram("latency_seconds", "Latency", buckets=[0.1, "0.5", 1])
QUEUE = Gauge("queue", "Queue", multiprocess_mode="livesum")
SIZE = Summary("size", "Size", unit="bytes")

assert_type(REQUESTS.labels("/pay"), Counter)
assert_type(QUEUE.labels(by="me"), Gauge)
assert_type(REGISTRY, CollectorRegistry)
REQUESTS.labels(200).inc(2, exemplar={"trace_id": "abc"})


@LATENCY.time()
def work(number: int, *, twice: bool = False) -> float:
    """A decorated function keeps its type."""
    return number * (2.0 if twice else 1.0)


@SIZE.time()
async def wait(number: int) -> str:
    """A decorated coroutine function too."""
    return str(number)


assert_type(work(1, twice=True), float)
with LATENCY.time() as timer:
    assert_type(timer, BlockTimer)
assert_type(timer.duration, float | None)
assert_type(send_registry(REGISTRY, interval=5), RegistryBridge)
