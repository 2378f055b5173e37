"""The sink process: a consumer group over the stored topics, one block at a time per partition, inserts in threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from streamgauge.schemas.contract_topic import ContractFeed
from streamgauge.schemas.contracts import load_contracts
from streamgauge.schemas.errors import BrokerUnavailable, PositionLost
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry
from streamgauge.schemas.rollups import RollupMessage
from streamgauge.schemas.topics import STORED_TOPICS
from streamgauge.sinks.blocks import labels_of, metrics_of, rollup_insert
from streamgauge.sinks.catalog import Catalog
from streamgauge.sinks.ddl import table
from streamgauge.sinks.insertion import (
    CommitDone,
    CommitIntent,
    InsertTable,
    Operation,
    Outcome,
    RetryPolicy,
    Wait,
    store_range,
)
from streamgauge.sinks.partition import Decoded, Partition
from streamgauge.sinks.ranges import Place, Range, parse_intent
from streamgauge.sinks.settings import SinkSettings
from streamgauge.sinks.store import Store, error_text, outcome_of

log = logging.getLogger("streamgauge.sinks")

Key = tuple[str, int]
FENCED = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError._ASSIGNMENT_LOST,
    KafkaError._STATE,
}


@dataclass(slots=True)
class Running:
    """A block on its way: its inserts by table, its steps, the one that is due, and the thread's answer to it."""

    block: Range
    inserts: dict[str, Callable[[str], None]]
    steps: Generator[Operation, Outcome, bool]
    step: Operation
    answer: Future[Outcome] | None = None
    wait_until: float = 0.0


@dataclass(slots=True)
class Owned:
    """A partition of ours, and the block of it that is on its way."""

    partition: Partition
    running: Running | None = None
    preparing: Future[Running] | None = None
    paused: bool = False


