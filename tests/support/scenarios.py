"""Scenarios: what goes wrong while a scene is under load. Each mends what it broke; the caller settles the account."""

from __future__ import annotations

import time
from itertools import islice

from tests.support.scene import SINKS, WORKERS, Scene


def pause(scene: Scene, least: float, most: float) -> None:
    """A random time of ordinary work."""
    time.sleep(scene.random.uniform(least, most))


def kills(scene: Scene, rounds: int = 1) -> None:
    """SIGKILL of every part in random order, at random moments; back at once."""
    scene.flow()
    scene.until_stored(1)
    for _ in range(rounds):
        parts = [*WORKERS, *SINKS, "store"]
        scene.random.shuffle(parts)
        for name in parts:
            pause(scene, 0.2, 2.0)
            scene.kill(name)
            scene.start(name)
            scene.recovery(f"SIGKILL of {name}")


def some(scene: Scene, count: int) -> None:
    """A fixed number of batches, without a thread."""
    scene.clean = False
    scene.pump.send(islice(scene.load.batches(), count))
