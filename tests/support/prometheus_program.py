"""A shop's service as people write it for prometheus_client. A test changes the import and nothing else.

It counts, serves /metrics, and prints what a scraper would have seen at its end.
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterable

from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary, start_http_server
from prometheus_client.core import REGISTRY, GaugeMetricFamily, Metric

REQUESTS = Counter("shop_http_requests_total", "Requests served", ["method", "endpoint", "status"])
LATENCY = Histogram(
    "shop_http_request_duration_seconds", "Time to serve a request", ["endpoint"], buckets=[0.1, 0.5, 1]
)
SIZE = Summary("shop_response_size", "Size of a response", unit="bytes")
FAILURES = Counter("shop_failures", "Requests that failed")
IN_PROGRESS = Gauge("shop_requests_in_progress", "Requests that are being served")
QUEUE = Gauge("shop_orders_waiting", "Orders in the queue")
SIGN_UPS = Counter("shop_sign_ups", "People who signed up", ["plan"])
BUILD = Info("shop_build", "What runs here")
STATE = Enum("shop_state", "What it does", states=["starting", "serving", "stopping"])


class Stock:
    """A custom collector, asked at every scrape."""

    def collect(self) -> Iterable[Metric]:
        """What is in stock."""
        family = GaugeMetricFamily("shop_stock", "Items in stock", labels=["item"])
        family.add_metric(["tea"], 12)
        family.add_metric(["cups"], 3)
        yield family


@IN_PROGRESS.track_inprogress()
@FAILURES.count_exceptions()
def serve(endpoint: str, seconds: float, size: int) -> None:
    """Serve a request."""
    LATENCY.labels(endpoint).observe(seconds)
    if endpoint == "/broken":
        REQUESTS.labels("GET", endpoint, 500).inc()
        raise RuntimeError(endpoint)
    SIZE.observe(size)
    REQUESTS.labels(method="GET", endpoint=endpoint, status="200").inc()


@IN_PROGRESS.track_inprogress()
async def sign_up(plan: str) -> None:
    """Somebody signs up."""
    await asyncio.sleep(0)
    SIGN_UPS.labels(plan).inc()


async def sign_ups() -> None:
    """Three people."""
    await asyncio.gather(sign_up("free"), sign_up("free"), sign_up("pro"))


def main() -> None:
    """Serve a while."""
    REGISTRY.register(Stock())
    BUILD.info({"version": "1.4.2", "branch": "main"})
    server, thread = start_http_server(0, addr="127.0.0.1")
    STATE.state("serving")
    QUEUE.set_function(lambda: 7)
    for number in range(50):
        serve("/orders", number / 40, 100 * number)
    for _ in range(3):
        try:
            serve("/broken", 0.3, 0)
        except RuntimeError:
            continue
    asyncio.run(sign_ups())
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
        print(answer.read().decode())
    server.shutdown()
    server.server_close()
    thread.join()


if __name__ == "__main__":
    main()
