"""Lives of a raw partition: many short schedules a second of the real partition, memory and sequences, run by a seed.

Batches are numbers instead of columns, so that a life costs little; some stand in the log twice, as producers send them
whose acknowledgement got lost. What makes trouble: steps that fail or take a while, commits that take effect unseen,
seeks that get lost, owners that are told to go or know nothing of it, retention that passes by unread messages.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

from streamgauge.processors.accumulator import Accumulator, Place, Tools
from streamgauge.processors.keys import RecentKeys
from streamgauge.processors.outputs import Output, OutputPolicy
from streamgauge.processors.partition import OFFSETS_LOST, Partition, Surroundings
from streamgauge.processors.policy import CommitPolicy
from streamgauge.processors.sequences import Findings, Sequences
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.batches import Origin
from streamgauge.schemas.ledger import LedgerEntry, decode_ledger
from tests.unit.processors.fakes import Clock, FakeBroker, FakeCommitter, Store
from tests.unit.processors.raw import NOW, PLACE, tools

TOOLS = tools()
PATIENCE = 3_000
"""Turns of the loop after which a partition that is left in peace must have committed everything."""


class Numbers(Accumulator):
    """Adds batches that are a number each."""

    def __init__(self, place: Place, _tools: Tools, sequences: Sequences, _keys: RecentKeys) -> None:
        self.place = place
        self.sequences = sequences
        self.messages = self.batches = self.points = self.size = self.repeats = 0
        self.added: list[int] = []

    def add(self, offset: int, value: bytes | None, *rest: Any, **_: Any) -> bool:
        """See Accumulator."""
        now_ms: int = rest[1]
        number = int(value or b"")
        self.messages += 1
        self.points += 1
        if self.sequences.first_time(Origin({}, "s", 1, number), now_ms // 1000):
            self.added.append(number)
        return True


def numbers_out(
    accumulator: Accumulator, start: int, end: int, _i: SeriesIndex, _p: OutputPolicy, now_ms: int, found: Findings, /
) -> tuple[list[Output], LedgerEntry]:
    """The numbers that were added, and a ledger entry."""
    assert isinstance(accumulator, Numbers)
    place = accumulator.place
    entry = LedgerEntry(
        place.region, place.topic, place.partition, start, end, accumulator.messages, 0, {}, now_ms,
        sequence_repeats=found.repeats,
    )  # fmt: skip
    added = ",".join(map(str, accumulator.added)).encode()
    return [Output("sg.local.rollups.v1", 0, added), Output("sg.local.ledger.v1", 0, entry.encode())], entry


async def in_place(work: Callable[..., Any], *arguments: Any) -> Any:
    """Instead of a thread, so that a life depends on its seed alone."""
    return work(*arguments)


class Life:
    """One raw partition with its owners, one after another or at once. Raises AssertionError where something is wrong."""

    committer: type[FakeCommitter] = FakeCommitter
    partition: type[Partition] = Partition
    seeks = True

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = Clock(NOW)
        self.store = Store()
        self.broker = FakeBroker(self.store, self.at)
        self.trouble = self.dice.choice([0.0, 0.05, 0.2])
        self.retention = self.dice.random() < 0.2
        numbers = list(range(self.dice.randrange(3, 8)))
        numbers += self.dice.choices(numbers, k=self.dice.randrange(0, 4))
        if self.dice.random() < 0.5:
            self.dice.shuffle(numbers)
        self.log = numbers
        self.owners: list[Owner] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def at(self, step: str) -> None:
        """Anything may take a while, or fail."""
        if self.dice.random() < 0.4:
            await asyncio.sleep(0)
        if step != "close" and self.dice.random() < self.trouble:
            raise ConnectionError(step)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Beside everything else."""
        self.tasks.append(asyncio.ensure_future(work))

    def assign(self) -> None:
        """A new owner; its predecessor is told, or is a zombie that knows nothing."""
        for owner in self.owners:
            if self.dice.random() < 0.7:
                owner.revoke()
        self.owners.append(Owner(self))

    async def run(self) -> None:
        """Trouble for a while, then peace until everything is committed."""
        self.assign()
        for _ in range(self.dice.randrange(2, 12)):
            for _ in range(self.dice.randrange(1, 6)):
                await asyncio.sleep(0)
            self.clock.now_ms += self.dice.choice([10, 400, 1_100])
            what = self.dice.random()
            if what < 0.2:
                self.assign()
            elif self.retention and what < 0.3:
                self.broker.start = min(len(self.log) - 1, self.broker.start + self.dice.randrange(1, 3))
        self.trouble = 0.0
        for owner in self.owners[:-1]:
            owner.revoke()
        for _ in range(PATIENCE):
            if self.store.offset == len(self.log):
                break
            self.clock.now_ms += 100
            await asyncio.sleep(0)
        for owner in self.owners:
            owner.revoke()
        done, pending = await asyncio.wait(self.tasks, timeout=5)
        for task in pending:
            task.cancel()
        assert not pending, "somebody waits for ever"
        for task in done:
            task.result()
        self.check()

    def check(self) -> None:
        """Offsets and ledger agree, and every number that was not lost with all its copies counts once."""
        ledger: list[LedgerEntry] = []
        counted: Counter[int] = Counter()
        for made in self.store.transactions:
            for one in made:
                if ".ledger." in one.topic:
                    ledger.append(decode_ledger(one.value))
                elif ".rollups." in one.topic and one.value:
                    counted.update(map(int, one.value.split(b",")))
        assert ledger, "nothing was committed"
        assert ledger[-1].end == self.store.offset == len(self.log), "not everything was committed"
        assert all(one.end == after.start for one, after in pairwise(ledger)), "a hole or an overlap in the ledger"
        lost = set(range(ledger[0].start))
        for entry in ledger:
            if OFFSETS_LOST in entry.refused:
                lost |= set(range(entry.start, entry.end))
            else:
                assert entry.messages == entry.end - entry.start
        expected = {number for offset, number in enumerate(self.log) if offset not in lost}
        assert counted == dict.fromkeys(expected, 1)


