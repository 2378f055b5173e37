"""Transactions: a raw partition's outputs and its offset, in one Kafka transaction. The only place that commits on servers.

One transactional producer per raw partition, named after it, so that opening it fences whoever owned the partition
before. Any doubt about a commit ends in a new producer: the clients lack the second part of KIP-890.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from streamgauge.processors.broker import Broker, Committed
from streamgauge.processors.outputs import Output

COMPRESSION = "zstd"
"""aiokafka compresses lz4 at its highest level: 1.6 µs an event where zstd takes 0.1, and makes it larger (measured)."""
STOP_S = 5.0


class Committer(Protocol):
    """How one raw partition's work becomes final. After an error of `commit` its outcome is unknown: close, open anew."""

    async def open(self) -> Committed:
        """Fence the previous owner; then what is committed. `broker.NO_OFFSET` when nothing is."""
        ...

    async def commit(self, outputs: Sequence[Output], end: int, life: str = "") -> None:
        """Send all outputs and the offset `end`, all or nothing. An output that is an anchor is found by the next owner,
        and so is the life of the raw topic that the offset is of.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. May be called twice, and after errors."""
        ...


@dataclass(frozen=True, slots=True)
class CommitTarget:
    """The raw partition and group whose offset is committed, and the topic of the ledger that goes with it."""

    topic: str
    partition: int
    group: str
    ledger: str


async def _send_all(producer: Any, outputs: Sequence[Output]) -> list[int]:
    """Hand over all messages, then wait until each is acknowledged; the offsets of those that are anchors."""
    sends: list[asyncio.Future[Any]] = [
        await producer.send(one.topic, one.value or None, key=one.key, partition=one.partition) for one in outputs
    ]
    done = await asyncio.gather(*sends)
    return [record.offset for one, record in zip(outputs, done, strict=True) if one.anchor]


class _ProducerCommitter(ABC):
    """One producer at a time. A commit ends when the producer is let go: aiokafka would leave its callers waiting for ever."""

    def __init__(self, target: CommitTarget, broker: Broker, config: Mapping[str, Any], timeout_ms: int) -> None:
        self._target = target
        self._broker = broker
        self._config = config
        self._timeout_ms = timeout_ms
        self._producer: Any = None
        self._work: asyncio.Future[None] | None = None
        self._anchor: int | None = None
        self._started = False

    @abstractmethod
    def _new_producer(self) -> Any: ...

    @abstractmethod
    async def _commit(self, producer: Any, outputs: Sequence[Output], end: int, life: str) -> None: ...

    async def open(self) -> Committed:
        """See Committer. The committed offset is read after fencing: only then is it final."""
        producer = self._producer = self._new_producer()
        self._started = False
        await self._run(producer, producer.start())
        self._started = True
        target = self._target
        committed = await self._broker.committed_by_fenced(target.topic, target.partition, target.ledger)
        self._anchor = committed.anchor
        return committed

    async def commit(self, outputs: Sequence[Output], end: int, life: str = "") -> None:
        """See Committer. Raises TimeoutError when the broker has not taken all of it within the transaction's time."""
        producer = self._producer
        if producer is None:
            raise RuntimeError("the committer is not open")
        async with asyncio.timeout(self._timeout_ms / 1000):
            await self._run(producer, self._commit(producer, outputs, end, life))

    async def _run(self, producer: Any, steps: Coroutine[Any, Any, None]) -> None:
        self._work = asyncio.ensure_future(steps)
        (error,) = await asyncio.gather(self._work, return_exceptions=True)
        if self._producer is not producer:
            raise RuntimeError("the committer was closed meanwhile")
        if error is not None:
            raise error

    async def close(self) -> None:
        """See Committer."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if self._work is not None and not self._work.done():
            if not self._started:  # a start that is cancelled leaves a connection behind that nobody knows
                await asyncio.wait([self._work], timeout=STOP_S)
            self._work.cancel()
            await asyncio.wait([self._work], timeout=STOP_S)
        await _stop(producer)


class TransactionalCommitter(_ProducerCommitter):
    """Commits by Kafka transactions (aiokafka). Exactly once with Apache Kafka; the in-process broker only pretends."""

    def __init__(
        self, target: CommitTarget, broker: Broker, config: Mapping[str, Any], timeout_ms: int = 20_000
    ) -> None:
        super().__init__(target, broker, config, timeout_ms)

    def _new_producer(self) -> Any:
        return AIOKafkaProducer(
            **self._config,
            transactional_id=f"{self._target.group}-{self._target.topic}-{self._target.partition}",
            transaction_timeout_ms=self._timeout_ms,
            compression_type=COMPRESSION,
            max_request_size=1 << 20,
            max_batch_size=1 << 19,
        )

    async def _commit(self, producer: Any, outputs: Sequence[Output], end: int, life: str) -> None:
        await producer.begin_transaction()
        anchors = await _send_all(producer, outputs)
        anchor = anchors[0] if anchors else self._anchor
        position = OffsetAndMetadata(end, Committed(end, anchor, life).metadata)
        offsets = {TopicPartition(self._target.topic, self._target.partition): position}
        await producer.send_offsets_to_transaction(offsets, self._target.group)
        await producer.commit_transaction()
        self._anchor = anchor


async def _stop(producer: Any) -> None:
    """Let go of a producer in whatever state it is; what it had not sent is lost on purpose."""
    with contextlib.suppress(Exception):  # it is thrown away because it failed, or is not needed any more
        await asyncio.wait_for(producer.stop(), STOP_S)
    with contextlib.suppress(Exception):  # where stopping failed or took too long, connections and tasks are left
        await asyncio.wait_for(producer.client.close(), STOP_S)


class CommitOffset(Protocol):
    """Commits one offset of the group through the consumer that owns the partition."""

    async def __call__(self, topic: str, partition: int, offset: int) -> None: ...


class PlainCommitter(_ProducerCommitter):
    """Commits by acknowledged sends and then the offset: at least once. For the in-process broker of the embedded mode.

    Nobody is fenced; a crash between the steps repeats outputs. State goes last: it must not know what did not arrive.
    The life of the topic is not kept: it is that of the broker, and so is the group's.
    """

    def __init__(
        self,
        target: CommitTarget,
        broker: Broker,
        config: Mapping[str, Any],
        commit_offset: CommitOffset,
        timeout_ms: int = 20_000,
    ) -> None:
        super().__init__(target, broker, config, timeout_ms)
        self._commit_offset = commit_offset

    def _new_producer(self) -> Any:
        return AIOKafkaProducer(**self._config, compression_type=COMPRESSION, max_batch_size=1 << 19)

    async def _commit(self, producer: Any, outputs: Sequence[Output], end: int, life: str) -> None:
        await _send_all(producer, [one for one in outputs if one.key is None])
        await _send_all(producer, [one for one in outputs if one.key is not None])
        await self._commit_offset(self._target.topic, self._target.partition, end)
