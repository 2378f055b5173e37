"""Scenarios of brokers of their own: killed, frozen, one of three killed. Each mends what it broke."""

from __future__ import annotations

import os
import signal
import time

from tests.support.kafka import KafkaBroker
from tests.support.kafka_cluster import KafkaCluster, KafkaNode
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


def one_of_three(scene: Scene, cluster: KafkaCluster, kills: int = 3) -> None:
    """SIGKILL of one node of a cluster after another, in random order: two go on without it, and it comes back. The next one
    is killed when all copies are in sync again. With three kills every leader and coordinator was killed."""
    scene.flow()
    scene.until_stored(1)
    for node in scene.random.sample(cluster.nodes, kills):
        cluster.whole()
        pause(scene, 0.5, 3)
        what = f"node {node.number} ({', '.join(duties(scene, cluster, node)) or 'a follower'})"
        node.kill()
        scene.kills += 1
        scene.recovery(f"SIGKILL of {what}")
        pause(scene, 0, 2)
        node.restart()
        scene.recovery(f"return of {what}", least=0)
    cluster.whole()


def duties(scene: Scene, cluster: KafkaCluster, node: KafkaNode) -> list[str]:
    """What a node does that others must take over."""
    groups = [kind for kind in ("process", "sink") if cluster.coordinator(f"sg-{scene.region}-{kind}") is node]
    logs = cluster.transactions(node)
    return [*(f"coordinator of {kind}" for kind in groups), *([f"{logs} transaction logs"] if logs else [])]
