"""One suite for every transport: the captured one of users' tests, and librdkafka against its in-process broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streamgauge.producers import Counter, Dimension, Event, ProducerSettings
from streamgauge.producers import Producer as Sender
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.testing import CapturedTransport
from streamgauge.producers.transport import KafkaTransport, Transport, kafka_config
from streamgauge.schemas.decoding import MetricBatch, decode
from tests.support.kafka import KafkaBroker, create_topic

Arrived = Callable[[str, int], list[tuple[bytes, bytes]]]
"""Key and value of the messages of a topic, once there are so many."""


class Viewed(Event):
    """A page was viewed."""

    page: Dimension[str]


@dataclass
class Edge:
    """A transport that reaches its other side, one that does not, and what arrived."""

    transport: Transport
    cut_off: Transport
    arrived: Arrived
    outcomes: list[Outcome] = field(default_factory=list[Outcome])

    def wait_for(self, transport: Transport, reports: int) -> None:
        """Poll until so many reports came."""
        deadline = time.monotonic() + 20
        while len(self.outcomes) < reports and time.monotonic() < deadline:
            transport.poll(0.05, hurry=True)


@pytest.fixture(scope="module")
def mock_broker() -> Iterator[str]:
    """librdkafka's own broker, alive as long as the client that carries it."""
    holder = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = holder.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    holder.flush(0)


