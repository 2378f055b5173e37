"""Of rows with one idempotency key the first that is accepted counts; the others are refused without a letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamgauge.processors.accumulator import Accumulator
from streamgauge.processors.keys import KeyTable, RecentKeys
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.packing import pack_optional
from tests.unit.processors.raw import CONTRACTS, NOW, PAID, PLACE, committed, events, never, tools
from tests.unit.processors.totals import Totals

DAY_MS = 86_400_000


def paid(*keys: str | None, contract: Contract = PAID, **more: Any) -> bytes:
    """A batch of payments of 2 USD."""
    return events([{"order_id": key, "country": "JP", "amount": 2.0} for key in keys], contract, **more)


def totals(*messages: bytes, contracts: Sequence[Contract] = ()) -> Totals:
    """What one transaction over the messages adds up to."""
    known = CONTRACTS | {(one.name, one.version): one for one in contracts}
    return Totals().read(committed(messages, contracts=known)[0])


def counted(found: Totals, metric: str = "paid") -> int:
    """Points of a metric."""
    return sum(cell.count for (name, *_), cell in found.cells.items() if name == metric)


@pytest.mark.parametrize("batches", [[["a", "b", "a", "c", "a"]], [["a", "b"], ["a", "c", "a"]]])
def test_a_key_counts_once_in_a_batch_and_over_batches(batches: list[list[str]]) -> None:
    found = totals(*(paid(*keys) for keys in batches))
    assert (counted(found), counted(found, "paid.amount")) == (3, 3)
    assert found.refused == {"repeated_key": 4}
    assert found.dead == []
    assert found.points == 6


def test_the_row_that_counts_is_the_first_one() -> None:
    rows: list[Mapping[str, Any]] = [{"order_id": "a", "country": one} for one in ("JP", "AU", "NZ")]
    assert [dict(labels)["country"] for _, labels, _, _ in totals(events(rows, PAID)).cells] == ["JP"]


def test_a_batch_of_nothing_but_repeats_adds_nothing() -> None:
    found = totals(paid("a"), paid("a"), paid("a"))
    assert (counted(found), found.refused) == (1, {"repeated_key": 4})
    assert found.ledger[0].batches == 3


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_row_without_a_key_is_refused_and_the_others_count(key: str | None) -> None:
    found = totals(paid("a", key, key, "b"))
    assert (counted(found), found.refused) == (2, {"missing_field": 4})
    assert [(one.reason, one.rows) for one in found.dead] == [("missing_field", 4)]


@pytest.mark.parametrize("optional", [False, True])
def test_a_batch_without_the_column_is_refused(optional: bool) -> None:
    contract = replace(PAID, fields={**PAID.fields, "order_id": Field("idempotency_key", optional=optional)})
    found = totals(events([{"country": "JP"}, {"country": "AU"}], contract), contracts=[contract])
    assert (counted(found), found.refused) == (0, {"missing_field": 2})


def test_a_column_of_numbers_is_no_column_of_keys() -> None:
    found = totals(events([{"country": "JP"}], PAID, order_id=pack_optional("f8", [1.0])))
    assert found.refused == {"wrong_type": 1}


def test_a_row_that_is_refused_for_another_reason_does_not_use_up_its_key() -> None:
    old = events([{"order_id": "a", "time": NOW - 30 * DAY_MS}, {"order_id": "a"}, {"order_id": "a"}], PAID)
    found = totals(old)
    assert (counted(found), found.refused) == (1, {"too_old": 1, "repeated_key": 1})


def test_equal_keys_of_two_events_or_two_tenants_are_two_and_of_two_versions_one() -> None:
    refund, second = replace(PAID, name="refund"), replace(PAID, version=2)
    found = totals(
        paid("a"), paid("a", contract=refund), paid("a", context={"tenant": "x"}), paid("a", contract=second),
        contracts=[refund, second],
    )  # fmt: skip
    assert (counted(found), counted(found, "refund"), found.refused) == (2, 1, {"repeated_key": 2})


def test_a_key_counts_again_when_it_comes_after_the_horizon_whatever_its_time_says() -> None:
    accumulator = Accumulator(PLACE, tools())
    for now in (NOW, NOW + DAY_MS, NOW + DAY_MS + 1_000):
        late = events([{"order_id": "a", "time": NOW - 3 * DAY_MS}], PAID, backfill=True)
        assert accumulator.add(0, late, CONTRACTS, now, never)
    assert (accumulator.points, accumulator.refused) == (2, {"repeated_key": 1})


def test_a_repeated_batch_is_a_repeat_and_its_rows_are_not_counted_as_such_again() -> None:
    batch = paid("a", "b")
    found = totals(batch, batch)
    assert (counted(found), found.refused) == (2, {})


def test_until_keys_are_known_a_batch_of_events_that_have_them_waits_and_no_other() -> None:
    keys = RecentKeys()
    accumulator = Accumulator(PLACE, tools(), keys=keys)
    assert accumulator.add(0, events([{"country": "JP"}]), CONTRACTS, NOW, never)
    assert not keys.wanted
    batch = paid("a")
    assert not accumulator.add(1, batch, CONTRACTS, NOW, never)
    assert (keys.wanted, accumulator.messages, accumulator.points) == (True, 1, 1)
    keys.table = KeyTable()
    assert accumulator.add(1, batch, CONTRACTS, NOW, never)  # not taken for a repeat
    assert accumulator.points == 3


def test_a_batch_that_waits_for_its_contract_uses_up_no_key() -> None:
    accumulator = Accumulator(PLACE, tools())
    batch = paid("a")
    assert not accumulator.add(0, batch, {}, NOW, lambda _: True)
    assert accumulator.add(0, batch, CONTRACTS, NOW, never)
    assert accumulator.points == 2
