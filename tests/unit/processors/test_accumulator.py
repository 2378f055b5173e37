"""What a batch may carry and what becomes of the rest; contracts that are missing, late or replaced."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import orjson
import pytest

from streamgauge.processors.accumulator import Accumulator
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.packing import pack, pack_strings
from tests.unit.processors.raw import (
    CONTRACTS,
    NOW,
    ORDER,
    PLACE,
    Sample,
    always,
    committed,
    events,
    metrics,
    never,
    tools,
)
from tests.unit.processors.totals import Totals

STRICT = Contract(
    "visit",
    1,
    {
        "page": Field("dimension"),
        "plan": Field("dimension", values=("free", "pro")),
        "seconds": Field("measure", "number"),
        "person": Field("unique"),
        "note": Field("dropped"),
    },
)
KNOWN = {**CONTRACTS, ("visit", 1): STRICT}
VISIT: dict[str, Any] = {"page": "/a", "plan": "free", "seconds": 1.5, "person": "p1"}


def totals(*messages: bytes, now_ms: int = NOW) -> Totals:
    """What one transaction over the messages adds up to."""
    return Totals().read(committed(messages, now_ms, contracts=KNOWN)[0])


@pytest.mark.parametrize("name", ["page", "plan", "seconds", "person"])
def test_a_batch_without_a_required_field_is_refused_whole(name: str) -> None:
    rows = [{key: value for key, value in VISIT.items() if key != name}] * 3
    found = totals(events(rows, STRICT), events([VISIT], STRICT))
    points = 3 if name == "seconds" else 6
    assert found.refused == {"missing_field": points}
    assert [(one.reason, one.detail, one.event, one.rows, one.offset) for one in found.dead] == [
        ("missing_field", name, "visit", points, 0)
    ]
    assert found.points == 2


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("page", {"f8": pack("f8", [1.0])}),
        ("person", {"i8": pack("i8", [1])}),
        ("seconds", pack_strings(["1.5"])),
    ],
)
def test_a_field_of_another_type_than_declared_refuses_the_batch(name: str, column: Any) -> None:
    found = totals(events([VISIT], STRICT, **{name: column}))
    assert found.refused == {"wrong_type": 1 if name == "seconds" else 2}
    assert found.dead[0].detail == name
    assert found.cells == {}


def test_rows_outside_a_closed_set_are_refused_and_the_others_counted() -> None:
    rows = [VISIT, {**VISIT, "plan": "gold"}, {**VISIT, "plan": None}, {**VISIT, "plan": ""}]
    found = totals(events(rows, STRICT))
    assert found.refused == {"bad_value": 6}
    assert found.points == 2
    # where the field is optional, a missing value is none of the bad ones
    assert totals(events([{"segment": "free"}, {"segment": None}, {}])).points == 3


def test_what_is_not_declared_or_declared_dropped_is_counted_and_goes_no_further() -> None:
    (entry,) = totals(events([{**VISIT, "note": "n", "shoe_size": "43", "hat": "L"}] * 4, STRICT)).ledger
    assert entry.scrubbed == {"dropped": 4, "unknown_field": 8, "pseudonym": 4}
    assert entry.total == 8


def test_scrubbed_values_are_counted_by_rule_and_row() -> None:
    rows = [{"country": "jane@example.com"}, {"country": "joe@example.com"}, {"country": "AU"}]
    found = totals(events(rows), events(rows[:1], context={"service": "203.0.113.7"}))
    assert found.ledger[0].scrubbed == {"email": 3, "ip": 1}
    assert {key[1] for key in found.cells} == {
        (("country", "[email]"), ("service", "shop")),
        (("country", "AU"), ("service", "shop")),
        (("country", "[email]"), ("service", "[ip]")),
    }


def test_series_that_become_equal_by_scrubbing_merge() -> None:
    found = totals(events([{"country": f"u{number}@example.com", "amount": 1.0} for number in range(50)]))
    assert {(key[0], cell.count) for key, cell in found.cells.items()} == {("order", 50), ("order.amount", 50)}


def test_a_contract_that_is_not_known_is_waited_for_and_then_refused() -> None:
    accumulator = Accumulator(PLACE, tools())
    message = events([{"country": "AU", "amount": 2.0}] * 3)
    assert not accumulator.add(7, message, {}, NOW, always)
    assert (accumulator.messages, accumulator.batches, accumulator.size, accumulator.refused) == (0, 0, 0, {})
    assert accumulator.add(7, message, {}, NOW, never)
    assert accumulator.refused == {"unknown_contract": 3}
    assert accumulator.dead[0].detail == "order version 1"
    assert accumulator.add(8, events([{"country": "AU", "amount": 2.0}] * 3), CONTRACTS, NOW, always)
    assert (accumulator.messages, accumulator.batches, accumulator.points) == (2, 1, 6)
    assert accumulator.add(9, message, CONTRACTS, NOW, always), "what was refused comes back by replaying its letter"
    assert (accumulator.messages, accumulator.points, accumulator.refused) == (3, 6, {"unknown_contract": 3})


def test_a_known_contract_of_another_version_does_not_do() -> None:
    asked: list[tuple[str, int]] = []

    def wait(key: tuple[str, int]) -> bool:
        asked.append(key)
        return True

    assert not Accumulator(PLACE, tools()).add(0, events([{}], replace(ORDER, version=9)), CONTRACTS, NOW, wait)
    assert asked == [("order", 9)]


def test_a_contract_that_is_replaced_while_a_transaction_is_open_mixes_nothing_up() -> None:
    other = replace(ORDER, fields={"city": Field("dimension"), "amount": Field("measure", "number")})
    accumulator = Accumulator(PLACE, tools())
    accumulator.add(0, events([{"country": "AU", "amount": 1.0}]), {("order", 1): ORDER}, NOW, never)
    accumulator.add(1, events([{"city": "Perth", "amount": 2.0}]), {("order", 1): other}, NOW, never)
    accumulator.add(2, events([{"country": "AU", "amount": 4.0}]), {("order", 1): ORDER}, NOW, never)
    assert accumulator.points == 6
    assert len(accumulator.events) == 2


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "bad_json"),
        (b"[]", "wrong_type"),
        (b'{"v":2,"kind":"events"}', "unknown_version"),
        (b'{"v":1,"kind":"poems"}', "unknown_kind"),
        (b'{"v":1,"v":1}', "duplicate_key"),
    ],
)
def test_what_is_no_batch_is_one_refused_point_with_its_reason(value: bytes | None, reason: str) -> None:
    found = Totals().read(committed([value])[0])
    assert [(one.reason, one.rows) for one in found.dead] == [(reason, 1)]
    assert found.refused == {reason: 1}
    assert (found.ledger[0].messages, found.ledger[0].batches, found.points) == (1, 0, 0)


def test_messages_that_are_too_large_are_refused() -> None:
    small = replace(tools(), max_message_bytes=10)
    assert Totals().read(committed([events([{}])], with_tools=small)[0]).refused == {"too_large": 1}


def test_a_sum_beyond_all_doubles_stays_at_their_end_and_takes_nothing_along() -> None:
    head, largest = MetricHead("requests", "counter"), sys.float_info.max
    found = totals(
        events([{"amount": 1.7e308}, {"amount": 1.7e308}, {"country": "AU", "amount": 2.5}]),
        metrics([Sample(head, (), NOW, 1, 1.7e308)]),
        metrics([Sample(head, (), NOW, 1, 1.7e308)]),
    )
    assert sorted(cell.sum for key, cell in found.cells.items() if key[0] != "order") == [2.5, largest, largest]
    assert found.refused == {}


def test_many_series_over_a_century_still_fall_into_their_own_windows() -> None:
    # labels and windows together have more combinations than one key can hold
    steps = range(0, 4_000_000_000_000, 80_000_000_000)
    rows = [{"time": time, "country": f"c{time % 977}", "customer": f"p{time}"} for time in steps]
    batches = [events([row], backfill=True) for row in rows]
    wide = Contract("wide", 1, {f"d{number}": Field("dimension") for number in range(8)})
    many = [
        events(
            [{"time": time, **{f"d{n}": f"v{(time // 7 + n * 31 + i) % 61}" for n in range(8)}}], wide, backfill=True
        )
        for i, time in enumerate(steps)
    ]
    found = Totals().read(committed([*batches, *many], contracts={**CONTRACTS, ("wide", 1): wide})[0])
    for name in ("order", "wide"):
        windows = sorted(key[3] for key in found.cells if key[0] == name)
        assert windows == [time // 10_000 * 10 for time in steps]
    assert sum(map(len, found.distinct.values())) == len(rows)


def test_a_gauge_is_kept_by_instance_and_a_counter_is_not() -> None:
    gauge, counter = MetricHead("depth", "gauge"), MetricHead("requests", "counter")
    found = totals(
        *(
            metrics([Sample(gauge, (), NOW, 1, 1.0), Sample(counter, (), NOW)], {"service.instance.id": name})
            for name in ("i1", "i2")
        )
    )
    assert {(key[0], key[1]) for key in found.cells} == {
        ("depth", (("instance", "i1"),)),
        ("depth", (("instance", "i2"),)),
        ("requests", ()),
    }


def test_declared_fields_stand_for_themselves_whatever_the_context_says() -> None:
    found = totals(
        events([{"country": "AU"}], context={"country": "NZ", "service": "shop"}),
        metrics([Sample(MetricHead("m", "counter", "", ("country",)), ("JP",), NOW)], {"country_code": "NZ"}),
    )
    assert {key[1] for key in found.cells} == {(("country", "AU"), ("service", "shop")), (("country", "JP"),)}


def test_one_metric_declared_in_two_ways_stays_two_metrics() -> None:
    found = totals(
        metrics([Sample(MetricHead("m", "counter", "s"), (), NOW)]),
        metrics([Sample(MetricHead("m", "gauge", "By"), (), NOW)]),
    )
    assert [[(one.type, one.unit) for one in message.metrics] for _, message in found.messages] == [
        [("counter", "s"), ("gauge", "By")]
    ]


def test_keys_of_the_envelope_that_are_not_known_change_nothing() -> None:
    message = orjson.loads(events([{"country": "AU"}])) | {"consent": {}, "from_the_future": 1}
    assert totals(orjson.dumps(message)).points == 1
