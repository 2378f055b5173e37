"""New keys are told of once, with what became of them and how a value looks; never a value, and never without bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from streamgauge.processors.inbox import Inbox, Notices, shown
from streamgauge.processors.tools import Tools
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.key_notes import KeyNote
from streamgauge.schemas.packing import pack_optional, pack_strings
from streamgauge.schemas.windows import DAY_MS
from tests.support.canaries import EVENT, SECRET, event
from tests.unit.processors.raw import NOW, ORDER, Sample, accumulated, committed, events, metrics, tools

DAY = NOW // DAY_MS
HTTP = MetricHead("requests", "counter", "1", ("route", "user_email", "peer"))


def told(*messages: bytes, by: Tools | None = None, now_ms: int = NOW) -> list[KeyNote]:
    """What one transaction tells of, declared fields aside."""
    _, entry = committed(messages, now_ms, by)
    return [one for one in entry.noticed if one.rule != "declared"]


def order(**columns: Any) -> bytes:
    return events([EVENT], **columns)


def test_labels_are_told_of_with_what_becomes_of_them_and_how_a_value_looks() -> None:
    samples = [Sample(HTTP, labels, NOW) for labels in (("/a/12", "jane", "p1"), ("/b", "joe", "x@example.com"))]
    assert told(metrics(samples)) == [
        KeyNote("requests", "user_email", "email", "a+"),
        KeyNote("requests", "peer", "email", "a@a+.a+"),
        KeyNote("requests", "route", "", "/a/9{2}"),
        KeyNote("requests", "peer", "", "a9"),
    ]


def test_fields_that_no_contract_declares_are_told_of_and_what_they_look_like() -> None:
    message = order(
        shoe_size=pack_strings([None]),
        reply_to=pack_strings(["jane@example.com"]),
        score=pack_optional("f8", [4111111111111111.0]),
    )
    assert sorted(told(message), key=lambda one: one.key) == [
        KeyNote("order", "reply_to", "unknown_field:email", "a+@a+.a+"),
        KeyNote("order", "score", "unknown_field:card", "9{16}"),
        KeyNote("order", "shoe_size", "unknown_field", ""),
    ]


def test_personal_data_in_a_declared_field_is_told_of_by_an_example_of_its_own() -> None:
    message = events([EVENT | {"country": one} for one in ("AU", "+49 30 901820", "x@example.com", "AU")])
    assert set(told(message)) == {
        KeyNote("order", "country", "email", "a@a+.a+"),
        KeyNote("order", "country", "phone", "+9{2} 9{2} 9{6}"),
    }


def test_context_in_which_detectors_find_something_is_told_of() -> None:
    message = events([EVENT], context={"service": "x@example.com"})
    assert told(message) == [KeyNote("order", "service", "email", "a@a+.a+")]


def test_what_is_declared_is_told_of_so_that_it_is_new_no_more() -> None:
    _, entry = committed([order()])
    assert [one.key for one in entry.noticed] == list(ORDER.fields)
    assert {(one.family, one.rule, one.shape) for one in entry.noticed} == {("order", "declared", "")}


def test_a_key_is_told_of_once_a_day_and_again_when_what_becomes_of_it_is_new() -> None:
    one, other = (metrics([Sample(MetricHead("m", "counter", "1", ("k",)), (text,), NOW)]) for text in ("a", "a@b.co"))
    by = tools()
    assert [note.rule for note in told(one, by=by)] == [""]
    assert told(one, one, by=by) == []
    assert [note.rule for note in told(other, by=by)] == ["email"]
    assert told(other, by=by) == []
    assert [note.rule for note in told(one, by=by, now_ms=NOW + DAY_MS)] == [""]
    by.inbox.forget()
    assert [note.rule for note in told(one, by=by)] == [""]


def test_of_rows_without_consent_nothing_is_told() -> None:
    asking = Contract("order", 1, ORDER.fields, purpose="marketing", legal_basis="consent")
    message = order(shoe_size=pack_strings(["44"]))
    assert told(message)
    assert not accumulated([message], contracts={("order", 1): asking}).notices.notes


def test_of_what_is_refused_nothing_is_told() -> None:
    head = MetricHead("m", "counter", "1", ("k",))
    assert told(metrics([Sample(head, ("v",), NOW - 4_000 * DAY_MS)])) == []


@pytest.mark.parametrize(
    "name", ["shoe_size", "userEmail2", "http.status_code", "x-api-key", "p99_ms", "k8s_pod", "_id"]
)
def test_names_that_somebody_gave_are_shown(name: str) -> None:
    assert shown(name, str) == name


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (SECRET, "a+-9a9a"),
        ("user_12345", "a+_9{5}"),
        ("Jane Doe", "a+ a+"),
        ("4111111111111111", "9{16}"),
        ("jane@example.com", "a+@a+.a+"),
        ("naïve", "a+"),
        ("x" * 400, "a+…"),
    ],
)
def test_names_that_are_made_of_something_else_are_shapes(name: str, shape: str) -> None:
    assert shown(name, str) == shape


def test_a_personal_name_is_a_shape_and_names_that_have_one_shape_are_one() -> None:
    by = tools()
    assert shown("mail_jane_at_gmail_com", by.cleaner.name) == "a+_a+_a+_a+_a+"
    message = order(**{f"slot_{number}": pack_strings(["x"]) for number in range(10_000, 10_200)})
    assert told(message, by=by) == [KeyNote("order", "a+_9{5}", "unknown_field", "a")]


def test_a_transaction_tells_of_so_many_and_counts_the_others_which_come_again() -> None:
    inbox = Inbox(capacity=5, per_transaction=3)
    names = ["a", "b", "c", "d", "e", "f"]

    def transaction(day: int) -> tuple[list[str], int]:
        notices = Notices(inbox, str)
        for name in names:
            notices.note("m", name, "", day)
        return [one.key for one in notices.notes], notices.dropped

    assert transaction(DAY) == (["a", "b", "c"], 3)
    assert transaction(DAY) == (["d", "e"], 1)
    assert transaction(DAY) == ([], 1)
    assert transaction(DAY + 1) == (["a", "b", "c"], 3)
    assert transaction(DAY + 1) == (["d", "e"], 1)


def test_a_transaction_that_is_full_looks_at_no_further_metric() -> None:
    by = replace(tools(), inbox=Inbox(per_transaction=2))
    heads = [MetricHead(f"m{number}", "counter", "1", ("a", "b")) for number in range(3)]
    batch = metrics([Sample(head, ("x", "y"), NOW) for head in heads])
    counts: list[tuple[int, int]] = []
    for messages in ([batch, batch], [batch], [batch], [batch]):
        _, entry = committed(messages, with_tools=by)
        counts.append((len(entry.noticed), entry.unnoticed))
    assert [told for told, _ in counts] == [2, 2, 2, 0]
    assert [dropped > 0 for _, dropped in counts] == [True, True, False, False]


def test_an_entry_says_how_many_it_could_not_tell_of() -> None:
    by = replace(tools(), inbox=Inbox(per_transaction=1))
    _, entry = committed([order(shoe_size=pack_strings(["1"]))], with_tools=by)
    assert (len(entry.noticed), entry.unnoticed) == (1, 1)


def test_what_is_noticed_changes_nothing_else() -> None:
    # validations that an example costs are nobody else's: the same batch becomes the same, whatever was told before
    rows = [EVENT | {"country": f"+49 30 90{number:04}"} for number in range(2_500)]
    message = events(rows, other=pack_strings([f"+49 40 90{number:04}" for number in range(2_500)]))
    fresh, knowing = tools(), tools()
    for name in ("country", "other"):
        for rule in ("phone", "unchecked", "unknown_field"):
            knowing.inbox.told["order", name, rule] = DAY
    both = [accumulated([message], with_tools=by) for by in (fresh, knowing)]
    assert both[0].scrubbed == both[1].scrubbed
    assert both[0].scrubbed["unchecked"] > 0


def test_a_worker_that_forgets_its_key_forgets_what_it_noticed() -> None:
    by = tools()
    told(order(shoe_size=pack_strings(["44"])), by=by)
    assert by.inbox.told
    by.use(by.hasher._ring, NOW)  # pyright: ignore[reportPrivateUsage]  # any ring will do
    assert not by.inbox.told
    assert not by.inbox.marks


def test_no_example_is_taken_from_a_missing_value() -> None:
    column = pack_optional("f8", [None, 7.0])
    message = events([EVENT, EVENT], size=column)
    assert told(message) == [KeyNote("order", "size", "unknown_field", "9")]


def test_the_notes_of_an_event_hold_no_value() -> None:
    name = SECRET.replace("-", "_")
    notes = told(orjson.dumps(event(fields={"shoe_size": pack_strings([SECRET]), name: pack_strings([SECRET])})))
    assert {(one.key, one.shape) for one in notes} == {("shoe_size", "a+-9a9a"), ("a+_9a9a", "a+-9a9a")}
