"""Any schedule of deliveries, commits, faults, lost seeks, moves and zombies commits every message of a log exactly once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.processors.outputs import OutputPolicy
from streamgauge.processors.partition import OFFSETS_LOST, Partition, Surroundings
from streamgauge.processors.policy import CommitPolicy
from streamgauge.schemas.batches import MetricHead
from tests.unit.processors.fakes import Clock, FakeBroker, FakeCommitter, Store
from tests.unit.processors.raw import CONTRACTS, NOW, PAID, PLACE, Sample, events, metrics, tools

HEAD = MetricHead("m", "counter", "", ("offset",))
LENGTH = 40
LOG = [
    b"{" if offset % 5 == 0  # refused: leaves a letter with its offset
    else events([{"country": f"{offset}"}]) if offset % 5 == 1
    else metrics([Sample(HEAD, (f"{offset}",), NOW)], {})
    for offset in range(LENGTH)
]  # fmt: skip
KEYED = [
    events([{"order_id": f"{key}", "country": f"{key}"} for key in (offset // 2, offset * 7 % 25, offset // 2)], PAID)
    if offset % 3 else LOG[offset]
    for offset in range(LENGTH)
]  # fmt: skip
KEYS = {key for offset in range(LENGTH) if offset % 3 for key in (offset // 2, offset * 7 % 25)}


async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
    """In place of a thread, so that a schedule depends on its seed alone."""
    await asyncio.sleep(0)
    return work(*arguments)


class World:
    """One raw partition, its owners one after another or at once, and a source of all that happens."""

    def __init__(self, seed: int, retention: bool, log: list[bytes]) -> None:
        self.random = random.Random(seed)
        self.log = log
        self.clock = Clock(NOW)
        self.store = Store()
        self.broker = FakeBroker(self.store, self.at)
        self.trouble = self.random.choice([0.0, 0.02, 0.1, 0.3])
        self.retention = retention
        self.owners: list[Owner] = []
        self.steps = 0

    async def at(self, step: str) -> None:
        """Anything may take a while, or fail."""
        await self.pause()
        if step != "close" and self.random.random() < self.trouble:
            raise ConnectionError(step)

    async def pause(self) -> None:
        """Let others do something first."""
        for _ in range(self.random.choice([0, 0, 1, 1, 2, 5])):
            await asyncio.sleep(0)

    def assign(self) -> None:
        """A new owner; its predecessor is told, or is a zombie that knows nothing."""
        for owner in self.owners:
            if owner.active and self.random.random() < 0.7:
                owner.revoke()
        self.owners.append(Owner(self))

    async def run(self) -> None:
        """Trouble for a while, then peace until everything is committed."""
        self.assign()
        for _ in range(self.random.randrange(5, 60)):
            await self.pause()
            self.steps += 1
            dice = self.random.random()
            if dice < 0.04:
                self.assign()
            elif self.retention and dice < 0.08:
                self.broker.start = min(LENGTH - 1, self.broker.start + self.random.randrange(1, 6))
            elif dice < 0.12:
                self.store.compact(self.random.randrange(self.store.end + 1))
        self.trouble = 0.0
        for owner in self.owners[:-1]:
            owner.revoke()
        for _ in range(20_000):
            await asyncio.sleep(0)
            if self.store.offset == LENGTH:
                break
        tasks = [task for owner in self.owners for task in owner.stop()]
        done, pending = await asyncio.wait(tasks, timeout=5)
        assert not pending, "somebody waits for ever"
        for task in done:
            task.result()


class Owner:
    """A consumer, the agent that feeds its partition, and the ticker."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.active = True
        self.cursor = 0
        self.buffered: deque[int] = deque()
        around = Surroundings(
            world.broker,
            tools(),
            lambda: CONTRACTS,
            self.seek,
            world.clock,
            world.clock,
            CommitPolicy(max_points=world.random.choice([3, 10, 1_000])),
            OutputPolicy(rollup_partitions=1, distinct_partitions=1),
            retry_s=0,
            go_on_after_loss=True,
        )
        self.partition = Partition(PLACE, FakeCommitter(world.store, world.at), around)
        self.tasks: list[asyncio.Task[None]] = [
            asyncio.ensure_future(work) for work in (self.partition.open(), self.feed(), self.tick())
        ]

    async def seek(self, topic: str, partition: int, offset: int) -> None:
        """Of the consumer: what it has buffered may still be delivered; while there is trouble it may get lost."""
        await self.world.at("seek")
        if self.world.random.random() < self.world.trouble:
            return
        self.cursor = offset
        if self.world.random.random() < 0.5:
            self.buffered.clear()
        await self.world.pause()

    def fetch(self) -> None:
        """Buffer some messages; offsets that are gone are jumped over, as consumers do."""
        self.cursor = max(self.cursor, self.world.broker.start)
        until = min(LENGTH, self.cursor + self.world.random.randrange(1, 8))
        self.buffered.extend(range(self.cursor, until))
        self.cursor = until

    async def feed(self) -> None:
        """One message after another."""
        while self.active:
            await asyncio.sleep(0)
            if not self.buffered:
                self.fetch()
            if self.buffered:
                offset = self.buffered.popleft()
                await self.partition.add(offset, self.world.log[offset])

    async def tick(self) -> None:
        """As the worker does, with time passing."""
        while self.active:
            await self.world.pause()
            await asyncio.sleep(0)
            self.world.clock.now_ms += self.world.random.choice([10, 100, 500])
            await self.partition.tick()

    def revoke(self) -> None:
        """The partition moves away."""
        if self.active:
            self.active = False
            self.tasks.append(asyncio.ensure_future(self.partition.close()))

    def stop(self) -> list[asyncio.Task[None]]:
        """Everything that is to end."""
        self.revoke()
        return self.tasks


