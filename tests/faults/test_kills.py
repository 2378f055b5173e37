"""Kills while a data file is replayed: whatever ends when, every row is counted once in every tier."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import polars as pl
import pytest

from tests.support.deployment import Deployment
from tests.support.flights import flights, flights_file, points
from tests.support.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]

RATE = "12000"


@pytest.fixture
def deployment(kafka: Broker, tmp_path: Path, unique: str) -> Iterator[Deployment]:
    """A region of its own; commits and inserts follow each other quickly, so that kills hit them."""
    with Deployment(kafka.bootstrap, tmp_path, unique, commit_interval="300ms", block_interval="200ms") as one:
        made = one.run(
            "contract", "infer", str(flights_file()), "--name", "flight", "--time", "time_hour", "--dimension", "carrier,origin",
            "--measure", "dep_delay", "--unique", "tailnum", "--granularity", "1h", "--output", str(tmp_path / "flight.json"),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        yield one


def start_replay(deployment: Deployment) -> subprocess.Popen[bytes]:
    """All flights, slowly enough that faults hit their way."""
    return deployment.start(
        "replay", "replay", str(flights_file()), "--contract", "flight.json", "--rate", RATE, "--json"
    )


def assert_every_flight_counts_once(deployment: Deployment) -> None:
    """The account says so, and a recount from the input agrees, in both tiers that flights are kept in."""
    deployment.wait_for_points(points(), within=180)
    account = deployment.verify("60s")
    assert (account["lost"], account["doubled"], account["points"]) == (0, 0, points())
    by_carrier = flights().group_by("carrier").agg(pl.len(), pl.col("dep_delay").sum())
    expected = {carrier: (n, total) for carrier, n, total in by_carrier.iter_rows()}
    for tier in ("1h", "1d"):
        found = deployment.rows(f"SELECT carrier, sum(count), sum(dep_delay_sum) FROM flight_{tier} GROUP BY carrier")
        assert {carrier: (n, total) for carrier, n, total in found} == expected
    assert account["exit_code"] == 0


def test_worker_sink_and_store_killed_in_rotation_lose_and_double_nothing(deployment: Deployment) -> None:
    deployment.start_worker()
    deployment.start_sink()
    replay = start_replay(deployment)
    restart: dict[str, Callable[[], object]] = {
        "worker": deployment.start_worker,
        "sink": deployment.start_sink,
        "store": deployment.start_store,
    }
    kills = 0
    for name in cycle(restart):
        try:
            replay.wait(4.0)
            break
        except subprocess.TimeoutExpired:
            deployment.kill(name)
            restart[name]()
            kills += 1
    assert replay.returncode == 0
    assert kills >= 6
    assert_every_flight_counts_once(deployment)
