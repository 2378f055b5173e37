"""`streamgauge dev` and `demo` as a person runs them: real processes, the in-process broker, the embedded engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest

from tests.support.flights import ROWS, flights_file, points, truth

pytestmark = [pytest.mark.clickhouse, pytest.mark.timeout(400)]

COMMAND = [sys.executable, "-m", "streamgauge.console.cli"]


def environment() -> dict[str, str]:
    """Ours without anybody's settings."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("STREAMGAUGE_", "OTEL_"))}


def run(directory: Path, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[bytes]:
    """A command in `directory`, to its end."""
    return subprocess.run(
        [*COMMAND, *words], cwd=directory, env=environment(), capture_output=True, timeout=timeout, check=False
    )


class Dev:
    """A running `streamgauge dev`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = (directory / "dev.log").open("ab")
        self.process = subprocess.Popen(
            [*COMMAND, "dev"], cwd=directory, env=environment(), stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + 60
        while not (directory / ".streamgauge" / "dev.json").exists():
            assert self.process.poll() is None, (directory / "dev.log").read_text()
            assert time.monotonic() < deadline, (directory / "dev.log").read_text()
            time.sleep(0.05)
        self.addresses: dict[str, Any] = json.loads((directory / ".streamgauge" / "dev.json").read_text())

    def client(self) -> Any:
        """An ordinary ClickHouse client."""
        host, port = self.addresses["store"].removeprefix("http://").split(":")
        return clickhouse_connect.get_client(host=host, port=int(port), database=self.addresses["database"])

    def one(self, sql: str) -> Any:
        """The first value of an answer."""
        client = self.client()
        try:
            return client.query(sql).result_rows[0][0]
        finally:
            client.close()

    def wait_for(self, sql: str, wanted: Any, within: float = 120) -> None:
        """Until an answer is as wanted."""
        deadline = time.monotonic() + within
        while True:
            try:
                found = self.one(sql)
            except Exception as error:  # the store may be on its way back
                found = error
            if found == wanted:
                return
            assert time.monotonic() < deadline, (
                f"{found} instead of {wanted}: {(self.directory / 'dev.log').read_text()[-2000:]}"
            )
            time.sleep(0.2)

    def checked(self, within: float = 60) -> dict[str, Any]:
        """What the page says of the standing check, once there was one."""
        deadline = time.monotonic() + within
        while True:
            with urllib.request.urlopen(f"{self.addresses['page']}/api/state", timeout=10) as answer:
                state: dict[str, Any] = json.load(answer)
            if "checked" in state:
                found: dict[str, Any] = state["checked"]
                return found
            assert time.monotonic() < deadline, state
            time.sleep(0.2)

    def child(self, word: str) -> int:
        """The process id of a part, by a word of its command line."""
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            if word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                return int(pid)
        raise AssertionError(f"no child runs {word}")

    def end(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    one = Dev(tmp_path)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.end()


EMITTER = """
from streamgauge.producers import Counter, Dimension, Event, FreeText, Measure, Unique, emit, get_default, unit


class OrderPlaced(Event, owner="checkout", purpose="analytics", store_events=True):
    country: Dimension[str]
    amount: Measure[float, unit("{USD}")]
    email: Unique[str]
    remark: FreeText[str]


emit(OrderPlaced(country="JP", amount=42.5, email="ana@example.com", remark="tell ana@example.com"))
requests = Counter("checkout_requests", "Requests served", ["endpoint", "status"])
for number in range(1000):
    requests.labels("/pay", "500" if number % 10 == 0 else "200").inc()
report = get_default().flush(10)
assert report.left == 0, report
"""


def emit(directory: Path) -> None:
    """A service of a few lines, with nothing configured."""
    subprocess.run([sys.executable, "-c", EMITTER], cwd=directory, env=environment(), check=True, timeout=60)


def test_a_service_with_nothing_configured_is_seen_in_sql_and_survives_a_restart(dev: Dev, tmp_path: Path) -> None:
    emit(tmp_path)
    rate = "SELECT sumIf(value, status >= '500') / sum(value) FROM checkout_requests_1m"
    dev.wait_for("SELECT sum(count) FROM rollups_1d WHERE metric = 'checkout_requests'", 1000)
    assert dev.one(rate) == pytest.approx(0.1)
    dev.wait_for("SELECT (country, count, amount_sum) FROM order_placed_1d", ("JP", 1, 42.5))
    rows = "SELECT groupArray((country, amount, remark, substring(email, 1, 6), service)) FROM order_placed_events"
    dev.wait_for(rows, [("JP", 42.5, "tell [email]", "em_k1_", dev.one("SELECT any(service) FROM order_placed_1d"))])
    page = urllib.request.urlopen(dev.addresses["page"], timeout=10).read()
    assert b"streamgauge" in page.lower()
    account = json.loads(run(tmp_path, "verify", "--json").stdout)
    assert (account["lost"], account["doubled"]) == (0, 0)
    assert dev.checked()["exact"], "the standing check is on the page"
    dev.wait_for("SELECT max(value) > 1000 FROM streamgauge_verify_points_10s", 1)
    assert dev.end() == 0
    again = Dev(tmp_path)
    try:
        assert again.one("SELECT sum(count) FROM rollups_1d WHERE metric = 'checkout_requests'") == 1000
        emit(tmp_path)
        again.wait_for("SELECT sum(count) FROM rollups_1d WHERE metric = 'checkout_requests'", 2000)
        again.wait_for("SELECT (count(), uniqExact(email)) FROM order_placed_events", (2, 1))
        account = json.loads(run(tmp_path, "verify", "--json").stdout)
        assert (account["lost"], account["doubled"]) == (0, 0), (
            "offsets of the new broker start anew, the account goes on"
        )
    finally:
        assert again.end() == 0


def test_all_flights_through_the_embedded_parts_are_what_polars_says(dev: Dev, tmp_path: Path) -> None:
    fields = ("--time", "time_hour", "--dimension", "carrier,origin", "--measure", "dep_delay", "--unique", "tailnum")
    asked = ("--name", "flight", *fields, "--granularity", "1h", "--output", "flight.json")
    made = run(tmp_path, "contract", "infer", str(flights_file()), *asked)
    assert made.returncode == 0, made.stderr
    done = run(tmp_path, "replay", str(flights_file()), "--contract", "flight.json", "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sent"] == ROWS
    for tier in ("1h", "1d"):
        dev.wait_for(f"SELECT sum(count) FROM rollups_{tier} WHERE metric LIKE 'flight%'", points())
    client = dev.client()
    try:
        found = client.query(
            "SELECT carrier, origin, sum(count), sum(dep_delay_sum), min(dep_delay_min), max(dep_delay_max), "
            "uniqCombined64Merge(tailnums) FROM flight_1d GROUP BY carrier, origin"
        ).result_rows
    finally:
        client.close()
    expected = truth(["carrier", "origin"])
    assert {(row[0], row[1]) for row in found} == expected.keys()
    for carrier, origin, count, total, low, high, tails in found:
        want = expected[carrier, origin]
        assert (count, low, high) == (want["count"], want["min"], want["max"])
        assert total == pytest.approx(want["sum"], rel=1e-9)
        assert tails == pytest.approx(want["tails"], rel=0.02)


@pytest.mark.faults
@pytest.mark.parametrize("part", ["process", "sink", "streamgauge.console.door"])
def test_a_killed_part_is_started_again_and_nothing_is_lost(dev: Dev, tmp_path: Path, part: str) -> None:
    emit(tmp_path)
    dev.wait_for("SELECT sum(count) FROM rollups_1d WHERE metric = 'checkout_requests'", 1000)
    os.kill(dev.child(part), signal.SIGKILL)
    emit(tmp_path)
    dev.wait_for("SELECT sum(count) FROM rollups_1d WHERE metric = 'checkout_requests'", 2000)
    assert dev.end() == 0


def test_children_end_when_their_parent_is_killed(dev: Dev) -> None:
    children = [dev.child(word) for word in ("process", "sink", "streamgauge.console.door")]
    dev.process.kill()
    dev.process.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    dev.log.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for is dead all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_instance_on_the_same_directory_is_refused_and_harms_nothing(dev: Dev, tmp_path: Path) -> None:
    refused = run(tmp_path, "dev")
    assert refused.returncode == 2
    assert str(dev.process.pid).encode() in refused.stderr
    assert b"--directory" in refused.stderr
    assert dev.one("SELECT 1") == 1
    assert (tmp_path / ".streamgauge" / "dev.json").exists()


def test_a_port_in_use_is_refused_when_it_was_asked_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for flag in ("--page-port", "--store-port"):
            refused = run(tmp_path, "dev", flag, port)
            assert refused.returncode == 2
            assert f"port {port} is in use".encode() in refused.stderr


def test_a_directory_that_cannot_be_written_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run(tmp_path, "dev", "--directory", "file/inside")
    assert refused.returncode == 2
    assert b"--directory" in refused.stderr
    assert b"Traceback" not in refused.stderr


def test_the_demo_balances_its_account_and_ends_by_itself(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", "--seconds", "15", "--no-browser", "--json", "out.json", timeout=180)
    assert done.returncode == 0, done.stderr
    account = json.loads((tmp_path / "out.json").read_text())
    wanted = {
        "emitted",
        "rolled_up",
        "in_store",
        "refused",
        "scrubbed",
        "dead",
        "lost",
        "doubled",
        "lag_p50_s",
        "lag_p99_s",
    }
    assert wanted <= account.keys()
    assert account["emitted"] == account["rolled_up"] == account["in_store"] > 1_000
    assert (account["lost"], account["doubled"], account["refused"], account["dead"]) == (0, 0, 0, 0)
    assert all(account["scrubbed"][rule] == sent for rule, sent in account["planted"].items())
    assert sum(account["planted"].values()) > 0
    assert not (tmp_path / ".streamgauge" / "dev.json").exists()


def test_ctrl_c_ends_the_demo_with_its_final_account(tmp_path: Path) -> None:
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [*COMMAND, "demo", "--seconds", "300", "--no-browser", "--json", "out.json"],
        cwd=tmp_path,
        env=environment(),
        stderr=log,
    )
    deadline = time.monotonic() + 90
    while "in store 0" in (last := ((tmp_path / "log").read_text().splitlines() or [""])[-1]) or "emitted" not in last:
        assert time.monotonic() < deadline, last
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    code = process.wait(60)
    log.close()
    assert code == 0, (tmp_path / "log").read_text()
    assert json.loads((tmp_path / "out.json").read_text())["balanced"] is True
