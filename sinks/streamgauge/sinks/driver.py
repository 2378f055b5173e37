"""Driver: carries the blocks of owned partitions from step to step. Threads, commits and time are given to it.

Nothing here waits: `advance` takes what is ready and returns. One thread calls it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from streamgauge.sinks.blocks import BlockPolicy
from streamgauge.sinks.decisions import Read
from streamgauge.sinks.insertion import (
    Answer,
    AskStore,
    CommitDone,
    CommitIntent,
    InsertTable,
    Operation,
    Outcome,
    RetryPolicy,
    Run,
    Wait,
    store_range,
)
from streamgauge.sinks.partition import Cut, Decoded, Partition
from streamgauge.sinks.ranges import Range

log = logging.getLogger("streamgauge.sinks")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Key = tuple[str, int]
Commit = CommitIntent | CommitDone
Inserts = Mapping[str, Callable[[str], Outcome]]
"""The inserts of a block by table, in their order. Each takes the token, and answers instead of raising."""
Ask = Callable[[Range, float | None], Answer]
"""Asks the store about a range; answers UNKNOWN instead of raising. It is told how many seconds ago this process cut the
range; None when another one did, by a clock of its own."""
Steps = Callable[[Range, tuple[str, ...], RetryPolicy, Read], Run]

FENCED_PAUSE_S = 1.0


class Promised(Protocol[T_co]):
    """What another thread returns or raises: a future, as far as it is used here."""

    def done(self) -> bool:
        """Whether it is there."""
        ...

    def result(self) -> T_co:
        """What it is, once it is there."""
        ...


class Submit(Protocol):
    """Has work done by another thread."""

    def __call__(self, work: Callable[[], T], /) -> Promised[T]:
        """What `work` will return."""
        ...


@dataclass(slots=True)
class Running:
    """A block on its way: its inserts by table, its steps, the one that is due, and the thread's answer to it.

    `cut_at` (monotonic seconds): None where another process cut it.
    """

    block: Range
    inserts: Inserts
    steps: Run
    step: Operation
    cut_at: float | None = None
    answer: Promised[Answer] | None = None
    wait_until: float | None = None


@dataclass(slots=True)
class Owned:
    """A partition of ours, the block of it that is on its way, and the next one, which is built meanwhile."""

    partition: Partition
    running: Running | None = None
    preparing: Promised[Running] | None = None
    rest_until: float = 0.0


class Driver:
    """One block at a time per partition, in offset order; while it is inserted, the next one is built if it is full.

    `prepare` builds the inserts of a block in a thread of `submit`, where the inserts and `ask` run too; `commit` answers
    at once, in the order it was asked. `wall_ms` is the time of the day, for what is written down.
    """

    def __init__(
        self,
        policy: BlockPolicy,
        prepare: Callable[[Range, list[Decoded]], Inserts],
        ask: Ask,
        commit: Callable[[Sequence[Commit]], Sequence[Outcome]],
        submit: Submit,
        monotonic: Callable[[], float],
        wall_ms: Callable[[], int],
        retry: RetryPolicy | None = None,
        steps: Steps = store_range,
    ) -> None:
        self._policy = policy
        self._prepare = prepare
        self._ask = ask
        self._commit = commit
        self._submit = submit
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self.retry = retry or RetryPolicy()
        self._steps = steps
        self._owned: dict[Key, Owned] = {}

    def own(self, key: Key, partition: Partition) -> None:
        """From now on this partition is ours."""
        self._owned[key] = Owned(partition)

    def forget(self, keys: Iterable[Key]) -> None:
        """These are no longer ours. An insert that is under way may still arrive: it has the token of its range."""
        for key in keys:
            self._owned.pop(key, None)

    def offer(self, key: Key, offset: int, value: bytes, instant_ms: int) -> None:
        """A delivered message; of a partition that is not ours it is ignored."""
        if key in self._owned:
            self._owned[key].partition.offer(offset, value, instant_ms, self._now_ms())

    def owned(self) -> list[Key]:
        """What is ours."""
        return list(self._owned)

    def overfull(self) -> set[Key]:
        """Partitions that need no further messages now: inserts fall behind, and memory is bounded."""
        limit = (
            4 * self._policy.max_bytes
        )  # a block, the next one, and some to come; columns are about as large as packed
        return {key for key, one in self._owned.items() if one.partition.memory > limit and not one.partition.starving}

    def busy(self, keys: Iterable[Key]) -> bool:
        """Whether blocks of these partitions are on their way."""
        return any(one.preparing or one.running for one in self._of(keys))

    def begun(self, keys: Iterable[Key]) -> bool:
        """Whether begun blocks of these partitions are on their way and do not wait for another try."""
        return any(one.running and not isinstance(one.running.step, Wait) for one in self._of(keys))

    def moving(self) -> bool:
        """Whether something will be ready for the next step soon."""
        owned = self._owned
        return self.begun(owned) or any(one.preparing and not one.running for one in owned.values())

    def _of(self, keys: Iterable[Key]) -> Iterable[Owned]:
        return (self._owned[key] for key in keys if key in self._owned)

    def advance(self, flush: bool = False, begin: bool = True) -> None:
        """Carry every block one step further; without `begin`, begun ones only. Commits of all partitions go together.

        Raises what `prepare`, `commit` and the steps do.
        """
        now = self._monotonic()
        due: list[tuple[Owned, Running, Commit]] = []
        for owned in self._owned.values():
            if begin:
                self._begin(owned, flush, now)
            if owned.running is not None:
                self._progress(owned, now)
            if (run := owned.running) is not None and isinstance(run.step, CommitIntent | CommitDone):
                due.append((owned, run, run.step))
        if due:
            for (owned, run, _), outcome in zip(due, self._commit([step for _, _, step in due]), strict=True):
                self._send(owned, run, outcome)

    def _now_ms(self) -> int:
        return int(self._monotonic() * 1000)

    def _begin(self, owned: Owned, flush: bool, now: float) -> None:
        if owned.running is None and owned.preparing is not None and owned.preparing.done():
            owned.running, owned.preparing = owned.preparing.result(), None
        if owned.preparing is not None or now < owned.rest_until:
            return
        cut = owned.partition.take(self._policy, int(now * 1000), flush, self._wall_ms())
        if cut is not None:
            owned.preparing = self._submit(lambda: self._started(cut, now))

    def _started(self, cut: Cut, now: float) -> Running:
        if cut.read is Read.OTHER:
            log.warning(
                "%s: offsets %d-%d hold other messages than when the block was begun",
                cut.block.place,
                cut.block.start,
                cut.block.end,
            )
        inserts = self._prepare(cut.block, cut.messages)
        steps = self._steps(cut.block, tuple(inserts), self.retry, cut.read)
        return Running(cut.block, inserts, steps, next(steps), now if cut.read is Read.NEW else None)

    def _progress(self, owned: Owned, now: float) -> None:
        """Steps that need no commit, as far as they go now: start an insert, take its answer, or wait."""
        while (running := owned.running) is not None:
            step = running.step
            if isinstance(step, Wait):
                if running.wait_until is None:
                    running.wait_until = now + step.seconds
                if now < running.wait_until:
                    return
                running.wait_until = None
                self._send(owned, running, Outcome.DONE)
            elif isinstance(step, InsertTable | AskStore):
                if running.answer is None:
                    running.answer = self._submit(self._work(running, step))
                if not running.answer.done():
                    return
                outcome, running.answer = running.answer.result(), None
                self._send(owned, running, outcome)
            else:
                return

    def _work(self, running: Running, step: InsertTable | AskStore) -> Callable[[], Answer]:
        if isinstance(step, AskStore):
            age_s = None if running.cut_at is None else self._monotonic() - running.cut_at
            return partial(self._ask, step.pending, age_s)
        return partial(running.inserts[step.table], step.token)

    def _send(self, owned: Owned, running: Running, outcome: Answer) -> None:
        try:
            running.step = running.steps.send(outcome)
        except StopIteration as end:
            owned.running = None
            if end.value:
                owned.partition.stored(self._now_ms())
                return
            # whatever comes next, this range is never cut in another way: a part of it may be in already
            owned.partition.again()
            owned.preparing = None
            owned.rest_until = self._monotonic() + FENCED_PAUSE_S
            place = running.block.place
            log.warning("%s is fenced: another sink has it, and stores offsets from %d", place, running.block.start)
