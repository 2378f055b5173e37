"""Contract files: what is read, what is refused, and that every problem is named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.consent import LEGAL_BASES
from streamgauge.schemas.contracts import (
    EVENT_COLUMNS,
    EVENT_TIME,
    FIELD_KINDS,
    FIELD_TYPES,
    GENERALISE_RULES,
    RESERVED_COLUMNS,
    WHERE_COLLECTED,
    Contract,
    Field,
    load_contracts,
    parse_contract,
)
from streamgauge.schemas.errors import ContractError
from streamgauge.schemas.keeping import kept_ms
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.small_cells import SmallCells
from streamgauge.schemas.windows import TIER_NAMES
from tests.properties.messages import MODERATE, names, texts


@st.composite
def declared_fields(draw: st.DrawFn) -> Field:
    """Any field that a contract may declare."""
    kind = draw(st.sampled_from(FIELD_KINDS))
    allowed = ("integer", "number") if kind == "measure" else FIELD_TYPES
    values = tuple(draw(st.lists(texts, max_size=3)))
    if kind == "free_text":
        return Field(kind, optional=draw(st.booleans()), description=draw(texts))
    if kind == "dimension" and not values and draw(st.booleans()):
        return Field(kind, optional=draw(st.booleans()), generalise=draw(st.sampled_from(GENERALISE_RULES)))
    return Field(kind, draw(st.sampled_from(allowed)), draw(texts), values, draw(st.booleans()), draw(texts))


field_names = names.filter(lambda name: name not in RESERVED_COLUMNS | EVENT_COLUMNS | {EVENT_TIME})
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
contracts = st.builds(
    Contract,
    names,
    st.integers(1, 1_000),
    st.dictionaries(field_names, declared_fields(), max_size=4),
    owner=texts,
    purpose=texts.filter(bool),
    retention=st.sampled_from(["", "400d", "36h", "forever"]),
    granularity=st.sampled_from(TIER_NAMES),
    time=st.sampled_from(["", "Placed At"]),
    description=texts,
    examples=st.dictionaries(texts, json_values, max_size=2),
    legal_basis=st.sampled_from(["", *LEGAL_BASES]),
    residency=st.sampled_from([WHERE_COLLECTED, ("eu",), ("eu", "uk-1")]),
    loosens=st.dictionaries(texts, texts.filter(str.strip), max_size=2),
    retention_tiers=st.sampled_from([{}, {"1d": "36h"}, {"1d": "1d", "events": "36h"}]),
    store_events=st.booleans(),
)


def body(**changes: Any) -> dict[str, Any]:
    """A small contract as JSON; `...` takes a key away."""
    whole = {"name": "visit", "version": 1, "fields": {"place": {"kind": "dimension"}}, **changes}
    return {key: value for key, value in whole.items() if value is not ...}


def problems(content: dict[str, Any] | bytes) -> list[str]:
    """What is wrong with it, without the name of the file."""
    with pytest.raises(ContractError) as caught:
        parse_contract(content if isinstance(content, bytes) else orjson.dumps(content), "visit.json")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("visit.json: ") for line in lines)
    return [line.removeprefix("visit.json: ") for line in lines]


@MODERATE
@given(contracts)
def test_what_is_dumped_is_read_back(contract: Contract) -> None:
    text = contract.dump()
    assert parse_contract(text) == contract
    assert parse_contract(text).dump() == text
    assert text.endswith(b"}\n")


def test_what_is_not_said_has_its_default() -> None:
    contract = parse_contract(orjson.dumps(body()))
    assert contract == Contract("visit", 1, {"place": Field("dimension")})
    assert (contract.purpose, contract.granularity, contract.fields["place"].type) == ("analytics", "10s", "string")
    assert contract.json() == {
        "name": "visit",
        "version": 1,
        "purpose": "analytics",
        "granularity": "10s",
        "fields": {"place": {"kind": "dimension", "type": "string"}},
    }


def test_fields_are_listed_by_kind_in_declared_order() -> None:
    contract = Contract("v", 1, {"b": Field("dimension"), "n": Field("measure", "number"), "a": Field("dimension")})
    assert contract.of_kind("dimension") == ("b", "a")
    assert contract.of_kind("unique") == ()


def test_every_problem_is_named_at_once() -> None:
    wrong = body(
        name="Two words",
        version=0,
        granularity="5m",
        time="place",
        fields={
            "place": {"kind": "label"},
            "paid": {"kind": "measure", "type": "string"},
            "seen": {"kind": "unique", "type": "text"},
            "window": {"kind": "dimension"},
            "é": {"kind": "dimension"},
        },
    )
    assert problems(wrong) == [
        "name: 'Two words' is not a name (letters, digits, _)",
        "fields.é: 'é' is not a name (letters, digits, _)",
        "version: must be 1 or more",
        "granularity: '5m' is none of 10s, 1m, 1h, 1d",
        "time: 'place' is a field too; an event has one time",
        "fields.place.kind: 'label' is none of dimension, measure, unique, idempotency_key, free_text, dropped",
        "fields.paid: a measure is an integer or a number, not a string",
        "fields.seen.type: 'text' is none of string, integer, number, boolean",
        "fields.window: this name is a column of every view; choose another",
    ]


def test_wrong_shapes_are_named_at_once_together_with_other_problems() -> None:
    wrong: dict[str, Any] = {
        "version": True,
        "ownr": "me",
        "granularity": "5m",
        "fields": {
            "place": {"kind": "dimension", "values": "north", "optional": "false", "nullable": True},
            "paid": 5,
            "seen": {"type": "string"},
            "size": {"kind": "dimension", "values": ["1", 2]},
        },
        "examples": [],
    }
    assert problems(wrong) == [
        "ownr: there is no such key",
        "fields.place.nullable: there is no such key",
        "fields.place.values: must be a list",
        "fields.place.optional: must be true or false",
        "fields.paid: must be an object",
        "fields.seen.kind: is missing",
        "fields.size.values: must be texts, as they are emitted",
        "examples: must be an object",
        "name: is missing",
        "version: must be an integer",
        "granularity: '5m' is none of 10s, 1m, 1h, 1d",
    ]


@pytest.mark.parametrize("key", ["name", "version", "fields"])
def test_a_key_that_must_be_there_is_asked_for(key: str) -> None:
    assert problems(body(**{key: ...})) == [f"{key}: is missing"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", 5), ("owner", None), ("purpose", ["a"]), ("retention", 400), ("granularity", 10), ("time", {})],
)
def test_texts_are_texts(key: str, value: object) -> None:
    assert problems(body(**{key: value})) == [f"{key}: must be a text"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "a contract is a JSON object"),
        (b"5", "a contract is a JSON object"),
        (b'{"name":"\xff"}', "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b'{"examples":{"a":' + b"[" * 1000 + b"]" * 1000 + b"}}", "not JSON"),
    ],
)
def test_what_is_no_contract_at_all_is_refused(text: bytes, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


def test_a_field_that_is_declared_twice_is_refused() -> None:
    twice = b'{"name":"visit","version":1,"fields":{"a":{"kind":"unique"},"a":{"kind":"dimension"}},"version":2}'
    assert problems(twice) == ["a: stands twice in one object", "version: stands twice in one object"]


@pytest.mark.parametrize("name", ["a" * 101, "", "1st", "a-b", "a.b", "a b", "a\0b"])
def test_names_are_short_identifiers(name: str) -> None:
    assert len(problems(body(name=name))) == 1
    assert len(problems(body(fields={name: {"kind": "dimension"}}))) == 1


@MODERATE
@given(json_values, st.sampled_from(["", "fields", "fields/place", "fields/place/values", "examples", "version"]))
def test_any_json_is_a_contract_or_a_contract_error(value: Any, path: str) -> None:
    whole: Any = body()
    inside = whole
    *steps, last = path.split("/")
    for step in steps:
        inside = inside[step]
    if path:
        inside[last] = value
    text = orjson.dumps(whole if path else value)
    try:
        contract = parse_contract(text)
    except ContractError:
        return
    assert parse_contract(contract.dump()) == contract


def write(path: Path, **changes: Any) -> Path:
    """A contract file."""
    path.write_bytes(orjson.dumps(body(**changes)))
    return path


def test_contracts_are_loaded_from_files_and_directories(tmp_path: Path) -> None:
    directory = tmp_path / "contracts"
    directory.mkdir()
    write(directory / "a.json")
    write(directory / "b.json", version=2)
    (directory / "README.md").write_text("not a contract")
    single = write(tmp_path / "order.json", name="order")
    found = load_contracts([directory, single])
    assert {key: one.name for key, one in found.items()} == {
        ("visit", 1): "visit",
        ("visit", 2): "visit",
        ("order", 1): "order",
    }
    assert load_contracts([]) == {}


def test_the_same_contract_in_two_files_is_no_conflict(tmp_path: Path) -> None:
    assert len(load_contracts([write(tmp_path / "a.json"), write(tmp_path / "b.json")])) == 1


def test_every_file_that_cannot_be_used_is_named_at_once(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.json"), write(tmp_path / "b.json", owner="someone else")
    wrong, absent = write(tmp_path / "c.json", version=0), tmp_path / "d.json"
    with pytest.raises(ContractError) as caught:
        load_contracts([first, second, wrong, absent])
    assert str(caught.value).splitlines() == [
        f"{second}: version 1 of 'visit' is declared twice, differently",
        f"{wrong}: version: must be 1 or more",
        f"{absent}: No such file or directory",
    ]


def test_what_the_law_asks_for_is_read_and_checked_for_known_shapes() -> None:
    good = parse_contract(orjson.dumps(body(purposes=["fraud", "analytics"], legal_basis="consent", residency=["eu"])))
    assert (good.purpose, good.all_purposes(), good.residency) == ("fraud", ("fraud", "analytics"), ("eu",))
    old = parse_contract(orjson.dumps(body(purpose="Anything at all")))
    assert (old.all_purposes(), old.residency, old.legal_basis) == (("Anything at all",), WHERE_COLLECTED, "")
    wrong = body(
        purpose="sales", purposes=["Two Words", "fraud"], legal_basis="because", residency=["the moon"], retention="soon",
        loosens={"fields.place": " "},
    )  # fmt: skip
    assert [line.partition(":")[0] for line in problems(wrong)] == [
        "purposes", "purpose", "legal_basis", "residency", "retention", "loosens.fields.place",
    ]  # fmt: skip
    assert [line.partition(":")[0] for line in problems(body(purposes=[], residency=["eu", "eu"], loosens={"a": 1}))] == [
        "loosens", "purposes", "residency",
    ]  # fmt: skip


def test_small_cells_are_read_and_checked() -> None:
    fields = {"place": {"kind": "dimension"}, "person": {"kind": "unique"}}
    good = parse_contract(orjson.dumps(body(fields=fields, small_cells={"k": 5, "contributors": "person"})))
    assert good.small_cells == SmallCells(5, "person", "1d", "2d")
    assert parse_contract(good.dump()) == good
    nobody = problems(body(small_cells={"k": 5, "contributors": "person"}))
    assert nobody == ["small_cells.contributors: 'person' is no unique field; declare one that tells people apart"]
    wrong = {"k": 1, "contributors": "place", "tier": "10s", "after": "forever"}
    assert [line.partition(":")[0] for line in problems(body(fields=fields, small_cells=wrong, granularity="1m"))] == [
        "small_cells.k", "small_cells.contributors", "small_cells.tier", "small_cells.after",
    ]  # fmt: skip
    odd = {"k": True, "tier": "2w", "after": "soon", "colour": "red"}
    assert [line.partition(":")[0] for line in problems(body(fields=fields, small_cells=odd))] == [
        "small_cells.colour", "small_cells.k", "small_cells.contributors",
    ]  # fmt: skip
    last = {"k": 1001, "contributors": "person", "tier": "2w", "after": "soon"}
    assert [line.partition(":")[0] for line in problems(body(fields=fields, small_cells=last))] == [
        "small_cells.k", "small_cells.tier", "small_cells.after",
    ]  # fmt: skip
    shapes: list[Any] = [None, [], 5, {}, {"": None}]
    for shape in shapes:
        assert problems(body(fields=fields, small_cells=shape))


def test_tiers_are_kept_for_a_time_that_makes_sense() -> None:
    fine = body(retention="30d", retention_tiers={"10s": "1d", "1m": "30d", "events": "36h"})
    contract = parse_contract(orjson.dumps(fine))
    assert contract.json()["retention_tiers"] == fine["retention_tiers"]
    assert [kept_ms(contract, tier) // 3_600_000 for tier in ("10s", "1m", "1h", "1d", "events", "")] == [
        24, 720, 720, 720, 36, 720,
    ]  # fmt: skip
    assert kept_ms(parse_contract(orjson.dumps(body()))) == FOR_EVER
    wrong = body(
        retention="30d", granularity="1h",
        retention_tiers={"10s": "1d", "1h": "31d", "1d": "forever", "2h": "1d", "events": "soon"},
    )  # fmt: skip
    assert [line.partition(":")[0] for line in problems(wrong)] == [
        "retention_tiers.10s", "retention_tiers.1h", "retention_tiers.1d", "retention_tiers.2h", "retention_tiers.events",
    ]  # fmt: skip
    assert [line.partition(":")[0] for line in problems(body(retention_tiers={"1h": "0d"}))] == ["retention_tiers.1h"]
    assert "as texts by tier" in problems(body(retention_tiers={"1h": 5}))[0]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"kind": "dimension", "generalise": "rot13"}, "is none of ip_prefix"),
        ({"kind": "unique", "generalise": "date"}, "only a dimension of type string"),
        ({"kind": "dimension", "type": "integer", "generalise": "age_band"}, "only a dimension of type string"),
        ({"kind": "dimension", "values": ["a"], "generalise": "date"}, "a closed set is coarse already"),
        ({"kind": "free_text", "type": "integer"}, "a free text is a string"),
    ],
)
def test_a_field_is_made_coarse_only_where_that_means_something(field: dict[str, Any], said: str) -> None:
    (line,) = problems(body(fields={"place": field}))
    assert said in line


def test_single_events_are_kept_only_where_a_contract_says_so() -> None:
    assert parse_contract(orjson.dumps(body())).store_events is False
    assert parse_contract(orjson.dumps(body(store_events=True))).store_events is True
    assert problems(body(store_events="yes")) == ["store_events: must be true or false"]


def test_fields_of_single_events_must_not_be_named_like_their_other_columns() -> None:
    columns = {"at": {"kind": "dimension"}, "country": {"kind": "dimension"}, "tenant": {"kind": "unique"}}
    assert parse_contract(orjson.dumps(body(fields=columns))).problems() == []
    found = problems(body(fields=columns, store_events=True))
    assert [line.partition(":")[0] for line in found] == ["fields.at", "fields.tenant"]
    found = problems(body(fields={"tenant": {"kind": "dimension"}}, store_events=True))
    assert [line.partition(":")[0] for line in found] == ["fields.tenant"]
    assert "by that people are found" in found[0]
    many = {f"text_{n}": {"kind": "free_text"} for n in range(17)}
    assert [line.partition(":")[0] for line in problems(body(fields=many, store_events=True))] == ["store_events"]
    assert parse_contract(orjson.dumps(body(fields=many))).problems() == []