def play(seed: int, retention: bool, log: list[bytes] = LOG) -> World:
    """One schedule, from its seed."""
    world = World(seed, retention, log)
    with patch("asyncio.to_thread", inline), patch("streamgauge.processors.key_memory.SLICE_S", 1):
        asyncio.run(world.run())
    return world


def check(world: World) -> None:
    """Offsets, ledger and outputs agree, and each message that is not lost was counted once."""
    totals = world.store.totals()
    lost: set[int] = set()
    ledger = totals.ledger
    assert all(one.end == after.start for one, after in pairwise(ledger)), "a hole or an overlap in the ledger"
    assert ledger[-1].end == world.store.offset == LENGTH, "not everything was committed"
    for entry in ledger:
        if OFFSETS_LOST in entry.refused:
            assert entry.refused == {OFFSETS_LOST: entry.end - entry.start}
            assert entry.messages == 0
            lost |= set(range(entry.start, entry.end))
        else:
            assert entry.messages == entry.end - entry.start
    counted: Counter[int] = Counter(one.offset for one in totals.dead)
    for (_, labels, _, _), cell in totals.cells.items():
        found = dict(labels)
        counted[int(found.get("country") or found["offset"])] += cell.count
    expected = set(range(ledger[0].start, LENGTH)) - lost
    assert counted == dict.fromkeys(expected, 1)


@settings(max_examples=200)
@given(st.integers(0, 1 << 48))
def test_every_message_is_committed_exactly_once_whatever_happens(seed: int) -> None:
    world = play(seed, retention=False)
    check(world)
    assert world.store.totals().ledger[0].start == 0
    assert OFFSETS_LOST not in world.store.totals().refused


@settings(max_examples=120)
@given(st.integers(0, 1 << 48))
def test_what_retention_deletes_unread_is_recorded_and_the_rest_committed_exactly_once(seed: int) -> None:
    check(play(seed, retention=True))


@settings(max_examples=200)
@given(st.integers(0, 1 << 48))
def test_every_idempotency_key_counts_exactly_once_whatever_happens(seed: int) -> None:
    world = play(seed, retention=False, log=KEYED)
    totals = world.store.totals()
    counted: Counter[int] = Counter()
    for (metric, labels, _, _), cell in totals.cells.items():
        if metric == PAID.name:
            counted[int(dict(labels)["country"])] += cell.count
    assert counted == dict.fromkeys(KEYS, 1)
    assert world.store.offset == LENGTH
    rows = 3 * sum(offset % 3 > 0 for offset in range(LENGTH))
    assert totals.refused["repeated_key"] == rows - len(KEYS)


def test_a_schedule_depends_on_its_seed_alone() -> None:
    one, other = play(4711, retention=True), play(4711, retention=True)
    assert [[output.value for output in made] for made in one.store.transactions] == [
        [output.value for output in made] for made in other.store.transactions
    ]