def consume(brokers: str, topic: str, count: int, seconds: float = 20) -> list[tuple[bytes, bytes]]:
    """Messages of all partitions of a topic, from the beginning, as many as asked for or as come in time."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "none", "enable.auto.commit": False, "log_level": 0})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        found: list[tuple[bytes, bytes]] = []
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                found.append((message.key() or b"", message.value() or b""))
        return found
    finally:
        consumer.close()


@pytest.fixture(params=["captured", "kafka"])
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    """Each transport in turn."""
    if request.param == "captured":
        captured, silent = CapturedTransport(), CapturedTransport(None)

        def delivered(topic: str, _count: int) -> list[tuple[bytes, bytes]]:
            return [(one.key, one.value) for one in captured.delivered if one.topic == topic]

        yield Edge(captured, silent, delivered)
        return
    brokers: str = request.getfixturevalue("mock_broker")
    kafka = KafkaTransport(kafka_config(ProducerSettings(brokers=brokers)))
    away = KafkaTransport(kafka_config(ProducerSettings(brokers="127.0.0.1:9")))
    yield Edge(kafka, away, lambda topic, count: consume(brokers, topic, count))
    kafka.close(1)
    away.close(0)


def test_what_is_sent_arrives_as_it_is_and_is_reported_once(edge: Edge, unique: str) -> None:
    for number in range(20):
        edge.transport.send(unique, b"stream", b"%d" % number, edge.outcomes.append)
    edge.wait_for(edge.transport, 20)
    assert edge.outcomes == [Outcome.ACKNOWLEDGED] * 20
    assert edge.arrived(unique, 20) == [(b"stream", b"%d" % number) for number in range(20)]
    edge.transport.poll(0)
    edge.transport.close(1)
    assert len(edge.outcomes) == 20


def test_sending_and_polling_do_not_wait_when_nobody_answers(edge: Edge, unique: str) -> None:
    started = time.monotonic()
    edge.cut_off.send(unique, b"stream", b"1", edge.outcomes.append)
    edge.cut_off.poll(0)
    assert time.monotonic() - started < 2
    started = time.monotonic()
    edge.cut_off.poll(0.2)
    edge.cut_off.poll(0.2, hurry=True)
    assert time.monotonic() - started < 2
    assert edge.outcomes == []


def test_closing_reports_everything_that_was_taken(edge: Edge, unique: str) -> None:
    for number in range(5):
        edge.cut_off.send(unique, b"stream", b"%d" % number, edge.outcomes.append)
    started = time.monotonic()
    edge.cut_off.close(0.2)
    assert time.monotonic() - started < 2
    assert edge.outcomes == [Outcome.UNKNOWN] * 5


def test_closing_delivers_what_can_be_delivered(edge: Edge, unique: str) -> None:
    edge.transport.send(unique, b"stream", b"last words", edge.outcomes.append)
    edge.transport.close(10)
    assert edge.outcomes == [Outcome.ACKNOWLEDGED]
    assert edge.arrived(unique, 1) == [(b"stream", b"last words")]


def test_closing_without_having_sent_is_nothing(edge: Edge) -> None:
    edge.transport.poll(0)
    edge.transport.close(0)


def test_a_poll_may_run_in_one_thread_while_another_sends(edge: Edge, unique: str) -> None:
    done = threading.Event()

    def poll() -> None:
        while not done.is_set():
            edge.transport.poll(0.01)

    poller = threading.Thread(target=poll)
    poller.start()
    for number in range(200):
        edge.transport.send(unique, b"stream", b"%d" % number, edge.outcomes.append)
    edge.wait_for(edge.transport, 200)
    done.set()
    poller.join()
    assert edge.outcomes == [Outcome.ACKNOWLEDGED] * 200


def test_after_a_fork_a_transport_starts_anew(edge: Edge, unique: str) -> None:
    edge.transport.send(unique, b"stream", b"1", edge.outcomes.append)
    edge.wait_for(edge.transport, 1)
    edge.transport.after_fork()  # here without a fork: what it had is left alone, what it sends now arrives
    edge.transport.send(unique, b"stream", b"2", edge.outcomes.append)
    edge.wait_for(edge.transport, 2)
    assert edge.outcomes == [Outcome.ACKNOWLEDGED] * 2


def test_a_producer_on_it_delivers_every_point(edge: Edge, unique: str) -> None:
    sender = Sender(ProducerSettings(region=unique, flush_interval=50, flush_events_interval=20), edge.transport)
    requests = Counter("requests", "", ["number"], producer=sender)
    for number in range(500):
        requests.labels(number % 20).inc()
        sender.emit(Viewed(page=str(number)))
    report = sender.flush(20)
    stats = sender.stats()
    assert report.left == 0
    assert stats.acknowledged == stats.emitted == {"requests": 500, "viewed": 500}
    assert len(edge.arrived(f"sg.{unique}.events.v1", 1)) >= 1
    sender.close(5)


def test_a_message_that_no_broker_takes_is_refused_for_good(unique: str, mock_broker: str) -> None:
    config = kafka_config(ProducerSettings(brokers=mock_broker, kafka=(("message.max.bytes", "1000"),)))
    transport = KafkaTransport(config)
    outcomes: list[Outcome] = []
    transport.send(unique, b"stream", b"x" * 2_000, outcomes.append)
    transport.poll(0)
    assert outcomes == [Outcome.REFUSED]
    transport.close(0)


def test_properties_that_librdkafka_does_not_know_are_said_once_and_raise_nothing(
    unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    transport = KafkaTransport(kafka_config(ProducerSettings(brokers="127.0.0.1:9", kafka=(("no.such", "1"),))))
    outcomes: list[Outcome] = []
    for _ in range(3):
        transport.send(unique, b"stream", b"1", outcomes.append)
    assert outcomes == [Outcome.UNKNOWN] * 3
    assert caplog.text.count("no.such") == 1
    transport.close(0)


def test_a_broker_that_dies_and_returns_has_every_point_under_a_number_of_its_own(
    private_kafka: KafkaBroker, unique: str
) -> None:
    settings = ProducerSettings(
        brokers=private_kafka.bootstrap,
        region=unique,
        flush_interval=100,
        flush_events_interval=50,
        # fail fast, so that repeats of ours are part of the test and not only those of librdkafka
        kafka=(("message.timeout.ms", "3000"),),
    )
    for topic in (f"sg.{unique}.metrics.v1", f"sg.{unique}.events.v1"):
        create_topic(private_kafka.bootstrap, topic)
    sender = Sender(settings)
    requests = Counter("requests", producer=sender)

    def work(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            requests.inc()
            sender.emit(Viewed(page="/"))
            time.sleep(0.002)

    work(1.5)
    private_kafka.kill()
    work(5)
    assert sender.stats().waiting
    private_kafka.restart()
    work(1)
    report = sender.flush(60)
    assert report.left == 0
    stats = sender.stats()
    assert stats.dropped == {}
    assert stats.acknowledged == stats.emitted
    sender.close(5)
    for kind, name in (("metrics", "requests"), ("events", "viewed")):
        by_seq: dict[int, bytes] = {}
        for _, value in consume(private_kafka.bootstrap, f"sg.{unique}.{kind}.v1", 1 << 30, seconds=5):
            seq = decode(value).origin.seq
            assert by_seq.setdefault(seq, value) == value  # a repeat is the same batch, byte for byte
        assert sorted(by_seq) == list(range(len(by_seq)))
        points = 0
        for value in by_seq.values():
            batch = decode(value)
            points += int(batch.count.sum()) if isinstance(batch, MetricBatch) else len(batch.times)
        assert points == stats.emitted[name]
