"""Scene: a deployment of two workers and two sinks under load, to break things in; and the account at the end.

Everything that was ever acknowledged in it is recounted each time, from the generator's own rows.
"""

from __future__ import annotations

import secrets
import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException, Producer

from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.topics import RAW_TOPICS, ROLLUPS
from tests.support.deployment import Deployment
from tests.support.progress import Progress, insistent
from tests.support.raw_load import CONTRACT, TYPES, Batch, RawLoad
from tests.support.raw_pump import RawPump
from tests.support.releases import TODAY, Release
from tests.support.small_disk import SmallDisk
from tests.support.truth import Truth

WORKERS, SINKS = ("worker", "worker2"), ("sink", "sink2")
RATE = 40.0
"""Batches a second: some 3,000 points."""


class Scene:
    """Starts in `with`, as `release`. Scenarios break what they like, mend it, and call `settle`."""

    def __init__(
        self,
        bootstrap: str,
        directory: Path,
        seed: int,
        region: str = "",
        *,
        release: Release = TODAY,
        **settings: str,
    ) -> None:
        self.bootstrap = bootstrap
        self.seed = seed
        self.region = region or f"f{secrets.token_hex(4)}"
        quick = {"commit_interval": "300ms", "block_interval": "200ms"} | settings
        self.deployment = Deployment(bootstrap, directory, self.region, made_by=release, **quick)
        self.deployment.releases = dict.fromkeys((*WORKERS, *SINKS), release)
        self.small_disk = SmallDisk(directory / "data")
        self.truth = Truth(TYPES)
        self.pump = RawPump(bootstrap, self.region, self.truth)
        self.recoveries: list[tuple[str, float]] = []
        self.refused: dict[str, int] = {}
        self.kills = 0
        self.clean = True
        """Nothing is broken: the last scenario was settled."""
        self.begin("")

    def __enter__(self) -> Self:
        try:
            self.small_disk.mount()
            self.deployment.__enter__()
            publish(Producer({"bootstrap.servers": self.bootstrap}), self.region, [CONTRACT])
            raw = {topic.name(self.region): topic.partitions for topic in RAW_TOPICS}
            rollups = {ROLLUPS.name(self.region): ROLLUPS.partitions}
            self.workers_progress = Progress(self.bootstrap, f"sg-{self.region}-process", raw)
            self.sinks_progress = Progress(self.bootstrap, f"sg-{self.region}-sink", rollups)
            for name in (*WORKERS, *SINKS):
                self.start(name)
        except BaseException:
            self.deployment.__exit__(None, None, None)
            self.small_disk.unmount()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.deployment.parts.values():
            part.send_signal(signal.SIGCONT)
            if not self.clean:  # nothing depends on how they end
                part.kill()
        self.deployment.__exit__(kind, error, trace)
        self.small_disk.unmount()
        self.workers_progress.close()
        self.sinks_progress.close()

    def begin(self, name: str) -> None:
        """A scenario's own load and choices, from the seed and its name."""
        own = zlib.crc32(f"{self.seed} {name}".encode())
        self.random = Random(own)
        self.load = RawLoad(own, self.region, time.time_ns() // 1_000_000)

    def start(self, name: str, **settings: str) -> None:
        """Start a part: a store, workers and sinks by the beginning of their names."""
        if name == "store":
            self.deployment.start_store()
        elif name.startswith("worker"):
            self.deployment.start_worker(name, **settings)
        else:
            self.deployment.start_sink(name, **settings)

    def kill(self, name: str) -> None:
        """SIGKILL, also of a part that is stopped."""
        self.kills += 1
        self.deployment.kill(name)

    def freeze(self, name: str) -> None:
        """SIGSTOP: it is there, and does nothing."""
        self.deployment.parts[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.deployment.parts[name].send_signal(signal.SIGCONT)

    def flow(self, rate: float = RATE, batches: Iterator[Batch] | None = None) -> None:
        """Begin to send: the load, or these batches."""
        self.clean = False
        self.pump.start(self.load.batches() if batches is None else batches, rate)

    def stored(self) -> int:
        """Points in the store; -1 while it does not answer."""
        try:
            return self.deployment.points()
        except Exception:
            return -1

    def recorded(self) -> int:
        """Points in the store's ledger."""
        return int(self.deployment.rows("SELECT sum(points) FROM ledger FINAL")[0][0])

    def until_stored(self, more: int, within: float = 150) -> None:
        """Until the store has so many more points than now."""
        wanted = max(0, self.stored()) + more
        self.until(lambda: self.stored() >= wanted, within, "the store takes points")

    def until(self, condition: Any, within: float, what: str) -> float:
        """Seconds until the condition holds."""
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > within:
                raise AssertionError(f"not within {within} s: {what}\n{self.logs()}")
            time.sleep(0.1)
        return time.monotonic() - start

    def recovery(self, what: str, within: float = 90, least: int = 1) -> float:
        """Measure from now until workers and sinks go on in every partition in which more than `least` messages wait."""
        start = time.monotonic()
        try:
            self.workers_progress.recovered(within, least)
            self.sinks_progress.recovered(within)
        except (AssertionError, KafkaException) as error:
            silent = {one.group: one.unanswered() for one in (self.workers_progress, self.sinks_progress)}
            raise AssertionError(f"{error}, not answered: {silent}\n{self.logs()}") from None
        seconds = time.monotonic() - start
        self.recoveries.append((what, seconds))
        print(f"recovery after {what}: {seconds:.1f} s", flush=True)
        return seconds

    def logs(self, tail: int = 1_500) -> str:
        """The last words of every part, and the seed."""
        directory = self.deployment.directory
        said = [f"--- {one.name}\n{one.read_text(errors='replace')[-tail:]}" for one in sorted(directory.glob("*.log"))]
        return "\n".join([f"seed {self.seed}", *said])

    def differences(self, within: float) -> list[str]:
        """Where the tables differ from the truth. What is counted distinct has a topic of its own and may come later."""
        deadline = time.monotonic() + within
        while (wrong := self.truth.differences(self.deployment.parquet)) and time.monotonic() < deadline:
            if not all(" distinct: " in one for one in wrong):
                break
            time.sleep(0.5)
        return wrong

    def settle(self, within: float = 120) -> dict[str, Any]:
        """Stop sending; then everything acknowledged is in every tier once, by the account and by the recount."""
        self.pump.stop()
        self.until(lambda: not insistent(self.workers_progress.behind, within), within, "workers read everything")
        self.until(lambda: self.stored() >= self.truth.points, within, f"{self.truth.points} points are stored")
        # it has a partition of its own, whose sink may be another one: and `verify` asks for it more than once
        self.until(
            lambda: self.recorded() >= self.truth.points, within, f"{self.truth.points} points are in the ledger"
        )
        account = self.deployment.verify("30s")
        wrong = self.differences(30)
        found = {key: account[key] for key in ("lost", "doubled", "points", "exit_code")}
        expected = {"lost": 0, "doubled": 0, "points": self.truth.points, "exit_code": 0}
        assert (found, wrong) == (expected, []), f"{found}, expected {expected}\n{faults(account)}\n" + "\n".join(
            [*wrong, self.logs()]
        )
        assert account["refused"] == self.refused, self.logs()
        self.clean = True
        repeats = self.load.repeated
        print(f"{self.truth.points} points, {repeats} batches came again, seed {self.seed}", flush=True)
        return account


def faults(account: dict[str, Any]) -> str:
    """What an account finds wrong, partition by partition."""
    chains = [one for one in (*account["partitions"], *account["blocks"]) if one["missing"] or one["repeated"]]
    live = [one for one in account["live"] or () if one["unaccounted"]]
    return "\n".join(map(str, [*chains, *live, *account["values"]]))
