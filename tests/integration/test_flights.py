"""All flights of 2013 through the whole path, against what polars computes from the file."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from streamgauge.schemas.histogram import RELATIVE_ERROR
from streamgauge.schemas.topics import DISTINCT, EVENTS, TOPICS
from tests.support.deployment import DATABASE, Deployment
from tests.support.flights import ROWS, flights, flights_file, nearest_rank, points, truth
from tests.support.kafka import Broker
from tests.support.progress import Progress

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(600)]

QUANTILES = (0.5, 0.95, 0.99)


def infer(deployment: Deployment, granularity: str = "1h") -> Path:
    """The first contract of the flights, as a person would make it."""
    output = deployment.directory / "flight.json"
    made = deployment.run(
        "contract", "infer", str(flights_file()), "--name", "flight", "--time", "time_hour", "--dimension", "carrier,origin",
        "--measure", "dep_delay", "--unique", "tailnum", "--granularity", granularity, "--output", str(output),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return output


def replay(deployment: Deployment) -> dict[str, Any]:
    """Load all flights; the account of the command."""
    contract = infer(deployment)
    done = deployment.run("replay", str(flights_file()), "--contract", str(contract), "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    account: dict[str, Any] = json.loads(done.stdout)
    return account


@pytest.fixture(scope="module")
def loaded(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A region with all flights in every tier."""
    with Deployment(kafka.bootstrap, tmp_path_factory.mktemp("flights"), "flights") as deployment:
        deployment.start_worker()
        deployment.start_sink()
        account = replay(deployment)
        assert (account["rows"], account["sent"], account["refused"]) == (ROWS, ROWS, {})
        assert account["points"] == points()
        deployment.wait_for_points(points())
        wait_for_distinct(kafka.bootstrap, deployment)
        yield deployment


def wait_for_distinct(bootstrap: str, deployment: Deployment, within: float = 60) -> None:
    """Until the sink has come to the end of the topic of what is counted distinct: it is another one than that of points."""
    progress = Progress(bootstrap, "sg-flights-sink", {DISTINCT.name("flights"): DISTINCT.partitions})
    deadline = time.monotonic() + within
    try:
        while progress.unread():
            assert time.monotonic() < deadline, deployment.log("sink")[-3000:]
            time.sleep(0.2)
    finally:
        progress.close()


def compare(found: Sequence[Sequence[Any]], expected: dict[tuple[Any, ...], dict[str, Any]], keys: int) -> None:
    """Counts, sums and extremes equal; quantiles within the histogram's error; distinct counts within 2 %."""
    assert {tuple(row[:keys]) for row in found} == expected.keys()
    for row in found:
        want = expected[tuple(row[:keys])]
        count, n, total, low, high, distinct, *quantiles = row[keys:]
        assert (count, n) == (want["count"], want["n"])
        assert distinct == pytest.approx(want["tails"], rel=0.02)
        if not n:
            continue
        assert total == pytest.approx(want["sum"], rel=1e-9, abs=1e-9)
        assert (low, high) == (want["min"], want["max"])
        for q, value in zip(QUANTILES, quantiles, strict=True):
            assert value == pytest.approx(nearest_rank(want["delays"], q), rel=RELATIVE_ERROR * 1.0001, abs=1e-9)


COLUMNS = """sum(count), sum(dep_delay_count), sum(dep_delay_sum), min(dep_delay_min), max(dep_delay_max),
    uniqCombined64Merge(tailnums), sg_quantile(0.5, sumMap(dep_delay_hist)), sg_quantile(0.95, sumMap(dep_delay_hist)),
    sg_quantile(0.99, sumMap(dep_delay_hist))"""


def test_every_hour_of_every_carrier_and_origin_is_what_polars_says(loaded: Deployment) -> None:
    found = loaded.rows(f"SELECT carrier, origin, window, {COLUMNS} FROM flight_1h GROUP BY carrier, origin, window")
    compare(found, truth(["carrier", "origin", "hour"]), 3)


