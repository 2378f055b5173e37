"""A raw topic that is made anew, on the real parts: workers stop with advice, and once it is followed all counts once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streamgauge.schemas.batches import Origin, encode_events
from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.packing import pack_strings
from streamgauge.schemas.topics import EVENTS
from tests.support.deployment import Deployment
from tests.support.kafka import Broker
from tests.support.lives import follow, life_of, make_anew

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(240)]

ORDER = Contract("order", 1, {"country": Field("dimension")})
LATE = Contract("late", 1, {"country": Field("dimension")})


@dataclass
class Region:
    """A deployment with a worker and a sink; everything is sent to partition 1."""

    deployment: Deployment
    bootstrap: str

    @property
    def topic(self) -> str:
        return EVENTS.name(self.deployment.region)

    def send(self, *values: bytes) -> None:
        """Produce raw messages."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for value in values:
            producer.produce(self.topic, value, b"stream", 1)
        assert producer.flush(20) == 0

    def settled(self, condition: Callable[[], bool], what: str, within: float = 60) -> None:
        """Until it holds; fails with what the parts said."""
        deadline = time.monotonic() + within
        while not condition():
            logs = "\n".join(self.deployment.log(name)[-2500:] for name in ("worker", "sink"))
            assert time.monotonic() < deadline, f"{what}\n{logs}"
            time.sleep(0.2)

    def entries(self) -> list[tuple[str, int, int]]:
        """Of each life of the topic: what the stored ledger spans."""
        rows = self.deployment.rows(
            "SELECT incarnation, min(offset_from), max(offset_to) FROM ledger FINAL WHERE topic = {t:String} "
            "GROUP BY incarnation",
            {"t": self.topic},
        )
        return sorted((str(life), int(start), int(end)) for life, start, end in rows)

    def stored(self, life: str, end: int) -> None:
        """Until everything of a life up to this offset is in the store."""
        self.settled(lambda: (life, 0, end) in self.entries(), f"offsets up to {end} of {life} are stored")

    def stopped(self) -> str:
        """The last words of the worker, which has stopped by itself."""
        worker = self.deployment.parts["worker"]
        self.settled(lambda: worker.poll() is not None, "the worker stops")
        assert self.deployment.parts.pop("worker").returncode == 1
        said = self.deployment.log("worker").rpartition("error: ")[2]
        (self.deployment.directory / "worker.log").unlink()
        return said

    def accounted(self, points: int) -> None:
        """Every point counts once, and the account adds up."""
        self.settled(lambda: self.deployment.points() >= points, f"{points} points are stored")
        account = self.deployment.verify("10s")
        found = {key: account[key] for key in ("lost", "doubled", "points", "exit_code")}
        assert found == {"lost": 0, "doubled": 0, "points": points, "exit_code": 0}

    def run(self, *words: str, code: int = 0) -> Any:
        """A command with --json; what it says."""
        done = self.deployment.run(*words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)


def batch(seq: int, event: str = "order", stream: str = "s") -> bytes:
    """A batch of one event."""
    now = time.time_ns() // 1_000_000
    return encode_events(Origin({"instance": "i"}, stream, 1, seq), event, 1, [now], {"country": pack_strings(["NZ"])})


@pytest.fixture
def region(kafka: Broker, tmp_path: Path, unique: str) -> Iterator[Region]:
    """A region of its own."""
    with Deployment(kafka.bootstrap, tmp_path, unique, contract_wait="100ms", commit_interval="200ms") as deployment:
        publish(Producer({"bootstrap.servers": kafka.bootstrap}), unique, [ORDER])
        deployment.start_worker()
        deployment.start_sink()
        yield Region(deployment, kafka.bootstrap)


@pytest.mark.parametrize("running", [True, False])
def test_a_recreated_topic_stops_the_worker_and_once_its_advice_is_followed_everything_counts_once(
    region: Region, running: bool
) -> None:
    deployment, unread = region.deployment, batch(0, "late", "t")
    first = life_of(region.bootstrap, region.topic)
    region.send(unread, *map(batch, range(9)))
    region.stored(first, 10)
    publish(Producer({"bootstrap.servers": region.bootstrap}), deployment.region, [LATE])
    assert region.run("dead", "replay")["sent"] == 1
    region.stored(first, 11)
    region.accounted(9 + 1)

    if not running:
        assert deployment.end("worker") == 0
    make_anew(region.bootstrap, region.topic, deployment)
    second = life_of(region.bootstrap, region.topic)
    # a producer that had no answer sends again; the refused batch stands at its old offset, and so do other messages
    region.send(unread, b"{", batch(7), batch(8), batch(9), *map(batch, range(10, 20)))
    if not running:
        deployment.start_worker()
    advice = region.stopped()
    assert f"{region.topic} was made anew: its id was {first}, now it is {second}" in advice
    deployment.start_worker()
    again = region.stopped()
    assert again == advice
    assert region.entries() == [(first, 0, 11)]

    follow(advice, region.bootstrap, EVENTS.partitions)
    deployment.start_worker()
    region.stored(second, 15)
    region.accounted(10 + 11)
    assert region.entries() == sorted([(first, 0, 11), (second, 0, 15)])
    letters = deployment.rows("SELECT incarnation, offset, reason FROM dead FINAL ORDER BY reason")
    assert [tuple(one) for one in letters] == [(second, 1, "bad_json"), (first, 0, "unknown_contract")]

    # it was replayed in the first life of the topic, and its very bytes stand at its offset in the second one
    account = region.run("dead", "replay", "--reason", "unknown_contract", code=1)
    assert (account["sent"], account["skipped"]) == (0, {"anew": 1})
    assert "made anew" in region.run("dead", "show", "events:1:0")[0]["raw"]
    # and in the second one a replay counts as ever
    assert region.run("dead", "replay", "--reason", "bad_json")["sent"] == 1
    region.send(batch(20))
    region.stored(second, 17)
    region.accounted(10 + 12)
    assert deployment.end("worker") == 0
    deployment.start_worker()
    region.send(batch(20), batch(21))
    region.stored(second, 19)
    region.accounted(10 + 13)
