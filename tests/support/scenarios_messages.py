"""Scenarios of messages, contracts, offsets and clocks. Each mends what it broke."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.contracts import Field
from streamgauge.schemas.packing import pack
from streamgauge.schemas.topics import METRICS, RAW_TOPICS
from tests.support.lives import follow, make_anew
from tests.support.raw_load import CONTRACT, DAY_MS, RawLoad
from tests.support.scenarios import pause
from tests.support.scene import SINKS, WORKERS, Scene

NEW_CONTRACT = replace(
    CONTRACT, version=2, fields={**CONTRACT.fields, "weight": Field("measure", "number", "kg", optional=True)}
)


def poison(scene: Scene) -> dict[str, int]:
    """Messages that cannot be used among good ones; returns how many points are refused by reason."""
    allow_large_messages(scene)
    scene.flow()
    scene.until_stored(1)
    scene.pump.stop()
    good = [scene.load.metrics(scene.load.streams[number]) for number in range(3)]
    bad = {
        "bad_json": b"\xff\xfe" * 50, "empty": b"", "too_large": b'{"v":1,"x":"' + b"x" * 20_000_000 + b'"}',
        "not_finite": changed(good[0].value, sum=pack("f8", [float("nan")] * len(good[0].rows.points))),
        "index_out_of_range": changed(good[1].value, s=pack("u1", [200] * len(good[1].rows.points))),
        "unknown_version": changed(good[2].value, v=77), "unknown_kind": changed(good[2].value, kind="opera"),
    }  # fmt: skip
    scene.pump.send(good)
    scene.flow()
    for value in bad.values():
        pause(scene, 0.1, 0.5)
        scene.pump.send_bytes("metrics", value, scene.random.choice(scene.load.streams))
    scene.pump.stop()
    refused = dict.fromkeys(bad, 1)
    for reason, at_ms in (("too_old", -8 * DAY_MS), ("in_the_future", 3_600_000)):
        one = scene.load.events(scene.load.streams[0], scene.load.clock_ms + at_ms)
        scene.pump.send_bytes("events", one.value, one.stream)
        refused[reason] = one.rows.count
    scene.flow()
    scene.until_stored(5_000)
    for reason, points in refused.items():
        scene.refused[reason] = scene.refused.get(reason, 0) + points
    return refused


def changed(value: bytes, **keys: Any) -> bytes:
    """A message with other keys."""
    return json.dumps(json.loads(value) | keys).encode()


def allow_large_messages(scene: Scene) -> None:
    """The broker takes what the worker does not."""
    admin: Any = AdminClient({"bootstrap.servers": scene.bootstrap})
    entry = ConfigEntry("max.message.bytes", "30000000", incremental_operation=AlterConfigOpType.SET)
    asked = ConfigResource(ResourceType.TOPIC, METRICS.name(scene.region), incremental_configs=[entry])
    for future in admin.incremental_alter_configs([asked]).values():
        future.result(20)


def dead_reasons(scene: Scene) -> set[str]:
    """Why messages were refused, as the store has it."""
    rows = scene.deployment.rows("SELECT DISTINCT reason FROM dead FINAL")
    return {str(row[0]) for row in rows}


def new_contract_in_flight(scene: Scene) -> None:
    """Events of a version that nobody knows yet arrive among others; it is published while they wait."""
    new = RawLoad(scene.seed ^ scene.load.epoch, scene.region, scene.load.clock_ms, 4, NEW_CONTRACT)
    scene.flow()
    scene.until_stored(1)
    scene.pump.stop()
    scene.pump.send(new.events(str(new.streams[number % 4])) for number in range(40))
    scene.flow()
    pause(scene, 2, 4)
    scene.kill("worker")
    scene.start("worker")
    publish(Producer({"bootstrap.servers": scene.bootstrap}), scene.region, [NEW_CONTRACT])
    scene.recovery("a contract that came after its events")
    scene.pump.stop()
    scene.pump.send(new.events(str(new.streams[number % 4])) for number in range(40))
    scene.pump.flush()


def lost_worker_offsets(scene: Scene) -> None:
    """The group's offsets are deleted: workers stop with advice. It is followed, and batches come again."""
    scene.clean = False
    some = [scene.load.any() for _ in range(100)]
    scene.pump.send(some)
    scene.pump.flush()
    scene.until(lambda: not scene.workers_progress.behind(), 60, "all of it is committed")
    for name in WORKERS:
        assert scene.deployment.end(name) == 0
    offsets = {place: offset for place, offset in scene.workers_progress.committed().items() if offset >= 0}
    group = f"sg-{scene.region}-process"
    delete_group(scene, group)
    for name in WORKERS:
        scene.start(name)
    for name in WORKERS:
        assert scene.deployment.parts.pop(name).wait(60) != 0
        assert "--reset-offsets" in scene.deployment.log(name)
    set_offsets(scene, group, offsets)
    for name in WORKERS:
        scene.start(name)
    scene.pump.send([*some[::3], *(scene.load.any() for _ in range(20))])
    scene.pump.flush()
    scene.recovery("offsets of workers that were lost and restored", least=0)


