"""Scenarios of the line to the broker: cut, refused, silent, slow. Each mends what it broke.

Workers and sinks come by the line. The load does not: what waits for them grows, and the broker misses its members.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.support.line import Line
from tests.support.scenarios import pause
from tests.support.scene import Scene

MIB = 1 << 20


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

    points: int = 0
    seconds: float = 0.0
    resident: list[int] = field(default_factory=list[int])
    said: str = ""

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"{self.points} points in {self.seconds:.0f} s on the slow line, resident from {self.resident[0] / MIB:.0f} to "
            f"{max(self.resident) / MIB:.0f} MiB"
        )


def back_pressure(
    scene: Scene, line: Line, batches: int = 1_500, up: float = 100_000, down: float = 2_000_000, for_s: float = 60
) -> Watch:
    """One worker with a backlog that memory is not for, on a line so slow that each commit takes long; then a quick one."""
    scene.flow()
    scene.until_stored(1)
    scene.pump.stop()
    scene.until(lambda: scene.stored() >= scene.truth.points, 120, "everything is stored")
    for name in ("worker", "worker2"):
        assert scene.deployment.end(name) == 0
    scene.clean = False
    before = scene.truth.points
    scene.pump.send(
        islice((scene.load.events(scene.random.choice(scene.load.streams), n=1_000) for _ in iter(int, 1)), batches)
    )
    scene.pump.flush()
    log = scene.deployment.directory / "worker.log"
    start = log.stat().st_size
    watch = Watch(points=scene.truth.points - before)
    line.slow(up, down, 0.02)
    slow = {"session_timeout": "6s", "commit_points": "50000", "commit_bytes": "1MiB"}
    scene.deployment.start("worker", "process", "--verbose", **slow)
    scene.until(lambda: "Successfully synced" in log.read_text()[start:], 60, "the worker is a member")
    pid, begun = scene.deployment.parts["worker"].pid, time.monotonic()
    while time.monotonic() - begun < for_s:
        watch.resident.append(resident(pid))
        time.sleep(0.5)  # it is the time that is tested
    watch.seconds, watch.said = time.monotonic() - begun, log.read_text()[start:]
    line.mend()
    scene.start("worker2")
    scene.recovery("a slow line")
    print(watch.text, flush=True)
    return watch


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
