"""What a worker asks a real broker: lives of topics, and what the ledger has last of a partition."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from streamgauge.processors import broker as brokers
from streamgauge.processors.broker import Known
from streamgauge.schemas.ledger import LedgerEntry
from tests.support import kafka as kafka_support
from tests.support.kafka import Broker
from tests.support.lives import life_of

pytestmark = pytest.mark.kafka

RAW, OTHER = "sg.eu.events.v1", "sg.eu.metrics.v1"


def entry(topic: str, partition: int, end: int, life: str) -> bytes:
    """A ledger entry."""
    return LedgerEntry("eu", topic, partition, 0, end, end, end, {}, 1, incarnation=life).encode()


@pytest.fixture
def ledger(kafka: Broker, unique: str) -> str:
    """Entries of three partitions and two lives, in transactions, some of which were aborted; then noise."""
    kafka_support.create_topic(kafka.bootstrap, unique)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": unique})
    producer.init_transactions(20)
    written = [
        (RAW, 0, 5, ""), (RAW, 0, 9, "first"), (OTHER, 0, 99, "other"), (RAW, 1, 3, "first"), (RAW, 1, 4, "second"),
        *((OTHER, 7, number, "other") for number in range(40)),
    ]  # fmt: skip
    for number, one in enumerate(written):
        producer.begin_transaction()
        producer.produce(unique, entry(*one), partition=0)
        if number == 4:
            producer.produce(unique, b"no entry", partition=0)
        producer.commit_transaction(20)
        producer.begin_transaction()
        producer.produce(unique, entry(RAW, 2, 50, "aborted"), partition=0)
        producer.flush(20)
        producer.abort_transaction(20)
    return unique


@pytest.mark.parametrize("tail", [3, 20, 10_000])
async def test_the_newest_entry_of_a_partition_is_found_however_far_back_it_stands(
    kafka: Broker, ledger: str, tail: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokers, "LEDGER_TAIL", tail)
    broker = brokers.Broker({"bootstrap.servers": kafka.bootstrap}, f"{ledger}-group")
    assert await broker.ledger_knows(ledger, RAW, 0) == Known(9, "first", "second")
    assert await broker.ledger_knows(ledger, RAW, 1) == Known(4, "second", "second")
    assert await broker.ledger_knows(ledger, RAW, 2) == Known(topic_life="second")
    assert await broker.ledger_knows(ledger, "sg.us.events.v1", 0) == Known()
    assert await broker.log_end(ledger, 0) > 90


async def test_the_life_of_a_topic_is_its_id_or_what_is_given(kafka: Broker, unique: str) -> None:
    kafka_support.create_topic(kafka.bootstrap, unique)
    broker = brokers.Broker({"bootstrap.servers": kafka.bootstrap}, f"{unique}-group")
    assert await broker.life(unique) == life_of(kafka.bootstrap, unique)
    with pytest.raises(KafkaException):
        await broker.life(f"{unique}-none")
    assert await brokers.Broker({"bootstrap.servers": "127.0.0.1:1"}, "any", life="given").life(unique) == "given"


async def test_an_offset_that_is_never_stable_is_taken_if_the_ledger_says_the_same(kafka: Broker, ledger: str) -> None:
    raw, group = f"{ledger}-raw", f"{ledger}-group"
    kafka_support.create_topic(kafka.bootstrap, raw)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{ledger}-open"})
    reader = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    producer.init_transactions(20)
    for end in (9, 12):  # the second one stays open, as a broker that was silent may leave one
        producer.begin_transaction()
        producer.produce(ledger, entry(raw, 0, end, "life"), partition=0)
        metadata = reader.consumer_group_metadata()
        producer.send_offsets_to_transaction([TopicPartition(raw, 0, end)], metadata, 20)
        if end == 9:
            producer.commit_transaction(20)
    broker = brokers.Broker({"bootstrap.servers": kafka.bootstrap}, group, timeout_s=2)
    with pytest.raises(KafkaException):
        await broker.committed(raw, 0)
    # of the ledger, too, nobody may be told before the transaction has ended: here it is another topic
    kafka_support.create_topic(kafka.bootstrap, f"{ledger}-same")
    plain = Producer({"bootstrap.servers": kafka.bootstrap})
    plain.produce(f"{ledger}-same", entry(raw, 0, 9, "life"), partition=0)
    assert plain.flush(20) == 0
    assert (await broker.committed_by_fenced(raw, 0, f"{ledger}-same")).offset == 9
    plain.produce(f"{ledger}-same", entry(raw, 0, 12, "life"), partition=0)
    assert plain.flush(20) == 0
    with pytest.raises(KafkaException):
        await broker.committed_by_fenced(raw, 0, f"{ledger}-same")
    producer.abort_transaction(20)
    assert (await broker.committed(raw, 0)).offset == 9
    reader.close()
