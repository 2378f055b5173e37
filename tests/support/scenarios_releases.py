"""Scenarios of releases: an older one and that of this tree side by side. The caller settles.

The older release does not recognise batches that come twice, so there are none while its workers may own a partition.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

from tests.support.raw_load import Batch
from tests.support.releases import TODAY, Release
from tests.support.scene import SINKS, WORKERS, Scene

RATE = 12.0
MORE = 600
"""Points: less than a second of load."""

REFUSAL = "was not written by a sink of this version"
"""What the older sink says of an intent that it cannot read."""


def once(scene: Scene) -> Iterator[Batch]:
    """Batches of all kinds, none of them twice."""
    while True:
        yield scene.load.any()


def flow(scene: Scene) -> None:
    """Begin to send."""
    scene.flow(RATE, once(scene))
    scene.until_stored(MORE)


def quiet(scene: Scene) -> None:
    """End sending; until everything is stored, so that no block is begun."""
    scene.pump.stop()
    scene.until(lambda: scene.stored() >= scene.truth.points, 120, "everything is stored")


def end(scene: Scene, name: str) -> None:
    """SIGTERM, which ends a part in good order, or before it has begun anything. An older sink may have ended by itself."""
    code = scene.deployment.end(name, within=60)
    assert code in {0, -signal.SIGTERM} or refused(scene, name, code), scene.logs()


def refused(scene: Scene, name: str, code: int) -> bool:
    """Whether a part ended because it could not read an intent: a store that is slow leaves some even after SIGTERM."""
    return code == 1 and REFUSAL in scene.deployment.log(name)


def start(scene: Scene, name: str, release: Release) -> None:
    """Start a part of a release."""
    scene.deployment.releases[name] = release
    scene.start(name)


def roll(scene: Scene, names: tuple[str, ...], release: Release) -> None:
    """One part after another, each beside the other one for a while."""
    for name in names:
        end(scene, name)
        start(scene, name, release)
        scene.recovery(f"{name} of another release")
        scene.until_stored(MORE)


def migrate(scene: Scene) -> None:
    """Topics and tables of this tree, as a deploy makes them."""
    for command in ("topics", "migrate"):
        done = scene.deployment.run(command)
        assert done.returncode == 0, done.stdout + done.stderr


def said(scene: Scene, name: str, words: str, within: float = 120) -> None:
    """Until a part has said this."""
    scene.until(lambda: words in scene.deployment.log(name), within, f"{name} says: {words}")


def upgraded(scene: Scene) -> None:
    """In the documented order, but for one sink that comes before its tables: it waits for them."""
    flow(scene)
    start(scene, "sink3", TODAY)
    said(scene, "sink3", "nothing is stored yet, waiting")
    scene.until_stored(MORE)  # by the older sinks
    migrate(scene)
    scene.until_stored(MORE)
    said(scene, "sink3", "is in force")
    end(scene, "sink3")
    roll(scene, SINKS, TODAY)
    roll(scene, WORKERS, TODAY)
    scene.pump.stop()


def rolled_back(scene: Scene, older: Release) -> None:
    """In the opposite order; the tables stay as they are."""
    flow(scene)
    roll(scene, WORKERS, older)
    quiet(scene)
    for name in SINKS:
        end(scene, name)
        start(scene, name, older)
    flow(scene)
    quiet(scene)


def workers_killed_across(scene: Scene, older: Release) -> None:
    """SIGKILL of a worker of each release: the other one takes over what it had, and gives it back."""
    flow(scene)
    first, second = WORKERS
    end(scene, second)
    start(scene, second, TODAY)
    for name, release in ((first, older), (second, TODAY)):
        scene.recovery("workers of two releases")
        scene.until_stored(scene.random.randrange(MORE))
        scene.kill(name)
        scene.recovery(f"SIGKILL of {name}")
        start(scene, name, release)
    scene.recovery("workers of two releases")
    scene.pump.stop()


def sinks_killed_across(scene: Scene, older: Release) -> None:
    """SIGKILL of the older of two sinks, then of the newer one, whose intents stop the older one until it is back."""
    flow(scene)
    first, second = SINKS
    end(scene, second)
    start(scene, second, TODAY)
    scene.recovery("sinks of two releases")
    scene.until_stored(scene.random.randrange(MORE))
    scene.kill(first)
    scene.recovery(f"SIGKILL of {first}")
    start(scene, first, older)
    scene.until_stored(scene.random.randrange(MORE, 2 * MORE))
    scene.kill(second)
    start(scene, second, TODAY)
    quiet(scene)
    code = scene.deployment.parts[first].poll()
    assert code is None or refused(scene, first, code), scene.logs()


def only_sink(scene: Scene) -> None:
    """End the other sink."""
    for name in SINKS[1:]:
        end(scene, name)


def killed_with_a_block_begun(scene: Scene, release: Release, at: str) -> None:
    """In the place of the only sink one of a release that dies at a step of a block. See `killed_sink`."""
    quiet(scene)
    end(scene, SINKS[0])
    scene.deployment.releases["killed"] = release
    part = scene.deployment.start_module("killed", "tests.support.killed_sink", KILL_AT=at)
    scene.flow(RATE, once(scene))
    scene.until(lambda: part.poll() is not None, 120, "the sink is killed")
    assert part.returncode == -signal.SIGKILL, scene.logs()
    del scene.deployment.parts["killed"]


def finished_by_the_newer(scene: Scene) -> None:
    """A sink of this tree ends what was begun."""
    start(scene, SINKS[0], TODAY)
    scene.until_stored(MORE)


def refused_by_the_older(scene: Scene, older: Release) -> None:
    """A sink of the older release ends by itself, says why, and has stored nothing."""
    name, before = SINKS[0], scene.stored()
    start(scene, name, older)
    part = scene.deployment.parts[name]
    scene.until(lambda: part.poll() is not None, 120, "the older sink ends by itself")
    assert refused(scene, name, part.returncode), scene.logs()
    assert scene.stored() == before
    del scene.deployment.parts[name]
