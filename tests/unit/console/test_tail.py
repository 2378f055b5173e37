"""Tail: what comes by is shown as a worker would pass it on, and nothing else of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from streamgauge.console.dead_letters import Origin
from streamgauge.console.tail import Filter, Glass, Passing, Seen
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.schemas.again import AGAIN_HEADER, Again
from streamgauge.schemas.batches import MetricHead
from tests.support.canaries import PERSONAL, SECRET, anywhere, everything
from tests.unit.processors.raw import CONTRACTS, KEY, NOW, ORDER, Sample, events, metrics

ORIGIN = Origin("sg.local.events.v1", 1, 77)
ROW: dict[str, Any] = {
    "country": "mail jane@example.com",
    "segment": "free",
    "amount": 2.5,
    "customer": "c-1",
    "note": "n",
}


def seen(value: bytes | None, glass: Glass | None = None, headers: Any = None, known: bool = True) -> Seen:
    """What is shown of a message."""
    passing = Passing(ORIGIN, NOW, value, headers)
    return (glass or Glass(Scrubber())).look(passing, CONTRACTS if known else {})


def said(one: Seen) -> str:
    """Everything that is printed of it, in both forms."""
    return "\n".join(one.lines("local")) + orjson.dumps(one.json("local")).decode()


def test_a_batch_of_events_shows_declared_fields_cleaned() -> None:
    one = seen(events([ROW] * 5, context={"service.name": "shop"}))
    assert (one.names, one.service, one.rows, one.contract, one.known) == (("order",), "shop", 5, 1, True)
    assert [row.row for row in one.sample] == [0, 1, 2]
    assert one.sample[0].fields == {"country": "mail [email]", "segment": "free", "amount": 2.5, "customer": "[unique]"}
    head, first, *_ = one.lines("local")
    assert "events:1:77" in head
    assert "shop  order 1  5 rows" in head
    assert "country=mail [email]  segment=free  amount=2.5  customer=[unique]" in first


def test_with_the_key_a_person_is_a_few_digits_of_the_workers_own_pseudonym() -> None:
    glass = Glass(Scrubber(), DistinctHasher(KEY, "local"))
    one = seen(events([ROW, {"customer": "c-2"}, {"customer": " c-1 "}], context={"tenant": "t1"}), glass)
    shown = [row.fields["customer"] for row in one.sample]
    (wanted,) = DistinctHasher(KEY, "local").hashes("order.customer", "t1", ["c-1"], NOW)
    assert shown[0] == shown[2] == f"~{int(wanted):016x}"[:9]
    assert shown[1] != shown[0]


def test_metrics_show_their_names_and_labels() -> None:
    head = MetricHead("requests", "counter", "1", ("route",))
    one = seen(metrics([Sample(head, ("jane@example.com",), NOW, count=2, sum=3.0)], {"service": "shop"}), known=False)
    assert (one.kind, one.names, one.rows, one.known) == ("metrics", ("requests",), 1, True)
    assert "requests  count=2.0  sum=3.0  route=[email]" in one.lines("local")[1]


def test_of_an_unknown_contract_nothing_but_its_name_is_shown() -> None:
    one = seen(events([ROW]), known=False)
    assert (one.known, one.sample) == (False, ())
    assert "order 1 (contract not known)" in one.lines("local")[0]


def test_what_cannot_be_read_is_its_reason_and_length() -> None:
    one = seen(b'{"jane@example.com"')
    assert (one.reason, one.size) == ("bad_json", 19)
    assert "not readable: bad_json, 19 bytes" in one.lines("local")[0]
    assert "jane" not in said(one)
    assert seen(None).reason == "empty"


def test_a_replay_says_of_what() -> None:
    header = [(AGAIN_HEADER, Again(5, "too_old").encode())]
    assert "replay of offset 5" in seen(events([ROW]), headers=header).lines("local")[0]
    assert seen(b"{", headers=header).json("local")["replay_of"] == 5
    assert seen(events([ROW]), headers=[(AGAIN_HEADER, b"{")]).again is None


def test_filters_take_events_metrics_and_services() -> None:
    one = seen(events([ROW], context={"service": "shop"}))
    assert Filter().takes(one)
    assert Filter(("order",), ("shop",)).takes(one)
    assert not Filter(("visit",)).takes(one)
    assert not Filter((), ("web",)).takes(one)
    unreadable = seen(b"{")
    assert Filter().takes(unreadable)
    assert not Filter(("order",)).takes(unreadable)
    assert not Filter((), ("",)).takes(unreadable)


@pytest.mark.parametrize("canary", PERSONAL)
@pytest.mark.parametrize("place", everything("1"))
def test_personal_data_is_never_shown(place: str, canary: str) -> None:
    one = seen(orjson.dumps(everything(canary)[place]), Glass(Scrubber(), DistinctHasher(KEY, "local"), 100))
    assert canary not in said(one)


@pytest.mark.parametrize("place", anywhere(""))
def test_what_no_contract_passes_on_is_never_shown(place: str) -> None:
    assert SECRET not in said(seen(orjson.dumps(anywhere(SECRET)[place])))


def test_a_value_outside_a_closed_set_is_told_by_its_length() -> None:
    one = seen(events([{**ROW, "segment": SECRET}], replace(ORDER)))
    assert SECRET not in said(one)
    assert one.sample[0].fields["segment"] == f"[not in the set, {len(SECRET)} characters]"
