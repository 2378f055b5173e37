"""Transactions: a raw partition's outputs and its offset, in one Kafka transaction. The only place that commits on servers.

One transactional producer per raw partition, named after it, so that opening it fences whoever owned the partition
before. Any doubt about a commit ends in a new producer: the clients lack the second part of KIP-890.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streamgauge.processors.broker import Broker
from streamgauge.processors.outputs import Output

COMPRESSION = "zstd"
"""aiokafka compresses lz4 at its highest level: 1.6 µs an event where zstd takes 0.1, and makes it larger (measured)."""


class Committer(Protocol):
    """How one raw partition's work becomes final. After an error of `commit` its outcome is unknown: close, open anew."""

    async def open(self) -> int:
        """Fence the previous owner; then the committed offset, or `broker.NO_OFFSET`."""
        ...

    async def commit(self, outputs: Sequence[Output], end: int) -> None:
        """Send all outputs and the offset `end`, all or nothing."""
        ...

    async def close(self) -> None:
        """Let go of connections. May be called twice, and after errors."""
        ...


@dataclass(frozen=True, slots=True)
class CommitTarget:
    """The raw partition and group whose offset is committed."""

    topic: str
    partition: int
    group: str


async def _send_all(producer: Any, outputs: Sequence[Output]) -> None:
    """Hand over all messages, then wait until each is acknowledged."""
    sends: list[asyncio.Future[Any]] = [
        await producer.send(one.topic, one.value, partition=one.partition) for one in outputs
    ]
    await asyncio.gather(*sends)


class TransactionalCommitter:
    """Commits by Kafka transactions (aiokafka). Exactly once with Apache Kafka; the in-process broker only pretends."""

    def __init__(
        self, target: CommitTarget, broker: Broker, config: Mapping[str, Any], timeout_ms: int = 20_000
    ) -> None:
        self._target = target
        self._broker = broker
        self._config = config
        self._timeout_ms = timeout_ms
        self._producer: Any = None
        self._starting: asyncio.Future[None] | None = None

    async def open(self) -> int:
        """See Committer. The committed offset is read after fencing: only then is it final."""
        producer: Any = AIOKafkaProducer(
            **self._config,
            transactional_id=f"{self._target.group}-{self._target.topic}-{self._target.partition}",
            transaction_timeout_ms=self._timeout_ms,
            compression_type=COMPRESSION,
            max_request_size=1 << 20,
            max_batch_size=1 << 19,
        )
        self._producer = producer
        starting: asyncio.Future[None] = asyncio.ensure_future(producer.start())
        self._starting = starting
        await asyncio.wait([starting])
        if self._producer is not producer:
            raise RuntimeError("the committer was closed while it opened")
        starting.result()
        return await self._broker.committed(self._target.topic, self._target.partition)

    async def commit(self, outputs: Sequence[Output], end: int) -> None:
        """See Committer."""
        producer = self._producer
        if producer is None:
            raise RuntimeError("the committer is not open")
        await producer.begin_transaction()
        await _send_all(producer, outputs)
        offsets = {TopicPartition(self._target.topic, self._target.partition): OffsetAndMetadata(end, "")}
        await producer.send_offsets_to_transaction(offsets, self._target.group)
        await producer.commit_transaction()

    async def close(self) -> None:
        """See Committer."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if self._starting is not None and not self._starting.done():  # a producer cannot be stopped while it starts
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await _stop(producer)


async def _stop(producer: Any) -> None:
    """Let go of a producer in whatever state it is; what it had not sent is lost on purpose."""
    with contextlib.suppress(Exception):  # it is thrown away because it failed, or is not needed any more
        await asyncio.wait_for(producer.stop(), 5)
    with contextlib.suppress(Exception):  # where stopping failed or took too long, connections and tasks are left
        await asyncio.wait_for(producer.client.close(), 5)


class CommitOffset(Protocol):
    """Commits one offset of the group through the consumer that owns the partition."""

    async def __call__(self, topic: str, partition: int, offset: int) -> None: ...


class PlainCommitter:
    """Commits by acknowledged sends and then the offset: at least once. For the in-process broker of the embedded mode."""

    def __init__(
        self, target: CommitTarget, broker: Broker, config: Mapping[str, Any], commit_offset: CommitOffset
    ) -> None:
        self._target = target
        self._broker = broker
        self._config = config
        self._commit_offset = commit_offset
        self._producer: Any = None

    async def open(self) -> int:
        """See Committer; nobody is fenced."""
        self._producer = AIOKafkaProducer(**self._config, compression_type=COMPRESSION, max_batch_size=1 << 19)
        await self._producer.start()
        return await self._broker.committed(self._target.topic, self._target.partition)

    async def commit(self, outputs: Sequence[Output], end: int) -> None:
        """See Committer; a crash between the two steps repeats the outputs."""
        if self._producer is None:
            raise RuntimeError("the committer is not open")
        await _send_all(self._producer, outputs)
        await self._commit_offset(self._target.topic, self._target.partition, end)

    async def close(self) -> None:
        """See Committer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)
