"""Partitions: one raw partition that this worker owns, from opening to revocation. Knows no stream library.

Nothing is lost when a partition is dropped at any point: what was not committed is read again by the next owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from streamgauge.processors.accumulator import Accumulator, ContractKey, Contracts, Place, Tools
from streamgauge.processors.broker import NO_OFFSET, Broker, Committed
from streamgauge.processors.key_memory import FAMILY, KeyMemory
from streamgauge.processors.keys import KeyPolicy, RecentKeys
from streamgauge.processors.lives import anew
from streamgauge.processors.memory import SNAPSHOT_EVERY, Memory
from streamgauge.processors.outputs import Output, OutputPolicy, outputs
from streamgauge.processors.poison import Poison
from streamgauge.processors.policy import CommitPolicy
from streamgauge.processors.position import Position, Verdict
from streamgauge.processors.replayed import Headers, replay_of
from streamgauge.processors.sequences import Findings, SequencePolicy, Sequences
from streamgauge.processors.series import SeriesIndex
from streamgauge.processors.transactions import Committer
from streamgauge.schemas.again import Again
from streamgauge.schemas.decoding import INTEGER_LIMIT
from streamgauge.schemas.errors import PositionLost
from streamgauge.schemas.ledger import LedgerEntry
from streamgauge.schemas.topics import LEDGER, STATE

log = logging.getLogger("streamgauge.processors")

OFFSETS_LOST = "offsets_lost"
TICK_S = 0.1


class MakeOutputs(Protocol):
    """The messages of a transaction, as `outputs.outputs` makes them."""

    def __call__(
        self,
        accumulator: Accumulator,
        start: int,
        end: int,
        index: SeriesIndex,
        policy: OutputPolicy,
        now_ms: int,
        findings: Findings,
        /,
    ) -> tuple[list[Output], LedgerEntry]:
        """See `outputs.outputs`."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a partition needs of its worker: look-ups, a clock (ms), a clock for intervals that never steps (ms), a seek of
    the consumer, contracts as known now."""

    broker: Broker
    tools: Tools
    contracts: Callable[[], Contracts]
    seek: Callable[[str, int, int], Awaitable[None]]
    now_ms: Callable[[], int]
    steady_ms: Callable[[], int]
    commit_policy: CommitPolicy = field(default_factory=CommitPolicy)
    output_policy: OutputPolicy = field(default_factory=OutputPolicy)
    contract_wait_ms: int = 120_000
    retry_s: float = 0.5
    sequence_policy: SequencePolicy = field(default_factory=SequencePolicy)
    state_partitions: int = STATE.partitions
    snapshot_every: int = SNAPSHOT_EVERY
    key_policy: KeyPolicy = field(default_factory=KeyPolicy)
    go_on_after_loss: bool = False
    accumulator: Callable[[Place, Tools, Sequences, RecentKeys], Accumulator] = Accumulator
    outputs: MakeOutputs = outputs


class Partition:
    """Adds messages in order and commits what they became. `add` and `commit` may interleave; each has one caller."""

    def __init__(self, place: Place, committer: Committer, around: Surroundings) -> None:
        self.place = place
        self._committer = committer
        self._around = around
        self._series = SeriesIndex()
        self._memory = Memory(place, around.sequence_policy, around.state_partitions, around.snapshot_every)
        self._keys = KeyMemory(place, around.key_policy, around.state_partitions)
        self._poison = Poison(place)
        self._restoring: asyncio.Task[None] | None = None
        self._life = ""
        self._passed_by = False
        self._passed_ms = 0
        self._accumulator = self._new_accumulator()
        self._position = Position(0)
        self._committed = 0
        self._since_ms = 0
        self._share = 1.0
        self._behind = False
        self._sought_ms = 0
        self._asked_ms = 0
        self._missed_ms: dict[ContractKey, int] = {}
        self._committing = asyncio.Lock()
        self._ready = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def committed(self) -> int:
        """The offset up to which everything is final."""
        return self._committed

    @property
    def next(self) -> int:
        """The offset that is to be added next."""
        return self._position.next

    async def run(self) -> None:
        """Open it, then `tick` until it is closed. Raises what `open` raises."""
        await self.open()
        while not self._closed.is_set():
            await self.tick()
            await _until(self._closed, TICK_S)

    async def open(self) -> None:
        """Fence, read the committed offset, seek there. Tries again until it works or the partition is closed.

        Raises PositionLost when the group's offsets are gone although the ledger knows the partition, or are of an earlier
        life of the topic.
        """
        self._ready.clear()
        while not self._closed.is_set():
            try:
                start = await self._start()
                if self._closed.is_set():
                    break
                self._accumulator = self._new_accumulator()
                self._series.forget()
                # what was read beyond `start` exists: if it is not delivered again, the seek below got lost
                self._behind = self._behind or start < self._position.next
                self._sought_ms = self._around.steady_ms()
                self._position = Position(start, sought=start)
                self._committed = start
                await self._around.seek(self.place.topic, self.place.partition, start)
            except PositionLost:
                raise
            except Exception as error:
                log.warning("%s/%s cannot be opened, trying again: %r", self.place.topic, self.place.partition, error)
                await self._committer.close()
                await _until(self._closed, self._around.retry_s)
            else:
                self._ready.set()
                return
        await self._committer.close()
        self._ready.set()  # nobody may wait for a partition that is closed

    def _new_accumulator(self) -> Accumulator:
        place = replace(self.place, incarnation=self._life)
        return self._around.accumulator(place, self._around.tools, self._memory.sequences, self._keys.recent)

    async def _start(self) -> int:
        committed = await self._committer.open()
        # asked after the offset was read: an offset of this life cannot come from a later one
        life = await self._around.broker.life(self.place.topic)
        if (earlier := committed.life or self._life) and earlier != life:
            raise self._anew(earlier, life)
        self._life = life
        if committed.offset == NO_OFFSET:
            return await self._first()
        if not committed.life:
            await self._check_end(committed)
        records = await self._around.broker.state(*self._memory.where, committed.anchor)
        self._memory.restore([value for key, value in records if not key.startswith(FAMILY)], committed, life)
        self._keys.reopened(committed.offset, [value for key, value in records if key.startswith(FAMILY)])
        return committed.offset

    async def _first(self) -> int:
        """Where to begin without a committed offset, if it is the first time."""
        self._memory.forget(self._life)
        broker = self._around.broker
        known = await broker.ledger_knows(LEDGER.name(self.place.region), *self._where())
        # where this partition had nothing yet, another one of the topic tells: all are set to their beginning together
        earlier = known.topic_life if known.end == NO_OFFSET else known.life
        if known.end == NO_OFFSET and (not earlier or earlier == self._life):
            start = await broker.log_start(*self._where())
            self._keys.nothing(start, self._around.now_ms() // 1000)
            return start
        now = await broker.committed(*self._where())
        if now.offset != NO_OFFSET:
            raise RuntimeError("another owner made the first transaction meanwhile")
        if earlier and earlier != self._life:
            raise self._anew(earlier, self._life)
        topic, partition = self._where()
        restore = broker.reset(f"{topic}:{partition}", f"--to-offset {known.end}")
        where = f"the committed offset of {topic}/{partition} is gone, though the ledger has transactions of it, up to"
        if earlier:
            raise PositionLost(
                f"{where} offset {known.end}. Reading from the start would count everything twice. Stop all workers, say: "
                f"{restore}; then start again"
            )
        raise PositionLost(
            f"{where} offset {known.end}, written by a release that did not say in which life of the topic. Reading from the "
            f"start could count everything twice. Stop all workers. If this is the same topic, say: {restore}; if it was made "
            f"anew since, say: {broker.reset(topic, '--to-earliest')}; then start again"
        )

    def _anew(self, earlier: str, life: str) -> PositionLost:
        return anew(self._around.broker, self.place.topic, earlier, life)

    async def _check_end(self, committed: Committed) -> None:
        """An offset of which nobody says in which life of the topic it was committed: set by hand, or by an older release."""
        end = await self._around.broker.log_end(*self._where())
        if committed.offset > end:
            raise self._beyond(committed.offset, end)

    def _beyond(self, offset: int, end: int) -> PositionLost:
        topic, partition = self._where()
        reset = self._around.broker.reset
        return PositionLost(
            f"the next offset of {topic}/{partition} is {offset}, but the topic ends at {end}: messages that come now would be "
            f"passed by. Stop all workers. If it was made anew, say: {reset(topic, '--to-earliest')}; if the brokers have lost "
            f"messages, say: {reset(f'{topic}:{partition}', '--to-latest')}; then start again"
        )

    async def _same_life(self) -> None:
        """Raises PositionLost when the topic was made anew since the partition was opened."""
        life = await self._around.broker.life(self.place.topic)
        if life != self._life:
            if self._closed.is_set():  # it is no longer this worker's to judge
                raise RuntimeError("the partition was closed meanwhile")
            self._ready.clear()  # nothing more is added
            raise self._anew(self._life, life)

    async def _check_passed_by(self) -> None:
        """Messages came that are behind the next one. They were added before, or are those of a topic that lost others."""
        if not self._passed_by or self._around.steady_ms() - self._passed_ms < 1_000:
            return
        self._passed_by, self._passed_ms = False, self._around.steady_ms()
        next_ = self._position.next
        try:
            await self._same_life()
            end = await self._around.broker.log_end(*self._where())
        except PositionLost:
            raise
        except Exception as error:
            log.warning("%s/%s: whether it is the same topic is not known: %r", *self._where(), error)
            self._passed_by = True
            return
        if end < next_ and not self._closed.is_set():
            raise self._beyond(next_, end)

    async def _restore_keys(self) -> None:
        """Read the idempotency keys that are committed. Tries again until it works or nobody waits. Raises PositionLost."""
        while not self._closed.is_set() and not self._keys.recent.ready:
            reading = self._keys.read(self._around.now_ms() // 1000)
            try:
                await self._around.broker.each_state(*self._keys.where, None, reading.take)
            except PositionLost:
                raise
            except Exception as error:
                if not reading.abandoned:
                    log.warning("%s/%s: idempotency keys cannot be read, trying again: %r", *self._where(), error)
                await _until(self._closed, self._around.retry_s)
            else:
                self._keys.install(reading)

    async def _tend_keys(self) -> None:
        """Read the keys when the first batch waits for them, in the background; then have that batch delivered again."""
        if self._restoring is None:
            if self._keys.recent.wanted and not self._keys.recent.ready and not self._closed.is_set():
                log.info("%s/%s waits for its idempotency keys, at offset %d", *self._where(), self._position.next)
                self._restoring = asyncio.ensure_future(self._restore_keys())
        elif self._restoring.done():
            done, self._restoring = self._restoring, None
            done.result()
            if self._behind:
                await self._seek_back()

    async def add(self, offset: int, value: bytes | None, headers: Headers = None) -> None:
        """Take the message at `offset` if it is the next one; else skip it, or seek back to the one that is.

        Waits while the partition is being opened, or is full until a commit has made room: this is the back-pressure.
        """
        await self._ready.wait()
        verdict = self._position.verdict(offset)
        if verdict is Verdict.SEEN or self._closed.is_set():
            self._passed_by = True
            return
        if verdict is Verdict.WAIT:
            self._behind = True
            await self._check_hole()
            return
        if verdict is Verdict.SEEK:
            await self._seek_back()
            return
        try:
            self._behind = not self._take(offset, value, headers)
        except Exception as error:
            self._ready.clear()  # at once: what was added of it must not be committed
            async with self._committing:
                await self._set_aside(offset, offset + 1, error)
            return
        if self._behind:  # its contract, or the keys that have come, are not known yet
            return
        if self._accumulator.messages == 1:
            self._since_ms = self._around.steady_ms()
        self._position.advance()
        full = self._around.commit_policy.full(self._accumulator.points, self._accumulator.size, self._share)
        if full or self._poison.alone(self._position.next):
            await self.commit()

    def _take(self, offset: int, value: bytes | None, headers: Headers) -> bool:
        """Add the next message, whatever it is. False, and nothing is added, if it must wait."""
        now = self._around.now_ms()
        again = replay_of(headers, offset)
        if isinstance(again, Again) and self._memory.replays.seen(again):
            self._accumulator.add_repeat(value)
            return True
        if (place := self._poison.place(offset)) is not None:
            self._accumulator.add_poison(offset, value, now, place, again if isinstance(again, Again) else None)
        elif not self._accumulator.add(offset, value, self._around.contracts(), now, self._hold, again):
            return False
        if isinstance(again, Again):
            self._memory.replays.note(again, now // 1000)
        return True

    async def _set_aside(self, start: int, end: int, error: Exception) -> None:
        """Start over from the committed offset: of what was being done there may be a half. What comes then is known."""
        self._poison.found(start, end, error)
        await self._reopen()

    def _hold(self, wanted: ContractKey) -> bool:
        """Whether to wait for a contract: for a while after it was first missed, and not again later."""
        now = self._around.steady_ms()
        if wanted not in self._missed_ms:
            event = self._around.tools.cleaner.name(wanted[0])
            log.info("%s/%s waits for the contract of %s, at offset %d", *self._where(), event, self._position.next)
        return now - self._missed_ms.setdefault(wanted, now) < self._around.contract_wait_ms

    async def _seek_back(self) -> None:
        """Have the next message delivered again. A seek that fails or gets lost is repeated by `tick`."""
        position = self._position
        position.sought = position.next
        self._behind, self._sought_ms = True, self._around.steady_ms()
        try:
            await self._around.seek(self.place.topic, self.place.partition, position.next)
        except Exception as error:
            log.warning("%s/%s cannot seek to offset %d: %r", *self._where(), position.next, error)

    async def _check_hole(self) -> None:
        """A higher offset after the seek: usually buffered before it. If the log starts above, offsets are gone.

        Raises PositionLost then, unless the worker was told to go on.
        """
        now = self._around.steady_ms()
        if now - self._asked_ms < 1_000:
            return
        self._asked_ms = now
        try:
            start = await self._around.broker.log_start(self.place.topic, self.place.partition)
        except Exception as error:
            log.warning("%s/%s: where the log starts is not known: %r", *self._where(), error)
            return
        if start <= self._position.next:
            return
        await self.commit()
        async with self._committing:
            # the commit may have failed, and another owner may have gone past the hole
            if self._closed.is_set() or not self._ready.is_set() or start <= self._position.next:
                return
            missing = start - self._position.next
            if not self._around.go_on_after_loss:
                await self._stop_before_hole(missing)
                return
            log.error(
                "%s/%s: %d messages from offset %d are lost: retention passed by unread data",
                self.place.topic, self.place.partition, missing, self._position.next,
            )  # fmt: skip
            now = self._around.now_ms()
            findings, state = self._memory.take(start, now // 1000)
            entry = LedgerEntry(
                self.place.region, self.place.topic, self.place.partition, self._position.next, start, 0, 0, {}, now,
                refused={OFFSETS_LOST: missing}, incarnation=self._life,
                sequence_gaps=min(findings.missing, INTEGER_LIMIT - 1), sequence_repeats=findings.repeats,
            )  # fmt: skip
            await self._commit_or_reopen([outputs_of_hole(entry), *state], start)
            if self._committed == start:
                self._position = Position(start)
                await self._seek_back()

    async def _stop_before_hole(self, missing: int) -> None:
        """Raises PositionLost, unless another owner has committed what is behind the hole."""
        try:
            now = await self._around.broker.committed(*self._where())
        except Exception as error:
            log.warning("%s/%s: what is committed is not known: %r", *self._where(), error)
            return
        if now.offset > self._position.next:
            await self._reopen()
            return
        raise PositionLost(
            f"{missing} messages of {self.place.topic}/{self.place.partition} from offset {self._position.next} on are gone: "
            "the topic's retention has passed by them before they were read. To go on behind them, start workers with "
            "STREAMGAUGE_GO_ON_AFTER_LOSS=true: the ledger and `streamgauge verify` then count them as lost"
        )

    async def tick(self) -> None:
        """Commit if it is due; once a second ask again for a message that waits for its contract or does not come."""
        if self._ready.is_set():
            await self._tend_keys()
        if self._ready.is_set():
            await self._check_passed_by()
        now = self._around.steady_ms()
        if self._ready.is_set() and self._behind and now - self._sought_ms >= 1_000:
            await self._seek_back()
        if self._around.commit_policy.due(self._accumulator.messages, self._since_ms, now):
            await self.commit()

    async def commit(self) -> None:
        """Make everything added final. On any error the outcome is unknown: start over from the committed offset."""
        async with self._committing:
            accumulator, start, end = self._accumulator, self._committed, self._position.next
            if self._closed.is_set() or not self._ready.is_set() or not accumulator.messages:
                return
            self._accumulator = self._new_accumulator()
            self._since_ms = self._around.steady_ms()
            if accumulator.messages != end - start:
                log.error(
                    "%s/%s: added %d messages of %d, not committed", *self._where(), accumulator.messages, end - start
                )
                await self._reopen()
                return
            now = self._around.now_ms()
            findings, state = self._memory.take(end, now // 1000)  # before anything is awaited: then more is added
            taken = self._keys.take(end, now // 1000)
            policy = self._around.output_policy
            try:
                made, _ = await asyncio.to_thread(
                    self._around.outputs, accumulator, start, end, self._series, policy, now, findings
                )
            except Exception as error:
                await self._set_aside(start, end, error)
                return
            keys = await asyncio.to_thread(taken.encode) if taken.messages or taken.obsolete else []
            self._keys.carried(keys)
            await self._commit_or_reopen([*made, *state, *keys], end)

    def _where(self) -> tuple[str, int]:
        return self.place.topic, self.place.partition

    async def _commit_or_reopen(self, made: list[Output], end: int) -> None:
        try:
            # after the last of them was added, so that all of them are of this life of the topic. No cheaper way is sure:
            # a consumer that fetches by name goes on at its offset in the new topic, and nothing that it reads says so
            await self._same_life()
            await self._committer.commit(made, end, self._life)
        except PositionLost:
            raise
        except Exception as error:
            log.warning("%s/%s: commit of offset %d failed, starting over: %r", *self._where(), end, error)
            if isinstance(error, TimeoutError):
                self._share = self._around.commit_policy.after_timeout(self._share)
            await self._reopen()
        else:
            self._share = self._around.commit_policy.after_commit(self._share)
            self._committed = end
            self._keys.settle(end)
            self._poison.settle(end)

    async def _reopen(self) -> None:
        """Seeks back at once, even if no further message ever comes: the consumer does not deliver again by itself."""
        self._ready.clear()
        await self._committer.close()
        await self.open()

    async def close(self) -> None:
        """Drop what was not committed."""
        self._closed.set()
        self._ready.set()
        self._keys.abandon()
        restoring, self._restoring = self._restoring, None
        if restoring is not None:
            restoring.cancel()
            await asyncio.gather(restoring, return_exceptions=True)
        await self._committer.close()


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def outputs_of_hole(entry: LedgerEntry) -> Output:
    """The one message of a transaction that only records lost offsets."""
    return Output(LEDGER.name(entry.region), 0, entry.encode())
