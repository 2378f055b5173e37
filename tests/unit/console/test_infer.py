"""The first contract of a file: what a person names, with the types the file has, and nothing that was not asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from streamgauge.console.cli import main
from streamgauge.console.datafile import open_data
from streamgauge.console.infer import MAX_DISTINCT, Inferred, Wish, infer, profile
from streamgauge.schemas.contracts import Field, parse_contract
from streamgauge.schemas.errors import InputError

FLIGHTS = """\
time_hour,carrier,origin,dep_delay,seats,tailnum,passenger_email
2013-01-01T10:00:00Z,UA,EWR,2,150,N14228,a@example.com
2013-01-01T10:00:00Z,UA,LGA,,150,N24211,b@example.com
2013-01-01T11:00:00Z,AA,JFK,-1.5,150,,c@example.com
"""


def inferred(tmp_path: Path, text: str, wish: Wish, name: str = "rows.csv") -> Inferred:
    path = tmp_path / name
    path.write_text(text)
    return infer(profile(open_data(path), wish.time, wish.time_format), wish)


def wish(**kinds: tuple[str, ...]) -> Wish:
    return Wish("flight", "time_hour", kinds)


def test_named_columns_become_fields_of_the_types_the_file_has(tmp_path: Path) -> None:
    found = inferred(
        tmp_path,
        FLIGHTS,
        wish(dimension=("carrier",), measure=("dep_delay", "seats"), unique=("tailnum",), dropped=("passenger_email",)),
    )
    assert found.contract.fields == {
        "carrier": Field("dimension"),
        "dep_delay": Field("measure", "number", optional=True),
        "seats": Field("measure", "integer"),
        "tailnum": Field("unique", optional=True),
        "passenger_email": Field("dropped"),
    }
    assert found.contract.time == "time_hour"
    assert found.undeclared == ("origin",)
    assert (found.warnings, found.notes) == ((), ())
    assert parse_contract(found.contract.dump()) == found.contract


def test_values_are_closed_only_on_demand(tmp_path: Path) -> None:
    asked = Wish("flight", "time_hour", {"dimension": ("carrier", "origin")}, close_values=True)
    closed = inferred(tmp_path, FLIGHTS, asked).contract.fields
    assert (closed["carrier"].values, closed["origin"].values) == (("AA", "UA"), ("EWR", "JFK", "LGA"))
    assert inferred(tmp_path, FLIGHTS, wish(dimension=("carrier",))).contract.fields["carrier"].values == ()


def test_personal_looking_columns_are_warned_of_and_never_guessed(tmp_path: Path) -> None:
    (warning,) = inferred(tmp_path, FLIGHTS, wish(dimension=("passenger_email",))).warnings
    assert "passenger_email" in warning
    assert "personal" in warning
    guessed = inferred(tmp_path, FLIGHTS, Wish("flight"))
    assert "passenger_email" not in guessed.contract.fields
    assert "a@example.com" not in str(guessed)


def test_values_that_look_personal_are_warned_of_whatever_their_name(tmp_path: Path) -> None:
    text = "time_hour,contact\n2013-01-01,a@example.com\n2013-01-01,10.0.0.1\n"
    assert "personal" in inferred(tmp_path, text, wish(dimension=("contact",))).warnings[0]


def test_a_dimension_of_very_many_values_is_warned_of(tmp_path: Path) -> None:
    text = "time_hour,plate\n" + "".join(f"2013-01-01,p{row}\n" for row in range(MAX_DISTINCT + 1))
    (warning,) = inferred(tmp_path, text, wish(dimension=("plate",))).warnings
    assert "--unique plate" in warning


def test_without_fields_they_are_guessed_and_said(tmp_path: Path) -> None:
    found = inferred(tmp_path, FLIGHTS, Wish("flight"))
    assert found.contract.time == "time_hour"
    assert {name: one.kind for name, one in found.contract.fields.items()} == {
        "carrier": "dimension",
        "origin": "dimension",
        "tailnum": "dimension",
        "dep_delay": "measure",
        "seats": "measure",
    }
    assert found.notes == (
        "guessed: --time time_hour",
        "guessed: --dimension carrier,origin,tailnum",
        "guessed: --measure dep_delay,seats",
    )


def test_codes_with_leading_zeros_are_no_integers(tmp_path: Path) -> None:
    text = "time_hour,gate,pier,open\n2013-01-01,007,7,true\n2013-01-01,012,12,false\n"
    fields = inferred(tmp_path, text, wish(dimension=("gate", "pier", "open"))).contract.fields
    assert [fields[name].type for name in ("gate", "pier", "open")] == ["string", "integer", "boolean"]


def test_types_are_those_of_the_whole_file_not_of_its_beginning(tmp_path: Path) -> None:
    pl.DataFrame({"time_hour": [1_700_000_000] * 200_000, "value_": [1] * 199_999 + [None]}).write_parquet(
        tmp_path / "rows.parquet"
    )
    found = infer(profile(open_data(tmp_path / "rows.parquet")), wish(measure=("value_",)))
    assert found.contract.fields["value_"] == Field("measure", "integer", optional=True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (wish(measure=("carrier",)), "not numbers"),
        (wish(dimension=("carier",)), "Did you mean 'carrier'"),
        (wish(dimension=("carrier",), unique=("carrier",)), "named twice"),
        (Wish("flight", "carrier", {"dimension": ("origin",)}), "not times"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, asked: Wish, said: str) -> None:
    with pytest.raises(InputError, match=said):
        inferred(tmp_path, FLIGHTS, asked)


def test_columns_whose_names_cannot_be_fields_get_names_that_can_and_are_still_found(tmp_path: Path) -> None:
    text = "time_hour,region,Total Cost $,total-cost,7up\n2013-01-01,eu,3,4,a\n"
    found = inferred(tmp_path, text, wish(dimension=("region", "7up"), measure=("Total Cost $", "total-cost")))
    fields = found.contract.fields
    assert {name: found.contract.column(name) for name in fields} == {
        "region_value": "region", "field_7up": "7up", "total_cost": "Total Cost $", "total_cost_2": "total-cost",
    }  # fmt: skip
    assert any("'Total Cost $' becomes the field total_cost" in note for note in found.notes)


def test_times_in_a_format_of_their_own_are_read_when_it_is_said(tmp_path: Path) -> None:
    text = "when,kind\nJan 1 2000,a\nFeb 29 2000,b\n"
    asked = Wish("stock", "when", {"dimension": ("kind",)})
    with pytest.raises(InputError, match="--time-format"):
        inferred(tmp_path, text, asked)
    found = inferred(tmp_path, text, replace(asked, time_format="%b %d %Y"))
    assert (found.contract.time, found.contract.time_format) == ("when", "%b %d %Y")


def test_the_command_writes_a_contract_and_overwrites_only_when_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = tmp_path / "flights.csv", tmp_path / "contracts" / "flight.json"
    file.write_text(FLIGHTS)
    words = ["contract", "infer", str(file), "--name", "flight", "--time", "time_hour", "--dimension", "carrier,origin"]
    assert main([*words, "--granularity", "1h", "--owner", "ops", "--output", str(output)]) == 0
    said = capsys.readouterr()
    assert "undeclared, so dropped: dep_delay, seats, tailnum, passenger_email" in said.err
    contract = parse_contract(output.read_bytes())
    assert (contract.granularity, contract.owner, tuple(contract.fields)) == ("1h", "ops", ("carrier", "origin"))
    assert main([*words, "--output", str(output)]) == 2
    assert parse_contract(output.read_bytes()) == contract
    assert main([*words, "--output", str(output), "--force"]) == 0
    assert parse_contract(output.read_bytes()).owner == ""
    assert main(["contract", "check", str(output.parent)]) == 0


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "flights.csv"
    file.write_text(FLIGHTS)
    assert main(["contract", "infer", str(file), "--dimension", "carrier", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["contract"]["name"], found["contract"]["time"]) == ("flights", "time_hour")
    assert "tailnum" in found["undeclared"]


def test_check_finds_every_wrong_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.json").write_text('{"name": "a", "version": 1, "fields": {}}')
    (tmp_path / "bad.json").write_text('{"name": "a b", "version": 0, "fields": {}}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"name": "a", "version": 1, "owner": "b", "fields": {}}')
    assert main(["contract", "check", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert all(name in said for name in ("bad.json", "broken.json", "other.json"))
    assert main(["contract", "check", str(tmp_path / "good.json")]) == 0
    assert main(["contract", "check", str(tmp_path / "absent.json")]) == 2


def test_check_says_what_becomes_of_fields_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"contactEmail": {"kind": "dimension"}, "plan": {"kind": "dimension", "values": ["gold"]}}
    file = tmp_path / "visit.json"
    file.write_text(json.dumps({"name": "visit", "version": 1, "fields": fields}))
    assert main(["contract", "check", str(file), "--explain"]) == 0
    said = capsys.readouterr()
    assert "  contactEmail: replace email: its name speaks of an e-mail address\n" in said.out
    assert "gold" not in said.out + said.err
    assert "fields.contactEmail: its name speaks of an e-mail address, so every value becomes [email]" in said.err
    assert main(["contract", "check", str(file), "--explain", "--json"]) == 0
    (policy,) = json.loads(capsys.readouterr().out)["policies"]
    assert policy["version"].startswith("p1-")
    assert policy["fields"]["plan"]["action"] == "closed"


SHOP = """\
from streamgauge.schemas.events import Dimension, Event

class Visit(Event, owner="shop"):
    place: Dimension[str]
    floor: Dimension[int]
"""


def test_check_compares_with_the_python_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unique: str
) -> None:
    (tmp_path / f"{unique}.py").write_text(SHOP)
    fields = {"place": {"kind": "dimension"}, "floor": {"kind": "dimension", "type": "integer"}}
    file = tmp_path / "visit.json"
    file.write_text(json.dumps({"name": "visit", "version": 1, "owner": "shop", "fields": fields}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["contract", "check", "visit.json", "--class"]
    assert main([*words, f"{unique}:Visit"]) == 0
    file.write_text(
        json.dumps({"name": "visit", "version": 1, "owner": "bakery", "fields": {"place": fields["place"]}})
    )
    assert main([*words, f"{unique}:Visit"]) == 1
    said = capsys.readouterr().err
    assert "owner" in said
    assert "fields.floor" in said
    assert main([*words, f"{unique}:Nothing"]) == 2
    assert main([*words, "pathlib:Path"]) == 2
