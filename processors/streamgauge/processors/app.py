"""The Faust app: group membership, partitions and wiring. No logic; see `partition` for what happens to a message."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from faust.types import TP

from streamgauge.processors.accumulator import Place, Tools
from streamgauge.processors.broker import Broker
from streamgauge.processors.faust_app import raw_app
from streamgauge.processors.key_sources import KeyWatch, key_source
from streamgauge.processors.lives import Lives
from streamgauge.processors.outputs import OutputPolicy
from streamgauge.processors.partition import Partition, Surroundings
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.processors.transactions import CommitTarget, Committer, PlainCommitter, TransactionalCommitter
from streamgauge.schemas.contract_topic import ContractFeed
from streamgauge.schemas.contracts import load_contracts
from streamgauge.schemas.errors import PositionLost, place_of
from streamgauge.schemas.topics import DISTINCT, LEDGER, RAW_TOPICS, ROLLUPS, SCRUBBED, STATE

log = logging.getLogger("streamgauge.processors")

WATCH_S = 0.1


class Worker:
    """One worker process: a Faust app, and the partitions it owns. Use `run`."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._keys = KeyWatch(key_source(settings.keys, settings.pseudonym_key), _now_ms)
        self._hasher = self._keys.hasher(settings.region, settings.phone_region)
        self.settings = settings
        self.partitions: dict[TP, Partition] = {}
        self.failure: BaseException | None = None
        self._broker = Broker(
            settings.librdkafka(),
            settings.group,
            life=settings.incarnation or ("" if settings.embedded else None),
        )
        self._topics = [topic.name(settings.region) for topic in RAW_TOPICS]
        outgoing = [topic.name(settings.region) for topic in (ROLLUPS, DISTINCT, SCRUBBED)]
        state = STATE.name(settings.region)
        counts = self._broker.partitions([*self._topics, *outgoing, state])
        self._feed = ContractFeed(settings.librdkafka(), settings.region, load_contracts(settings.contracts))
        self._around = Surroundings(
            broker=self._broker,
            tools=Tools(
                Scrubber(),
                self._hasher,
                settings.time_policy(),
                settings.max_message_bytes,
                settings.residency(),
            ),
            contracts=self._feed.current,
            seek=self._seek,
            now_ms=_now_ms,
            steady_ms=lambda: time.monotonic_ns() // 1_000_000,
            commit_policy=settings.commit_policy(),
            # on one machine each insert costs more than what is in it: one partition makes the fattest blocks
            output_policy=OutputPolicy(rollup_partitions=1, distinct_partitions=1, event_partitions=1)
            if settings.embedded
            else OutputPolicy(
                rollup_partitions=counts[outgoing[0]],
                distinct_partitions=counts[outgoing[1]],
                event_partitions=counts[outgoing[2]],
            ),
            contract_wait_ms=settings.contract_wait,
            sequence_policy=settings.sequence_policy(),
            state_partitions=counts[state],
            key_policy=settings.key_policy(),
            go_on_after_loss=settings.go_on_after_loss or settings.embedded,
        )
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.app: Any = self._new_app()

    def _new_app(self) -> Any:
        settings = self.settings
        app = raw_app(
            settings.group,
            settings.brokers,
            stream_wait_empty=False,
            stream_buffer_maxsize=settings.buffer_messages,
            broker_max_poll_records=settings.buffer_messages,
            broker_session_timeout=settings.session_timeout / 1000,
            broker_heartbeat_interval=settings.session_timeout / 3000,
            broker_rebalance_timeout=max(10.0, settings.session_timeout / 1000),
            broker_request_timeout=max(40.0, settings.session_timeout / 500),
        )
        app.on_partitions_assigned.connect(self._assigned)
        app.on_partitions_revoked.connect(self._revoked)
        app.agent(app.topic(*self._topics, value_serializer="raw", key_serializer="raw"), concurrency=1)(self._roll_up)
        return app

    async def _roll_up(self, stream: Any) -> None:
        async for event in stream.noack().events():  # noack: Faust never commits
            message = event.message
            partition = self.partitions.get(message.tp)
            if partition is not None:
                try:
                    await partition.add(message.offset, message.value, message.headers)
                except PositionLost as error:  # the stream library would start the agent again
                    self._fail(error)
            if self._stop.is_set():
                return

    async def _assigned(self, _: Any, assigned: set[TP], **__: Any) -> None:
        for tp in assigned:
            if tp.topic in self._topics and tp not in self.partitions:
                place = Place(self.settings.region, tp.topic, tp.partition)
                partition = self.partitions[tp] = Partition(place, self._committer(tp), self._around)
                self._spawn(partition.run())

    async def _revoked(self, _: Any, revoked: set[TP], **__: Any) -> None:
        for tp in revoked:
            partition = self.partitions.pop(tp, None)
            if partition is not None:
                self._spawn(partition.close())

    def _committer(self, tp: TP) -> Committer:
        target = CommitTarget(tp.topic, tp.partition, self.settings.group, LEDGER.name(self.settings.region))
        config = {"bootstrap_servers": list(self.settings.brokers)}
        if self.settings.embedded:
            return PlainCommitter(target, self._broker, config, self._commit_offset)
        return TransactionalCommitter(target, self._broker, config)

    async def _commit_offset(self, topic: str, partition: int, offset: int) -> None:
        await self.app.consumer._commit({TP(topic, partition): offset})

    async def _seek(self, topic: str, partition: int, offset: int) -> None:
        tp = TP(topic, partition)
        if tp in self.app.consumer.assignment():
            await self.app.consumer.seek_wait({tp: offset})

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, PositionLost):  # which says it better itself
                log.error("stopping (%s)", place_of(error))
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._stop.set()

    def stop(self) -> None:
        """Ask `run` to end. Safe to call twice."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop` is called. Raises what made it stop by itself: PositionLost, or a fault of the stream library."""
        self._feed.start()
        self._spawn(Lives(self._broker, self._topics).run(self._stop))
        self._spawn(self._keys.run(self._around.tools, self._stop, self.settings.keys_interval / 1000))
        try:
            await self.app.start()
            while not self._stop.is_set():
                if self.app.should_stop:
                    self.failure = self.failure or self.app.crash_reason or RuntimeError("the stream library stopped")
                    break
                try:
                    await asyncio.wait_for(self._stop.wait(), WATCH_S)
                except TimeoutError:
                    continue
        finally:
            await self._shut_down()
        if self.failure is not None:
            raise self.failure

    async def _shut_down(self) -> None:
        """What is ready is committed, for at most two seconds; then everything is let go."""
        self._stop.set()
        partitions = list(self.partitions.values())
        if self.failure is None:
            await _within(2, [partition.commit() for partition in partitions])
        await _within(2, [partition.close() for partition in partitions])
        self._feed.close()
        await _within(5, [self.app.stop()])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _within(seconds: float, work: Sequence[Awaitable[Any]]) -> None:
    """Do all of it at once; what does not end in time, or fails, is left: the next owner starts from what is committed."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*work, return_exceptions=True)
    except TimeoutError:
        log.warning("not everything ended within %.0f s", seconds)
