"""A bench: one raw partition with everything around it in memory, and faults and gates on every step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

from streamgauge.processors.accumulator import Contracts
from streamgauge.processors.keys import KeyPolicy
from streamgauge.processors.outputs import OutputPolicy, outputs
from streamgauge.processors.partition import MakeOutputs, Partition, Surroundings
from streamgauge.processors.policy import CommitPolicy
from tests.unit.processors.fakes import Clock, FakeBroker, FakeCommitter, Store
from tests.unit.processors.raw import CONTRACTS, NOW, PLACE, events, tools


def message(offset: int) -> bytes:
    """One event whose country tells its offset."""
    return events([{"country": f"o{offset}"}])


@dataclass
class Bench:
    """A partition with everything around it in memory. `faults` maps a step to how often it fails from now on."""

    store: Store = field(default_factory=Store)
    clock: Clock = field(default_factory=lambda: Clock(NOW))
    stepped_ms: int = 0
    contracts: Contracts = field(default_factory=lambda: CONTRACTS)
    commit_policy: CommitPolicy = field(default_factory=CommitPolicy)
    key_policy: KeyPolicy = field(default_factory=KeyPolicy)
    go_on_after_loss: bool = False
    outputs: MakeOutputs = outputs
    faults: dict[str, int] = field(default_factory=dict[str, int])
    fault: type[Exception] = ConnectionError
    gates: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    reached: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    seeks: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self.broker = FakeBroker(self.store, self.at)
        self.partition = self.new_partition()

    def new_partition(self) -> Partition:
        """Another owner of the same partition."""
        around = Surroundings(
            self.broker,
            tools(),
            lambda: self.contracts,
            self._seek,
            self.clock,
            lambda: self.clock.now_ms - self.stepped_ms,
            self.commit_policy,
            OutputPolicy(),
            contract_wait_ms=120_000,
            retry_s=0,
            key_policy=self.key_policy,
            go_on_after_loss=self.go_on_after_loss,
            outputs=self.outputs,
        )
        return Partition(PLACE, FakeCommitter(self.store, self.at), around)

    async def _seek(self, topic: str, partition: int, offset: int) -> None:
        assert (topic, partition) == (PLACE.topic, PLACE.partition)
        await self.at("seek")
        self.seeks.append(offset)

    async def at(self, step: str) -> None:
        """Where a fault or a gate may be."""
        if step in self.gates:
            self.reached.setdefault(step, asyncio.Event()).set()
            await self.gates[step].wait()
        if self.faults.get(step, 0):
            self.faults[step] -= 1
            raise self.fault(f"injected at {step}")

    def block(self, step: str) -> None:
        """Let everybody wait at a step."""
        self.gates[step] = asyncio.Event()
        self.reached[step] = asyncio.Event()

    def release(self, step: str) -> None:
        """Let them go on."""
        self.gates.pop(step).set()

    async def add(self, *offsets: int) -> None:
        """Deliver messages."""
        for offset in offsets:
            await self.partition.add(offset, message(offset))

    async def commit_when_due(self) -> None:
        """Let a second pass."""
        self.clock.now_ms += 1_000
        await self.partition.tick()

    def countries(self) -> dict[str, int]:
        """How often each offset was counted, in what is final."""
        found = {
            dict(labels)["country"]: cell.count for (_, labels, _, _), cell in sorted(self.store.totals().cells.items())
        }
        return dict(sorted(found.items(), key=lambda pair: int(pair[0][1:])))

    def ranges(self) -> list[tuple[int, int]]:
        """Offsets of the transactions."""
        return [(entry.start, entry.end) for entry in self.store.totals().ledger]


async def opened(**changes: object) -> Bench:
    """A bench with an open partition that starts at offset 0."""
    bench = Bench(**changes)  # type: ignore[arg-type]  # the fields of Bench
    await bench.partition.open()
    bench.seeks.clear()
    return bench


def once(*offsets: int) -> dict[str, int]:
    """Each of these was counted once."""
    return {f"o{offset}": 1 for offset in offsets}


async def within(work: Awaitable[object], seconds: float = 5) -> None:
    """It ends in time."""
    await asyncio.wait_for(work, seconds)
