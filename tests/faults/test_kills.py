"""Kills and failing commits on a real broker: whatever ends when, every point is counted once in every tier."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import polars as pl
import pytest

from tests.support.deployment import Deployment
from tests.support.flights import flights, flights_file, points
from tests.support.kafka import ROOT, Broker

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


def test_worker_and_sink_killed_in_rotation_lose_and_double_nothing(deployment: Deployment) -> None:
    deployment.start_worker()
    deployment.start_sink()
    replay = start_replay(deployment)
    restart = {"worker": deployment.start_worker, "sink": deployment.start_sink}
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
    assert kills >= 4
    assert_every_flight_counts_once(deployment)


def test_commits_that_fail_in_a_living_worker_lose_and_double_nothing(deployment: Deployment) -> None:
    log = os.open(deployment.directory / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    environ = deployment.environ | {"FAIL_EVERY": "5", "STREAMGAUGE_SESSION_TIMEOUT": "6s"}
    deployment.parts["worker"] = subprocess.Popen(
        [sys.executable, "-m", "tests.support.failing_worker"], env=environ, cwd=ROOT, stdout=log, stderr=log
    )
    os.close(log)
    deployment.start_sink()
    replay = start_replay(deployment)
    assert replay.wait(300) == 0
    assert_every_flight_counts_once(deployment)
    assert deployment.log("worker").count("commit failed on purpose") >= 4


def test_a_store_killed_in_the_middle_of_inserts_heals(deployment: Deployment) -> None:
    deployment.start_worker()
    deployment.start_sink()
    replay = start_replay(deployment)
    kills = 0
    while replay.poll() is None and kills < 3:
        try:
            replay.wait(5.0)
        except subprocess.TimeoutExpired:
            deployment.kill("store")
            deployment.start_store()
            kills += 1
    assert replay.wait(300) == 0
    assert kills == 3
    assert_every_flight_counts_once(deployment)


def test_a_second_worker_takes_over_and_gives_back(deployment: Deployment) -> None:
    deployment.start_worker()
    deployment.start_sink()
    replay = start_replay(deployment)
    deployment.start_worker("second")
    while "in force" not in deployment.log("second"):  # it has started, and knows the contract
        assert replay.poll() is None
        time.sleep(0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        replay.wait(6.0)
    assert deployment.end("second") == 0
    assert replay.wait(300) == 0
    assert_every_flight_counts_once(deployment)
