"""Clients: requests that leave by httpx and requests, and the lag of a real Kafka consumer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition

from streamgauge.producers import Collector
from streamgauge.producers.bridges import requests as requests_bridge
from streamgauge.producers.bridges.http_client import ClientMetrics
from streamgauge.producers.bridges.httpx import AsyncMeteredTransport, MeteredTransport
from streamgauge.producers.bridges.kafka_lag import ConsumerLag, observe_consumer
from tests.unit.producers.bridges.recorded import Recorded

DURATION = "http_client_request_duration"


class Answer(BaseHTTPRequestHandler):
    """The status is the path; 302 leads to 200."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:4]))
        self.send_header("Location", "/200")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


EXPECTED = {
    ("GET", "127.0.0.1", "200", ""): 2,
    ("GET", "127.0.0.1", "302", ""): 1,
    ("GET", "127.0.0.1", "404", "404"): 1,
    ("GET", "_OTHER", "200", ""): 1,
}


def test_httpx_counts_each_hop_by_method_declared_host_and_status(server: str) -> None:
    recorded = Recorded()
    transport = MeteredTransport(httpx.HTTPTransport(), hosts=["127.0.0.1"], producer=recorded.producer)
    with httpx.Client(transport=transport, follow_redirects=True) as client:
        for path in ("/200?user=joe", "/302", "/404"):
            client.get(server + path)
        client.get(server.replace("127.0.0.1", "localhost") + "/200")

    assert recorded.counts(DURATION) == EXPECTED


async def test_async_httpx_too(server: str) -> None:
    recorded = Recorded()
    transport = AsyncMeteredTransport(httpx.AsyncHTTPTransport(), hosts=["127.0.0.1"], producer=recorded.producer)
    async with httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
        for path in ("/200?user=joe", "/302", "/404"):
            await client.get(server + path)
        await client.get(server.replace("127.0.0.1", "localhost") + "/200")

    assert recorded.counts(DURATION) == EXPECTED


def test_requests_counts_the_same(server: str) -> None:
    recorded = Recorded()
    with requests.Session() as session:
        requests_bridge.instrument(session, hosts=["127.0.0.1"], producer=recorded.producer)
        requests_bridge.instrument(session, hosts=["127.0.0.1"], producer=recorded.producer)
        for path in ("/200?user=joe", "/302", "/404"):
            session.get(server + path)
        session.get(server.replace("127.0.0.1", "localhost") + "/200")

    assert recorded.counts(DURATION) == EXPECTED


async def test_nobody_who_answers_is_an_error_by_its_type() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as unused:
        address = f"http://127.0.0.1:{unused.server_address[1]}/200"
    recorded = Recorded()
    with (
        httpx.Client(transport=MeteredTransport(httpx.HTTPTransport(), producer=recorded.producer)) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.get(address)  # noqa: ASYNC212  # nothing else runs here
    transport = AsyncMeteredTransport(httpx.AsyncHTTPTransport(), producer=recorded.producer)
    async with httpx.AsyncClient(transport=transport) as other:
        with pytest.raises(httpx.ConnectError):
            await other.get(address)
    with requests.Session() as session:
        requests_bridge.instrument(session, producer=recorded.producer)
        with pytest.raises(requests.ConnectionError):
            session.get(address)

    assert recorded.counts(DURATION) == {("GET", "", "", "ConnectError"): 2, ("GET", "", "", "ConnectionError"): 1}


def test_a_method_that_nobody_knows_is_other() -> None:
    recorded = Recorded()
    metrics = ClientMetrics("api.example.com", recorded.producer)
    metrics.record("get", "api.example.com", 200, "", 0.1)
    metrics.record("SECRET", "api.example.com", 200, "", 0.1)

    assert set(recorded.counts(DURATION)) == {
        ("GET", "api.example.com", "200", ""),
        ("_OTHER", "api.example.com", "200", ""),
    }


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline


def test_the_lag_of_a_consumer_is_what_it_has_before_it(unique: str) -> None:
    recorded = Recorded()
    collector = Collector(recorded.producer, background=False)
    sender = Producer({"test.mock.num.brokers": 1})
    brokers = [str(one) for one in sender.list_topics(timeout=20).brokers.values()]
    address = brokers[0].split("/")[0]
    for number in range(10):
        sender.produce(unique, str(number).encode(), partition=0)
    assert sender.flush(20) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "billing",
            "enable.auto.commit": False,
            "statistics.interval.ms": 50,
            "stats_cb": ConsumerLag("stats", producer=recorded.producer),
        }
    )
    try:
        consumer.assign([TopicPartition(unique, 0, 0)])
        read = list[Any]()

        def read_four() -> bool:
            if (message := consumer.poll(0.1)) is not None:
                read.append(message.value())
            return len(read) == 4

        until(read_four)
        observe_consumer(consumer, "billing", producer=recorded.producer, collector=collector)
        collector.collect()
        consumer.pause([TopicPartition(unique, 0)])
        until(lambda: (consumer.poll(0.05), ("stats", unique, "0") in recorded.last("messaging_kafka_consumer_lag"))[1])
    finally:
        consumer.close()

    assert recorded.last("messaging_kafka_consumer_lag") == {
        ("billing", unique, "0"): 6.0,
        ("stats", unique, "0"): 6.0,
    }
    assert recorded.sums("streamgauge_collector_errors") == {}


def test_the_lag_in_statistics_is_read_and_nonsense_is_not() -> None:
    recorded = Recorded()
    lag = ConsumerLag("billing", producer=recorded.producer)
    partitions = {
        "0": {"consumer_lag": 7, "consumer_lag_stored": 3},
        "1": {"consumer_lag": -1, "consumer_lag_stored": 4},
        "2": {"consumer_lag": -1, "consumer_lag_stored": -1},
        "-1": {"consumer_lag": 5, "consumer_lag_stored": 5},
    }
    lag(json.dumps({"topics": {"orders": {"partitions": partitions}}}))
    for nonsense in ("", "[]", '{"topics": {"orders": {}}}', '{"topics": {"orders": {"partitions": {"0": {}}}}}'):
        lag(nonsense)

    assert recorded.last("messaging_kafka_consumer_lag") == {
        ("billing", "orders", "0"): 7.0,
        ("billing", "orders", "1"): 4.0,
    }
