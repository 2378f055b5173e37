"""Scenarios of a broker of their own: killed, frozen. Each mends what it broke."""

from __future__ import annotations

import os
import signal
import time

from tests.support.kafka import KafkaBroker
from tests.support.scenarios import pause
from tests.support.scene import Scene


def broker_killed(scene: Scene, broker: KafkaBroker) -> None:
    """SIGKILL in the middle of everything, and back with the same data."""
    scene.flow()
    scene.until_stored(1)
    pause(scene, 0.5, 2)
    broker.kill()
    broker.restart()
    scene.recovery("SIGKILL of the broker")


def broker_frozen(scene: Scene, broker: KafkaBroker, least: float = 20, most: float = 25) -> None:
    """Connections stand, and nobody answers, for longer than every session."""
    scene.flow()
    scene.until_stored(1)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        time.sleep(scene.random.uniform(least, most))  # it is the silence that is tested
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    scene.recovery("SIGSTOP of the broker")
