"""Scenarios: what goes wrong while a scene is under load. Each mends what it broke; the caller settles the account."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice

from tests.support.failing_worker import STEPS
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


def zombies(scene: Scene) -> None:
    """SIGSTOP of a worker and a sink for longer than every timeout; others take over; then they go on where they were."""
    scene.flow()
    scene.until_stored(1)
    for name in (scene.random.choice(WORKERS), scene.random.choice(SINKS)):
        pause(scene, 0.2, 1.0)
        scene.freeze(name)
        time.sleep(scene.random.uniform(9, 12))  # it is the silence that is tested
        scene.thaw(name)
        scene.recovery(f"SIGSTOP of {name}")


def scaling(scene: Scene) -> None:
    """A third worker and a third sink come, the first ones go in good order, and come back; the third ones go."""
    scene.flow()
    scene.until_stored(1)
    for leaving, coming in ((WORKERS[0], "worker3"), (SINKS[0], "sink3")):
        scene.start(coming)
        pause(scene, 1, 3)
        assert scene.deployment.end(leaving) == 0
        scene.recovery(f"{coming} in the place of {leaving}")
        scene.start(leaving)
        pause(scene, 1, 3)
        assert scene.deployment.end(coming) == 0
        scene.recovery(f"{leaving} in the place of {coming}")


def failing_commits(scene: Scene) -> None:
    """One commit in seven fails, at each step in turn, in workers that live and keep their partitions."""
    with failing_workers(scene, every=7):
        scene.flow()
        scene.until(lambda: failures(scene) >= 2 * len(STEPS), 120, "commits fail at every step")
        scene.pump.stop()


def failing_commits_of_idle_partitions(scene: Scene) -> None:
    """One batch in an otherwise silent partition, whose first commits fail: it is delivered again all the same."""
    with failing_workers(scene, every=1):
        for rounds in range(1, 3):
            scene.clean = False
            scene.pump.send([scene.load.any()])
            scene.pump.flush()
            scene.until(lambda: scene.stored() >= scene.truth.points, 60, "the only batch is stored")
            wanted = rounds * len(STEPS)
            scene.until(lambda wanted=wanted: failures(scene) >= wanted, 20, "its commits failed at every step")


def failures(scene: Scene) -> int:
    """Commits that failed on purpose so far in the scenario that is under way."""
    return sum(scene.deployment.log(name).count("commit failed on purpose") for name in ("failing", "failing2"))


@contextmanager
def failing_workers(scene: Scene, every: int) -> Generator[None]:
    """Others in the place of the two workers, for a while."""
    for name in ("failing", "failing2"):
        (scene.deployment.directory / f"{name}.log").unlink(missing_ok=True)
    for name in WORKERS:
        assert scene.deployment.end(name) == 0
    for name in ("failing", "failing2"):
        scene.deployment.start_module(name, "tests.support.failing_worker", FAIL_EVERY=str(every))
    yield
    for name in ("failing", "failing2"):
        assert scene.deployment.end(name) == 0
    for name in WORKERS:
        scene.start(name)


def repeats(scene: Scene) -> None:
    """Batches again behind later ones: in the same life of a worker, and after the death of the one that counted them."""
    scene.clean = False
    stream = scene.load.streams[0]
    some = [scene.load.any(stream) for _ in range(20)]
    scene.pump.send([*some[10:], *some[:5], *some[8:14]])
    scene.pump.flush()
    scene.until(lambda: not scene.workers_progress.behind(), 60, "all of it is committed")
    for name in WORKERS:
        scene.kill(name)
        scene.start(name)
    scene.pump.send([*some, *some[3:9], scene.load.any(stream), *some])
    scene.pump.flush()
    scene.recovery("SIGKILL of both workers", least=0)


def some(scene: Scene, count: int) -> None:
    """A fixed number of batches, without a thread."""
    scene.clean = False
    scene.pump.send(islice(scene.load.batches(), count))