class Sink:
    """Reads rollups, distinct hashes, ledger and dead letters, and stores them exactly once. Use `run`."""

    def __init__(
        self,
        settings: SinkSettings,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.store = Store(settings.address())
        self._clock = clock
        self._monotonic = monotonic
        self._policy = settings.block_policy()
        self._retry = RetryPolicy()
        self._topics = {topic.name(settings.region): topic for topic in STORED_TOPICS}
        self._incarnations: dict[str, str] = {}
        self._owned: dict[Key, Owned] = {}
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._feed = ContractFeed(settings.librdkafka(), settings.region, load_contracts(settings.contracts))
        self._catalog = Catalog(self.store, self._feed.current)
        self._pool = ThreadPoolExecutor(settings.parallel_inserts, "streamgauge-insert")
        self._consumer = Consumer(
            settings.librdkafka()
            | {
                "group.id": settings.group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "session.timeout.ms": settings.session_timeout,
                "heartbeat.interval.ms": settings.session_timeout // 3,
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 16_384,
                "fetch.max.bytes": 16 << 20,
            }
        )

    def stop(self) -> None:
        """Ask `run` to end. Safe from signal handlers."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. Raises PositionLost, BrokerUnavailable or StoreUnavailable with advice."""
        self.store.check()
        self._incarnations = self._find_incarnations()
        self._feed.start()
        self._catalog.load()
        self._consumer.subscribe(
            list(self._topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        contracts = self._feed.current()
        try:
            while not self._stop.is_set() and self._failure is None:
                for message in self._consumer.consume(256, 0.05):
                    self._take(message)
                self._advance(flush=False)
                if self._feed.current() is not contracts:
                    contracts = self._feed.current()
                    self._pool.submit(self._catalog.refresh)
            if self._failure is None:
                self._finish()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._feed.close()
            self._consumer.close()
        if self._failure is not None:
            raise self._failure

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _find_incarnations(self) -> dict[str, str]:
        """The life of each topic: its id, or what the settings say where the broker has none."""
        if self.settings.incarnation:
            return dict.fromkeys(self._topics, self.settings.incarnation)
        admin = AdminClient(self.settings.librdkafka())
        try:
            names = TopicCollection(list(self._topics))
            futures = cast("dict[str, Future[Any]]", admin.describe_topics(names, request_timeout=10))
            return {name: str(future.result(15).topic_id) for name, future in futures.items()}
        except KafkaException as error:
            raise BrokerUnavailable(
                f"the topics of region {self.settings.region} cannot be described at {','.join(self.settings.brokers)} "
                f"({error.args[0].str()}); make them with: streamgauge topics"
            ) from error

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            for found in consumer.committed(partitions, timeout=20):
                key = (found.topic, found.partition)
                place = Place(self.settings.region, found.topic, self._incarnations[found.topic], found.partition)
                start = found.offset if found.offset >= 0 else self._first_offset(place)
                pending = parse_intent(place, start, found.metadata) if found.offset >= 0 else None
                if pending is not None:
                    log.info(
                        "%s/%d: offsets %d-%d are stored again",
                        found.topic,
                        found.partition,
                        pending.start,
                        pending.end,
                    )
                self._owned[key] = Owned(Partition(place, self._topics[found.topic].kind, start, pending))
            consumer.assign(
                [TopicPartition(t, p, self._owned[t, p].partition.start) for t, p in self._keys(partitions)]
            )
        except Exception as error:  # callbacks must not raise: the loop ends and raises it
            self._failure = error

    def _keys(self, partitions: Sequence[TopicPartition]) -> list[Key]:
        return [(one.topic, one.partition) for one in partitions]

    def _first_offset(self, place: Place) -> int:
        """Where a partition begins that the group has never committed."""
        low, _ = self._consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=20)
        if self.settings.embedded:
            return low
        known = self.store.query_rows(
            "SELECT max(block_to) FROM "  # noqa: S608  # the identifier is quoted, values are bound
            f"{table(self.settings.database, 'blocks')}"
            " WHERE region = {region:String} AND topic = {topic:String} AND partition = {partition:UInt16}",
            {"region": place.region, "topic": place.topic, "partition": place.partition},
        )[0][0]
        if known:
            raise PositionLost(
                f"group {self.settings.group} has no committed offset of {place.topic}/{place.partition}, though the store has "
                f"its blocks up to offset {known}. Reading from the start could count twice. If this is the same topic, set the "
                f"group's offset to {known} with kafka-consumer-groups --reset-offsets and start again; if the topic was made "
                "anew, use another database."
            )
        return low

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Blocks on their way may end within a bounded time; then all is forgotten, and rebuilt by the next owner."""
        leaving = [self._owned[key] for key in self._keys(partitions) if key in self._owned]
        deadline = self._monotonic() + self.settings.session_timeout / 2000
        while (
            self._failure is None
            and self._monotonic() < deadline
            and any(one.running or one.preparing for one in leaving)
        ):
            self._advance(flush=False, begin=False)
            time.sleep(0.01)
        for key in self._keys(partitions):
            self._owned.pop(key, None)

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:
                self._failure = PositionLost(
                    f"{message.topic()}/{message.partition()}: {error.str()}. What was not stored yet is gone from the topic "
                    "(its retention has passed). Nothing was skipped."
                )
            elif error.fatal():
                self._failure = BrokerUnavailable(error.str())
            return
        owned = self._owned.get((str(message.topic()), int(message.partition() or 0)))
        value, offset = message.value(), message.offset()
        if owned is not None and offset is not None:
            owned.partition.offer(offset, value if isinstance(value, bytes) else b"", self._now_ms())

    def _advance(self, flush: bool, begin: bool = True) -> None:
        """Carry every block one step further. Commits of all partitions go together, and only from this thread:
        concurrent synchronous commits of one consumer hang (measured with librdkafka 2.16)."""
        try:
            for key, owned in self._owned.items():
                if begin and owned.running is None and owned.preparing is None:
                    self._begin(owned, flush)
                if owned.preparing is not None and owned.preparing.done():
                    owned.running, owned.preparing = owned.preparing.result(), None
                if owned.running is not None:
                    self._progress(owned, owned.running)
                self._throttle(key, owned)
            running = [(one, one.running) for one in self._owned.values() if one.running is not None]
            due = [(one, run, run.step) for one, run in running if isinstance(run.step, CommitIntent | CommitDone)]
            for (owned, run, _), outcome in zip(due, self._commit([step for _, _, step in due]), strict=True):
                self._send(owned, run, outcome)
        except Exception as error:  # also called from callbacks, which must not raise: the loop ends and raises it
            self._failure = error

    def _begin(self, owned: Owned, flush: bool) -> None:
        found = owned.partition.next_block(self._policy, self._now_ms(), flush)
        if found is not None:
            owned.preparing = self._pool.submit(self._prepare, *found)

    def _prepare(self, block: Range, messages: list[Decoded]) -> Running:
        inserts = self._inserts(block, messages)
        steps = store_range(block, tuple(inserts), self._retry)
        return Running(block, inserts, steps, next(steps))

    def _progress(self, owned: Owned, running: Running) -> None:
        """Steps that need no commit: start an insert, take its answer, or wait."""
        step = running.step
        if isinstance(step, Wait):
            if not running.wait_until:
                running.wait_until = self._monotonic() + step.seconds
            elif self._monotonic() >= running.wait_until:
                running.wait_until = 0.0
                self._send(owned, running, Outcome.DONE)
        elif isinstance(step, InsertTable):
            if running.answer is None:
                running.answer = self._pool.submit(self._insert, step, running.inserts[step.table])
            elif running.answer.done():
                outcome, running.answer = running.answer.result(), None
                self._send(owned, running, outcome)

    def _send(self, owned: Owned, running: Running, outcome: Outcome) -> None:
        try:
            running.step = running.steps.send(outcome)
        except StopIteration as end:
            owned.running = None
            if end.value:
                owned.partition.stored(running.block, self._now_ms())

    def _throttle(self, key: Key, owned: Owned) -> None:
        """A partition whose inserts fall behind is paused, so that its memory is bounded while the membership lives."""
        too_much = owned.partition.size > 2 * self._policy.max_bytes and owned.partition.recovering is None
        if too_much != owned.paused:
            change = self._consumer.pause if too_much else self._consumer.resume
            change([TopicPartition(*key)])
            owned.paused = too_much

    def _finish(self) -> None:
        """Store what has been delivered, for at most five seconds."""
        deadline = self._monotonic() + 5
        while self._monotonic() < deadline and self._failure is None:
            self._advance(flush=True)
            if not any(one.running or one.preparing for one in self._owned.values()):
                return
            time.sleep(0.01)

    def _inserts(self, block: Range, messages: list[Decoded]) -> dict[str, Callable[[str], None]]:
        """The inserts of a block by table, in their order: names before points, so that no point is nameless."""
        rollups = [one for one in messages if isinstance(one, RollupMessage)]
        ledger = [one for one in messages if isinstance(one, LedgerEntry)]
        dead = [one for one in messages if isinstance(one, DeadLetter)]
        inserts: dict[str, Callable[[str], None]] = {}
        if rollups:
            labels, metrics, insert = labels_of(rollups), metrics_of(rollups), rollup_insert(rollups, block)
            inserts["series"] = lambda _: self._catalog.add_series(labels)
            inserts["metrics"] = lambda _: self._catalog.add_metrics(metrics)
            inserts[insert.table] = lambda token: self.store.insert_block(insert, token)
        if ledger:
            inserts["ledger"] = lambda token: self.store.insert_ledger(ledger, token)
        if dead:
            inserts["dead"] = lambda token: self.store.insert_dead(dead, token)
        return inserts

    def _insert(self, step: InsertTable, insert: Callable[[str], None]) -> Outcome:
        try:
            insert(step.token)
        except Exception as error:  # whatever it is, the insert is not known to be in; the same block is tried again
            outcome = outcome_of(error)
            level = logging.ERROR if outcome is Outcome.REFUSED else logging.WARNING
            log.log(level, "insert into %s is %s, trying again: %s", step.table, outcome.value, error_text(error))
            return outcome
        return Outcome.DONE

    def _commit(self, steps: Sequence[CommitIntent | CommitDone]) -> list[Outcome]:
        """The only place that commits: a commit without explicit offsets and metadata would erase the intents."""
        if not steps:
            return []
        wanted = [_offset(step) for step in steps]
        try:
            answered = self._consumer.commit(offsets=wanted, asynchronous=False) or []
        except KafkaException as error:
            log.warning("offsets are not committed: %s", error.args[0].str())
            return [_commit_outcome(error.args[0])] * len(steps)
        errors = {(one.topic, one.partition): one.error for one in answered}
        return [_commit_outcome(errors.get((one.topic, one.partition))) for one in wanted]


def _offset(step: CommitIntent | CommitDone) -> TopicPartition:
    if isinstance(step, CommitIntent):
        place = step.pending.place
        return TopicPartition(place.topic, place.partition, step.pending.start, metadata=step.pending.metadata())
    return TopicPartition(step.done.place.topic, step.done.place.partition, step.done.end, metadata="")


def _commit_outcome(error: KafkaError | None) -> Outcome:
    if error is None:
        return Outcome.DONE
    return Outcome.FENCED if error.code() in FENCED else Outcome.UNKNOWN
