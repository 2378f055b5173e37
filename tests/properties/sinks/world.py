"""World: a model of everything around sinks, run by a seed: a log, a group coordinator, a store, sinks that crash and freeze.

Sinks use the real driver, partitions, steps, intents and decisions. What the model knows of the others is what makes
trouble: answers that get lost, requests that arrive long after nobody waits for them, messages that come twice, cascades
that stop half-way, members that do not know that they lost their partitions, tables that forget tokens, and a person who
answers when a sink stops with advice.

One promise is the world's own: a request is on its way, or a process silent, for at most a third of the window in which
tables know tokens. Sinks have half of it; the rest is for blocks that are in some tables only, which nobody counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, pairwise
from typing import Any, TypeVar

from streamgauge.schemas.errors import StreamgaugeError
from streamgauge.schemas.rollups import RollupMessage
from streamgauge.schemas.scrubbed_events import ScrubbedEvents
from streamgauge.schemas.topics import DEAD, ROLLUPS, SCRUBBED
from streamgauge.sinks.blocks import BlockPolicy, rollup_insert
from streamgauge.sinks.ddl import EVENTS_LANDING, ROLLUPS_LANDING
from streamgauge.sinks.decisions import Act, at_start, stop
from streamgauge.sinks.driver import Commit, Driver, Inserts, Steps
from streamgauge.sinks.event_blocks import event_insert
from streamgauge.sinks.insertion import Answer, CommitIntent, Outcome, store_range
from streamgauge.sinks.partition import Decoded, Partition
from streamgauge.sinks.ranges import ANY_CONTENT, Committed, GroupSays, Place, Range, done_in
from tests.properties.sinks.surroundings import (
    FATES,
    FOREVER,
    PLACES,
    TIERS,
    TOPIC,
    Dice,
    Group,
    Log,
    Promise,
    ReadOnce,
    Row,
    Store,
    letter,
    origin,
    rollup,
    single_events,
)

T = TypeVar("T")


class Sink:
    """One process: its driver, its threads' work, what it believes about the group."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.generation = 0
        self.seen = world.store.parts
        self.positions: dict[int, int] = {}
        self.tasks: list[tuple[Callable[[], Any], Promise[Any], int]] = []
        self.driver = world.driver(
            world.policy,
            self.prepare,
            self.ask,
            self.commit,
            self.submit,
            lambda: world.now,
            lambda: int(world.now * 1_000),
            steps=world.steps,
        )

    def submit(self, work: Callable[[], T], /) -> Promise[T]:
        """Work that a thread does at some time."""
        promise: Promise[T] = Promise()
        self.tasks.append((work, promise, self.world.store.parts))
        return promise

    def work(self) -> None:
        """A thread does one piece of work."""
        if self.tasks:
            work, promise, _ = self.tasks.pop(self.world.dice.below(len(self.tasks)))
            promise.carry_out(work)

    def prepare(self, block: Range, messages: list[Decoded]) -> Inserts:
        """Two tables: one that forgives repeats, and one with tiers behind it."""
        offsets = tuple(map(origin, messages))
        found: object = offsets
        table = ROLLUPS_LANDING
        if messages and isinstance(messages[0], RollupMessage):
            found = rollup_insert([one for one in messages if isinstance(one, RollupMessage)], block).data
        elif messages and isinstance(messages[0], ScrubbedEvents):
            insert = event_insert([one for one in messages if isinstance(one, ScrubbedEvents)], block)
            table, found = EVENTS_LANDING, insert.data
            assert insert.table == table
        return {
            "series": lambda _: Outcome.UNKNOWN if self.world.dice.random() < 0.3 else Outcome.DONE,
            table: lambda token: self.world.insert(block, token, offsets, found),
        }

    def ask(self, pending: Range, age_s: float | None) -> Answer:
        """As the store says, if its answer arrives."""
        if self.world.fate("answered", ("lost",)) == "lost":
            return Outcome.UNKNOWN
        written_ms = pending.written_ms if age_s is None else int((self.world.now - age_s) * 1_000)
        return self.world.store.view(pending.place, pending.start, pending.end, written_ms)

    def commit(self, steps: Sequence[Commit]) -> list[Outcome]:
        """As the coordinator answers, if its answer arrives."""
        return [self._commit_one(step) for step in steps]

    def _commit_one(self, step: Commit) -> Outcome:
        block, intent = (step.pending, True) if isinstance(step, CommitIntent) else (step.done, False)
        fate = self.world.fate("answered", ("answer lost", "request lost", "not now"))
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
            for place in self.world.places:
                if order[place.partition % len(order)] == self.number:
                    self._own(place)
        else:
            for partition, position in self.positions.items():
                self._deliver(partition, position)

    def _own(self, place: Place) -> None:
        """As the sink does, with what the store says."""
        world = self.world
        says = world.group.says(place) if world.reads_intents else world.without_intent(place)
        at, pending = max(says.offset, 0), says.pending
        view = world.store.view(place, at, pending.end if pending else at, pending.written_ms if pending else 0)
        decision = at_start(says.kind, view.found)
        if decision.why is not None:
            raise stop(decision.why, place, says, view)
        assert decision.act in {Act.FIRST, Act.START, Act.AGAIN}
        self.positions[place.partition] = at
        self.driver.own((TOPIC, place.partition), world.partition(place, world.kind, at, pending))

    def _deliver(self, partition: int, position: int) -> None:
        offsets, dice = self.world.logs[partition].offsets, self.world.dice
        first = bisect_left(offsets, position)
        if first and dice.random() < 0.1:
            first = dice.below(first)  # some come again
        for offset in offsets[first : first + (100 if self.world.calm else dice.choice((1, 3, 10)))]:
            self.driver.offer((TOPIC, partition), offset, self.world.message(offset), 0)
            self.positions[partition] = offset + 1


