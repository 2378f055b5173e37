"""Soak: rotations of all faults with random seeds, for hours. Run as `make soak HOURS=8`.

A rotation is a fresh deployment that every scenario happens to, in random order. Any difference ends in exit code 1.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from tests.support import scenarios, scenarios_broker, scenarios_line, scenarios_messages, scenarios_store
from tests.support.kafka import KafkaBroker
from tests.support.kafka_cluster import KafkaCluster
from tests.support.line import Line, LinedBroker
from tests.support.scene import Scene

Scenario = Callable[[Scene, Any], Any]
LONG: dict[str, Any] = {"least": 60, "most": 65}
"""Seconds that a broker or a store is away: longer than any session, transaction or request lasts."""


@dataclass(frozen=True)
class Ground:
    """Brokers that scenes stand on, where workers and sinks find them, and what happens there."""

    brokers: Callable[[], AbstractContextManager[Any]]
    address: Callable[[Any], str]
    scenarios: Mapping[str, Scenario]


def alone(one: Callable[..., Any], **given: Any) -> Scenario:
    """A scenario that needs no broker to break."""
    return lambda scene, _: one(scene, **given)


def on_line(one: Callable[..., Any], **given: Any) -> Scenario:
    """A scenario of the line."""
    return lambda scene, broker: one(scene, broker.line, **given)


@contextmanager
def lined_broker() -> Generator[LinedBroker]:
    """A broker behind a line."""
    with Line() as line, LinedBroker(line) as broker:
        yield broker


GROUNDS = (
    Ground(
        KafkaBroker,
        lambda broker: broker.bootstrap,
        {
            "kills": alone(scenarios.kills),
            "zombies": alone(scenarios.zombies),
            "scaling": alone(scenarios.scaling),
            "failing_commits": alone(scenarios.failing_commits),
            "idle_partitions": alone(scenarios.failing_commits_of_idle_partitions),
            "repeats": alone(scenarios.repeats),
            "store_away": alone(scenarios_store.store_away, **LONG),
            "table_away": alone(scenarios_store.table_away),
            "tier_refuses": alone(scenarios_store.one_tier_refuses),
            "disk_full": alone(scenarios_store.disk_full),
            "many_days": alone(scenarios_store.many_days),
            "merged_day": alone(scenarios_store.merged_day),
            "poison": alone(scenarios_messages.poison),
            "new_contract": alone(scenarios_messages.new_contract_in_flight),
            "lost_worker_offsets": alone(scenarios_messages.lost_worker_offsets),
            "lost_sink_offsets": alone(scenarios_messages.lost_sink_offsets),
            "expired_messages": alone(scenarios_messages.expired_messages),
            "recreated_topic": alone(scenarios_messages.recreated_topic),
            "clock_steps": alone(scenarios_messages.clock_steps),
            "broker_killed": scenarios_broker.broker_killed,
            "broker_frozen": partial(scenarios_broker.broker_frozen, **LONG),
        },
    ),
    Ground(KafkaCluster, lambda cluster: cluster.bootstrap, {"one_of_three": scenarios_broker.one_of_three}),
    Ground(
        lined_broker,
        lambda broker: broker.line.address,
        {
            "line_cut": on_line(scenarios_line.line_cut),
            "line_silent": on_line(scenarios_line.line_silent),
            "back_pressure": on_line(scenarios_line.back_pressure),
        },
    ),
)
SCENARIOS = {name: one for ground in GROUNDS for name, one in ground.scenarios.items()}


@dataclass
class Summary:
    """What happened so far."""

    started: float = field(default_factory=time.time)
    hours: float = 0.0
    rotations: int = 0
    scenarios: int = 0
    kills: int = 0
    events: int = 0
    recovery_p50_s: float = 0.0
    recovery_max_s: float = 0.0
    by_scenario: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    failures: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    recoveries: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])

    def note(self, name: str, seconds: float, scene: Scene, failure: str = "") -> None:
        """One scenario that ended."""
        self.scenarios += 1
        one = self.by_scenario.setdefault(name, {"runs": 0, "passed": 0, "seconds": 0.0, "recovery_max_s": 0.0})
        one["runs"] += 1
        one["passed"] += not failure
        one["seconds"] = round(one["seconds"] + seconds, 1)
        fresh, scene.recoveries = scene.recoveries, []
        one["recovery_max_s"] = round(max([one["recovery_max_s"], *(took for _, took in fresh)]), 1)
        self.recoveries += fresh
        self.kills += scene.kills
        scene.kills = 0
        if failure:
            self.failures.append({"scenario": name, "seed": scene.seed, "error": failure[-20_000:]})
        took = [seconds for _, seconds in self.recoveries] or [0.0]
        self.recovery_p50_s, self.recovery_max_s = round(median(took), 1), round(max(took), 1)
        self.hours = round((time.time() - self.started) / 3600, 2)

    def text(self) -> str:
        """For people."""
        lines = [
            f"{self.hours} hours, {self.rotations} rotations, {self.scenarios} scenarios, {self.kills} kills, "
            f"{self.events:,} points, recovery p50 {self.recovery_p50_s} s, max {self.recovery_max_s} s, "
            f"{len(self.failures)} failures"
        ]
        for name, one in sorted(self.by_scenario.items()):
            lines.append(
                f"  {name:22} {one['passed']:>4} of {one['runs']:<4} passed  {one['seconds'] / one['runs']:6.1f} s each  "
                f"recovery at most {one['recovery_max_s']} s"
            )
        lines += [f"  failed: {one['scenario']}, seed {one['seed']}" for one in self.failures]
        return "\n".join(lines)


def rotation(seed: int, names: Sequence[str], deadline: float, summary: Summary) -> None:
    """Every scenario once, ground after ground, each in one deployment after another: a failed one is not used again."""
    chance = Random(seed)
    for ground in chance.sample(GROUNDS, len(GROUNDS)):
        order = [name for name in names if name in ground.scenarios]
        chance.shuffle(order)
        if not order or time.time() >= deadline:
            continue
        with ground.brokers() as brokers:
            while order and time.time() < deadline:
                with tempfile.TemporaryDirectory(prefix="streamgauge-soak-") as folder, Scene(
                    brokers.bootstrap, Path(folder), seed, brokers=ground.address(brokers)
                ) as scene:  # fmt: skip
                    while order and scene.clean and time.time() < deadline:
                        play(order.pop(), seed, scene, brokers, summary)
                    summary.events += scene.truth.points
    summary.rotations += 1


def play(name: str, seed: int, scene: Scene, brokers: Any, summary: Summary) -> None:
    """Have one scenario happen, and note how it ended."""
    print(f"── {name}, seed {seed}", flush=True)
    start, failure = time.monotonic(), ""
    scene.begin(name)
    try:
        SCENARIOS[name](scene, brokers)
        scene.settle()
    except Exception:
        failure = traceback.format_exc()
        print(failure, flush=True)
        scene.clean = False
    summary.note(name, time.monotonic() - start, scene, failure)


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="stop beginning scenarios after so long (1)")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(SCENARIOS)}")
    parser.add_argument("--seed", type=int, help="of the first rotation; later ones have random ones")
    parser.add_argument("--json", type=Path, default=Path("soak.json"), help="where the summary goes (soak.json)")
    given = parser.parse_args(words)
    names = [name for name in given.only.split(",") if name] or list(SCENARIOS)
    if unknown := set(names) - SCENARIOS.keys():
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    summary = Summary()
    deadline = time.time() + given.hours * 3600
    try:
        seed: int = secrets.randbelow(1 << 31) if given.seed is None else given.seed
        while time.time() < deadline:
            rotation(seed, names, deadline, summary)
            seed = secrets.randbelow(1 << 31)
            given.json.write_text(json.dumps(asdict(summary), indent=2))
    except KeyboardInterrupt:
        print("stopped early", flush=True)
    finally:
        given.json.write_text(json.dumps(asdict(summary), indent=2))
        print(summary.text(), flush=True)
    return 1 if summary.failures or not summary.scenarios else 0


if __name__ == "__main__":
    sys.exit(main())