class Owner:
    """A consumer with what it has buffered, and the partition that it feeds."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.active = True
        self.cursor = 0
        self.buffered: deque[int] = deque()
        around = Surroundings(
            life.broker, TOOLS, dict, self.seek, life.clock, life.clock,
            CommitPolicy(max_points=life.dice.choice([2, 1_000])),
            retry_s=0, go_on_after_loss=True, snapshot_every=2, accumulator=Numbers, outputs=numbers_out,
        )  # fmt: skip
        self.partition = life.partition(PLACE, life.committer(life.store, life.at), around)
        life.start(self.partition.open())
        life.start(self.work())

    async def seek(self, _topic: str, _partition: int, offset: int) -> None:
        """Of the consumer: what it has buffered may still be delivered; while there is trouble it may get lost."""
        await self.life.at("seek")
        if self.life.dice.random() < self.life.trouble or not self.life.seeks:
            return
        self.cursor = offset
        if self.life.dice.random() < 0.5:
            self.buffered.clear()

    async def work(self) -> None:
        """Messages as they come, and ticks between them."""
        while self.active:
            await asyncio.sleep(0)
            if not self.buffered:
                self.cursor = max(self.cursor, self.life.broker.start)
                until = min(len(self.life.log), self.cursor + self.life.dice.randrange(1, 4))
                self.buffered.extend(range(self.cursor, until))
                self.cursor = until
            if self.buffered:
                offset = self.buffered.popleft()
                await self.partition.add(offset, b"%d" % self.life.log[offset])
            if not self.buffered or self.life.dice.random() < 0.3:
                await self.partition.tick()

    def revoke(self) -> None:
        """The partition moves away."""
        if self.active:
            self.active = False
            self.life.start(self.partition.close())


def live(seeds: range, kind: type[Life] = Life) -> None:
    """Many lives in one loop. The seed of one that goes wrong is in the error."""

    async def all_of_them() -> None:
        for seed in seeds:
            try:
                await kind(seed).run()
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error

    asyncio.run(all_of_them())
