"""A region in memory: what is committed, who owns a partition, what its log holds, and what fails on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from streamgauge.processors.broker import NO_OFFSET, Broker, Committed, Known
from streamgauge.processors.outputs import Output
from tests.unit.processors.totals import Totals

MAX_MESSAGE = 1 << 20


class Fenced(Exception):
    """Another owner has opened the partition since."""


@dataclass
class Store:
    """What is final of one raw partition: transactions and its group's offset, together. `epoch` counts owners.

    `state`: offset, key and value of each record of the state topic, which ends at `end`.
    """

    offset: int = NO_OFFSET
    epoch: int = 0
    transactions: list[list[Output]] = field(default_factory=list[list[Output]])
    state: list[tuple[int, bytes, bytes]] = field(default_factory=list[tuple[int, bytes, bytes]])
    anchor: int | None = None
    end: int = 0
    life: str = ""

    def put(self, outputs: Sequence[Output], end: int, life: str = "") -> None:
        """A transaction is final."""
        self.transactions.append(list(outputs))
        self.offset, self.life = end, life
        for one in outputs:
            if one.anchor:
                self.anchor = self.end
            if one.key is not None:
                self.state.append((self.end, one.key, one.value))
                self.end += 1

    def compact(self, until: int) -> None:
        """Of the state's records below this offset only the last of each key stays, and none that removes others."""
        last = {key: offset for offset, key, _ in self.state}
        self.state = [
            (offset, key, value)
            for offset, key, value in self.state
            if offset >= until or (value and last[key] == offset)
        ]

    def totals(self) -> Totals:
        """What a reader of committed messages sees."""
        found = Totals()
        for one in self.transactions:
            found.read(one)
        return found


async def nothing(_: str) -> None:
    """No fault, no delay."""


class FakeCommitter:
    """Commits to a store, all or nothing. `at` is awaited at every step and may wait or raise.

    Steps: `open`, `opened`, `begin`, `done` (what it raises then makes the outcome look like a failure) and `close`.
    """

    def __init__(self, store: Store, at: Callable[[str], Awaitable[None]] = nothing) -> None:
        self.store = store
        self.at = at
        self._epoch: int | None = None

    async def open(self) -> Committed:
        """See Committer."""
        await self.at("open")
        self.store.epoch += 1
        self._epoch = self.store.epoch
        await self.at("opened")
        return Committed(self.store.offset, self.store.anchor, self.store.life)

    async def commit(self, outputs: Sequence[Output], end: int, life: str = "") -> None:
        """See Committer."""
        self._check()
        await self.at("begin")
        if any(len(one.value) > MAX_MESSAGE for one in outputs):
            raise ValueError("a message is too large")
        self._check()
        self.store.put(outputs, end, life)
        await self.at("done")

    async def close(self) -> None:
        """See Committer."""
        self._epoch = None
        await self.at("close")

    def _check(self) -> None:
        if self._epoch is None:
            raise RuntimeError("the committer is not open")
        if self._epoch != self.store.epoch:
            raise Fenced


class FakeBroker(Broker):
    """Look-ups in memory. `start` is the first offset that the log still has, `end` one after its last, `topic_life` the
    life of the raw topic now.
    """

    def __init__(self, store: Store, at: Callable[[str], Awaitable[None]] = nothing) -> None:
        self.store = store
        self._config = {"bootstrap.servers": "kafka:9092"}
        self._group = "sg-eu-process"
        self.start = 0
        self.end = 1 << 40
        self.topic_life = "first"
        self.lives: dict[str, str] = {}
        self.known: Known | None = None
        self.asked = 0
        self.at = at

    async def committed(self, topic: str, partition: int) -> Committed:
        """See Broker."""
        return Committed(self.store.offset, self.store.anchor, self.store.life)

    async def life(self, topic: str) -> str:
        """See Broker."""
        await self.at("life")
        return self.lives.get(topic, self.topic_life)

    async def log_end(self, topic: str, partition: int) -> int:
        """See Broker."""
        await self.at("log_end")
        return self.end

    async def each_state(
        self, state_topic: str, state_partition: int, anchor: int | None, take: Callable[[bytes, bytes], None]
    ) -> None:
        """See Broker."""
        await self.at("state" if anchor is not None else "keys")
        found = [(key, value) for offset, key, value in self.store.state if value and offset >= (anchor or 0)]
        await self.at("state" if anchor is not None else "keys read")
        for one in found:
            take(*one)
        await self.at("state" if anchor is not None else "keys done")

    async def log_start(self, topic: str, partition: int) -> int:
        """See Broker."""
        self.asked += 1
        await self.at("log_start")
        return self.start

    async def ledger_knows(self, ledger_topic: str, topic: str, partition: int) -> Known:
        """See Broker."""
        await self.at("ledger")
        ledger = self.store.totals().ledger
        mine = Known(ledger[-1].end, ledger[-1].incarnation, ledger[-1].incarnation) if ledger else Known()
        return self.known or mine


@dataclass
class Clock:
    """Time that moves when told."""

    now_ms: int

    def __call__(self) -> int:
        return self.now_ms
