"""Scenarios of releases: an older and this one side by side, in a scene that the older one made. The caller settles.

The older release does not recognise batches that come twice, so there are none while its workers may own a partition.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

from tests.support.raw_load import Batch
from tests.support.releases import TODAY, Release
from tests.support.scene import SINKS, WORKERS, Scene

MORE = 1_500
"""Points: half a second of load."""


def once(scene: Scene) -> Iterator[Batch]:
    """Batches of all kinds, none of them twice."""
    while True:
        yield scene.load.any()


def replace(scene: Scene, name: str, release: Release) -> None:
    """End a part in good order, and start that of a release in its place, as a supervisor would."""
    assert scene.deployment.end(name) == 0
    start(scene, name, release)


def start(scene: Scene, name: str, release: Release) -> None:
    """Start a part of a release."""
    scene.deployment.releases[name] = release
    scene.start(name)


def roll(scene: Scene, names: tuple[str, ...], release: Release) -> None:
    """One part after another, each beside the other one for a while."""
    for name in names:
        replace(scene, name, release)
        scene.recovery(f"{name} of another release")
        scene.until_stored(MORE)


def migrate(scene: Scene) -> None:
    """Topics and tables of this release, as a deploy makes them."""
    for command in ("topics", "migrate"):
        done = scene.deployment.run(command)
        print(command, done.returncode, done.stdout.decode(), done.stderr.decode())
        assert done.returncode == 0, done.stdout + done.stderr


def upgraded(scene: Scene) -> None:
    """The documented order, under load: tables while the old sinks run, then sinks, then workers."""
    scene.flow(batches=once(scene))
    scene.until_stored(MORE)
    migrate(scene)
    scene.until_stored(MORE)
    roll(scene, SINKS, TODAY)
    roll(scene, WORKERS, TODAY)
    scene.pump.stop()


def rolled_back(scene: Scene, older: Release) -> None:
    """The other way round, in the opposite order; the tables stay as they are."""
    scene.flow(batches=once(scene))
    scene.until_stored(MORE)
    roll(scene, WORKERS, older)
    roll(scene, SINKS, older)
    scene.pump.stop()


def killed_across(scene: Scene, older: Release) -> None:
    """SIGKILL of a worker of each release in turn: what the other one takes over, and gives back."""
    scene.flow(batches=once(scene))
    scene.until_stored(MORE)
    first, second = WORKERS
    replace(scene, second, TODAY)
    for name, release in ((first, older), (second, TODAY), (first, older)):
        scene.recovery("workers of two releases")
        scene.until_stored(scene.random.randrange(MORE))
        scene.kill(name)
        scene.recovery(f"SIGKILL of {name}")
        start(scene, name, release)
    scene.recovery("workers of two releases")
    scene.pump.stop()


REFUSAL = "was not written by a sink of this version"
"""What the older sink says of an intent that it cannot read."""


def only_sink(scene: Scene) -> str:
    """End the other sinks in good order; the name of the one that is left."""
    kept, *others = SINKS
    for name in others:
        assert scene.deployment.end(name) == 0
    return kept


def killed_with_a_block_begun(scene: Scene, release: Release, at: str) -> None:
    """In the place of the only sink one of a release that dies at a step of a block. See `killed_sink`."""
    assert scene.deployment.end(SINKS[0]) == 0
    scene.deployment.releases["killed"] = release
    part = scene.deployment.start_module("killed", "tests.support.killed_sink", KILL_AT=at)
    scene.until(lambda: part.poll() is not None, 60, "the sink is killed")
    assert part.returncode == -signal.SIGKILL
    del scene.deployment.parts["killed"]


def finished_by_the_newer(scene: Scene) -> None:
    """A sink of this release ends what was begun."""
    start(scene, SINKS[0], TODAY)
    scene.until_stored(MORE)


def refused_by_the_older(scene: Scene, older: Release) -> None:
    """A sink of the older release ends by itself, says why, and has stored nothing."""
    name, before = SINKS[0], scene.stored()
    start(scene, name, older)
    part = scene.deployment.parts[name]
    scene.until(lambda: part.poll() is not None, 60, "the older sink ends by itself")
    assert part.returncode == 1
    assert REFUSAL in scene.deployment.log(name), scene.logs()
    assert scene.stored() == before
    del scene.deployment.parts[name]