def test_every_day_is_what_polars_says(loaded: Deployment) -> None:
    found = loaded.rows(f"SELECT window, {COLUMNS} FROM flight_1d GROUP BY window")
    compare(found, truth(["day"]), 1)


def test_the_finished_numbers_of_the_views_are_right_row_by_row(loaded: Deployment) -> None:
    found = loaded.rows(
        "SELECT carrier, origin, window, count, dep_delay_count, dep_delay_sum, dep_delay_min, dep_delay_max, distinct_tailnums, "
        "dep_delay_p50, dep_delay_p95, dep_delay_p99 FROM flight_1h"
    )
    compare(found, truth(["carrier", "origin", "hour"]), 3)


def test_a_month_from_days_regroups_to_the_right_quantiles(loaded: Deployment) -> None:
    found = loaded.rows(
        f"SELECT carrier, toStartOfMonth(window) AS month, {COLUMNS} FROM flight_1d GROUP BY carrier, month"
    )
    compare([[carrier, (month.year, month.month), *rest] for carrier, month, *rest in found], truth_by_month(), 2)


def truth_by_month() -> dict[tuple[Any, ...], dict[str, Any]]:
    """Carriers by (year, month)."""
    import polars as pl

    frame = flights().with_columns(month=pl.col("day").dt.truncate("1mo"))
    grouped = frame.group_by(["carrier", "month"]).agg(
        count=pl.len(),
        n=pl.col("dep_delay").count(),
        sum=pl.col("dep_delay").sum(),
        min=pl.col("dep_delay").min(),
        max=pl.col("dep_delay").max(),
        delays=pl.col("dep_delay").drop_nulls().sort(),
        tails=pl.col("tailnum").drop_nulls().n_unique(),
    )
    rows = grouped.iter_rows(named=True)
    return {(row["carrier"], (row["month"].year, row["month"].month)): row for row in rows}


def test_verify_finds_nothing_lost_and_nothing_doubled(loaded: Deployment) -> None:
    account = loaded.verify()
    assert (account["lost"], account["doubled"], account["exit_code"]) == (0, 0, 0)
    assert account["points"] == points()
    assert all(day["1h"] == {"expected": day["ledger"], "found": day["ledger"]} for day in account["days"])
    assert all(day["10s"] == {"expected": 0, "found": 0} for day in account["days"])


def test_raw_tail_numbers_are_in_the_raw_topic_and_nowhere_else(loaded: Deployment, kafka: Broker) -> None:
    planted = {tail.encode() for tail in flights()["tailnum"].drop_nulls().unique().to_list() if len(tail) == 6}
    sample = sorted(planted)[::40]
    assert len(sample) > 50
    assert any(any(tail in value for tail in sample) for value in messages(kafka, EVENTS.name("flights")))
    for topic in TOPICS:
        if topic is not EVENTS:
            for value in messages(kafka, topic.name("flights")):
                assert not any(tail in value for tail in sample), topic.kind
    for (table,) in loaded.rows(
        "SELECT name FROM system.tables WHERE database = {d:String} AND engine != 'View'", {"d": DATABASE}
    ):
        if table.endswith(("_landing", "_feed")):
            continue
        dump = loaded.dump(table)
        assert not any(tail in dump for tail in sample), table


def messages(kafka: Broker, topic: str) -> Iterator[bytes]:
    """Every committed value of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"reader-{topic}",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, one, 0) for one in partitions])
        open_partitions = len(partitions)
        while open_partitions:
            message = consumer.poll(10)
            assert message is not None
            if message.error():
                open_partitions -= 1
            else:
                yield cast("bytes", message.value())
    finally:
        consumer.close()


def test_a_replay_without_its_broker_says_what_to_do_and_ends(tmp_path: Path, loaded: Deployment) -> None:
    contract = loaded.directory / "flight.json"
    command = loaded.command("replay", str(flights_file()), "--contract", str(contract), "--brokers", "127.0.0.1:1")
    ended = subprocess.run(command, env=loaded.environ, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert b"127.0.0.1:1" in ended.stderr
    assert b"Traceback" not in ended.stderr
