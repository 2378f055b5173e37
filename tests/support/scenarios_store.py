"""Scenarios of the store: away, refusing, refusing one tier of four, full. Each mends what it broke."""

from __future__ import annotations

import time
from collections.abc import Callable

from streamgauge.sinks.ddl import MAX_DAYS_PER_BLOCK
from tests.support.scenarios import pause
from tests.support.scene import Scene


def store_away(scene: Scene, least: float = 20, most: float = 25) -> None:
    """Nobody listens for a while."""
    scene.flow()
    scene.until_stored(1)
    scene.kill("store")
    pause(scene, least, most)
    scene.start("store")
    scene.recovery("a store that was away")


def table_away(scene: Scene) -> None:
    """The landing table has another name for a while."""
    scene.flow()
    scene.until_stored(1)
    pause(scene, 0.2, 1.0)
    scene.deployment.command_store("RENAME TABLE rollups_landing TO elsewhere")
    said(scene, "insert into rollups_landing is refused")
    scene.deployment.command_store("RENAME TABLE elsewhere TO rollups_landing")
    scene.recovery("a table that was away")


def one_tier_refuses(scene: Scene) -> None:
    """One of the four tiers takes nothing for a while, whatever the others took of the same block; then it is killed."""
    scene.flow()
    scene.until_stored(1)
    tier = scene.random.choice(["10s", "1m", "1h", "1d"])
    scene.deployment.command_store(f"ALTER TABLE rollups_{tier} MODIFY SETTING table_readonly = 1")
    pause(scene, 3, 5)
    said(scene, "insert into rollups_landing")
    scene.kill("sink")
    scene.start("sink")
    pause(scene, 3, 5)
    scene.deployment.command_store(f"ALTER TABLE rollups_{tier} MODIFY SETTING table_readonly = 0")
    scene.recovery(f"a read-only tier {tier}")


def disk_full(scene: Scene) -> bool:
    """No room on the store's disk for a while, and then again; False where no small disk can be had."""
    scene.flow()
    scene.until_stored(1)
    if not scene.small_disk.fill(leave=32 << 20):
        return False
    time.sleep(3)  # a disk fills over time: what has begun has room to end
    end = time.monotonic() + scene.random.uniform(8, 12)
    refused = news(scene)
    scene.until(lambda: scene.small_disk.fill() and "insert into" in refused(), 60, "there is no room")
    scene.until(lambda: scene.small_disk.fill() and time.monotonic() > end, 60, "time passes")
    scene.small_disk.empty()
    scene.recovery("a full disk")
    return True


def news(scene: Scene) -> Callable[[], str]:
    """What sinks have said since."""
    logs = [scene.deployment.directory / f"{name}.log" for name in ("sink", "sink2")]
    before = [log.stat().st_size for log in logs]
    return lambda: "".join(log.read_text()[size:] for log, size in zip(logs, before, strict=True))


def said(scene: Scene, text: str, within: float = 40) -> None:
    """Wait until a sink says something again."""
    new = news(scene)
    scene.until(lambda: text in new(), within, f"a sink says {text!r}")


def many_days(scene: Scene) -> None:
    """Batches whose windows lie in more of a table's partitions than one insert may touch, from parts that are killed."""
    scene.clean = False
    for name in ("sink", "worker"):
        streams = scene.load.streams
        starts = [scene.load.clock_ms - back * 86_400_000 for back in (0, 40, 80, 120, 160)]
        # a batch spans 49 days at most
        scene.pump.send(scene.load.events(stream, start, 100, days=45) for stream in streams for start in starts)
        pause(scene, 0.3, 1.5)
        scene.kill(name)
        scene.start(name)
    scene.pump.flush()
    scene.until(lambda: scene.stored() >= scene.truth.points, 120, "points of many days are stored")
    (parts,) = scene.deployment.rows("SELECT max(parts), uniqExact(block_from) FROM blocks WHERE parts > 1")
    assert 1 < parts[0] <= MAX_DAYS_PER_BLOCK < 200, "blocks are cut"


def merged_day(scene: Scene) -> None:
    """Late points for a day whose partitions were merged into one part, from a sink that is killed; and merged again."""
    scene.clean = False
    day = scene.load.clock_ms - 3 * 86_400_000
    for _ in range(2):
        some = [make(scene.load.streams[0], day) for make in (scene.load.metrics, scene.load.events) for _ in range(10)]
        scene.pump.send(some)
        scene.pump.flush()
        scene.until(lambda: scene.stored() >= scene.truth.points, 60, "late points are stored")
        for tier in ("10s", "1m", "1h", "1d"):
            for table in ("rollups", "distinct"):
                scene.deployment.command_store(f"OPTIMIZE TABLE {table}_{tier} FINAL")
        scene.kill("sink")
        scene.start("sink")
        time.sleep(scene.random.uniform(0, 1))
        scene.pump.send(some)  # again, after the merge
    scene.pump.flush()
