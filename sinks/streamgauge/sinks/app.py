"""The sink process: a consumer group over the stored topics, one block at a time per partition, inserts in threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streamgauge.schemas.committed import ask_committed
from streamgauge.schemas.contract_topic import ContractFeed
from streamgauge.schemas.contracts import load_contracts
from streamgauge.schemas.errors import BrokerUnavailable, StoreUnavailable
from streamgauge.schemas.incarnations import Incarnations
from streamgauge.schemas.topics import STORED_TOPICS
from streamgauge.sinks.catalog import Catalog
from streamgauge.sinks.commits import answer_of, offset_of
from streamgauge.sinks.ddl import table
from streamgauge.sinks.decisions import (
    ANEW,
    FORGIVING,
    Act,
    Decision,
    InStore,
    Read,
    StoreView,
    Why,
    at_start,
    stop,
    when_read,
)
from streamgauge.sinks.driver import Commit, Driver, Key
from streamgauge.sinks.forgetting import Forgetting
from streamgauge.sinks.insertion import Answer, CommitIntent, Outcome, RetryPolicy
from streamgauge.sinks.partition import Partition
from streamgauge.sinks.ranges import Committed, GroupSays, Place, Range, read_commit
from streamgauge.sinks.settings import SinkSettings
from streamgauge.sinks.standing import COUNTED_KINDS, Standing
from streamgauge.sinks.store import MISSING, Store, StoreError, code_of, error_text, outcome_of
from streamgauge.sinks.threads import Threads
from streamgauge.sinks.writer import Writer

log = logging.getLogger("streamgauge.sinks")

IDLE_TURN_S, BUSY_TURN_S = 0.05, 0.005
FINISH_S = 5.0
TABLES_PAUSE_S = 5.0
ASSIGN_S = 240.0
"""How long brokers and store may be away while partitions are taken over: less than a member may be silent (300 s)."""


def wall_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Sink:
    """Reads rollups, distinct hashes, single events, ledger and dead letters, and stores them exactly once. Use `run`."""

    def __init__(
        self,
        settings: SinkSettings,
        monotonic: Callable[[], float] = time.monotonic,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.settings = settings
        self.store = Store(settings.address())
        self._standing = Standing(self.store, settings.database, unnamed=not settings.embedded)
        self._monotonic = monotonic
        self._topics = {topic.name(settings.region): topic for topic in STORED_TOPICS}
        self._incarnations = Incarnations(settings.librdkafka(), self._topics, settings.incarnation, ANEW)
        self._paused: set[Key] = set()
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._feed = ContractFeed(settings.librdkafka(), settings.region, load_contracts(settings.contracts))
        self._threads = Threads(settings.parallel_inserts, "streamgauge-insert")
        self._views = Threads(1, "streamgauge-views")
        self._catalog = Catalog(self.store, self._feed.current, later=self._views.submit)
        self._rules = Threads(1, "streamgauge-rules")  # not that of views, which new points wait for
        self._forgetting = Forgetting(self.store, settings.retention(), self._feed.current, self._rules.submit)
        self._driver = Driver(
            settings.block_policy(),
            self.writer().prepare,
            self._ask,
            self._commit,
            self._threads.submit,
            monotonic,
            wall_ms,
            retry,
        )
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
                # a full queue is asked again so soon, not after a second: or inserts wait for messages
                "fetch.queue.backoff.ms": 20,
                "queued.max.messages.kbytes": 16_384,
                "fetch.max.bytes": 16 << 20,
            }
        )

    def writer(self) -> Writer:
        """What inserts blocks."""
        return Writer(self.store, self._catalog)

    def stop(self) -> None:
        """Ask `run` to end. Safe from signal handlers."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. Raises PositionLost, IntentUnknown, Undecided, BrokerUnavailable or StoreUnavailable with advice."""
        self.store.check()
        self._incarnations.find()
        self._await_tables()
        self._feed.start()
        self._catalog.load()
        self._consumer.subscribe(
            list(self._topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        contracts = self._feed.current()
        try:
            while not self._stop.is_set() and self._failure is None:
                # a turn carries a block one step on, so turns are short while there is one
                busy = self._driver.moving()
                for message in self._consumer.consume(256, BUSY_TURN_S if busy else IDLE_TURN_S):
                    self._take(message)
                self._advance()
                self._throttle()
                self._forgetting.follow()
                if self._feed.current() is not contracts:
                    contracts = self._feed.current()
                    self._threads.submit(self._catalog.refresh)
            if self._failure is None:
                self._finish()
        finally:
            self._driver.forget(self._driver.owned())
            self._threads.close()
            self._views.close()
            self._rules.close()
            self._feed.close()
            self._consumer.close()
        if self._failure is not None:
            raise self._failure

    def _await_tables(self) -> None:
        """Wait until the store is migrated, or `stop`. Before, nothing could be stored."""
        query = f"SELECT events FROM {table(self.settings.database, 'ledger')} LIMIT 0"  # noqa: S608  # quoted
        while not self._stop.is_set():
            try:
                self.store.query_rows(query)
            except StoreError as error:
                if code_of(error) not in MISSING:
                    raise self.store.unavailable(error) from error
                log.error("nothing is stored yet, waiting: %s", error_text(error))
                self._stop.wait(TABLES_PAUSE_S)
            else:
                return

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        deadline = self._monotonic() + ASSIGN_S
        while not self._stop.is_set():
            try:
                self._take_over(consumer, partitions)
            except KafkaException as error:
                what = error.args[0].str()
                failure: Exception = BrokerUnavailable(
                    f"the offsets of group {self.settings.group} cannot be read ({what}); start again when the brokers answer"
                )
            except StoreUnavailable as error:  # what a partition without an offset holds is asked of the store
                what, failure = str(error), error
            except Exception as error:
                self._fail(error)
                return
            else:
                return
            if self._monotonic() >= deadline:
                self._fail(failure)
                return
            log.warning("partitions cannot be taken over, trying again: %s", what)
            self._stop.wait(1.0)

    def _take_over(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._incarnations.check({one.topic for one in partitions})
        starts = [self._own(consumer, found) for found in ask_committed(consumer, partitions, 20)]
        consumer.assign(starts)
        # a partition that was paused when it was taken away would stay so (seen with librdkafka 2.16)
        consumer.resume(partitions)
        if not partitions:
            log.info("no partition is left for this sink: it waits for one")

    def _own(self, consumer: Consumer, found: TopicPartition) -> TopicPartition:
        """Take a partition over where its group left it."""
        says, view, decision = self._decide(found)
        if decision.act is Act.STOP:
            # a member that was frozen in between reads old offsets beside new blocks: it asks once more
            says, view, decision = self._decide(ask_committed(consumer, [found], 20)[0])
        place = self._place(found)
        if decision.why is not None:
            raise stop(decision.why, place, says, view)
        unread = decision.act is Act.COMMIT
        low, _ = self._consumer.get_watermark_offsets(found, timeout=20) if says.offset < 0 or says.pending else (0, 0)
        if says.pending is not None and low > says.pending.start:
            gone = when_read(Read.GONE, view.found, view.covered)
            if gone.why is not None:
                raise stop(gone.why, place, says, view)
            unread = True
        start = low if decision.act is Act.FIRST else says.offset
        if says.pending is not None:
            what = "are in the store already" if unread else "are stored again"
            log.info("%s: offsets %d-%d %s", place, says.pending.start, says.pending.end, what)
        else:
            log.info("%s: stored from offset %d on", place, start)
        self._driver.own(
            (found.topic, found.partition),
            Partition(place, self._topics[found.topic].kind, start, says.pending, unread),
        )
        return TopicPartition(found.topic, found.partition, says.pending.end if says.pending and unread else start)

    def _place(self, found: TopicPartition) -> Place:
        return Place(self.settings.region, found.topic, self._incarnations[found.topic], found.partition)

    def _decide(self, found: TopicPartition) -> tuple[GroupSays, StoreView, Decision]:
        """What the group and the store say of a partition, and what is to be done."""
        if found.error is not None:
            raise KafkaException(found.error)
        place = self._place(found)
        says = read_commit(place, found.offset, found.metadata)
        if self._topics[found.topic].kind not in COUNTED_KINDS:
            view = FORGIVING
        else:
            try:
                view = self._standing.beside(says, place, wall_ms())
            except StoreError as error:
                raise self.store.unavailable(error) from error
        if self.settings.embedded and (says.kind is Committed.NOTHING or view.found is InStore.OTHER_LIFE):
            view = StoreView(InStore.NOTHING)  # topics and group live as long as the broker: it is always a first time
        return says, view, at_start(says.kind, view.found)

    def _ask(self, pending: Range, age_s: float | None) -> Answer:
        """What the store says of a range, or that it does not answer."""
        if self._topics[pending.place.topic].kind not in COUNTED_KINDS:
            return FORGIVING
        try:
            return self._standing.of_range(pending, wall_ms(), age_s)
        except Exception as error:
            log.warning("the store does not say what it has of %s: %s", pending.place, error_text(error))
            return outcome_of(error)

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Blocks on their way may end within a bounded time; then all is forgotten, and rebuilt by the next owner."""
        keys = [(one.topic, one.partition) for one in partitions]
        deadline = self._monotonic() + self.settings.session_timeout / 2000
        while self._driver.begun(keys) and self._failure is None and self._monotonic() < deadline:
            self._advance(begin=False)
            time.sleep(0.01)
        self._forget(keys)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already: nothing of ours can be committed any more."""
        log.warning("%d partitions are lost: this sink was silent for too long and is fenced", len(partitions))
        self._forget([(one.topic, one.partition) for one in partitions])

    def _forget(self, keys: Sequence[Key]) -> None:
        self._driver.forget(keys)
        self._paused -= set(keys)

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:
                place = self._place(TopicPartition(str(message.topic()), int(message.partition() or 0)))
                says = GroupSays(Committed.STORED, int(message.offset() or 0))
                self._fail(stop(Why.GONE, place, says, FORGIVING))
            elif error.fatal():
                self._fail(BrokerUnavailable(error.str()))
            return
        value, offset = message.value(), message.offset()
        if offset is not None:
            key = (str(message.topic()), int(message.partition() or 0))
            self._driver.offer(key, offset, value if isinstance(value, bytes) else b"", message.timestamp()[1])

    def _advance(self, flush: bool = False, begin: bool = True) -> None:
        try:
            self._driver.advance(flush, begin)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """The loop ends and raises it: callbacks must not. The first failure is the cause of those that follow."""
        self._failure = self._failure or error

    def _throttle(self) -> None:
        """A partition whose inserts fall behind is paused, so that its memory is bounded while the membership lives."""
        overfull = self._driver.overfull()
        if more := overfull - self._paused:
            self._consumer.pause([TopicPartition(*key) for key in more])
        if fewer := self._paused - overfull:
            self._consumer.resume([TopicPartition(*key) for key in fewer])
        self._paused = overfull

    def _finish(self) -> None:
        """Store what has been delivered, for a bounded time. What was begun and did not end, the next start ends."""
        deadline = self._monotonic() + FINISH_S
        while self._failure is None:
            self._advance(flush=True)
            if not self._driver.busy(self._driver.owned()):
                return
            if self._monotonic() > deadline:
                log.warning("blocks were not stored in time; the next start stores them")
                return
            time.sleep(0.01)

    def _commit(self, steps: Sequence[Commit]) -> list[Outcome]:
        """The only place that commits: a commit without explicit offsets and metadata would erase the intents.

        Only one thread may: concurrent synchronous commits of one consumer hang (measured with librdkafka 2.16).
        """
        wanted = [offset_of(step) for step in steps]
        try:
            # after the last message of each block was read: so all of it is of this life of the topic
            if begun := {step.pending.place.topic for step in steps if isinstance(step, CommitIntent)}:
                self._incarnations.check(begun)
            answered = self._consumer.commit(offsets=wanted, asynchronous=False) or []
        except KafkaException as error:
            log.warning("offsets are not committed: %s", error.args[0].str())
            return [answer_of(error.args[0])] * len(steps)
        errors = {(one.topic, one.partition): one.error for one in answered}
        for key, refusal in errors.items():
            if refusal is not None:
                log.warning("offset of %s/%d is not committed: %s", *key, refusal.str())
        return [answer_of(errors.get((one.topic, one.partition))) for one in wanted]
