"""Events of contracts that depend on a person's consent: who has not granted it is not in any byte that leaves the process."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from streamgauge.processors.testing import rolled_up
from streamgauge.producers import Consent, Dimension, Event, Measure, Unique, emit, granted, unit
from streamgauge.producers.testing import captured_producer, capturing


class Campaign(Event, purposes=("analytics", "advertising"), legal_basis="consent"):
    """Somebody came by an advertisement."""

    source: Dimension[str]
    cost: Measure[float | None, unit("{EUR}")] = None
    visitor: Unique[str]


class Order(Event):
    """An order, which needs nobody's consent."""

    country: Dimension[str]


YES = Consent(frozenset({"analytics", "advertising"}), version="7")


def test_an_event_without_consent_is_dropped_and_counted_by_reason_and_purpose() -> None:
    producer, transport, _ = captured_producer()
    producer.emit(Campaign(source="secret-a", visitor="v1", cost=1.0))
    producer.emit(Campaign(source="secret-b", visitor="v2"), consent=Consent(frozenset({"analytics"})))
    producer.emit(Campaign(source="secret-c", visitor="v3"), consent=Consent(YES.purposes, gpc=True))
    producer.emit(Campaign(source="web", visitor="v4", cost=2.0), consent=YES)
    producer.flush()
    assert transport.events("campaign") == [{"source": "web", "cost": 2.0, "visitor": "v4"}]
    assert not any(b"secret" in message.value for message in transport.sent)
    assert producer.stats().dropped == {
        ("campaign", "no_consent:analytics"): 2,
        ("campaign", "no_consent:advertising"): 1,
        ("campaign", "gpc:advertising"): 1,
    }


def test_the_consent_travels_with_its_event_and_is_asked_for_again_by_the_worker() -> None:
    producer, transport, _ = captured_producer()
    for number in range(3):
        producer.emit(Campaign(source="web", visitor=f"v{number}"), consent=YES)
    producer.flush()
    (message,) = (one for one in transport.delivered if b"campaign" in one.value)
    assert message.json()["consent"]["d"] == [{"purposes": ["advertising", "analytics"], "version": "7"}]
    assert rolled_up([message], Campaign).total("campaign").count == 3
    without = {key: value for key, value in message.json().items() if key != "consent"}
    forged = type(message)(message.topic, message.key, orjson.dumps(without))
    found = rolled_up([forged], Campaign)
    assert (found.rows, found.refused) == ([], {"no_consent:analytics": 3})


def test_an_event_that_needs_no_consent_carries_none() -> None:
    producer, transport, _ = captured_producer()
    producer.emit(Order(country="NZ"))
    producer.emit(Order(country="NZ"), consent=YES)
    producer.flush()
    assert len(transport.events("order")) == 2
    assert not any(b"consent" in one.value for one in transport.delivered)


def test_a_block_grants_for_the_calls_in_it_and_its_tasks_but_not_beyond() -> None:
    with capturing() as telemetry:
        with granted(YES):
            emit(Campaign(source="block", visitor="a"))
            with granted(None):
                emit(Campaign(source="inner", visitor="b"))
            emit(Campaign(source="again", visitor="b"))
            emit(Campaign(source="given", visitor="c"), consent=Consent())
        emit(Campaign(source="after", visitor="d"))

        async def serve(source: str, consent: Consent | None) -> None:
            with granted(consent):
                await asyncio.sleep(0)
                emit(Campaign(source=source, visitor="e"))

        async def both() -> None:
            await asyncio.gather(serve("granted", YES), serve("refused", None))

        asyncio.run(both())
        found: list[dict[str, Any]] = telemetry.events("campaign")
    assert [one["source"] for one in found] == ["block", "again", "granted"]


def test_a_denied_event_raises_nowhere_not_even_in_development() -> None:
    producer, _, _ = captured_producer(environment="development")
    assert producer.settings.raises
    producer.emit(Campaign(source="web", visitor="v"))
    assert sum(producer.stats().dropped.values()) == 1
