"""Broker look-ups that the stream library lacks: stable committed offsets, ends of logs, lives of topics, an old ledger."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from streamgauge.schemas.committed import ask_committed
from streamgauge.schemas.errors import BrokerUnavailable, PositionLost, Refused
from streamgauge.schemas.incarnations import Incarnations
from streamgauge.schemas.ledger import LedgerEntry, decode_ledger

log = logging.getLogger("streamgauge.processors")

Record = tuple[bytes, bytes]
"""Key and value of a message."""
NO_OFFSET = -1
MOVING = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
"""What a broker answers while the group's coordinator moves: soon another one will know."""
UNSTABLE = frozenset({KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT})
"""How it is said that a transaction on an offset has not ended: librdkafka asks again until its time is up."""
RETRY_S = 0.1
STATE_S = 60.0
LIFE_S = 5
READ_COMMITTED = {"isolation.level": "read_committed", "enable.partition.eof": True}


END = "\0"
"""Ends metadata. librdkafka copies it without an end of its own: of 320 reads in eight threads 15 went on with what stood in
memory (2.16)."""
LEDGER_TAIL = 10_000
"""Messages of the ledger that are looked through first, from its end; then ten times as many, and so on."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed offset. `anchor` is the offset in the state's partition where a reader of the state begins, `life` the
    life of the raw topic that the offset is of; both if they are known.
    """

    offset: int
    anchor: int | None = None
    life: str = ""

    @property
    def metadata(self) -> str:
        """As it travels with the committed offset: pairs of a name and a value. Readers leave out names they do not know."""
        said = [] if self.anchor is None else ["state", str(self.anchor)]
        said += ["topic", self.life] if self.life else []
        return " ".join(said) + END if said else ""

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Committed:
        """From an offset and its metadata. Text of another kind says nothing: offsets may be set by hand."""
        words = (metadata or "").partition(END)[0].split(" ")
        said = dict(zip(words[::2], words[1::2], strict=False))
        anchor = said.get("state", "")
        return cls(offset, int(anchor) if _OFFSET.fullmatch(anchor) else None, said.get("topic", ""))


