"""Refused data on the real parts: listed, shown, replayed once, and never raw anywhere."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.topics import DEAD, EVENTS, METRICS
from tests.support.deployment import Deployment
from tests.support.kafka import Broker
from tests.unit.processors.raw import ORDER, Sample, events, metrics

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(180)]

EMAIL, PERSON = "canary.jane@example.com", "customer-7f3a91"
VISIT = Contract(
    "visit", 1, {"page": Field("dimension"), "seconds": Field("measure", "number"), "person": Field("unique")}
)
DAY = 86_400_000


@dataclass
class Region:
    """A deployment, what was sent to it, and everything its commands have printed."""

    deployment: Deployment
    bootstrap: str
    printed: list[bytes] = field(default_factory=list[bytes])

    def send(self, topic: str, value: bytes) -> None:
        """Produce one raw message to partition 1."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        producer.produce(topic, value, b"stream", 1)
        assert producer.flush(20) == 0

    def run(self, *words: str, code: int = 0) -> Any:
        """Run a command with --json; what it says."""
        done = self.deployment.run(*words, "--json")
        self.printed += [done.stdout, done.stderr]
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def settled(self, condition: Callable[[], bool]) -> None:
        """Until it holds; fails with what the parts said."""
        deadline = time.monotonic() + 45
        while not condition():
            logs = "\n".join(self.deployment.log(name)[-2000:] for name in ("worker", "sink"))
            assert time.monotonic() < deadline, logs
            time.sleep(0.2)

    def wait(self) -> None:
        """Until everything in the raw topics is committed and in the store."""
        self.settled(lambda: all(self.stored_to(topic) == self.end_of(topic) for topic in (EVENTS, METRICS)))

    def end_of(self, topic: Any) -> int:
        """One after the last offset of partition 1."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "look"})
        try:
            where = TopicPartition(topic.name(self.deployment.region), 1)
            return cast("tuple[int, int]", consumer.get_watermark_offsets(where, 10))[1]
        finally:
            consumer.close()

    def stored_to(self, topic: Any) -> int:
        """One after the last offset whose ledger entry is stored."""
        sql = "SELECT max(offset_to) FROM ledger WHERE topic = {t:String} AND partition = 1"
        ledger = int(self.deployment.rows(sql, {"t": topic.name(self.deployment.region)})[0][0])
        counted = self.deployment.rows("SELECT sum(points) FROM ledger FINAL")[0][0]
        letters = self.deployment.rows("SELECT sum(rows) FROM dead FINAL")[0][0]
        refused = self.deployment.rows("SELECT sum(refused_points) FROM ledger FINAL")[0][0]
        return ledger if self.deployment.points() == counted and letters == refused else -1

    def replay(self, *words: str, code: int = 0) -> tuple[dict[str, Any], int]:
        """The account of a replay, and the points that it added."""
        before = self.deployment.points()
        account = self.run("dead", "replay", *words, code=code)
        self.wait()
        return account, self.deployment.points() - before

    def reasons(self) -> dict[str, tuple[int, int]]:
        """Letters and points by reason."""
        return {one["reason"]: (one["letters"], one["points"]) for one in self.run("dead", "list", "--summary")}


@pytest.fixture
def region(kafka: Broker, tmp_path: Path, unique: str) -> Iterator[Region]:
    """A region that waits for contracts only shortly, where `order` is known."""
    with Deployment(kafka.bootstrap, tmp_path, unique, contract_wait="1s") as deployment:
        publish(Producer({"bootstrap.servers": kafka.bootstrap}), unique, [ORDER])
        deployment.start_worker()
        deployment.start_sink()
        yield Region(deployment, kafka.bootstrap)


def test_what_was_refused_is_seen_replayed_once_and_never_shown_raw(region: Region) -> None:
    now = time.time_ns() // 1_000_000
    raw, name = EVENTS.name(region.deployment.region), region.deployment.region
    person = {"country": f"ask {EMAIL}", "customer": PERSON, "note": PERSON, "shoe_size": EMAIL}
    row = {"amount": 1.0, "time": now, **person}
    head = MetricHead("requests", "counter", "1", ("route",))
    with Following(region) as shown:
        region.send(
            raw,
            events([row, {**row, "time": now - 30 * DAY}, {**row, "segment": PERSON}, row], context={"service": EMAIL}),
        )
        region.send(raw, f'{{"{EMAIL} {PERSON}"'.encode())
        region.send(raw, events([{"page": EMAIL, "person": PERSON, "seconds": 1.0, "time": now}] * 5, VISIT))
        old = Sample(head, (EMAIL,), now - 20 * DAY, count=3)
        region.send(METRICS.name(name), metrics([old, replace(old, window=now, count=2)]))
        region.wait()
        assert len(shown(4)) == 4
    assert region.deployment.points() == 4 + 2
    assert region.reasons() == {"bad_json": (1, 1), "bad_value": (1, 2), "too_old": (2, 5), "unknown_contract": (1, 5)}

    (visit,) = region.run(
        "dead", "list", "--reason", "unknown_contract", "--event", "visit", "--topic", "events", "--since", "1h"
    )
    assert (visit["origin"], visit["detail"], visit["contract"]) == ("events:1:2", "visit version 1", 1)
    first = {one["reason"]: one for one in region.run("dead", "show", "events:1:0")}
    assert {reason: one["raw"] for reason, one in first.items()} == {"too_old": "there", "bad_value": "there"}
    assert [row["row"] for row in first["too_old"]["sample"]] == [1]
    assert first["bad_value"]["sample"][0]["fields"] == {
        "country": "ask [email]", "segment": f"[not in the set, {len(PERSON)} characters]", "amount": 1.0, "customer": "[unique]",
    }  # fmt: skip
    for words in (("dead", "list"), ("dead", "show", "events:1:0")):
        region.printed.append(region.deployment.run(*words).stdout)
    assert b"[email]" in region.printed[-1]

    # without the key nothing is sent; a dry run sends nothing either
    assert region.deployment.run("dead", "replay", "--dry-run").returncode == 0
    keyless = {**region.deployment.environ, "STREAMGAUGE_PSEUDONYM_KEY": ""}
    command = region.deployment.command("dead", "replay")
    assert subprocess.run(command, env=keyless, capture_output=True, timeout=60, check=False).returncode == 2
    assert region.end_of(EVENTS) == 3

    publish(Producer({"bootstrap.servers": region.bootstrap}), name, [VISIT])
    account, added = region.replay("--reason", "unknown_contract")
    assert (account["letters"], account["sent"], added) == (1, 1, 10)
    assert region.replay("--reason", "too_old") == ({**account, "letters": 2, "sent": 2, "points": 5}, 0)
    assert region.reasons()["too_old"] == (4, 10)
    # the first refusals were replayed, so they are repeats now; those of the replays are asked for
    account, added = region.replay("--reason", "too_old", "--backfill", "--again")
    assert (account["letters"], account["points"], added) == (4, 10, 5)
    # bad_json and bad_value are refused once more, all others are repeats
    account, added = region.replay("--backfill", "--again")
    assert (account["sent"], added) == (account["letters"], 0)
    assert account["letters"] == 7
    verified = region.deployment.verify()
    assert (verified["lost"], verified["doubled"], verified["exit_code"]) == (0, 0, 0)
    counted = region.deployment.rows("SELECT country, sum(count) FROM order_1d GROUP BY country")
    assert [tuple(one) for one in counted] == [("ask [email]", 3)]

    # retention passes
    end = TopicPartition(raw, 1, 3)
    admin: Any = AdminClient({"bootstrap.servers": region.bootstrap})
    admin.delete_records([end])[end].result(20)
    account = region.run("dead", "replay", "--event", "visit", "--dry-run", code=1)
    assert (account["gone"], account["sent"]) == (1, 0)
    assert "gone" in region.run("dead", "show", "events:1:2")[0]["raw"]

    letters = list(dead_messages(region))
    assert len(letters) >= 5
    region.run("dead", "list")
    for text in (*letters, region.deployment.dump("dead"), *region.printed):
        assert EMAIL.encode() not in text
        assert PERSON.encode() not in text


class Following:
    """`streamgauge tail` from before anything is sent; ended by Ctrl-C, which it takes for what it is."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.file = region.deployment.directory / "tail.out"

    def __enter__(self) -> Callable[[int], list[Any]]:
        self.output = self.file.open("wb")
        self.part = subprocess.Popen(
            self.region.deployment.command("tail", "--json"),
            env=self.region.deployment.environ,
            stdout=self.output,
            stderr=subprocess.PIPE,
        )
        assert self.part.stderr is not None
        assert b"following 8 raw partitions" in self.part.stderr.readline()
        return self.shown

    def shown(self, wanted: int) -> list[Any]:
        """What it has shown, as soon as it is so much."""
        self.region.settled(lambda: self.file.read_bytes().count(b"\n") >= wanted)
        return [json.loads(line) for line in self.file.read_bytes().splitlines()]

    def __exit__(self, *_: object) -> None:
        self.part.send_signal(signal.SIGINT)
        said: bytes = self.part.communicate(timeout=20)[1]
        self.output.close()
        self.region.printed += [self.file.read_bytes(), said]
        assert (self.part.returncode, b"batches shown" in said, b"Traceback" in said) == (0, True, False)


def dead_messages(region: Region) -> Iterator[bytes]:
    """Every committed dead letter."""
    topic = TopicPartition(DEAD.name(region.deployment.region), 0, 0)
    consumer = Consumer(
        {"bootstrap.servers": region.bootstrap, "group.id": "dead-reader", "enable.partition.eof": True}
    )
    try:
        consumer.assign([topic])
        while (message := consumer.poll(10)) is not None and not message.error():
            yield cast("bytes", message.value())
    finally:
        consumer.close()
