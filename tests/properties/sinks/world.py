"""World: a model of everything around sinks, run by a seed: a log, a group coordinator, a store, sinks that crash and freeze.

Sinks use the real driver, partitions, steps and intents. What the model knows of the others is what makes trouble: answers
that get lost, requests that arrive long after nobody waits for them, cascades that stop half-way, members that do not know
that they lost their partitions.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from itertools import count, pairwise
from typing import Any, TypeVar

import numpy as np

from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.rollups import (
    RawRange,
    RollupMessage,
    RollupMetric,
    RollupRows,
    encode,
    no_histograms,
)
from streamgauge.schemas.topics import DEAD, ROLLUPS
from streamgauge.sinks.blocks import BlockPolicy, rollup_insert
from streamgauge.sinks.driver import Commit, Driver, Inserts, Steps
from streamgauge.sinks.insertion import CommitIntent, Outcome, store_range
from streamgauge.sinks.partition import Decoded, Partition
from streamgauge.sinks.ranges import Place, Range, parse_intent

T = TypeVar("T")
TOPIC = "sg.eu.rollups.v1"
KEYS = [(TOPIC, partition) for partition in range(3)]
TIERS = ("10s", "1m", "1h", "1d", "blocks")


@cache
def letter(offset: int) -> bytes:
    """A message of a kind that is quickly read."""
    return DeadLetter("eu", "raw", 0, offset, "bad_json", 1, 0).encode()


@cache
def rollup(offset: int) -> bytes:
    """A message with points: two series that every message has, and one of its own."""
    series = np.array([1, 2, 1_000 + offset], np.uint64)
    rows = RollupRows(
        metric=np.array([0, 1, offset % 2], np.uint32),
        series_id=series,
        entry=np.zeros(3, np.uint8),
        window=np.full(3, 1_796_083_200 + 10 * (offset % 3), np.uint32),
        count=np.ones(3, np.uint64),
        sum=np.array([0.1, 0.2, 0.3]) * offset,
        min=np.zeros(3),
        max=np.zeros(3),
        last=np.zeros(3),
        last_ms=np.zeros(3, np.int64),
        hist=no_histograms(3),
    )
    metrics = (RollupMetric("b", "counter", "b"), RollupMetric("a", "counter", "a"))
    return encode(RollupMessage("eu", 1, RawRange("raw", 0, offset, offset + 1), metrics, rows, ()))


def origin(message: Decoded) -> int:
    """The offset that a message of ours was made with."""
    return message.raw.start if isinstance(message, RollupMessage) else getattr(message, "offset", -1)


class Log:
    """A partition: messages at offsets with holes, where transactions ended."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self._next = 0

    def append(self, dice: random.Random) -> None:
        """One message, and perhaps the end of a transaction."""
        self.offsets.append(self._next)
        self._next += dice.choice((1, 1, 1, 2, 3))


@dataclass(slots=True)
class Store:
    """Tables that know tokens. A token never comes with other content."""

    tables: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=lambda: {tier: {} for tier in TIERS})
    content: dict[str, object] = field(default_factory=dict[str, object])
    late: list[tuple[str, tuple[int, ...]]] = field(default_factory=list[tuple[str, tuple[int, ...]]])
    repeats: int = 0

    def take(self, token: str, offsets: tuple[int, ...], tiers: Sequence[str] = TIERS) -> None:
        """Insert into some tables; each knows whether it has this token."""
        self.repeats += any(token in self.tables[tier] for tier in tiers)
        for tier in tiers:
            self.tables[tier].setdefault(token, offsets)


@dataclass(slots=True)
class Group:
    """A coordinator. It believes whoever names the present generation, and nobody else."""

    generation: int = 0
    members: set[int] = field(default_factory=set[int])
    committed: dict[int, tuple[int, str]] = field(default_factory=dict[int, tuple[int, str]])
    acknowledged: set[str] = field(default_factory=set[str])

    def commit(self, member: int, generation: int, block: Range, intent: bool) -> bool:
        """Whether the commit was taken."""
        if member not in self.members or generation != self.generation:
            return False
        place = block.place.partition
        self.committed[place] = (block.start, block.intent()) if intent else (block.end, block.done())
        return True

    def begin(self, members: set[int]) -> None:
        """A new generation of these members."""
        self.generation += 1
        self.members = set(members)