_OFFSET = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has last of a raw partition: where it ended (`NO_OFFSET`: nothing), in which life of the topic.

    `topic_life` is the life of the newest entry of any partition of the topic. A life is empty where an entry does not
    say; None: there is no entry.
    """

    end: int = NO_OFFSET
    life: str | None = None
    topic_life: str | None = None


class Broker:
    """Look-ups for one consumer group. `config` are librdkafka settings, bootstrap.servers among them.

    `life` is that of every topic where the brokers give them no ids: nobody is asked then.
    """

    def __init__(self, config: Mapping[str, Any], group: str, timeout_s: float = 10.0, life: str | None = None) -> None:
        self._config = dict(config)
        self._life = life
        self._lives = Incarnations(self._config, ())
        self._admin = AdminClient(self._config)
        self._group = group
        self._timeout_s = timeout_s

    async def committed(self, topic: str, partition: int) -> Committed:
        """The group's committed offset, after every pending transaction has ended; `NO_OFFSET` when there is none."""
        return await asyncio.to_thread(self._stable, topic, partition)

    async def committed_by_fenced(self, topic: str, partition: int, ledger_topic: str) -> Committed:
        """The same, for a caller that has just fenced everyone who could have a transaction open: it does not wait for ever.

        A broker that was silent may keep an offset of a transaction that has ended, and wait for an end that never comes
        (seen with Kafka 4.3 after a SIGSTOP of 20 s: nobody was told the offset as long as it was watched). The offset below
        it is taken then, if the ledger says the same: its entries are in the same transactions.
        """
        try:
            return await self.committed(topic, partition)
        except KafkaException as error:
            if error.args[0].code() not in UNSTABLE:
                raise
            found = await asyncio.to_thread(self._committed, topic, partition, "read_uncommitted")
            known = await self.ledger_knows(ledger_topic, topic, partition)
            if found.offset != known.end:
                raise
            log.warning(
                "%s/%s: the broker keeps an offset of a transaction that has ended; the ledger says that %d is the last one. "
                "Find that transaction with kafka-transactions find-hanging, and abort it",
                topic, partition, found.offset,
            )  # fmt: skip
            return found

    def _stable(self, topic: str, partition: int) -> Committed:
        # who reads committed messages is told stable offsets only
        return self._committed(topic, partition, "read_committed")

    def _committed(self, topic: str, partition: int, isolation: str) -> Committed:
        # not the admin client: its look-up of offsets crashes the whole process (librdkafka 2.16) when the group's
        # coordinator moves or is loading
        config = {"group.id": self._group, "enable.auto.commit": False, "isolation.level": isolation}
        consumer = Consumer(self._config | config)
        deadline = time.monotonic() + self._timeout_s
        try:
            while True:
                try:
                    (found,) = ask_committed(consumer, [TopicPartition(topic, partition)], self._timeout_s)
                    break
                except KafkaException as error:
                    if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                        raise
                time.sleep(RETRY_S)
        finally:
            consumer.close()
        if found.error:
            raise KafkaException(found.error)
        return Committed.read(max(found.offset, NO_OFFSET), found.metadata)

    def reset(self, where: str, target: str) -> str:
        """The command that sets the group's offset of a topic, or of a partition, TOPIC:PARTITION."""
        return (
            f"kafka-consumer-groups --bootstrap-server {self._config['bootstrap.servers']} --group {self._group} "
            f"--topic {where} --reset-offsets {target} --execute"
        )

    async def life(self, topic: str) -> str:
        """The life of a topic at this moment. Raises KafkaException when nobody says: also of a topic that is not there."""
        if self._life is not None:
            return self._life
        return (await asyncio.to_thread(self._lives.now, [topic], LIFE_S))[topic]

    async def log_start(self, topic: str, partition: int) -> int:
        """The first offset that the partition still has."""
        return (await asyncio.to_thread(self._watermarks, topic, partition))[0]

    async def log_end(self, topic: str, partition: int) -> int:
        """One after the last offset of the partition."""
        return (await asyncio.to_thread(self._watermarks, topic, partition))[1]

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        # the true end, not that of the transactions that have ended
        look = {"group.id": f"{self._group}-look", "enable.auto.commit": False, "isolation.level": "read_uncommitted"}
        consumer = Consumer(self._config | look)
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=self._timeout_s)
        finally:
            consumer.close()

    def partitions(self, topics: list[str]) -> dict[str, int]:
        """Partition counts. Raises BrokerUnavailable when no broker answers, or a topic does not exist."""
        counts: dict[str, int] = {}
        for topic in topics:
            try:
                metadata = self._admin.list_topics(topic, timeout=self._timeout_s).topics[topic]
            except KafkaException as error:
                raise BrokerUnavailable(
                    f"no Kafka broker answers at {self._config['bootstrap.servers']} ({error.args[0].str()}); "
                    "start one (`streamgauge dev` brings its own), or set STREAMGAUGE_BROKERS"
                ) from error
            if metadata.error is not None or not metadata.partitions:
                raise BrokerUnavailable(
                    f"topic {topic} does not exist; make the region's topics with: streamgauge topics"
                )
            counts[topic] = len(metadata.partitions)
        return counts

    async def state(self, state_topic: str, state_partition: int, anchor: int | None) -> list[Record]:
        """All committed messages of a partition of the state topic, from the anchor on, or from its start.

        Waits until every transaction that was open has ended. Raises BrokerUnavailable when that takes too long.
        """
        found: list[Record] = []

        def take(key: bytes, value: bytes) -> None:
            found.append((key, value))

        await self.each_state(state_topic, state_partition, anchor, take)
        return found

    async def each_state(
        self, state_topic: str, state_partition: int, anchor: int | None, take: Callable[[bytes, bytes], None]
    ) -> None:
        """As `state`, but each message is handed over, key and value, in another thread. What `take` raises ends it."""
        await asyncio.to_thread(self._state, state_topic, state_partition, anchor, take)

    def _state(
        self, state_topic: str, state_partition: int, anchor: int | None, take: Callable[[bytes, bytes], None]
    ) -> None:
        where = f"{state_topic}/{state_partition}"
        low, high = self._watermarks(state_topic, state_partition)
        if anchor is not None and not low <= anchor < high:
            raise PositionLost(
                f"the snapshot at offset {anchor} of {where} is gone: the topic was made anew, or cleaned otherwise than by "
                "compaction. Batches that were sent twice cannot be recognised. To go on without the old state, set the "
                "worker group's offsets to where they are with kafka-consumer-groups --reset-offsets --to-current, which "
                "drops the reference, and start again"
            )
        start = low if anchor is None else anchor
        if start >= high:
            return
        for message in self._read(state_topic, state_partition, start, high):
            if isinstance(value := message.value(), bytes):
                key = message.key()
                take(key if isinstance(key, bytes) else b"", value)

    def _read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """Committed messages from `start` on, until all that stood below `end` have come. Waits for open transactions."""
        config = {"group.id": f"{self._group}-state-reader", "enable.auto.commit": False} | READ_COMMITTED
        consumer = Consumer(self._config | config)
        deadline = time.monotonic() + STATE_S
        try:
            consumer.assign([TopicPartition(topic, partition, start)])
            reached = start
            while reached < end:  # what ends a transaction is a record too, which is not delivered: only the end tells
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(f"nothing more of {topic}/{partition} could be read for {STATE_S:.0f} s")
                for message in consumer.consume(500, 0.1):
                    if message.error() is not None:
                        reached = max(reached, message.offset() or 0)
                        continue
                    deadline = time.monotonic() + STATE_S
                    reached = max(reached, (message.offset() or 0) + 1)
                    yield message
        finally:
            consumer.close()

    async def ledger_knows(self, ledger_topic: str, topic: str, partition: int) -> Known:
        """What the ledger has last of this partition, and of its topic. Reads the ledger from its end, as far as needed."""
        return await asyncio.to_thread(self._ledger_knows, ledger_topic, topic, partition)

    def _ledger_knows(self, ledger_topic: str, topic: str, partition: int) -> Known:
        low, end = self._watermarks(ledger_topic, 0)
        of_topic: LedgerEntry | None = None
        tail = LEDGER_TAIL
        while low < end:
            start = max(low, end - tail)
            mine: LedgerEntry | None = None
            newest: LedgerEntry | None = None
            for message in self._read(ledger_topic, 0, start, end):
                entry = _entry(message.value())
                if entry is not None and entry.topic == topic:
                    newest = entry
                    mine = entry if entry.partition == partition else mine
            of_topic = of_topic or newest
            if mine is not None:
                return Known(mine.end, mine.incarnation, of_topic.incarnation if of_topic else None)
            end, tail = start, 10 * tail
        return Known(topic_life=of_topic.incarnation if of_topic else None)


def _entry(value: bytes | str | None) -> LedgerEntry | None:
    try:
        return decode_ledger(value if isinstance(value, bytes) else b"")
    except Refused:
        return None
