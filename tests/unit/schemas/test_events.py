"""Event classes: what they declare, what they refuse, and that they equal their contract."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from streamgauge.schemas.contracts import Field, parse_contract
from streamgauge.schemas.errors import ContractError, DeclarationError
from streamgauge.schemas.events import (
    Dimension,
    Dropped,
    Event,
    EventArgumentsError,
    IdempotencyKey,
    Measure,
    Unique,
    check_equal,
    contract_of,
    snake_case,
    unit,
)
from streamgauge.schemas.small_cells import SmallCells


class OrderPlaced(Event, version=3, owner="checkout", retention="400d", purpose="analytics", granularity="1m"):
    """A customer paid
    for a basket."""

    country: Dimension[str]
    segment: Dimension[Literal["free", "pro"]]
    coupon: Dimension[str | None]
    amount: Measure[float, unit("{USD}")]
    items: Measure[int, unit("1")] = 1
    customer_id: Unique[str]
    order_id: IdempotencyKey[str]
    note: Dropped[str] = ""


def order(**changes: Any) -> OrderPlaced:
    values: dict[str, Any] = {
        "country": "JP",
        "segment": "pro",
        "amount": 42.5,
        "customer_id": "c-981",
        "order_id": "o-1",
    }
    return OrderPlaced(**{**values, **changes})


def test_a_class_declares_its_contract() -> None:
    contract = contract_of(OrderPlaced)
    assert (contract.name, contract.version, contract.owner) == ("order_placed", 3, "checkout")
    assert (contract.retention, contract.purpose, contract.granularity) == ("400d", "analytics", "1m")
    assert contract.description == "A customer paid\nfor a basket."
    assert contract.fields == {
        "country": Field("dimension"),
        "segment": Field("dimension", values=("free", "pro")),
        "coupon": Field("dimension", optional=True),
        "amount": Field("measure", "number", unit="{USD}"),
        "items": Field("measure", "integer", unit="1"),
        "customer_id": Field("unique"),
        "order_id": Field("idempotency_key"),
        "note": Field("dropped"),
    }


def test_the_contract_of_a_class_survives_its_file() -> None:
    contract = contract_of(OrderPlaced)
    assert parse_contract(contract.dump()) == contract


def test_a_name_may_be_chosen() -> None:
    class Paid(Event, name="order_paid"):
        country: Dimension[str]

    assert contract_of(Paid).name == "order_paid"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("OrderPlaced", "order_placed"), ("HTTPCall", "http_call"), ("Order2Placed", "order2_placed"), ("Ad", "ad")],
)
def test_class_names_become_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_fields_of_a_base_class_are_inherited() -> None:
    class Base(Event):
        country: Dimension[str]

    class Child(Base, version=2):
        amount: Measure[float, unit("s")]

    assert list(contract_of(Child).fields) == ["country", "amount"]
    assert contract_of(Child).name == "child"


def test_an_event_holds_what_it_was_given_and_fills_in_defaults() -> None:
    event = order(coupon="SPRING")
    assert (event.country, event.coupon, event.items, event.note) == ("JP", "SPRING", 1, "")
    assert order().coupon is None


def test_events_are_equal_by_class_and_values() -> None:
    assert order() == order()
    assert order() != order(amount=1.0)


def test_the_repr_of_an_event_shows_no_value() -> None:
    shown = repr(order(note="ring the bell"))
    assert "customer_id" in shown
    assert "c-981" not in shown
    assert "bell" not in shown


def test_building_an_event_names_every_missing_and_unknown_field() -> None:
    with pytest.raises(EventArgumentsError) as raised:
        OrderPlaced(contry="JP", segment="pro", amount=1.0, customer_id="c", ip="::1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    said = str(raised.value)
    assert "lacks country, order_id" in said
    assert "does not declare contry, ip" in said
    assert isinstance(raised.value, TypeError)


def test_a_wrong_declaration_names_everything_wrong_with_it() -> None:
    with pytest.raises(DeclarationError) as raised:

        class Wrong(Event, version=0, retention="4 weeks", granularity="2s"):  # pyright: ignore[reportUnusedClass]
            ratio: Dimension[float]
            size: Measure[float]  # type: ignore[valid-type]  # pyright: ignore
            both: Dimension[str | int]
            plain: str
            mixed: Dimension[Literal["a", 1]]
            key: IdempotencyKey[str | None]
            other: IdempotencyKey[str]
            second: IdempotencyKey[str]
            window: Dimension[str]

    said = str(raised.value)
    for part in (
        "fields.ratio: a dimension holds one of: str, int, bool, Literal[...]",
        'fields.size: a measure has one unit: Measure[float, unit("s")]',
        "fields.both: of several types only `X | None` is possible",
        "fields.plain: say what it is: Dimension[...]",
        "fields.mixed: a Literal holds strings only, or integers only",
        "fields.key: an idempotency key cannot be missing",
        "fields: an event has at most one IdempotencyKey",
        "fields.window: this name is a column of every view",
        "version: must be 1 or more",
        "granularity: '2s' is none of",
        "retention: say a number and a unit",
    ):
        assert part in said


def test_an_annotation_that_cannot_be_resolved_is_a_declaration_error() -> None:
    with pytest.raises(DeclarationError, match="importable where the class stands"):

        class Wrong(Event):  # pyright: ignore[reportUnusedClass]
            country: Dimension[NoSuchType]  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore


def test_the_base_class_has_no_contract() -> None:
    with pytest.raises(DeclarationError, match="pass a subclass"):
        contract_of(Event)


def test_a_class_equals_its_own_contract_whatever_the_file_adds() -> None:
    contract = contract_of(OrderPlaced)
    described = {**contract.fields, "country": replace(contract.fields["country"], description="ISO 3166")}
    check_equal(OrderPlaced, replace(contract, fields=described, examples={"valid": []}, time="at"))


def test_a_class_asks_for_small_cells_as_a_contract_does() -> None:
    class Seen(Event, small_cells=SmallCells(5, "person")):
        """Somebody came."""

        person: Unique[str]

    contract = contract_of(Seen)
    assert contract.small_cells == SmallCells(5, "person", "1d", "2d")
    with pytest.raises(ContractError, match="small_cells: SmallCells"):
        check_equal(Seen, replace(contract, small_cells=SmallCells(4, "person")))
    with pytest.raises(DeclarationError, match="'person' is no unique field"):
        type("Told", (Event,), {"__annotations__": {}}, small_cells=SmallCells(5, "person"))


def test_a_class_says_how_long_its_tiers_are_kept() -> None:
    class Seen(Event, retention="30d", retention_tiers={"10s": "1d"}):
        page: Dimension[str]

    assert contract_of(Seen).json()["retention_tiers"] == {"10s": "1d"}
    with pytest.raises(DeclarationError, match=r"retention_tiers\.1h: 60d is longer than the retention 30d"):

        class Kept(Event, retention="30d", retention_tiers={"1h": "60d"}):  # pyright: ignore[reportUnusedClass]  # it raises
            page: Dimension[str]


def test_every_difference_between_class_and_contract_is_named() -> None:
    contract = contract_of(OrderPlaced)
    fields = dict(contract.fields)
    del fields["note"]
    fields["amount"] = replace(fields["amount"], unit="{EUR}")
    fields["segment"] = replace(fields["segment"], values=("free",))
    fields["extra"] = Field("dimension")
    other = replace(contract, retention_tiers={"1h": "1d"})
    with pytest.raises(ContractError) as raised:
        check_equal(OrderPlaced, replace(other, version=4, owner="sales", fields=fields))
    said = str(raised.value)
    for part in (
        "version: 3 in the class, 4 in the contract",
        "owner: 'checkout' in the class, 'sales' in the contract",
        "fields.amount.unit: '{USD}' in the class, '{EUR}' in the contract",
        "fields.segment.values",
        "retention_tiers: {} in the class, {'1h': '1d'} in the contract",
        "fields.note: only in the class",
        "fields.extra: only in the contract",
    ):
        assert part in said
