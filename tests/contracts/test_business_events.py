"""Business events on the real engine: the page's events, emitted, rolled up and stored, give the numbers that were put in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from streamgauge.producers import Event, operation
from streamgauge.producers.bridges.http_server import ServerMetrics
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.histogram import RELATIVE_ERROR
from tests.support import documents
from tests.support.documents import ROOT
from tests.support.rolled_up import RolledUp
from tests.support.snippets import events_of, program

pytestmark = pytest.mark.clickhouse

HOW_TO = ROOT / "docs" / "how-to"
NOW = datetime.now(UTC)
LAST_MONTH = NOW.replace(day=1, hour=12) - timedelta(days=5)


def people(*names: str) -> list[str]:
    return [f"c-{name}" for name in names]


def happened(kinds: Any) -> Iterator[tuple[Event, datetime]]:
    """Two months of a small shop."""
    for channel, customers in (("search", people("ann", "bob")), ("ads", people("cid"))):
        for customer in customers:
            yield kinds.SignedUp(channel=channel, plan="pro", customer_id=customer), NOW
    for customer, result in zip(
        people("ann", "ann", "bob", "eve"), ["let_in", "let_in", "let_in", "refused"], strict=True
    ):
        yield kinds.LoggedIn(way="sso", result=result, customer_id=customer), NOW
    for step, visitors in (("visit", "abcd"), ("visit", "ab"), ("basket", "ab"), ("paid", "a")):
        for visitor in visitors:
            yield kinds.StepReached(step=step, visitor_id=visitor), NOW
    payments = [("sale", "EUR", 100.0), ("sale", "EUR", 50.0), ("refund", "EUR", 20.0), ("sale", "USD", 10.0)]
    for number, (direction, currency, amount) in enumerate(payments):
        yield (
            kinds.PaymentTaken(
                payment_id=f"p-{number}", direction=direction, currency=currency, amount=amount, customer_id="c-ann"
            ),
            NOW,
        )
    for feature, customers in (("search", people("ann", "bob", "cid", "dan")), ("export", people("ann", "ann"))):
        for customer in customers:
            yield kinds.FeatureUsed(feature=feature, plan="pro", customer_id=customer), NOW
    for customer, amount in (("c-ann", 10.0), ("c-ann", 2.5), ("c-bob", 7.0)):
        yield kinds.OrderReturned(reason="damaged", amount=amount, customer_id=customer), NOW
    changes = [("started", 10.0, LAST_MONTH)] * 10 + [("started", 10.0, NOW)] * 2 + [("cancelled", -10.0, NOW)] * 3
    for number, (change, monthly, at) in enumerate(changes):
        yield (
            kinds.SubscriptionChanged(change=change, plan="pro", monthly=monthly, customer_id=f"c-{number}"),
            at,
        )


@pytest.fixture(scope="module")
def rolled_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolledUp]:
    producer, transport, clock = captured_producer(service="shop", strict=True)
    clock.step(NOW.timestamp() - clock.wall_ns() / 1e9)
    store = RolledUp(tmp_path_factory.mktemp("store"), "business", events_of(HOW_TO / "business-events.md"))

    def take(now: datetime) -> None:
        producer.flush(5)
        store.take(transport.delivered, round(now.timestamp() * 1_000))
        transport.delivered.clear()

    with program(HOW_TO / "business-events.md") as (names, _):
        events = list(happened(SimpleNamespace(**names)))
    for month in (LAST_MONTH, NOW):  # a worker refuses events that are a week old
        for event, at in events:
            if at is month:
                producer.emit(event, at_ms=round(at.timestamp() * 1_000))
        take(month)
    server = ServerMetrics(producer)
    for number in range(10):
        error = "KeyError" if number < 2 else ""
        server.end(server.begin("POST"), ("POST", "/pay", "500" if error else "200", error), 0.3, 0, 0)
    with operation("charge_card", producer=producer):
        pass
    take(NOW)
    store.store.engine.command("USE business")
    yield store
    store.close()


def answers(store: RolledUp, page: str, place: int) -> list[list[tuple[Any, ...]]]:
    """What the statements of a page's SQL block say."""
    text = documents.snippets(HOW_TO / page, "sql")[place].text
    return [[tuple(row) for row in store.rows(one)] for one in text.split(";\n") if one.strip()]


def test_sign_ups_are_counted_by_day_and_channel(rolled_up: RolledUp) -> None:
    (rows,) = answers(rolled_up, "business-events.md", 0)

    assert [row[1:] for row in rows] == [("ads", 1), ("search", 2)]


def test_logins_say_who_is_refused_and_how_many_people_come(rolled_up: RolledUp) -> None:
    refused, daily, monthly = answers(rolled_up, "business-events.md", 1)

    assert [row[1] for row in refused] == [0.25]
    assert [row[1] for row in daily] == [2]
    assert monthly == [(2,)]


def test_conversion_counts_each_visitor_once_a_step(rolled_up: RolledUp) -> None:
    (rows,) = answers(rolled_up, "business-events.md", 2)

    assert rows == [("visit", 4, 1.0), ("basket", 2, 0.5), ("paid", 1, 0.25)]


def test_revenue_is_by_currency_and_less_what_went_back(rolled_up: RolledUp) -> None:
    (rows,) = answers(rolled_up, "business-events.md", 3)
    found = {row[1]: row[2:] for row in rows}

    assert found["EUR"][:2] == (2, 130.0)
    assert found["EUR"][2] == pytest.approx(50.0, rel=RELATIVE_ERROR)
    assert found["USD"][:2] == (1, 10.0)
    assert {row[3] for row in found.values()} == {1}


def test_adoption_is_a_share_of_the_people_of_a_plan(rolled_up: RolledUp) -> None:
    (rows,) = answers(rolled_up, "business-events.md", 4)

    assert rows == [("pro", "search", 4, 1.0), ("pro", "export", 1, 0.25)]


def test_churn_is_what_ended_by_what_there_was(rolled_up: RolledUp) -> None:
    subscriptions, revenue = answers(rolled_up, "business-events.md", 5)

    assert [row[1:4] for row in subscriptions] == [(10, 0, 10), (2, 3, 9)]
    assert [row[4] for row in subscriptions] == [None, 0.3]
    assert [row[1:] for row in revenue] == [(100.0, 100.0, 0.0), (-10.0, 90.0, -30.0)]


def test_single_events_say_who_by_a_token_what_and_when(rolled_up: RolledUp) -> None:
    ((row,),) = answers(rolled_up, "business-events.md", 6)

    token, returned, value, reasons, latest = row
    assert (returned, value, reasons) == (2, 12.5, ["damaged"])
    assert "_k" in token
    assert "ann" not in token
    assert abs(latest.timestamp() - NOW.timestamp()) < 1


def test_requests_and_operations_answer_one_question(rolled_up: RolledUp) -> None:
    everything, routes = answers(rolled_up, "bridges.md", 0)

    assert [row[:4] for row in everything] == [
        ("http_server_request_duration", "/pay", 10, 0.2),
        ("operation_duration", "charge_card", 1, 0.0),
    ]
    assert everything[0][4] == pytest.approx(0.3, rel=RELATIVE_ERROR)
    assert routes == [("/pay", 0.2)]
