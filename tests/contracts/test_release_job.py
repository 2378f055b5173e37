"""The release job from the call to the view: what an application emits, rolled up, stored, decided and read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from click.testing import CliRunner

from streamgauge.console.commands_release import Decided, release, release_once
from streamgauge.producers import Dimension, Event, Measure, SmallCells, Unique, unit
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.contracts import parse_contract
from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.events import contract_of
from streamgauge.sinks.releases import asking
from streamgauge.sinks.store import Store
from tests.support.rolled_up import RolledUp

pytestmark = pytest.mark.clickhouse

NOW = datetime.now(UTC)
HOURS = [NOW - timedelta(hours=n) for n in (5, 4, 3)]


class OrderPlaced(Event, small_cells=SmallCells(5, "customer_id", "1h", "1h")):
    """A customer paid for a basket."""

    country: Dimension[str]
    amount: Measure[float, unit("{USD}")]
    customer_id: Unique[str]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolledUp]:
    producer, transport, clock = captured_producer(service="shop", strict=True)
    clock.step(NOW.timestamp() - clock.wall_ns() / 1e9)
    store = RolledUp(tmp_path_factory.mktemp("store"), "job", [contract_of(OrderPlaced)])
    for hour in HOURS:
        for country, customers in (("JP", 20), ("DE", 7), ("IS", 1)):
            for number in range(customers):
                order = OrderPlaced(country=country, amount=10.0, customer_id=f"{country}-{number}")
                producer.emit(order, at_ms=round(hour.timestamp() * 1_000))
    producer.flush(5)
    store.take(transport.delivered, round(NOW.timestamp() * 1_000))
    yield store
    store.close()


def run(shop: RolledUp, windows: int) -> list[Decided]:
    """The job, told to end after so many windows."""
    told: list[str] = []
    return release_once(
        shop.store, shop.database, shop.contracts, lambda: len(told) >= windows, lambda _, said: told.append(said)
    )


def test_what_was_emitted_is_read_without_its_small_groups(shop: RolledUp) -> None:
    (first,) = run(shop, 1)
    assert (first.windows, first.shown, first.hidden, first.withheld) == (1, 1, 2, 0)
    (rest,) = run(shop, 9)
    assert (rest.windows, rest.first > first.last) == (2, True), "a job that was ended goes on where it was"
    assert [one.windows for one in run(shop, 9)] == [0]
    found = shop.rows(
        "SELECT country, count(), sum(count), sum(amount_sum), min(contributors) FROM job.order_placed_released"
        " GROUP BY country ORDER BY country"
    )
    assert [tuple(row) for row in found] == [("JP", 3, 60, 600.0, 20), ("__suppressed__", 3, 24, 240.0, 8)]


def test_only_the_newest_contract_of_an_event_asks() -> None:
    old = contract_of(OrderPlaced)
    new = orjson.loads(old.dump()) | {"version": 2}
    new.pop("small_cells")
    later = parse_contract(orjson.dumps(new))
    assert asking([later, old]) == []
    assert asking([old]) == [(old, old.small_cells)]


def test_a_job_without_its_contracts_decides_nothing(monkeypatch: pytest.MonkeyPatch, shop: RolledUp) -> None:
    """An older contract than the newest may hide less: where Kafka does not answer, the job does not guess."""

    def silent(*_: object) -> None:
        raise BrokerUnavailable("no Kafka broker answers")

    def here(_: object) -> Store:
        return shop.store

    monkeypatch.setattr("streamgauge.schemas.contract_topic.published", silent)
    monkeypatch.setattr("streamgauge.sinks.store.Store", here)
    run_cli = CliRunner()
    refused = run_cli.invoke(release, ["--once"])
    assert isinstance(refused.exception, BrokerUnavailable)
    done = run_cli.invoke(release, ["--once", "--files-only", "--json", "--database", shop.database])
    assert (done.exit_code, orjson.loads(done.stdout)["decided"]) == (0, [])
