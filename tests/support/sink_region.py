"""A region of one partition a topic, its sinks as processes, and what the store and the group have of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from itertools import count, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import clickhouse_connect
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamgauge.schemas.rollups import encode
from streamgauge.schemas.topics import CONTRACTS, ROLLUPS, STORED_TOPICS, Topic
from streamgauge.schemas.windows import TIER_NAMES
from tests.support.deployment import DATABASE, Deployment
from tests.support.kafka import ROOT
from tests.unit.sinks.messages import T0, Row, message

POINTS = 20
"""Points of one message: so many series, each with a count of one."""


def until(condition: Callable[[], object], within: float, what: Callable[[], str] = str) -> float:
    """Seconds until `condition` holds; fails with `what` when it does not in time."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > within:
            raise AssertionError(f"not within {within} s: {what()}")
        time.sleep(0.05)
    return time.monotonic() - start


@cache
def points(metric: str, window: int) -> bytes:
    """A message of the rollups topic."""
    return encode(message([Row(metric, series, T0 + 10 * window) for series in range(POINTS)]))


def settled(asked: object) -> None:
    """Wait until the broker has done everything that was asked: the futures of an admin client, by name."""
    for future in cast("Mapping[str, Future[object]]", asked).values():
        future.result(20)


class Region:
    """Topics of one partition each, what was sent to them, and the sinks that read them. Ends what it started."""

    def __init__(self, deployment: Deployment, bootstrap: str, directory: Path, name: str) -> None:
        self.deployment = deployment
        self.directory = directory
        self.name = name
        self.sent = 0
        self.config: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap}
        self.admin: Any = AdminClient(self.config)
        self.sinks: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers = count()

    def __enter__(self) -> Self:
        self.make_topics()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.sinks.values():
            if part.poll() is None:
                part.kill()
                part.wait(10)

    @property
    def topic(self) -> str:
        """The rollups topic."""
        return ROLLUPS.name(self.name)

    def make_topics(self, topics: Sequence[Topic] = (*STORED_TOPICS, CONTRACTS)) -> None:
        """Make these, with one partition each."""
        names = [one.name(self.name) for one in topics]
        settled(self.admin.create_topics([NewTopic(name, 1, 1) for name in names]))

    def send(self, messages: int = 1, topic: str = "", value: bytes | None = None) -> None:
        """Messages with points, or as they are given."""
        producer = Producer({**self.config, "linger.ms": 0})
        for _ in range(messages):
            if value is None:
                producer.produce(self.topic, points(self.name, next(self._numbers) % 50))
                self.sent += POINTS
            else:
                producer.produce(topic or self.topic, value)
        assert producer.flush(20) == 0

    def start(
        self, name: str = "sink", module: str = "", command: str = "sink", **environ: str
    ) -> subprocess.Popen[bytes]:
        """A sink; with `module` it is that one, or another part by its `command`."""
        settings = {"region": self.name, "session_timeout": "6s", "block_interval": "100ms"}
        given = {f"STREAMGAUGE_{key.upper()}": value for key, value in settings.items()} | environ
        words = [sys.executable, "-m", module] if module else self.deployment.command(command)
        with (self.directory / f"{name}.log").open("ab") as log:
            self.sinks[name] = subprocess.Popen(
                words, env=self.deployment.environ | given, cwd=ROOT, stdout=log, stderr=log
            )
        return self.sinks[name]

    def log(self, name: str = "sink") -> str:
        """What a sink has said."""
        return (self.directory / f"{name}.log").read_text()

    def says(self, text: str, name: str = "sink", within: float = 20) -> None:
        """Wait until a sink has said this."""
        until(lambda: text in self.log(name), within, lambda: f"{text!r} in\n{self.log(name)}")

    def end(self, name: str = "sink", within: float = 8) -> int:
        """SIGTERM; the exit code."""
        part = self.sinks.pop(name)
        part.terminate()
        try:
            return part.wait(within)
        except subprocess.TimeoutExpired:
            part.kill()
            part.wait(10)
            raise AssertionError(f"it did not end within {within} s:\n{self.log(name)}") from None

    def exits(self, name: str = "sink", within: float = 20) -> int:
        """Wait for a sink that ends by itself; the exit code."""
        return self.sinks.pop(name).wait(within)

    def rows(self, sql: str, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """Ask the store, past any gate."""
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.deployment.port, database=database)
        with client:
            return [tuple(row) for row in client.query(sql, parameters={"name": self.name}).result_rows]

    def points(self, tier: str = "1d", database: str = DATABASE) -> int:
        """Points that a tier holds."""
        sql = f"SELECT sum(count) FROM rollups_{tier} WHERE metric = {{name:String}}"
        return int(self.rows(sql, database)[0][0])

    def all_stored(self, within: float = 40, database: str = DATABASE) -> None:
        """Wait until everything sent is in, and check that it is in every tier once, in blocks that do not overlap."""
        until(lambda: self.points(database=database) >= self.sent, within, lambda: "\n".join(map(self.log, self.sinks)))
        assert {tier: self.points(tier, database) for tier in TIER_NAMES} == dict.fromkeys(TIER_NAMES, self.sent)
        sql = "SELECT block_from, block_to, points FROM blocks WHERE region = {name:String} ORDER BY block_from"
        blocks = self.rows(sql, database)
        assert sum(points for *_, points in blocks) == self.sent
        assert all(first[1] <= second[0] for first, second in pairwise(blocks)), blocks

    def committed(self, topic: str = "") -> tuple[int, str]:
        """Offset and metadata of the group in the rollups topic, or in another."""
        # not by the admin client, which can crash the process while the coordinator moves
        consumer = Consumer(self.config | {"group.id": f"sg-{self.name}-sink", "enable.auto.commit": False})
        try:
            (found,) = consumer.committed([TopicPartition(topic or self.topic, 0)], timeout=20)
        finally:
            consumer.close()
        return found.offset, found.metadata or ""

    def set_offset(self, offset: int, metadata: str = "") -> None:
        """What kafka-consumer-groups --reset-offsets does, and with `metadata` what a sink does."""
        one = TopicPartition(self.topic, 0, offset)
        if metadata:
            one = TopicPartition(self.topic, 0, offset, metadata=metadata)
        wanted = ConsumerGroupTopicPartitions(f"sg-{self.name}-sink", [one])
        settled(self.admin.alter_consumer_group_offsets([wanted]))