def expired_messages(scene: Scene) -> None:
    """Retention deletes what nobody has read: workers stop with advice, and skip nothing; told to go on, they account for it."""
    scene.clean = False
    scene.pump.send(scene.load.any() for _ in range(100))
    scene.pump.flush()
    scene.until(lambda: not scene.workers_progress.behind(), 60, "all of it is committed")
    for name in WORKERS:
        assert scene.deployment.end(name) == 0
    for _ in range(50):
        scene.pump.send_bytes("metrics", b"never read", scene.random.choice(scene.load.streams))
    scene.pump.flush()
    unread = scene.workers_progress.behind()
    ends = [
        TopicPartition(*place, offset) for place, offset in scene.workers_progress.ends().items() if place in unread
    ]
    admin: Any = AdminClient({"bootstrap.servers": scene.bootstrap})
    for future in admin.delete_records(ends).values():
        future.result(20)
    for name in WORKERS:
        scene.start(name)
    scene.pump.send(scene.load.any() for _ in range(200))
    scene.pump.flush()
    for name in WORKERS:
        assert scene.deployment.parts.pop(name).wait(60) != 0
        assert "GO_ON_AFTER_LOSS=true" in scene.deployment.log(name)
    for name in WORKERS:
        scene.start(name, go_on_after_loss="true")
    scene.recovery("messages that had expired unread", least=0)
    scene.refused["offsets_lost"] = scene.refused.get("offsets_lost", 0) + sum(unread.values())


def lost_sink_offsets(scene: Scene) -> None:
    """The same of the sinks, whose advice names the offset."""
    scene.clean = False
    scene.pump.send(scene.load.any() for _ in range(100))
    scene.pump.flush()
    scene.until(lambda: scene.stored() >= scene.truth.points, 60, "all of it is stored")
    for name in SINKS:
        assert scene.deployment.end(name) == 0
    group = f"sg-{scene.region}-sink"
    delete_group(scene, group)
    scene.pump.send(scene.load.any() for _ in range(50))
    scene.pump.flush()
    for name in SINKS:
        scene.start(name)
    for name in SINKS:
        assert scene.deployment.parts.pop(name).wait(60) != 0
        assert "--reset-offsets" in scene.deployment.log(name)
    blocks = scene.deployment.rows("SELECT topic, partition, max(block_to) FROM blocks GROUP BY topic, partition")
    set_offsets(scene, group, {(str(topic), int(partition)): int(end) for topic, partition, end in blocks})
    for name in SINKS:
        scene.start(name)
    scene.recovery("offsets of sinks that were lost and restored")


def recreated_topic(scene: Scene) -> None:
    """A raw topic is deleted and made anew, under running workers and while they are away: they stop with advice. It is
    followed; what a producer sends again is known from the topic's earlier life.
    """
    for running in (True, False):
        topic = scene.random.choice(RAW_TOPICS)
        scene.flow()
        scene.until_stored(1)
        scene.pump.stop()
        some = [scene.load.any() for _ in range(60)]
        scene.pump.send(some)
        scene.pump.flush()
        # what is unread when a topic is deleted is gone with it
        scene.until(lambda: not scene.workers_progress.behind(), 60, "all of it is committed")
        if not running:
            for name in WORKERS:
                assert scene.deployment.end(name) == 0
        make_anew(scene.bootstrap, topic.name(scene.region), scene.deployment)
        scene.pump.send([*some[::3], *(scene.load.any() for _ in range(40)), *some[::7]])
        scene.pump.flush()
        for name in WORKERS if not running else ():
            scene.start(name)
        for name in WORKERS:
            assert scene.deployment.parts.pop(name).wait(90) == 1
        (advice,) = {scene.deployment.log(name).rpartition("error: ")[2] for name in WORKERS}
        assert f"{topic.name(scene.region)} was made anew" in advice
        follow(advice, scene.bootstrap, topic.partitions)
        for name in WORKERS:
            scene.start(name)
        scene.recovery("a raw topic that was made anew", least=0)
        scene.pump.send(some)
    scene.flow()
    scene.until_stored(1)


def delete_group(scene: Scene, group: str) -> None:
    """Forget a group. One whose member was killed in an earlier scenario has it until its session ends."""
    admin: Any = AdminClient({"bootstrap.servers": scene.bootstrap})

    def forgotten() -> bool:
        try:
            for future in admin.delete_consumer_groups([group]).values():
                future.result(20)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NON_EMPTY_GROUP:
                raise
            return False
        return True

    scene.until(forgotten, 60, f"{group} is empty")


def set_offsets(scene: Scene, group: str, offsets: dict[tuple[str, int], int]) -> None:
    """What kafka-consumer-groups --reset-offsets does."""
    admin: Any = AdminClient({"bootstrap.servers": scene.bootstrap})
    wanted = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
    for future in admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)]).values():
        future.result(20)


def clock_steps(scene: Scene) -> None:
    """The clocks of workers jump forth and back while they run: by a day forward, by minutes back."""
    with stepping_workers(scene):
        scene.flow()
        scene.until_stored(1)
        for seconds in (3_600, 0, DAY_MS // 2_000, -500, 0, -540, 60):
            (scene.deployment.directory / "clock").write_text(str(seconds))
            pause(scene, 0.5, 1.5)
            scene.recovery(f"a clock that stepped to {seconds} s", within=30)
        scene.pump.stop()
        scene.until(lambda: not scene.workers_progress.behind(), 60, "all of it is committed")


@contextmanager
def stepping_workers(scene: Scene) -> Generator[None]:
    """Workers with clocks that can be set."""
    clock = scene.deployment.directory / "clock"
    clock.write_text("0")
    for name in WORKERS:
        assert scene.deployment.end(name) == 0
    for name in ("stepping", "stepping2"):
        scene.deployment.start_module(name, "tests.support.stepping_worker", CLOCK_FILE=str(clock))
    yield
    for name in ("stepping", "stepping2"):
        assert scene.deployment.end(name) == 0
    for name in WORKERS:
        scene.start(name)
