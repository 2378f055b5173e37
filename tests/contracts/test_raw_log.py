"""The raw log on librdkafka's own broker: single messages by offset; and what a replay puts beside the bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streamgauge.console import raw_log
from streamgauge.console.dead_letters import Origin
from streamgauge.console.dead_replay import AgainSender, ReplayAccount
from streamgauge.console.raw_log import Absence, RawLog, RawMessage
from streamgauge.schemas.again import AGAIN_HEADER, Again
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.ledger import DeadLetter


@pytest.fixture(scope="module")
def config() -> Iterator[dict[str, object]]:
    """How to reach librdkafka's own broker, alive as long as the client that carries it."""
    holder = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = holder.list_topics(timeout=10).brokers.values()
    yield {"bootstrap.servers": f"{broker.host}:{broker.port}", "log_level": 0}
    holder.flush(0)


@pytest.fixture
def log(config: dict[str, object]) -> Iterator[RawLog]:
    """A log to look into."""
    one = RawLog(config)
    yield one
    one.close()


def fill(config: dict[str, object], topic: str, count: int) -> None:
    """Messages m0, m1, … in partition 1."""
    producer = Producer(config)
    for number in range(count):
        producer.produce(topic, f"m{number}".encode(), b"k", 1)
    assert producer.flush(10) == 0


def test_messages_are_found_by_offset_in_any_order(config: dict[str, object], log: RawLog, unique: str) -> None:
    fill(config, unique, 1_200)
    for offset in (0, 3, 3, 4, 900, 1_199, 2, 700):
        assert log.find(Origin(unique, 1, offset)) == RawMessage(b"k", f"m{offset}".encode())
    assert log.find(Origin(unique, 1, 1_200)) is Absence.NEVER


def test_a_topic_that_is_not_there_is_not_made(config: dict[str, object], log: RawLog, unique: str) -> None:
    assert log.find(Origin(unique, 0, 0)) is Absence.NEVER
    assert unique not in Producer(config).list_topics(timeout=10).topics


def test_a_silent_broker_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_log, "ANSWER_WITHIN_S", 0.3)
    log = RawLog({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        log.find(Origin("t", 0, 0))
    log.close()


def test_a_replay_goes_to_the_same_partition_with_the_same_bytes_and_key(
    config: dict[str, object], unique: str
) -> None:
    fill(config, unique, 2)
    account = ReplayAccount(1)
    sender = AgainSender(config, account)
    letter = DeadLetter("eu", unique, 1, 0, "too_old", 7, 1)
    again = Again(0, "too_old", backfill=True)
    sender.send(letter, RawMessage(b"k", b"m0"), again)
    sender.close(10)
    assert (account.sent, account.points, account.failed) == (1, 7, {})
    consumer = Consumer({**config, "group.id": unique})
    consumer.assign([TopicPartition(unique, 1, 2)])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    assert (message.value(), message.key(), message.headers()) == (b"m0", b"k", [(AGAIN_HEADER, again.encode())])


def test_what_the_broker_does_not_take_is_counted_as_failed(config: dict[str, object], unique: str) -> None:
    account = ReplayAccount(1)
    sender = AgainSender({**config, "message.timeout.ms": 500}, account)
    sender.send(DeadLetter("eu", unique, 99, 0, "too_old", 7, 1), RawMessage(None, b"m"), Again(0, "too_old"))
    sender.close(10)
    assert (account.sent, sum(account.failed.values()), account.complete) == (0, 1, False)
