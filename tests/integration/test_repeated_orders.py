"""Two instances send the same orders while the worker is killed; each order counts once in the store, in every tier."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.windows import TIER_NAMES
from tests.support.deployment import Deployment
from tests.support.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(300)]

ORDERS = 12_000
REPEATED = 50
"""One order in so many stands in the file twice, too."""
CONTRACT = Contract(
    "order_placed",
    1,
    {
        "order_id": Field("idempotency_key"),
        "country": Field("dimension"),
        "amount": Field("measure", "number", unit="{USD}"),
    },
    time="at",
)
KILLS = 3


@pytest.fixture
def deployment(kafka: Broker, tmp_path: Path, unique: str) -> Iterator[Deployment]:
    """A region of its own, with a file of orders and its contract; commits follow each other quickly."""
    with Deployment(kafka.bootstrap, tmp_path, unique, commit_interval="200ms", block_interval="200ms") as one:
        (tmp_path / "order_placed.json").write_bytes(CONTRACT.dump())
        start_ms = time.time_ns() // 1_000_000 - 3_600_000
        lines = ["order_id,country,amount,at"]
        for number in range(ORDERS):
            line = f"o-{number},{('JP', 'AU', 'NZ')[number % 3]},{1 + number % 7},{start_ms + number * 100}"
            lines += [line] * (2 if number % REPEATED == 0 else 1)
        (tmp_path / "orders.csv").write_text("\n".join(lines))
        yield one


def send(deployment: Deployment, name: str, rate: str = "400") -> subprocess.Popen[bytes]:
    """An instance that sends all orders; slowly enough that kills hit their way."""
    words = ("replay", "orders.csv", "--contract", "order_placed.json", "--rate", rate, "--batch", "100", "--json")
    return deployment.start(name, *words)


def refused(deployment: Deployment) -> dict[str, int]:
    """Points refused by reason, as the account has them."""
    account: dict[str, Any] = deployment.verify("60s")
    assert (account["lost"], account["doubled"], account["exit_code"]) == (0, 0, 0)
    found: dict[str, int] = account["refused"]
    return found


def test_orders_that_two_instances_send_count_once_though_the_worker_is_killed(deployment: Deployment) -> None:
    deployment.start_worker()
    deployment.start_sink()
    senders = [send(deployment, "one"), send(deployment, "two")]
    for _ in range(KILLS):
        deployment.wait_for_points(deployment.points() + 500)  # its successor has begun to count
        deployment.kill("worker")
        deployment.start_worker()
    assert [one.wait(120) for one in senders] == [0, 0]
    deployment.wait_for_points(2 * ORDERS)
    again = send(deployment, "three", "0")  # long after the others, by another owner still
    deployment.kill("worker")
    deployment.start_worker()
    assert again.wait(120) == 0
    sent = 3 * (ORDERS + ORDERS // REPEATED)
    deadline = time.monotonic() + 60
    while (found := refused(deployment)).get("repeated_key", 0) < 2 * (sent - ORDERS) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == {"repeated_key": 2 * (sent - ORDERS)}
    for tier in TIER_NAMES:
        rows = deployment.rows(f"SELECT country, sum(count), sum(amount_sum) FROM order_placed_{tier} GROUP BY country")
        expected = {
            country: (ORDERS // 3, float(sum(1 + n % 7 for n in range(place, ORDERS, 3))))
            for place, country in enumerate(("JP", "AU", "NZ"))
        }
        assert {country: (n, total) for country, n, total in rows} == expected
