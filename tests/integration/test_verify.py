"""`streamgauge verify` beside running parts: what is on its way is not lost, and what Kafka knows better than the store."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge.producers import Counter, Producer
from streamgauge.producers.settings import ProducerSettings
from tests.support.deployment import Deployment
from tests.support.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(180)]


@pytest.fixture
def region(kafka: Broker, tmp_path: Path, unique: str) -> Iterator[Deployment]:
    """A region with a worker and a sink."""
    with Deployment(kafka.bootstrap, tmp_path, unique, commit_interval="300ms", block_interval="200ms") as one:
        one.start_worker()
        one.start_sink()
        yield one


def send(region: Deployment, points: int) -> None:
    """So many points, each in a batch of its own stream of metrics, acknowledged."""
    settings = ProducerSettings(
        brokers=region.environ["STREAMGAUGE_BROKERS"], region=region.region, service="shop", environment="test"
    )
    producer = Producer(settings)
    requests = Counter("requests", "Requests", ["path"], producer=producer)
    for number in range(points):
        requests.labels(f"/{number}").inc()
        if number % 10 == 9:
            producer.flush(10)
    assert producer.close(20).left == 0


def until(condition: Callable[[], bool], within: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def account(region: Deployment, *words: str, code: int = 0) -> dict[str, Any]:
    """What `verify` says."""
    done = region.run("verify", "--json", *words)
    assert done.returncode == code, (done.stdout.decode(), done.stderr.decode())
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_every_step_of_the_way_is_accounted_for_by_partition(region: Deployment) -> None:
    send(region, 40)
    region.wait_for_points(40)
    found = account(region)
    assert (found["lost"], found["doubled"], found["moving"], found["misplaced"]) == (0, 0, 0, 0)
    assert found["points"] == 40
    assert sum(one["points"] for one in found["blocks"]) == 40
    live = {(one["topic"], one["partition"]): one for one in found["live"]}
    for one in found["partitions"]:
        place = live.pop((one["topic"], one["partition"]))
        assert (place["raw"], place["committed"], place["accounted"]) == (True, one["end"], one["end"])
    stored = [one for one in live.values() if one["accounted"] is not None]
    assert {one["topic"] for one in stored} == {f"sg.{region.region}.rollups.v1"}
    assert all(one["committed"] == one["accounted"] for one in stored)

    done = region.run("verify", "--json", "--brokers", "127.0.0.1:9")
    assert done.returncode == 0
    assert b"Kafka at 127.0.0.1:9 does not answer" in done.stderr
    assert json.loads(done.stdout)["live"] is None, "the store is compared with itself"


def test_points_that_a_sink_has_still_to_read_are_on_their_way_and_not_lost(region: Deployment) -> None:
    send(region, 20)
    region.wait_for_points(20)
    # one partition's block is taken out, and its sink is not there to say whether it comes again
    region.parts["sink"].send_signal(signal.SIGSTOP)
    try:
        region.command_store("ALTER TABLE rollups_1h DELETE WHERE 1 SETTINGS mutations_sync = 2")
        send(region, 20)
        waiting = account(region, "--wait", "3s")
        assert (waiting["lost"], waiting["moving"]) == (0, 20), "Kafka says that blocks are unread"
    finally:
        region.parts["sink"].send_signal(signal.SIGCONT)
    region.wait_for_points(40)
    found = account(region, code=1)
    assert (found["lost"], found["doubled"]) == (20, 0), "now nothing is on its way"


def test_the_newest_blocks_and_transactions_are_missed_although_the_store_agrees_with_itself(
    region: Deployment,
) -> None:
    send(region, 20)
    region.wait_for_points(20)
    until(lambda: account(region)["points"] == 20, 30, lambda: region.log("sink")[-2000:])
    region.command_store("ALTER TABLE blocks DELETE WHERE 1 SETTINGS mutations_sync = 2")
    found = account(region, code=1)
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["misplaced"] > 0
    (last,) = region.rows("SELECT topic, partition, max(offset_to) FROM ledger GROUP BY topic, partition LIMIT 1")
    for table in ("ledger", *(f"rollups_{tier}" for tier in ("10s", "1m", "1h", "1d"))):
        region.command_store(f"ALTER TABLE {table} DELETE WHERE 1 SETTINGS mutations_sync = 2")
    blind = account(region, "--store-only")
    assert (blind["lost"], blind["live"]) == (0, None)
    found = account(region, code=1)
    assert found["lost"] >= 2
    (place,) = [one for one in found["live"] if (one["topic"], one["partition"]) == (last[0], last[1])]
    assert (place["committed"], place["accounted"], place["unaccounted"]) == (last[2], None, last[2])


def test_a_watch_says_what_it_finds_as_lines_and_as_metrics_and_when_it_began(region: Deployment) -> None:
    send(region, 20)
    region.wait_for_points(20)
    watch = region.start("watch", "verify", "--every", "4s", "--emit", "--json")
    newest = "SELECT max(value) FROM streamgauge_verify_{}_10s"
    until(lambda: len(lines(region)) >= 2, 40, lambda: region.log("watch"))
    region.command_store("ALTER TABLE rollups_1d DELETE WHERE metric = 'requests' SETTINGS mutations_sync = 2")
    until(lambda: lines(region)[-1]["lost"] == 20, 60, lambda: region.log("watch"))
    until(lambda: seen(region, newest.format("lost")) == 20, 40, lambda: region.log("watch"))
    until(lambda: seen(region, newest.format("wrong_seconds")) > 0, 40, lambda: region.log("watch"))
    watch.send_signal(signal.SIGINT)
    assert watch.wait(30) == 1, "it has found something"
    del region.parts["watch"]
    wrong = [one for one in lines(region) if not one["exact"]]
    assert wrong
    assert {one["since"] for one in wrong} == {wrong[0]["at"]}


def lines(region: Deployment) -> list[dict[str, Any]]:
    return [json.loads(line) for line in region.log("watch").splitlines() if line.startswith("{")]


def seen(region: Deployment, sql: str) -> float:
    """A number of a view that may not exist yet."""
    try:
        return float(region.rows(sql)[0][0] or 0)
    except Exception:
        return 0.0
