"""Scenarios of the line to the broker: cut, refused, silent, slow. Each mends what it broke.

Workers and sinks come by the line. The load does not: what waits for them grows, and the broker misses its members.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.line import Line
from tests.support.scenarios import pause
from tests.support.scene import WORKERS, Scene

MIB = 1 << 20
SLOW_EVENTS, SLOW_COMMIT_POINTS = 1_000, 50_000
"""Events of a batch of the backlog, and points after which a worker on a slow line commits."""


def line_cut(scene: Scene, line: Line, least: float = 10, most: float = 15, times: int = 5) -> None:
    """All connections break at once, a few times, at random moments; then they break and nobody accepts a new one."""
    scene.flow()
    scene.until_stored(1)
    for _ in range(times):
        pause(scene, 0.2, 1.5)
        line.cut()
    scene.recovery("connections that broke")
    line.refuse()
    line.cut()
    pause(scene, least, most)
    line.mend()
    scene.recovery("connections that were refused")


def line_silent(scene: Scene, line: Line, least: float = 60, most: float = 65) -> None:
    """Connections stand and nothing gets through, while the broker goes on: it drops members and ends transactions."""
    scene.flow()
    scene.until_stored(1)
    pause(scene, 0.2, 1.5)
    line.hold()
    pause(scene, least, most)
    line.mend()
    scene.recovery("a line without a word")


@dataclass
class Watch:
    """What one worker did while it was slow."""

    backlog: int
    left: int = 0
    until_ms: int = 0
    resident: list[int] = field(default_factory=list[int])
    said: str = ""

    @property
    def text(self) -> str:
        """For people."""
        grown = f"resident from {self.resident[0] / MIB:.0f} to {max(self.resident) / MIB:.0f} MiB"
        return f"{self.left} of {self.backlog} batches are left after a slow time, {grown}"


def back_pressure(
    scene: Scene, line: Line, batches: int = 1_000, up: float = 10_000, down: float = 5_000_000, for_s: float = 30
) -> Watch:
    """One worker with a backlog that there is no memory for, on a line so slow that commits take long; then a quick one."""
    scene.flow()
    scene.until_stored(1)
    scene.pump.stop()
    scene.until(lambda: scene.stored() >= scene.truth.points, 120, "everything is stored")
    for name in WORKERS:
        assert scene.deployment.end(name) == 0
    scene.clean = False
    scene.pump.send(scene.load.alike(SLOW_EVENTS, batches))
    scene.pump.flush()
    log = scene.deployment.directory / f"{WORKERS[0]}.log"
    start, watch = log.stat().st_size, Watch(batches)
    line.slow(up, down, delay_s=0.2)
    bounds = {"commit_points": str(SLOW_COMMIT_POINTS), "commit_bytes": "1MiB"}
    worker = scene.deployment.start(WORKERS[0], "process", "--verbose", session_timeout="6s", **bounds)
    scene.until(lambda: "Successfully synced" in log.read_text()[start:], 60, "the worker is a member")
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        watch.resident.append(resident(worker.pid))
        time.sleep(0.5)  # it is the time that is tested
    watch.left = sum(scene.workers_progress.behind().values())
    watch.said, watch.until_ms = log.read_text()[start:], time.time_ns() // 1_000_000
    print(watch.text, flush=True)
    line.mend()
    scene.start(WORKERS[1])
    scene.recovery("a slow line")
    return watch


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
