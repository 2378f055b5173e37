from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pytest

from streamgauge.processors.testing import rolled_up
from streamgauge.producers import (
    Counter,
    Dimension,
    Event,
    FreeText,
    Gauge,
    Histogram,
    IdempotencyKey,
    Measure,
    Unique,
    unit,
)
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.events import contract_of


class Bought(Event, owner="shop", purpose="analytics"):
    """Someone bought something."""

    country: Dimension[str]
    plan: Dimension[Literal["free", "pro"]]
    amount: Measure[float, unit("{USD}")]
    customer: Unique[str]


class Paid(Event, owner="shop", purpose="analytics"):
    """An order was paid, however often it is told."""

    order: IdempotencyKey[str]


def bought(country: str = "JP", amount: float = 1.0, customer: str = "c-1") -> Bought:
    """One of them."""
    return Bought(country=country, plan="pro", amount=amount, customer=customer)


def test_metrics_come_out_as_the_store_would_have_them() -> None:
    producer, transport, clock = captured_producer(service="shop")
    requests = Counter("requests", "", ["path"], producer=producer)
    seconds = Histogram("seconds", producer=producer)
    queue = Gauge("queue", producer=producer)
    for turn in range(3):
        requests.labels("/a").inc(2)
        seconds.observe(0.1 * (turn + 1))
        queue.set(turn)
        clock.advance(10)
    requests.labels("/b").inc()
    producer.flush()

    rollup = rolled_up(transport)

    assert [(row.count, row.sum, row.tier) for row in rollup.of("requests", path="/a")] == [(1, 2.0, "10s")] * 3
    assert rollup.of("requests", path="/a")[0].window == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert rollup.total("requests").sum == 7.0
    assert rollup.total("requests").labels == {"service": "shop", "environment": "development", "region": "local"}
    total = rollup.total("seconds")
    assert (total.count, total.min) == (3, 0.1)
    assert total.max == pytest.approx(0.3)
    assert total.quantile(0.5) == pytest.approx(0.2, rel=0.011)
    assert (rollup.total("queue").last, rollup.total("queue", instance="test").max) == (2.0, 2.0)
    assert (rollup.refused, rollup.scrubbed) == ({}, {})


def test_events_are_admitted_scrubbed_and_counted() -> None:
    producer, transport, clock = captured_producer()
    for amount, customer in ((10.0, "c-1"), (30.0, "c-1"), (20.0, "c-2")):
        producer.emit(bought("JP", amount, customer))
        clock.advance(10)
    producer.emit(bought("write to ann@example.com"))
    producer.flush()

    rollup = rolled_up(transport, Bought)

    assert rollup.total("bought", country="JP").count == 3
    assert rollup.total("bought.amount", country="JP").sum == 60.0
    assert rollup.total("bought.amount", country="JP").quantile(0.5) == pytest.approx(20.0, rel=0.011)
    assert rollup.total("bought.customer", country="JP").distinct == 2
    assert rollup.total("bought", country="write to [email]").count == 1
    assert rollup.scrubbed == {"email": 1, "pseudonym": 4}


def test_keys_that_repeat_and_batches_that_are_sent_twice_count_once() -> None:
    producer, transport, _ = captured_producer()
    for order in ("o-1", "o-2", "o-1"):
        producer.emit(Paid(order=order))
    producer.flush()

    rollup = rolled_up([*transport.delivered, *transport.delivered], Paid)

    assert rollup.total("paid").count == 2
    assert rollup.refused == {"repeated_key": 1}


def test_an_event_that_no_worker_would_know_is_refused_and_the_advice_says_so() -> None:
    producer, transport, _ = captured_producer()
    producer.emit(bought())
    producer.flush()

    rollup = rolled_up(transport)

    assert rollup.refused == {"unknown_contract": 1}
    assert rollup.letters[0].detail == "bought version 1"
    with pytest.raises(LookupError, match=r"refused: \{'unknown_contract': 1\}"):
        rollup.total("bought")


def test_contracts_that_a_producer_announces_and_contracts_by_themselves_are_known_too() -> None:
    producer, transport, _ = captured_producer(publish_contracts=True)
    producer.emit(bought())
    producer.flush()

    assert rolled_up(transport).total("bought").count == 1
    raw = [one for one in transport.delivered if ".events." in one.topic]
    assert rolled_up(raw, contract_of(Bought)).total("bought").count == 1


def test_a_worker_that_knows_the_time_refuses_what_is_too_old() -> None:
    producer, transport, _ = captured_producer()
    Counter("requests", producer=producer).inc()
    producer.flush()

    assert rolled_up(transport, now_ms=1_900_000_000_000).refused == {"too_old": 1}
    assert rolled_up(transport, now_ms=1_800_000_000_000).refused == {}


def test_nothing_is_found_with_a_word_on_what_there_is() -> None:
    producer, transport, _ = captured_producer()
    Counter("requests", "", ["path"], producer=producer).labels("/a").inc()
    producer.flush()
    rollup = rolled_up(transport)

    with pytest.raises(LookupError, match=r"there are \['requests'\]"):
        rollup.total("request")
    with pytest.raises(LookupError, match="'path': '/a'"):
        rollup.total("requests", path="/b")
    assert rolled_up([]).rows == []


class Asked(Event, owner="support", purpose="support", store_events=True):
    """Somebody asked something."""

    queue: Dimension[str]
    minutes: Measure[float, unit("min")]
    customer_email: Unique[str | None] = None
    remark: FreeText[str | None] = None


def test_events_that_are_kept_by_themselves_come_out_scrubbed() -> None:
    producer, transport, _ = captured_producer(service="shop")
    producer.emit(Asked(queue="sales", minutes=2.5, customer_email="Ana@example.com", remark="to ana@example.com"))
    producer.emit(Asked(queue="sales", minutes=1.0))
    producer.emit(bought())
    producer.flush()

    first, second = rolled_up(transport, Asked, Bought).events

    assert (first.event, first.at) == ("asked", datetime(2027, 1, 15, 8, tzinfo=UTC))
    assert first.labels == {"queue": "sales", "service": "shop", "environment": "development", "region": "local"}
    assert (first.measures, first.texts) == ({"minutes": 2.5}, {"remark": "to [email]"})
    assert first.pseudonyms["customer_email"].startswith("em_k1_")
    assert (second.measures, second.pseudonyms, second.texts) == ({"minutes": 1.0}, {}, {})