class World:
    """Everything, moved by the dice of one seed. `run` raises AssertionError when a promise is broken.

    `kind` is that of the messages. `window`: how many tokens tables know. `dark`: nothing is known of any insert of
    the first partition until all is calm.
    """

    def __init__(
        self,
        seed: int,
        *,
        steps: Steps = store_range,
        driver: type[Driver] = Driver,
        partition: type[Partition] = ReadOnce,
        reads_intents: bool = True,
        kind: str = DEAD.kind,
        window: int = FOREVER,
        trouble: float = 0.01,
        partitions: int = 3,
        dark: bool = False,
    ) -> None:
        self.dice = Dice(seed)
        self.steps = steps
        self.driver = driver
        self.partition = partition
        self.reads_intents = reads_intents
        self.message = {DEAD.kind: letter, ROLLUPS.kind: rollup, SCRUBBED.kind: single_events}[kind]
        self.kind = kind
        self.policy = BlockPolicy(every_ms=500, max_rows=self.dice.choice((3, 9, 50)))
        self.now = 0.0
        self.calm = False
        self.trouble = trouble
        self.dark = PLACES[0] if dark else None
        self.places = PLACES[:partitions]
        self.logs = [Log() for _ in self.places]
        self.store = Store(window)
        self.patience = window // 3
        self.group = Group()
        self._numbers = count()
        self.sinks: list[Sink] = []
        self.frozen: set[int] = set()
        self.stops = 0
        self.given_up: set[Place] = set()

    def fate(self, usual: str, others: Sequence[str]) -> str:
        """What becomes of a request: mostly the usual, always so when all is calm."""
        if self.calm or self.dice.random() < 0.7:
            return usual
        found: str = self.dice.choice(others)
        return found

    def without_intent(self, place: Place) -> GroupSays:
        """What is committed, for a sink that cannot read."""
        says = self.group.says(place)
        return GroupSays(Committed.STORED, says.offset) if says.pending else says

    def insert(self, block: Range, token: str, offsets: tuple[int, ...], found: object) -> Outcome:
        """An insert as the store takes it, or loses it, or takes it in part, or much later."""
        assert token in self.group.acknowledged, f"{token} is inserted before its intent was acknowledged"
        assert self.store.content.setdefault(token, found) == found, f"{token} comes with other content"
        row = Row(block, offsets, int(self.now * 1_000))
        fate = self.fate("all", FATES)
        if fate == "all" and block.place is self.dark and not self.calm:
            fate = "lost"
        if fate in {"all", "all unseen"}:
            self.store.take(row)
        elif fate == "some":
            some = self.dice.sample(TIERS, self.dice.below(len(TIERS)))
            row.half = "blocks" in some  # only a store that ends leaves this, and it knows when it ended
            self.store.take(row, some)
        elif fate == "late":
            self.store.late.append((row, self.store.parts))
        return Outcome.DONE if fate == "all" else Outcome.REFUSED if fate == "refused" else Outcome.UNKNOWN

    def rebalance(self, members: set[int]) -> None:
        """The coordinator begins a new generation."""
        self.group.begin(members)

    def join(self) -> None:
        """A new process joins."""
        self.sinks.append(Sink(self, next(self._numbers)))
        self.rebalance(self.group.members | {self.sinks[-1].number})

    def crash(self, sink: Sink) -> None:
        """A process is gone; what its threads had sent may still arrive. The coordinator notices."""
        if self.dice.random() < 0.5 and not self._stale(sink):
            sink.work()
        self._gone(sink)

    def _stale(self, sink: Sink) -> bool:
        """Silent for longer than the world may be."""
        since = min(sink.seen, sink.tasks[0][2]) if sink.tasks else sink.seen
        return self.store.parts - since > self.patience

    def _gone(self, sink: Sink) -> None:
        self.sinks.remove(sink)
        self.frozen.discard(sink.number)
        self.rebalance(self.group.members - {sink.number})

    def freeze(self, sink: Sink) -> None:
        """A process is silent for too long, and does not know it."""
        self.frozen.add(sink.number)
        self.rebalance(self.group.members - {sink.number})

    def step(self) -> None:
        """One process goes through its loop, and may end or fall silent between any two moves of it."""
        while len(self.sinks) < 2:
            self.join()
        sink = self.dice.choice(self.sinks)
        if self._stale(sink):
            self._gone(sink)
            return
        sink.seen = self.store.parts
        roll = self.dice.random
        for move in (self._poll, self._advance, Sink.work, self._advance, Sink.work, self._pass_time):
            if roll() < 0.8:
                try:
                    move(sink)
                except StreamgaugeError:
                    self._stopped(sink)
                    return
            if roll() < self.trouble:
                self._trouble(sink)
                return

    def _poll(self, sink: Sink) -> None:
        self.logs[self.dice.below(len(self.logs))].append(self.dice)
        # once thawed it goes on where it was, for some time, before it asks anybody
        if sink.number not in self.frozen or self.dice.random() < 0.1:
            self.frozen.discard(sink.number)
            sink.poll()

    def _advance(self, sink: Sink) -> None:
        sink.driver.advance(begin=self.dice.random() < 0.9)

    def _pass_time(self, _: Sink) -> None:
        self.now += self.dice.choice((0.05, 0.5, 3.0, 9.0))
        self.store.late = [one for one in self.store.late if self.store.parts - one[1] <= self.patience]
        if self.store.late and self.dice.random() < 0.1:
            self.store.take(self.store.late.pop(self.dice.below(len(self.store.late)))[0])

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

    def _stopped(self, sink: Sink) -> None:
        """A sink stopped with advice. A person stops the others, waits for what is on its way, looks, and says what it is."""
        self.stops += 1
        assert sink in self.sinks
        for one in list(self.sinks):
            self._gone(one)
        self._arrive()
        for place in self.places:
            pending = self.group.says(place).pending
            if pending is None or self.store.view(place, pending.start, pending.end, pending.written_ms).covered:
                continue
            tiers = sum(table.has(pending) for table in self.store.tables.values())
            if 0 < tiers < len(TIERS):
                self.given_up.add(place)  # in some tiers: the person takes the loss, for nothing can be put right
            if tiers:
                self.group.committed[place.partition] = (pending.end, pending.done())
            else:
                again = replace(pending, content=ANY_CONTENT, written_ms=int(self.now * 1_000))
                self.group.committed[place.partition] = (again.start, again.intent())

    def settle(self) -> None:
        """No more trouble: all processes end but one, which stores everything that is in the log."""
        self.calm = True
        self.frozen.clear()
        for sink in list(self.sinks):
            if len(self.sinks) > 1 or self._stale(sink):
                self._gone(sink)
        for _ in range(2_000):
            if not self.sinks:
                self.join()
            (sink,) = self.sinks
            try:
                sink.poll()
                sink.driver.advance(flush=True)
                while sink.tasks or sink.driver.moving():
                    while sink.tasks:
                        sink.work()
                    sink.driver.advance(flush=True)
            except StreamgaugeError:
                self._stopped(sink)
            self.now += 1.0
            if all(map(self._stored, self.places)):
                break
        else:
            raise AssertionError("something is never stored")
        self._arrive()

    def _arrive(self) -> None:
        """What is on its way arrives, or never will."""
        for row, sent in self.store.late:
            if self.store.parts - sent <= self.patience:
                self.store.take(row)
        self.store.late.clear()

    def _stored(self, place: Place) -> bool:
        offsets = self.logs[place.partition].offsets
        offset, metadata = self.group.committed.get(place.partition, (0, ""))
        return not offsets or (offset == offsets[-1] + 1 and metadata == done_in(place))

    def check(self) -> None:
        """Every message once in every table, and blocks that do not overlap."""
        for tier, table in self.store.tables.items():
            for place, log in zip(self.places, self.logs, strict=True):
                own = sorted(
                    (row.block.start, row.block.end, row.offsets) for row in table.rows if row.block.place is place
                )
                found = [offset for _, _, offsets in own for offset in offsets]
                assert all(first[1] <= second[0] for first, second in pairwise(own)), f"{tier} of {place}: {own}"
                if place in self.given_up:
                    assert len(found) == len(set(found)), f"{tier} of {place}: {found}"
                else:
                    assert found == log.offsets, f"{tier} of {place}: {found}"

    def run(self, steps: int = 150) -> None:
        """A whole life."""
        for _ in range(steps):
            self.step()
        self.settle()
        self.check()
