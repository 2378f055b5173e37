"""Emitting: what of an event travels, in which stream, and what becomes of one that is not right."""

from __future__ import annotations

import enum
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers import (
    Dimension,
    Dropped,
    Event,
    IdempotencyKey,
    Measure,
    Unique,
    emit,
    set_default,
    unit,
)
from streamgauge.producers.event_rows import EventValueError
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.batches import MAX_INSTANT_MS
from streamgauge.schemas.contracts import parse_contract
from streamgauge.schemas.errors import DeclarationError
from streamgauge.schemas.events import contract_of
from tests.unit.producers.decoded import event_batches, rows


class Viewed(Event, version=2):
    """A page was viewed."""

    country: Dimension[str]
    segment: Dimension[Literal["free", "pro"]]
    campaign: Dimension[str | None] = None
    shelf: Dimension[int] = 0
    member: Dimension[bool] = False
    seconds: Measure[float | None, unit("s")] = None
    pages: Measure[int, unit("1")] = 1
    visitor: Unique[str]
    note: Dropped[object] = None


class Paid(Event):
    """An order was paid."""

    order_id: IdempotencyKey[str]
    amount: Measure[float, unit("{EUR}")] = 1.0


class Mood(enum.Enum):
    GOOD = 1


def viewed(**changes: Any) -> Viewed:
    values: dict[str, Any] = {"country": "NZ", "segment": "pro", "visitor": "v-1", "note": "raw text"}
    return Viewed(**{**values, **changes})


def test_an_event_travels_with_its_time_contract_and_kept_fields() -> None:
    producer, transport, clock = captured_producer(region="eu", cloud_region="eu-west-1", tenant="t1", service="shop")
    producer.emit(viewed())
    producer.emit(viewed(campaign="spring", shelf=7, member=True, seconds=1.5, pages=3), at_ms=1_799_999_000_123)
    producer.flush()
    (message,) = transport.delivered
    (batch,) = event_batches([message])
    assert (message.topic, message.key) == ("sg.eu.events.v1", b"test")
    assert (batch.event, batch.contract) == ("viewed", 2)
    assert (batch.origin.stream, batch.origin.seq, batch.origin.epoch) == ("test", 0, producer.epoch)
    assert batch.origin.context == {
        "service": "shop",
        "environment": "development",
        "instance": "test",
        "region": "eu-west-1",
        "tenant": "t1",
    }
    common = {"country": "NZ", "segment": "pro", "visitor": "v-1"}
    now = clock.wall_ns() // 1_000_000
    assert rows([message], "viewed") == [
        {**common, "campaign": None, "shelf": "0", "member": "false", "seconds": None, "pages": 1, "time": now},
        {
            **common,
            "campaign": "spring",
            "shelf": "7",
            "member": "true",
            "seconds": 1.5,
            "pages": 3,
            "time": 1_799_999_000_123,
        },
    ]


def test_a_dropped_field_never_enters_a_batch() -> None:
    producer, transport, _ = captured_producer()
    producer.emit(viewed(note="my card is 4111"))
    producer.flush()
    assert b"note" not in transport.delivered[0].value
    assert "note" not in transport.events("viewed")[0]


def test_integers_and_string_enumerations_are_texts_where_text_is_declared() -> None:
    class Color(enum.StrEnum):
        RED = "red"

    producer, transport, _ = captured_producer()
    producer.emit(viewed(country=7, visitor=Color.RED, campaign="half\udc80"))
    producer.flush()
    (row,) = rows(transport.delivered, "viewed")
    assert (row["country"], row["visitor"], row["campaign"]) == ("7", "red", "half?")


def test_a_decimal_is_a_number() -> None:
    producer, transport, _ = captured_producer()
    producer.emit(viewed(seconds=Decimal("1.25")))
    producer.flush()
    assert rows(transport.delivered, "viewed")[0]["seconds"] == 1.25


mistakes = [
    ({"country": None}, "missing"),
    ({"country": 1.5}, "wrong_type"),
    ({"country": "x" * 5000}, "too_long"),
    ({"segment": "gold"}, "unknown_value"),
    ({"segment": Mood.GOOD}, "wrong_type"),
    ({"shelf": "7"}, "wrong_type"),
    ({"member": 1}, "wrong_type"),
    ({"seconds": float("nan")}, "not_finite"),
    ({"seconds": "1.5"}, "wrong_type"),
    ({"seconds": True}, "wrong_type"),
    ({"pages": 1.5}, "wrong_type"),
    ({"pages": 1 << 63}, "out_of_range"),
    ({"visitor": b"v"}, "wrong_type"),
]


@pytest.mark.parametrize(("changes", "reason"), mistakes)
def test_a_wrong_value_raises_in_development_and_names_field_and_remedy(changes: dict[str, Any], reason: str) -> None:
    producer, transport, _ = captured_producer()
    with pytest.raises(EventValueError) as raised:
        producer.emit(viewed(**changes))
    assert raised.value.reason == reason
    assert repr(next(iter(changes))) in str(raised.value)
    producer.flush()
    assert event_batches(transport.sent) == []


