"""Contracts over Kafka: a compacted topic that workers and sinks follow, so that a new contract needs no restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streamgauge.schemas.contracts import Contract, parse_contract
from streamgauge.schemas.errors import BrokerUnavailable, ContractError
from streamgauge.schemas.topics import CONTRACTS

log = logging.getLogger("streamgauge.contracts")

Known = dict[tuple[str, int], Contract]


def publish(producer: Producer, region: str, contracts: Iterable[Contract], timeout_s: float = 10.0) -> None:
    """Make contracts known in a region. Raises BrokerUnavailable when they are not acknowledged in time."""
    failed: list[str] = []

    def report(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(str(error))

    for one in contracts:
        producer.produce(CONTRACTS.name(region), one.dump(), one.key(), partition=0, on_delivery=report)
    if producer.flush(timeout_s) or failed:
        raise BrokerUnavailable(f"contracts were not published: {failed[0] if failed else 'no broker answers'}")


def published(config: Mapping[str, Any], region: str, timeout_s: float = 10.0) -> Known:
    """The contracts that the topic holds now; what is none is left out. Raises BrokerUnavailable."""
    topic = CONTRACTS.name(region)
    settings = {"group.id": f"sg-{region}-contracts", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({**config, **settings})
    found: Known = {}
    try:
        # all topics: asking for one by name could create it
        metadata = consumer.list_topics(timeout=timeout_s).topics.get(topic)
        open_partitions = len(metadata.partitions) if metadata else 0
        if metadata:
            consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in metadata.partitions])
        while open_partitions:
            message = consumer.poll(timeout_s)
            if message is None:
                raise BrokerUnavailable(f"the contracts of {region} cannot be read: the broker is silent; try again")
            if error := message.error():
                open_partitions -= error.code() == KafkaError._PARTITION_EOF  # its only name
                continue
            value = message.value()
            with suppress(ContractError):
                contract = parse_contract(value if isinstance(value, bytes) else b"")
                found[contract.name, contract.version] = contract
    except KafkaException as error:
        raise BrokerUnavailable(
            f"no Kafka broker answers at {config['bootstrap.servers']} ({error.args[0].str()}); start one (`streamgauge dev` "
            "brings its own), or set STREAMGAUGE_BROKERS"
        ) from error
    finally:
        consumer.close()
    return found


class ContractFeed:
    """The contracts of files and of the topic, followed by a thread of its own. `current()` is safe from any thread."""

    def __init__(
        self, config: Mapping[str, Any], region: str, files: Known, changed: Callable[[], None] | None = None
    ) -> None:
        self._topic = CONTRACTS.name(region)
        self._config = {**config, "group.id": f"sg-{region}-contracts", "enable.auto.commit": False}
        self._known: Known = dict(files)
        self._changed = changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="streamgauge-contracts", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def current(self) -> Known:
        """What is known now; the mapping is never changed, only replaced."""
        return self._known

    def close(self, timeout_s: float = 3.0) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _follow(self) -> None:
        try:
            consumer = Consumer(self._config)
        except KafkaException as error:
            log.error("contracts are not followed: %s", error)
            return
        try:
            consumer.assign([TopicPartition(self._topic, one, OFFSET_BEGINNING) for one in self._partitions(consumer)])
            while not self._stop.is_set():
                message = consumer.poll(0.2)
                if message is None or message.error():
                    continue
                value = message.value()
                if isinstance(value, bytes):
                    self._learn(value, f"{self._topic} offset {message.offset()}")
        except KafkaException as error:
            log.warning("contracts are no longer followed: %s", error)
        finally:
            consumer.close()

    def _partitions(self, consumer: Consumer) -> list[int]:
        """One on servers; the in-process broker gives every topic four. Waits until the broker says, or until `close`."""
        while not self._stop.is_set():
            with suppress(KafkaException):
                if found := consumer.list_topics(self._topic, timeout=1).topics[self._topic].partitions:
                    return list(found)
            self._stop.wait(0.5)
        return []

    def _learn(self, value: bytes, where: str) -> None:
        try:
            contract = parse_contract(value, where)
        except ContractError as error:
            log.warning("a published contract is not used: %s", error)
            return
        key = (contract.name, contract.version)
        if self._known.get(key) != contract:
            self._known = {**self._known, key: contract}
            log.info("contract %s version %d is in force", *key)
            if self._changed:
                self._changed()
