"""The broker the other tests stand on is a real one: it hides what was aborted, fences zombies and survives kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.support.kafka import Broker, KafkaBroker, answers, create_topic, java_major

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
SECONDS = 30.0


def transactional(broker: Broker, identity: str) -> Producer:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": identity})
    producer.init_transactions(SECONDS)
    return producer


@contextmanager
def reader(broker: Broker, topic: str, isolation: str) -> Generator[Consumer]:
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": f"{topic}-look", "isolation.level": isolation}
    )
    with closing(consumer):
        consumer.assign([TopicPartition(topic, 0, 0)])
        yield consumer


def read(broker: Broker, topic: str, until: bytes, isolation: str = "read_committed") -> list[bytes]:
    """Values from the start of the topic up to and with `until`; fails when that does not come."""
    values: list[bytes] = []
    deadline = time.monotonic() + SECONDS
    with reader(broker, topic, isolation) as consumer:
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None or message.error():
                continue
            values.append(message.value() or b"")
            if values[-1] == until:
                return values
    pytest.fail(f"{until!r} did not come within {SECONDS:g} s; read {values}")


def test_the_broker_answers(kafka: Broker) -> None:
    assert answers(kafka.bootstrap)


def test_an_aborted_transaction_is_invisible_to_readers_of_committed_records(kafka: Broker, unique: str) -> None:
    create_topic(kafka.bootstrap, unique)
    producer = transactional(kafka, unique)

    producer.begin_transaction()
    producer.produce(unique, b"aborted")
    producer.flush(SECONDS)
    producer.abort_transaction(SECONDS)
    producer.begin_transaction()
    producer.produce(unique, b"committed")
    producer.commit_transaction(SECONDS)

    assert read(kafka, unique, b"committed") == [b"committed"]
    assert read(kafka, unique, b"committed", "read_uncommitted") == [b"aborted", b"committed"]


def test_a_second_producer_with_the_same_identity_fences_the_first(kafka: Broker, unique: str) -> None:
    create_topic(kafka.bootstrap, unique)
    first = transactional(kafka, unique)
    first.begin_transaction()
    first.produce(unique, b"of the zombie")
    first.flush(SECONDS)

    second = transactional(kafka, unique)
    with pytest.raises(KafkaException) as refusal:
        first.commit_transaction(SECONDS)
    second.begin_transaction()
    second.produce(unique, b"of its successor")
    second.commit_transaction(SECONDS)

    assert refusal.value.args[0].name() == "_FENCED"
    assert read(kafka, unique, b"of its successor") == [b"of its successor"]


@pytest.mark.faults
def test_committed_records_survive_kill_9_at_the_same_address(private_kafka: KafkaBroker, unique: str) -> None:
    create_topic(private_kafka.bootstrap, unique)
    address = private_kafka.bootstrap
    producer = transactional(private_kafka, unique)
    producer.begin_transaction()
    producer.produce(unique, b"before")
    producer.commit_transaction(SECONDS)

    private_kafka.kill()
    dead = not answers(address)
    private_kafka.restart()

    assert dead
    assert private_kafka.bootstrap == address
    assert read(private_kafka, unique, b"before") == [b"before"]


@pytest.mark.faults
def test_a_broker_ends_with_the_process_that_started_it_even_when_that_is_killed() -> None:
    program = (
        "import signal\n"
        "from tests.support.kafka import KafkaBroker\n"
        "broker = KafkaBroker().start()\n"
        "print(broker.pid, broker.directory, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        try:
            said: list[str] = starter.stdout.readline().split() if starter.stdout else []
            pid, directory = int(said[0]), Path(said[1])
            running = alive(pid) and directory.is_dir()
        finally:
            starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while (alive(pid) or directory.exists()) and time.monotonic() < deadline:
        time.sleep(0.02)

    assert running
    assert not alive(pid)
    assert not directory.exists()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # without an init that collects orphans, a dead process stays as a zombie
    status = Path(f"/proc/{pid}/stat")
    return not status.is_file() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("said", "major"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_292"', 8), ("not a Java", None)],
)
def test_the_version_of_java_is_understood(said: str, major: int | None) -> None:
    assert java_major(said) == major
