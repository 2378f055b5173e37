"""A prometheus_client program with its import changed: scrapers see what they saw, and what it counts is in the topic."""

# prometheus_client has types for a part of its own
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streamgauge.producers import set_default
from streamgauge.producers.prometheus import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    make_asgi_app,
    make_wsgi_app,
    registry_bridge,
    start_http_server,
)
from streamgauge.producers.prometheus.parser import text_string_to_metric_families
from streamgauge.producers.testing import Captured, captured_producer
from tests.support import documents, prometheus_program
from tests.unit.producers.decoded import values

GUIDE = documents.ROOT / "docs" / "how-to" / "migrate-from-prometheus.md"
PROGRAM = Path(prometheus_program.__file__)
TOPIC = "sg.local.metrics.v1"


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """librdkafka's own broker, alive as long as the client that carries it."""
    holder = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
    (one,) = holder.list_topics(timeout=10).brokers.values()
    yield f"{one.host}:{one.port}"
    holder.flush(0)


def delivered(brokers: str) -> list[Captured]:
    """All metric batches that are in the topic."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "none", "enable.auto.commit": False, "log_level": 0})
    try:
        places = [
            TopicPartition(TOPIC, one, 0) for one in consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
        ]
        missing = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
        consumer.assign(places)
        found: list[Captured] = []
        while len(found) < missing:
            found += [Captured(TOPIC, b"", one.value() or b"") for one in consumer.consume(100, 0.2) if not one.error()]
        return found
    finally:
        consumer.close()


def run(program: str, folder: Path, **environ: str) -> list[str]:
    """Run it; what it showed of the shop, without times."""
    path = folder / "shop.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if "shop_" in line]
    return [line for line in lines if not line.partition("{")[0].partition(" ")[0].endswith("_created")]


def test_a_program_whose_import_is_changed_shows_the_same_and_what_it_counts_arrives(
    broker: str, tmp_path: Path
) -> None:
    written = PROGRAM.read_text()
    changed = written.replace("from prometheus_client", "from streamgauge.producers.prometheus")
    assert changed != written

    before = run(written, tmp_path)
    after = run(changed, tmp_path, STREAMGAUGE_BROKERS=broker, STREAMGAUGE_EXIT_TIMEOUT="20s")

    assert len(before) > 40
    assert after == before
    found = values(delivered(broker))
    assert found["shop_http_requests", "GET", "/orders", "200"].sum == 50
    assert found["shop_http_requests", "GET", "/broken", "500"].sum == 3
    assert found["shop_http_request_duration_seconds", "/orders"].count == 50
    assert found["shop_response_size_bytes",].sum == 100 * sum(range(50))
    assert (found["shop_failures",].sum, found["shop_sign_ups", "free"].sum) == (3, 2)
    assert (found["shop_requests_in_progress",].max, found["shop_requests_in_progress",].last[1]) == (3, 0)
    assert found["shop_orders_waiting",].last[1] == 7
    assert found["shop_build_info", "1.4.2", "main"].last[1] == 1
    assert (found["shop_state", "serving"].last[1], found["shop_state", "starting"].last[1]) == (1, 0)


WORKERS = """
import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CALLS = Counter("shop_calls", "Calls", ["by"])
SECONDS = Histogram("shop_seconds", "Seconds", buckets=[0.1, 1])
SIZE = Summary("shop_size", "Size")
BUSY = Gauge("shop_busy", "Busy", multiprocess_mode="livesum")
NEWEST = Gauge("shop_newest", "Newest", multiprocess_mode="mostrecent")
MOST = Gauge("shop_most", "Most", multiprocess_mode="max")


def work(number):
    for _ in range(number):
        CALLS.labels("worker").inc()
        CALLS.labels("other").inc(0.25)
    SECONDS.observe(0.0625 * number)
    SIZE.observe(number)
    BUSY.inc(2)
    BUSY.dec()
    MOST.set(10 * number)
    NEWEST.set(number)


work(3)
for number in (1, 2):
    child = os.fork()
    if child == 0:
        work(number)
        # what only a worker's own end could write is not written
        os._exit(0)
    os.waitpid(child, 0)
    mark_process_dead(child)
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_as_long_as_the_shared_directory_is_there_scrapers_see_the_sums_of_all_workers(tmp_path: Path) -> None:
    shown: list[list[str]] = []
    for place, library in enumerate(("prometheus_client", "streamgauge.producers.prometheus")):
        shared = tmp_path / str(place)
        shared.mkdir()
        environ = {"PROMETHEUS_MULTIPROC_DIR": str(shared), "STREAMGAUGE_BROKERS": "127.0.0.1:9"}
        shown.append(
            run(WORKERS.replace("prometheus_client", library), tmp_path, STREAMGAUGE_EXIT_TIMEOUT="1ms", **environ)
        )
    assert 'shop_calls_total{by="worker"} 6.0' in shown[1]
    assert sorted(shown[1]) == sorted(shown[0])


def test_the_steps_of_the_guide_run_as_they_are_written() -> None:
    steps = documents.snippets(GUIDE, "python")
    producer, transport, _ = captured_producer(environment="production")
    names: dict[str, Any] = {}
    set_default(producer)
    try:
        for step in steps:
            exec(step.text.replace("start_http_server(8000)", "served = start_http_server(0, addr='127.0.0.1')"), names)
        registry_bridge.close_all()
        producer.flush()
        sums = transport.sums()
    finally:
        set_default(None)
        server, thread = names["served"]
        server.shutdown()
        server.server_close()
        thread.join()
        for name in ("REQUESTS", "LATENCY", "BASKET", "WAITING"):
            REGISTRY.unregister(names[name])
    assert (sums["checkout_requests"], sums["checkout_basket_euros"]) == (1.0, 42.5)
    assert sums["checkout_latency_seconds"] >= 0.01
    assert sums["process_resident_memory_bytes"] > 1_000_000


@pytest.fixture
def registry() -> CollectorRegistry:
    producer, _, _ = captured_producer()
    registry = CollectorRegistry()
    calls = Counter("calls", "Calls", ["by"], registry=registry, producer=producer)
    calls.labels("me").inc(2)
    Histogram("size", "Sizes", registry=registry, producer=producer, buckets=[1]).observe(3)
    return registry


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Samples by name and label values, without times."""
    return {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if not one.name.endswith("_created")
    }


EVERYTHING = {
    ("calls_total", "me"): 2.0,
    ("size_bucket", "1.0"): 0.0,
    ("size_bucket", "+Inf"): 1.0,
    ("size_count",): 1.0,
    ("size_sum",): 3.0,
}


def test_the_http_server_answers_scrapers_in_both_formats(registry: CollectorRegistry) -> None:
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert parsed(answer.read().decode()) == EVERYTHING
        asked = urllib.request.Request(
            f"{address}?name[]=calls_total", headers={"Accept": "application/openmetrics-text"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert answer.read().decode().splitlines()[-2:] == ['calls_total{by="me"} 2.0', "# EOF"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_wsgi_application_answers_scrapers(registry: CollectorRegistry) -> None:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    said: list[str] = []
    body = make_wsgi_app(registry)(environ, lambda status, headers: said.append(status))
    assert said == ["200 OK"]
    assert parsed(b"".join(body).decode()) == EVERYTHING


def test_the_asgi_application_answers_scrapers(registry: CollectorRegistry) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": []}
    asyncio.run(make_asgi_app(registry)(scope, receive, send))
    assert sent[0]["status"] == 200
    assert parsed(sent[1]["body"].decode()) == EVERYTHING
