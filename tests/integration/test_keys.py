"""Keys rotate and are destroyed under a running worker: totals stay exact, and no key is ever shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes

import pytest

from streamgauge.processors.keyring import DAY_MS, day_of, new_ring, next_day
from streamgauge.processors.keyring_file import change_ring, create_ring
from streamgauge.schemas.contracts import Contract, Field
from tests.support.deployment import Deployment
from tests.support.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(300)]

PEOPLE = 40
CONTRACT = Contract("visit", 1, {"customer": Field("unique")}, granularity="1d", time="at")


@pytest.fixture
def deployment(kafka: Broker, tmp_path: Path, unique: str) -> Iterator[Deployment]:
    """A region whose worker has a ring in a file, and reads it again every second."""
    with Deployment(
        kafka.bootstrap, tmp_path, unique, commit_interval="200ms", block_interval="200ms",
        pseudonym_key="", keys="keys.json", keys_interval="1s",
    ) as one:  # fmt: skip
        (tmp_path / "visit.json").write_bytes(CONTRACT.dump())
        yield one


def visits(deployment: Deployment, days: tuple[int, ...], points: int) -> None:
    """Everybody comes once on each day; waits until that is in the store."""
    at = [datetime.fromtimestamp(day / 1000, UTC).isoformat() for day in days]
    rows = [f"c-{number},{one}" for one in at for number in range(PEOPLE)]
    (deployment.directory / "visits.csv").write_text("\n".join(["customer,at", *rows]))
    assert deployment.run("replay", "visits.csv", "--contract", "visit.json").returncode == 0
    deployment.wait_for_points(points)


def people(deployment: Deployment, wanted: dict[str, int]) -> dict[str, int]:
    """Distinct customers of each day, and of all of them together; waits for them to be as wanted."""
    sql = (
        "SELECT if(grouping(window) = 0, toString(toDate(window)), 'all'), uniqCombined64Merge(customers) FROM visit_1d "
        "GROUP BY GROUPING SETS ((window), ())"
    )
    deadline = time.monotonic() + 20
    found: dict[str, int] = {}
    while found != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
        found = {str(row[0]): int(row[1]) for row in deployment.rows(sql)}
    return found


def test_a_ring_that_changes_under_a_running_worker_changes_no_total_and_shows_no_key(deployment: Deployment) -> None:
    path, now_ms = deployment.directory / "keys.json", time.time_ns() // 1_000_000
    after = next_day(now_ms)
    before = after - DAY_MS
    ring = new_ring(now_ms, token_bytes(32), token_bytes(32)).rotated(after, now_ms, token_bytes(32))
    create_ring(path, ring, now_ms)
    deployment.start_worker()
    deployment.start_sink()

    wanted = {day_of(before): PEOPLE, day_of(after): PEOPLE, "all": 2 * PEOPLE}  # nobody is known over two keys
    visits(deployment, (before, after, before, after), 4 * PEOPLE)
    assert people(deployment, wanted) == wanted

    change_ring(path, "destroyed", now_ms, lambda ring: (ring.destroyed("k1", now_ms), ring.keys[0]))
    deadline = time.monotonic() + 30
    while f"k1 {ring.keys[0].fingerprint} destroyed" not in deployment.log("worker") and time.monotonic() < deadline:
        time.sleep(0.1)
    visits(deployment, (before - DAY_MS, after), 6 * PEOPLE)
    wanted |= {day_of(before - DAY_MS): 0}
    assert people(deployment, wanted) == wanted

    deployment.end("worker")
    deployment.end("sink")  # after its last block
    found = deployment.rows("SELECT sumMap(scrubbed) FROM ledger FINAL")[0][0]
    assert found == {"pseudonym": 5 * PEOPLE, "key_destroyed": PEOPLE}
    everything = "".join(one.read_text() for one in deployment.directory.glob("*.log"))
    for key in ring.keys:
        assert key.fingerprint in everything
    for secret in (key.reveal() for key in (*ring.keys, ring.recognition)):
        assert secret.hex() not in everything
        assert repr(secret) not in everything
