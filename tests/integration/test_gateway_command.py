"""`streamgauge gateway` as a process: what it took is in Kafka when it ends, and its exit code says whether it is."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from confluent_kafka import Consumer, TopicPartition

from streamgauge.schemas import topics
from streamgauge.schemas.contracts import Contract, Field, parse_contract
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode
from tests.support.gateways import rows_of
from tests.support.kafka import Broker, create_topic, free_ports

SECONDS = 30.0


@contextmanager
def gateway(directory: Path, brokers: str, *options: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    """The process, listening, and its UDP port."""
    (port,) = free_ports(1)
    words = ["gateway", "--brokers", brokers, "--statsd-udp", f"127.0.0.1:{port}", "--gateway-http", "none", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamgauge.console.cli", *words],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening: udp" in line, line + process.stderr.read()
        yield process, port
    finally:
        process.kill()
        process.communicate()


def send(port: int, *lines: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.sendto("\n".join(lines).encode(), ("127.0.0.1", port))


def messages(brokers: str, topic: str, until: int) -> list[bytes]:
    """Values of a topic of one partition, up to its end, which must be reached."""
    found: list[bytes] = []
    deadline = time.monotonic() + SECONDS
    with closing(Consumer({"bootstrap.servers": brokers, "group.id": f"{topic}-look"})) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while len(found) < until and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and not message.error():
                found.append(message.value() or b"")
    assert len(found) == until
    return found


@pytest.mark.kafka
def test_what_the_gateway_took_is_in_kafka_when_it_has_ended(kafka: Broker, unique: str, tmp_path: Path) -> None:
    for topic in (topics.METRICS, topics.EVENTS, topics.CONTRACTS):
        create_topic(kafka.bootstrap, topic.name(unique))
    (http,) = free_ports(1)
    contract = Contract("paid", 1, {"amount": Field("measure", "number", unit="{USD}")})
    (tmp_path / "paid.json").write_bytes(contract.dump())
    options = ("--region", unique, "--json", "--gateway-http", f"127.0.0.1:{http}", "--contracts", "paid.json")
    with gateway(tmp_path, kafka.bootstrap, *options) as (process, port):
        posted = requests.post(
            f"http://127.0.0.1:{http}/v1/events?wait=20s",
            json={"event": "paid", "fields": {"amount": 5}},
            timeout=SECONDS,
        )
        for i in range(50):
            send(port, f"hits:{i}|c|#service:till", "took:320|ms", "_sc|db.up|0", "broken")
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=SECONDS)

    assert process.returncode == 0, error
    assert (posted.status_code, posted.json()["delivered"]) == (200, True)
    account: dict[str, Any] = json.loads(out)
    assert account["received"] == {"event": 1, "statsd": 150, "statsd_check": 50}
    assert account["refused"] == {"statsd": {"no_value": 50}}
    sent = account["kafka"]
    assert (sent["points"], sent["dropped"], sent["waiting"]) == (sent["acknowledged"], 0, 0)
    read = messages(kafka.bootstrap, topics.METRICS.name(unique), _count(kafka, topics.METRICS.name(unique)))
    batches = [batch for one in read if isinstance(batch := decode(one), MetricBatch)]
    assert sum(row.sum for row in rows_of(batches, "hits")) == sum(range(50))
    assert {row.context["service"] for row in rows_of(batches, "hits")} == {"till"}
    assert sum(row.count for row in rows_of(batches, "took_seconds")) == 50
    read = messages(kafka.bootstrap, topics.EVENTS.name(unique), _count(kafka, topics.EVENTS.name(unique)))
    found = [batch for one in read if isinstance(batch := decode(one), EventBatch)]
    assert Counter(batch.event for batch in found for _ in batch.times) == {"statsd_service_check": 50, "paid": 1}
    (published,) = messages(kafka.bootstrap, topics.CONTRACTS.name(unique), 1)
    assert parse_contract(published).name == "statsd_service_check"


def _count(kafka: Broker, topic: str) -> int:
    with closing(Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": f"{topic}-count"})) as consumer:
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)
        return high


def test_points_that_no_broker_took_are_said_and_the_exit_code_says_so_too(tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    with gateway(tmp_path, f"127.0.0.1:{nobody}", "--exit-timeout", "1s") as (process, port):
        send(port, "hits:1|c")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=SECONDS)

    assert process.returncode == 1
    assert "could not be delivered" in error
    assert time.monotonic() - began < 10


def test_settings_that_cannot_be_used_end_it_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamgauge.console.cli", "gateway", "--gateway-http", "0.0.0.0:4318"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 2
    assert "STREAMGAUGE_GATEWAY_TOKEN" in done.stderr
