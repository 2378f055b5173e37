"""The event door: what a contract allows comes in, all else is told by event and field, and never by value."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from streamgauge.console.gateway_account import Refusal
from streamgauge.console.gateway_body import unpacked
from streamgauge.console.gateway_door import Answer
from streamgauge.console.gateway_rate import Rate
from streamgauge.schemas.contracts import Contract, Field
from tests.support.gateways import NOW_MS, TestGateway

ORDERS = Contract(
    "order_placed",
    1,
    {
        "order_id": Field("idempotency_key"),
        "country": Field("dimension", values=("JP", "DE")),
        "amount": Field("measure", "number", unit="{USD}"),
        "items": Field("measure", "integer", unit="{item}", optional=True),
        "customer": Field("unique"),
        "note": Field("dropped"),
    },
)
SECOND = Contract("order_placed", 2, {"country": Field("dimension")})
GOOD: dict[str, Any] = {"order_id": "o-1", "country": "JP", "amount": 42.5, "customer": "c-9"}


def door(*contracts: Contract, **changes: Any) -> TestGateway:
    return TestGateway({(one.name, one.version): one for one in contracts or (ORDERS,)}, **changes)


def post(one: TestGateway, *events: Any) -> Answer:
    return one.gateway.door.take(orjson.dumps(list(events)), one.gateway.now_ms())


def order(**changes: Any) -> dict[str, Any]:
    fields = {key: value for key, value in {**GOOD, **changes}.items() if value != "leave out"}
    return {"event": "order_placed", "fields": fields}


def test_an_event_of_a_contract_comes_in_and_dropped_fields_stay_out() -> None:
    one = door()
    answer = post(one, order(note="call me"))

    assert (answer.status, answer.accepted) == (202, 1)
    assert one.events("order_placed") == [
        {"order_id": "o-1", "country": "JP", "amount": 42.5, "items": None, "customer": "c-9"}
    ]
    assert not [message for message in one.transport.sent if b"call me" in message.value]


@pytest.mark.parametrize(
    ("event", "reason", "says"),
    [
        (order(country="FR"), "unknown_value", "country"),
        (order(amount="12"), "wrong_type", "amount"),
        (order(items=1.5), "wrong_type", "items"),
        (order(amount=None), "missing", "amount"),
        (order(amount="leave out"), "missing_field", "amount"),
        (order(colour="SECRET"), "undeclared_field", "colour"),
        (order(customer="x" * 5000), "too_long", "customer"),
        (order(customer=["SECRET"]), "wrong_type", "customer"),
        ({**order(), "version": 7}, "unknown_contract", "version 7"),
        ({**order(), "event": "nobody"}, "unknown_contract", "no contract"),
        ({**order(), "at": NOW_MS - 2 * 86_400_000}, "too_old", ""),
        ({**order(), "at": "2127-01-01T00:00:00Z"}, "in_the_future", ""),
        ({**order(), "at": "SECRET"}, "bad_event", "'at'"),
        ({**order(), "at": "2026-11-23T10:00:00"}, "bad_event", "time zone"),
        ({**order(), "colour": 1}, "bad_event", "'colour'"),
        ({**order(), "context": {"shoe": "SECRET"}}, "bad_event", "'shoe'"),
        ({**order(), "context": {"service": 5}}, "bad_event", "'context'"),
        ({"fields": {}}, "bad_event", "'event'"),
        ("SECRET", "bad_event", "JSON object"),
    ],
)
def test_what_is_wrong_is_told_by_field_and_never_by_value(event: Any, reason: str, says: str) -> None:
    one = door()
    answer = post(one, event)

    assert (answer.status, answer.accepted, dict(answer.refused)) == (400, 0, {reason: 1})
    (problem,) = answer.problems
    assert problem["reason"] == reason
    assert says in str(problem["why"])
    assert b"SECRET" not in answer.json()
    assert one.refused() == {("event", reason): 1}


def test_good_events_come_in_beside_bad_ones_and_the_answer_says_which_are_bad() -> None:
    one = door()
    answer = post(one, order(), order(country="FR"), order(order_id="o-2"))

    assert (answer.status, answer.accepted, dict(answer.refused)) == (202, 2, {"unknown_value": 1})
    assert [problem["number"] for problem in answer.problems] == [1]


def test_lines_are_as_good_as_an_array() -> None:
    one = door()
    body = b"\n".join([orjson.dumps(order(order_id="a")), b"", orjson.dumps(order(order_id="b"))])

    assert one.gateway.door.take(body, NOW_MS).accepted == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "empty"), (b"[]", "empty"), (b"{", "bad_json"), (b'{"a": 1}\n{', "bad_json"), (b"\xff", "bad_json")],
)
def test_a_body_without_events_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        door().gateway.door.take(body, NOW_MS)
    assert caught.value.reason == reason


def test_the_newest_version_is_meant_where_none_is_named() -> None:
    one = door(ORDERS, SECOND)
    assert post(one, {"event": "order_placed", "fields": {"country": "JP"}}).accepted == 1
    assert post(one, {**order(), "version": 1}).accepted == 1

    one.flush()
    assert sorted(batch.contract for batch in one.event_batches()) == [1, 2]


def test_an_event_has_its_own_time_and_its_senders_context() -> None:
    one = door()
    sent = {**order(), "at": "2027-01-15T08:00:00+00:00", "context": {"service": "till", "environment": "prod"}}
    assert post(one, sent, {**order(), "at": NOW_MS - 5}).accepted == 2

    one.flush()
    batches = {batch.origin.context["service"]: batch for batch in one.event_batches()}
    assert batches["till"].origin.context["environment"] == "prod"
    assert batches["till"].times.tolist() == [NOW_MS]
    assert batches["somebody"].times.tolist() == [NOW_MS - 5]


def test_equal_keys_of_two_senders_are_in_streams_that_no_worker_takes_for_one() -> None:
    one = door()
    for service in ("a", "b"):
        post(one, {**order(), "context": {"service": service}})
    one.flush()

    streams = [
        (b.origin.context["instance"], b.origin.epoch, b.origin.stream, b.origin.seq) for b in one.event_batches()
    ]
    assert len(set(streams)) == 2
    assert {stream for _, _, stream, _ in streams} == {streams[0][2]}
    assert streams[0][2].startswith("ik-order_placed-")


def test_more_events_a_second_than_allowed_are_told_to_come_later() -> None:
    one = door(gateway_events=2)
    assert post(one, order(), order()).status == 202
    assert post(one, order()).status == 429
    one.clock.advance(1)
    assert post(one, order()).status == 202


def test_rates_refill_with_time_and_never_beyond_a_second() -> None:
    rate = Rate(10)
    assert rate.take(10, 1.0)
    assert not rate.take(1, 1.0)
    assert rate.take(5, 1.5)
    assert not rate.take(11, 100.0)
    assert rate.take(10, 100.0)
    assert Rate(0).take(10**9, 0.0)


def test_a_packed_body_is_unpacked_within_its_bound() -> None:
    import gzip
    import zlib

    plain = b"x" * 100_000
    assert unpacked(gzip.compress(plain), "gzip", 200_000) == plain
    assert unpacked(zlib.compress(plain), "deflate", 100_000) == plain
    for body, encoding, reason in (
        (gzip.compress(plain), "gzip", "too_large"),
        (plain, "", "too_large"),
        (b"plain", "gzip", "bad_encoding"),
        (gzip.compress(b"abc")[:-6], "gzip", "bad_encoding"),
        (b"abc", "br", "unknown_encoding"),
    ):
        with pytest.raises(Refusal) as caught:
            unpacked(body, encoding, 1_000)
        assert caught.value.reason == reason


GRANTED = Contract("campaign", 1, {"source": Field("dimension")}, purposes=("advertising",), legal_basis="consent")


def test_a_posted_event_needs_the_consent_that_its_contract_asks_for_and_takes_it_along() -> None:
    one = door(GRANTED)
    event: dict[str, Any] = {"event": "campaign", "fields": {"source": "denied"}}
    yes: dict[str, Any] = {"event": "campaign", "fields": {"source": "web"}, "consent": {"purposes": ["advertising"]}}
    answer = post(one, event, event | {"consent": {"purposes": ["advertising"], "gpc": True}}, yes)
    assert (answer.accepted, answer.refused) == (1, {"no_consent:advertising": 1, "gpc:advertising": 1})
    assert one.events("campaign") == [{"source": "web"}]
    (message,) = (sent for sent in one.transport.sent if b"campaign" in sent.value and b"fields" in sent.value)
    assert message.json()["consent"]["d"] == [{"purposes": ["advertising"]}]
    assert b"denied" not in message.value


def test_a_consent_that_cannot_be_read_is_told_and_not_taken_for_one() -> None:
    one = door(GRANTED)
    answer = post(one, {"event": "campaign", "fields": {"source": "web"}, "consent": {"purposes": "advertising"}})
    assert (answer.accepted, answer.refused) == (0, {"bad_event": 1})
    assert "purposes" in str(answer.problems[0]["why"])