class Sink:
    """One process: its driver, its threads' work, what it believes about the group."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.generation = 0
        self.positions: dict[int, int] = {}
        self.tasks: list[tuple[Callable[[], Any], Future[Any]]] = []
        self.driver = world.driver(
            world.policy, self.prepare, self.commit, self.submit, lambda: world.now, steps=world.steps
        )

    def submit(self, work: Callable[[], T], /) -> Future[T]:
        """Work that a thread does at some time."""
        future: Future[T] = Future()
        self.tasks.append((work, future))
        return future

    def work(self) -> None:
        """A thread does one piece of work."""
        if self.tasks:
            work, future = self.tasks.pop(self.world.dice.randrange(len(self.tasks)))
            try:
                future.set_result(work())
            except AssertionError as error:
                future.set_exception(error)

    def prepare(self, block: Range, messages: list[Decoded]) -> Inserts:
        """Two tables: one that forgives repeats, and one with tiers behind it."""
        offsets = tuple(map(origin, messages))
        found: object = offsets
        if isinstance(messages[0], RollupMessage):
            found = rollup_insert([one for one in messages if isinstance(one, RollupMessage)], block).data
        return {
            "series": lambda _: self.world.dice.choice((Outcome.DONE, Outcome.DONE, Outcome.UNKNOWN)),
            "rollups_landing": lambda token: self.world.insert(token, offsets, found),
        }

    def commit(self, steps: Sequence[Commit]) -> list[Outcome]:
        """As the coordinator answers, if its answer arrives."""
        return [self._commit_one(step) for step in steps]

    def _commit_one(self, step: Commit) -> Outcome:
        block, intent = (step.pending, True) if isinstance(step, CommitIntent) else (step.done, False)
        fate = self.world.fate("answered", "answer lost", "request lost", "not now")
        if fate == "request lost":
            return Outcome.UNKNOWN
        if fate == "not now":
            return Outcome.FENCED  # as the client says while it joins; nothing was sent
        taken = self.world.group.commit(self.number, self.generation, block, intent)
        if fate == "answer lost":
            return Outcome.UNKNOWN
        if taken and intent:
            self.world.group.acknowledged.add(block.token)
        return Outcome.DONE if taken else Outcome.FENCED

    def poll(self) -> None:
        """Learn what the group decided; else take some messages."""
        group = self.world.group
        if self.number not in group.members:  # evicted: it hears so now, and joins again
            self.driver.forget(self.driver.owned())
            self.world.rebalance(group.members | {self.number})
        elif self.generation != group.generation:
            self.driver.forget(self.driver.owned())
            self.generation = group.generation
            order = sorted(group.members)
            self.positions = {}
            for _, partition in KEYS:
                if order[partition % len(order)] == self.number:
                    self._own(partition)
        else:
            for partition, position in self.positions.items():
                self._deliver(partition, position)

    def _own(self, partition: int) -> None:
        place = Place("eu", TOPIC, "life", partition)
        start, metadata = self.world.group.committed.get(partition, (0, ""))
        pending = parse_intent(place, start, metadata) if self.world.reads_intents else None
        self.positions[partition] = start
        self.driver.own((TOPIC, partition), Partition(place, self.world.kind, start, pending))

    def _deliver(self, partition: int, position: int) -> None:
        coming = [offset for offset in self.world.logs[partition].offsets if offset >= position]
        for offset in coming[: self.world.dice.choice((1, 3, 10))]:
            self.driver.offer((TOPIC, partition), offset, self.world.message(offset), 0)
            self.positions[partition] = offset + 1


class World:
    """Everything, moved by the dice of one seed. `run` raises AssertionError when a promise is broken."""

    def __init__(
        self,
        seed: int,
        *,
        steps: Steps = store_range,
        driver: type[Driver] = Driver,
        reads_intents: bool = True,
        rollups: bool = False,
    ) -> None:
        self.dice = random.Random(seed)
        self.steps = steps
        self.driver = driver
        self.reads_intents = reads_intents
        self.message = rollup if rollups else letter
        self.kind = (ROLLUPS if rollups else DEAD).kind
        self.policy = BlockPolicy(every_ms=500, max_rows=self.dice.choice((3, 9, 50)))
        self.now = 0.0
        self.calm = False
        self.logs = [Log() for _ in KEYS]
        self.store = Store()
        self.group = Group()
        self._numbers = count()
        self.sinks: list[Sink] = []
        self.frozen: set[int] = set()

    def fate(self, usual: str, *others: str) -> str:
        """What becomes of a request: mostly the usual, always so when all is calm."""
        return usual if self.calm or self.dice.random() < 0.7 else self.dice.choice(others)

    def insert(self, token: str, offsets: tuple[int, ...], found: object) -> Outcome:
        """An insert as the store takes it, or loses it, or takes it in part, or much later."""
        assert token in self.group.acknowledged, f"{token} is inserted before its intent was acknowledged"
        assert self.store.content.setdefault(token, found) == found, f"{token} comes with other content"
        fate = self.fate("all", "all unseen", "lost", "some", "some", "late", "late", "refused")
        if fate in {"all", "all unseen"}:
            self.store.take(token, offsets)
        elif fate == "some":
            self.store.take(token, offsets, self.dice.sample(TIERS, self.dice.randrange(len(TIERS))))
        elif fate == "late":
            self.store.late.append((token, offsets))
        return {"all": Outcome.DONE, "refused": Outcome.REFUSED}.get(fate, Outcome.UNKNOWN)

    def rebalance(self, members: set[int]) -> None:
        """The coordinator begins a new generation."""
        self.group.begin(members)

    def join(self) -> None:
        """A new process joins."""
        self.sinks.append(Sink(self, next(self._numbers)))
        self.rebalance(self.group.members | {self.sinks[-1].number})

    def crash(self, sink: Sink) -> None:
        """A process is gone; what its threads had sent may still arrive. The coordinator notices."""
        if self.dice.random() < 0.5:
            sink.work()
        self.sinks.remove(sink)
        self.frozen.discard(sink.number)
        self.rebalance(self.group.members - {sink.number})

    def freeze(self, sink: Sink) -> None:
        """A process is silent for too long, and does not know it."""
        self.frozen.add(sink.number)
        self.rebalance(self.group.members - {sink.number})

    def step(self) -> None:
        """One process goes through its loop, and may end or fall silent between any two moves of it."""
        if len(self.sinks) < 2:
            self.join()
        sink = self.dice.choice(self.sinks)
        for move in (self._poll, self._advance, Sink.work, self._advance, Sink.work, self._pass_time):
            if self.dice.random() < 0.8:
                move(sink)
            if self.dice.random() < 0.01:
                self._trouble(sink)
                return

    def _poll(self, sink: Sink) -> None:
        self.logs[self.dice.randrange(len(KEYS))].append(self.dice)
        # once thawed it goes on where it was, for some time, before it asks anybody
        if sink.number not in self.frozen or self.dice.random() < 0.1:
            self.frozen.discard(sink.number)
            sink.poll()

    def _advance(self, sink: Sink) -> None:
        sink.driver.advance(begin=self.dice.random() < 0.9)

    def _pass_time(self, _: Sink) -> None:
        self.now += self.dice.choice((0.05, 0.5, 3.0, 9.0))
        if self.store.late and self.dice.random() < 0.1:
            self.store.take(*self.store.late.pop(self.dice.randrange(len(self.store.late))))

    def _trouble(self, sink: Sink) -> None:
        kind = self.dice.choice(("crash", "freeze", "revoke"))
        if kind == "crash":
            self.crash(sink)
        elif sink.number in self.frozen or len(self.group.members) < 2:
            return
        elif kind == "freeze":
            self.freeze(sink)
        else:
            sink.driver.forget(sink.driver.owned())
            self.rebalance(self.group.members)

    def settle(self) -> None:
        """No more trouble: everything that is in the log gets stored."""
        self.calm = True
        self.frozen.clear()
        for _ in range(2_000):
            for sink in self.sinks:
                sink.poll()
                sink.driver.advance(flush=True)
                while sink.tasks:
                    sink.work()
            self.now += 1.0
            if not any(sink.driver.busy(KEYS) for sink in self.sinks) and all(map(self._stored, range(len(KEYS)))):
                break
        else:
            raise AssertionError("something is never stored")
        for token, offsets in self.store.late:
            self.store.take(token, offsets)

    def _stored(self, partition: int) -> bool:
        offsets = self.logs[partition].offsets
        return not offsets or self.group.committed.get(partition, (0, ""))[0] == offsets[-1] + 1

    def check(self) -> None:
        """Every message once in every table, and blocks that do not overlap."""
        for tier, tokens in self.store.tables.items():
            for partition, log in enumerate(self.logs):
                own = {token: offsets for token, offsets in tokens.items() if f":{partition}:" in token}
                found = Counter(offset for offsets in own.values() for offset in offsets)
                assert found == Counter(log.offsets), f"{tier} of partition {partition}: {found}"
                bounds = sorted(tuple(map(int, token.rpartition(":")[2].split("-"))) for token in own)
                assert all(first[1] <= second[0] for first, second in pairwise(bounds)), bounds

    def run(self, steps: int = 150) -> None:
        """A whole life."""
        for _ in range(steps):
            self.step()
        self.settle()
        self.check()