@pytest.mark.parametrize(("changes", "reason"), mistakes)
def test_a_wrong_value_drops_the_event_in_production(changes: dict[str, Any], reason: str) -> None:
    producer, transport, _ = captured_producer(environment="production")
    producer.emit(viewed(**changes))
    producer.emit(viewed())
    producer.flush()
    assert len(rows(transport.delivered, "viewed")) == 1
    stats = producer.stats()
    assert stats.dropped == {("viewed", reason): 1}
    assert (stats.emitted["viewed"], stats.acknowledged["viewed"]) == (3, 2)


def test_an_error_never_shows_the_value() -> None:
    producer, _, _ = captured_producer()
    with pytest.raises(EventValueError) as raised:
        producer.emit(viewed(segment="4111 1111 1111 1111"))
    assert "4111" not in str(raised.value)
    assert "free, pro" in str(raised.value)


@pytest.mark.parametrize("at_ms", [-1, MAX_INSTANT_MS, 1_700_000_000_000_000])
def test_a_time_that_no_reader_believes_is_refused(at_ms: int) -> None:
    producer, _, _ = captured_producer(environment="production")
    producer.emit(viewed(), at_ms=at_ms)
    assert producer.stats().dropped == {("viewed", "time_out_of_range"): 1}


def test_what_is_no_event_is_refused() -> None:
    producer, _, _ = captured_producer()
    with pytest.raises(DeclarationError, match="declare a subclass of Event"):
        producer.emit(cast("Event", {"country": "JP"}))
    with pytest.raises(DeclarationError, match="declares nothing"):
        producer.emit(Event())
    lenient, _, _ = captured_producer(environment="production")
    lenient.emit(cast("Event", None))
    assert lenient.stats().dropped == {("not_an_event", "wrong_type"): 1}


def test_an_event_larger_than_a_batch_is_refused() -> None:
    producer, _, _ = captured_producer(environment="production", max_batch_bytes=1_000)
    producer.emit(viewed(country="x" * 2_000))
    assert producer.stats().dropped == {("viewed", "too_large"): 1}


def test_points_are_one_for_the_event_and_one_for_each_measure_it_carries() -> None:
    producer, _, _ = captured_producer()
    producer.emit(viewed())  # pages
    producer.emit(viewed(seconds=1.0))  # pages and seconds
    assert producer.stats().emitted == producer.stats().waiting == {"viewed": 5}
    producer.flush()
    assert producer.stats().acknowledged == {"viewed": 5}


def test_equal_idempotency_keys_share_a_stream_whoever_sends_them() -> None:
    streams: list[set[str]] = []
    for instance in ("one", "other"):
        producer, transport, _ = captured_producer(instance=instance)
        producer.emit(Paid(order_id="o-981"))
        producer.flush()
        (batch,) = event_batches(transport.delivered)
        assert transport.delivered[0].key == batch.origin.stream.encode()
        streams.append({batch.origin.stream})
    number = int.from_bytes(blake2b(b"o-981", digest_size=16).digest(), "big") % 64
    assert streams == [{f"ik-paid-{number:02d}"}] * 2


def test_keyed_events_keep_their_keys_and_number_each_stream_densely() -> None:
    producer, transport, _ = captured_producer()
    for turn in range(3):
        for order in range(200):
            producer.emit(Paid(order_id=f"{turn}-{order}"))
        producer.emit(viewed())
        producer.flush()
    seqs: dict[str, list[int]] = {}
    for batch in event_batches(transport.delivered):
        seqs.setdefault(batch.origin.stream, []).append(batch.origin.seq)
    assert len(seqs) > 50
    assert all(found == list(range(len(found))) for found in seqs.values())
    assert seqs["test"] == [0, 1, 2]
    keys = [row["order_id"] for row in rows(transport.delivered, "paid")]
    assert sorted(keys) == sorted(f"{turn}-{order}" for turn in range(3) for order in range(200))


def test_emit_uses_the_default_producer() -> None:
    producer, transport, _ = captured_producer()
    set_default(producer)
    try:
        emit(viewed())
        emit(viewed(), at_ms=5)
    finally:
        set_default(None)
    producer.flush()
    assert len(transport.events("viewed")) == 2


times = st.integers(0, MAX_INSTANT_MS - 1)
texts = st.text(max_size=20)


@given(st.lists(st.tuples(times, texts, st.none() | st.floats(-1e300, 1e300)), max_size=30))
def test_whatever_times_and_values_events_have_all_of_them_arrive(events: list[tuple[int, str, float | None]]) -> None:
    producer, transport, _ = captured_producer(max_batch=7)
    for at_ms, country, seconds in events:
        producer.emit(viewed(country=country, seconds=seconds), at_ms=at_ms)
    producer.flush()
    found = [(row["time"], row["country"], row["seconds"]) for row in rows(transport.delivered, "viewed")]
    assert sorted(map(repr, found)) == sorted(map(repr, events))
    assert all(len(batch.times) <= 7 for batch in event_batches(transport.delivered))
    assert producer.stats().emitted == producer.stats().acknowledged


def test_a_contract_goes_before_the_first_event_of_its_class_where_it_is_asked_for() -> None:
    producer, transport, _ = captured_producer(publish_contracts=True)
    for _ in range(2):
        producer.emit(Paid(order_id="o-1"))
        producer.flush(1)
    assert [message.topic.split(".")[2] for message in transport.delivered] == ["contracts", "events", "events"]
    assert transport.delivered[0].key == b"paid@1"
    assert parse_contract(transport.delivered[0].value) == contract_of(Paid)
    assert producer.stats().emitted == {"paid": 4}
