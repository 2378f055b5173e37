"""Contracts over Kafka: a feed follows what is published, and whatever else stands in the topic does not stop it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streamgauge.schemas.contract_topic import ContractFeed, Known, publish
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.topics import CONTRACTS

VISIT = Contract("visit", 1, {"place": Field("dimension")}, owner="shop")
ORDER = Contract("order_placed", 3, {"amount": Field("measure", "number", "{USD}")})


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """The address of librdkafka's own broker, alive as long as the client that carries it."""
    holder = Producer({"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = holder.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    holder.flush(0)


def producer_of(brokers: str) -> Producer:
    """A plain producer."""
    return Producer({"bootstrap.servers": brokers, "log_level": 0})


def log_start(brokers: str, region: str) -> int:
    """The first offset that the topic still has."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "none", "log_level": 0})
    try:
        return cast("tuple[int, int]", consumer.get_watermark_offsets(TopicPartition(CONTRACTS.name(region), 0)))[0]
    finally:
        consumer.close()


def threads() -> set[threading.Thread]:
    """Those that follow contracts."""
    return {one for one in threading.enumerate() if one.name == "streamgauge-contracts"}


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; fails after 20 seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


@dataclass
class Followed:
    """A feed that runs, and how often it told of a change."""

    feed: ContractFeed
    region: str
    changes: list[Known] = field(default_factory=list[Known])

    def wait_for(self, *contracts: Contract) -> None:
        """Until exactly these are known."""
        wanted = {(one.name, one.version): one for one in contracts}
        wait_for(lambda: self.feed.current() == wanted)


@pytest.fixture
def follow(brokers: str, unique: str) -> Iterator[Callable[..., Followed]]:
    """Start feeds of a region of this test's own."""
    feeds: list[ContractFeed] = []

    def start(*files: Contract) -> Followed:
        changes: list[Known] = []
        known = {(one.name, one.version): one for one in files}
        feed = ContractFeed(
            {"bootstrap.servers": brokers, "log_level": 0}, unique, known, lambda: changes.append(feed.current())
        )
        feeds.append(feed)
        feed.start()
        return Followed(feed, unique, changes)

    yield start
    for feed in feeds:
        feed.close()


Follow = Callable[..., Followed]


def test_a_published_contract_is_known_without_a_restart(brokers: str, follow: Follow) -> None:
    followed = follow()
    assert followed.feed.current() == {}
    publish(producer_of(brokers), followed.region, [VISIT])
    followed.wait_for(VISIT)
    publish(producer_of(brokers), followed.region, [ORDER, replace(VISIT, version=2)])
    followed.wait_for(VISIT, ORDER, replace(VISIT, version=2))


def test_what_was_published_before_is_read_from_the_beginning(brokers: str, follow: Follow, unique: str) -> None:
    publish(producer_of(brokers), unique, [VISIT, ORDER])
    follow().wait_for(VISIT, ORDER)
    # and by every feed again: nothing is committed
    follow().wait_for(VISIT, ORDER)


def test_a_topic_whose_first_offsets_are_gone_is_read_from_what_is_left(
    brokers: str, follow: Follow, unique: str
) -> None:
    producer = producer_of(brokers)
    for number in range(8):  # this broker keeps 5 MiB of a partition
        producer.produce(CONTRACTS.name(unique), b"x" * 900_000, str(number), partition=0)
    publish(producer, unique, [VISIT])
    assert log_start(brokers, unique) > 0
    follow().wait_for(VISIT)


def test_contracts_of_files_stay_known_beside_published_ones(brokers: str, follow: Follow) -> None:
    followed = follow(VISIT)
    assert followed.feed.current() == {("visit", 1): VISIT}
    publish(producer_of(brokers), followed.region, [ORDER])
    followed.wait_for(VISIT, ORDER)


def test_the_same_version_published_anew_replaces_what_was_known(brokers: str, follow: Follow) -> None:
    followed = follow(VISIT)
    publish(producer_of(brokers), followed.region, [replace(VISIT, owner="warehouse")])
    followed.wait_for(replace(VISIT, owner="warehouse"))


def test_a_change_is_told_once_and_what_was_handed_out_stays_as_it_was(brokers: str, follow: Follow) -> None:
    followed = follow()
    before = followed.feed.current()
    publish(producer_of(brokers), followed.region, [VISIT, VISIT, VISIT, ORDER])
    followed.wait_for(VISIT, ORDER)
    wait_for(lambda: len(followed.changes) == 2)
    assert before == {}
    assert followed.changes[0] == {("visit", 1): VISIT}


BAD = [
    b"",
    b"{",
    b"not json, hunter2",
    b"\xff\xfe",
    b"[]",
    b"{}",
    b'{"name":"visit","version":0,"fields":{}}',
    b'{"name":"visit","version":1,"fields":[]}',
    b'{"name":"visit","version":1,"fields":{"a":5}}',
    b'{"name":5,"version":1,"fields":{}}',
    b'{"name":"visit","version":1,"fields":{},"nmae":""}',
    b'{"a":' * 5_000,
    b"[" * 100_000,
]


def test_bad_contracts_are_reported_and_ignored(brokers: str, follow: Follow, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "streamgauge.contracts")
    followed = follow()
    producer = producer_of(brokers)
    topic = CONTRACTS.name(followed.region)
    for number, value in enumerate([*BAD, None]):
        producer.produce(topic, value, str(number), partition=0)
    publish(producer, followed.region, [VISIT])
    followed.wait_for(VISIT)
    reports = [record.getMessage() for record in caplog.records if record.name == "streamgauge.contracts"]
    assert len(reports) == len(BAD)
    assert all(topic in report and "is not used" in report for report in reports)
    assert reports[6] == f"a published contract is not used: {topic} offset 6: version: must be 1 or more"


def test_a_feed_ends_when_it_is_closed(follow: Follow) -> None:
    before = threads()
    followed = follow(VISIT)
    (thread,) = threads() - before
    followed.feed.close()
    assert not thread.is_alive()
    assert followed.feed.current() == {("visit", 1): VISIT}
    followed.feed.close()


def test_a_feed_that_was_never_started_can_be_closed(brokers: str) -> None:
    ContractFeed({"bootstrap.servers": brokers}, "r", {}).close()


def test_a_feed_that_cannot_reach_a_broker_still_knows_its_files(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "streamgauge.contracts")
    before = threads()
    away = ContractFeed({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}, "r", {("visit", 1): VISIT})
    away.start()
    assert away.current() == {("visit", 1): VISIT}
    away.close()
    assert threads() == before
    misconfigured = ContractFeed({"no.such.property": "1"}, "r", {("visit", 1): VISIT})
    misconfigured.start()
    wait_for(lambda: any("contracts are not followed" in record.getMessage() for record in caplog.records))
    assert misconfigured.current() == {("visit", 1): VISIT}
    misconfigured.close()


def test_publishing_without_a_broker_says_so() -> None:
    alone = Producer({"bootstrap.servers": "127.0.0.1:9", "log_level": 0, "message.timeout.ms": 300})
    with pytest.raises(BrokerUnavailable, match="contracts were not published"):
        publish(alone, "r", [VISIT], 0.2)
    alone.purge()
    alone.flush(1)
    # reported in time, but failed
    with pytest.raises(BrokerUnavailable, match=r"contracts were not published: .*(timed out|transport)"):
        publish(alone, "r", [VISIT], 10)
