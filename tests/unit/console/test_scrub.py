"""`streamgauge scrub`: every row of a sample is told by column and rule, and no value is, in no output."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console.cli import main
from streamgauge.console.scrub_report import ScrubReport, texts
from streamgauge.processors.cleaner import Cleaner
from streamgauge.processors.scrub import Scrubber
from streamgauge.schemas.contracts import Contract, Field

SIGNUP = Contract(
    "signup",
    1,
    {
        "plan": Field("dimension", values=("free", "pro")),
        "referrer": Field("dimension", column="came_from"),
        "address": Field("dimension", generalise="ip_prefix"),
        "customer": Field("unique"),
        "seconds": Field("measure", "number"),
        "note": Field("dropped"),
    },
    time="at",
)
CSV = """at,plan,came_from,address,customer,seconds,note,extra
2026-11-01,free,web,203.0.113.9,jane,1,call Jane,x
2026-11-02,gold,jane@example.com,203.0.113.77,john,2,,y
2026-11-03,pro,joe@example.com,nonsense,,3,,
"""


@pytest.fixture
def sample(tmp_path: Path) -> list[str]:
    (tmp_path / "sample.csv").write_text(CSV)
    (tmp_path / "signup.json").write_bytes(SIGNUP.dump())
    return [str(tmp_path / "sample.csv"), "--contract", str(tmp_path / "signup.json")]


def test_every_column_says_what_becomes_of_it_and_by_which_rule(
    sample: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scrub", *sample, "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    told = {one["column"]: (one["action"], one["rows"], one.get("changed", {})) for one in found["columns"]}
    assert told == {
        "at": ("time", 3, {}),
        "plan": ("closed", 3, {"bad_value": 1}),
        "came_from": ("scan", 3, {"email": 2}),
        "address": ("generalise", 3, {"ip_prefix": 2, "unknown_value": 1}),
        "customer": ("pseudonym", 2, {"pseudonym": 2}),
        "seconds": ("number", 3, {}),
        "note": ("drop", 1, {"dropped": 1}),
        "extra": ("drop", 2, {"unknown_field": 2}),
    }
    shapes = {one["column"]: one["shapes"] for one in found["columns"] if "shapes" in one}
    assert shapes == {"came_from": {"a+@a+.a+": 2}}
    assert (found["rows"], found["suspicious"], found["policy"][:3]) == (3, ["came_from"], "p1-")


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_no_value_is_shown(sample: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["scrub", *sample, *words])
    main(["scrub", sample[0], *words])
    said = "".join(capsys.readouterr())
    assert not [one for one in ("jane", "joe", "203.0.113", "gold", "call", "nonsense") if one in said.lower()]
    assert "came_from" in said


def test_without_a_contract_columns_are_labels_and_their_names_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sample.csv").write_text("route,user_email,4111111111111111\n/a,x,1\n")
    assert main(["scrub", str(tmp_path / "sample.csv"), "--json"]) == 0
    said = capsys.readouterr().out
    columns = json.loads(said)["columns"]
    assert [(one["action"], one.get("changed", {})) for one in columns[:2]] == [("scan", {}), ("replace", {"email": 1})]
    assert "4111111111111111" not in said


def test_only_the_first_rows_are_looked_at_where_so_many_are_asked_for(
    sample: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scrub", *sample, "--rows", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1


def test_a_file_that_cannot_be_read_is_a_wrong_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scrub", str(tmp_path / "not-there.csv")]) == 2
    assert "not-there.csv" in capsys.readouterr().err


@given(st.lists(st.none() | st.sampled_from(["web", "a@example.com", "203.0.113.9", ""]), max_size=30))
def test_rows_add_up_over_slices(values: list[str | None]) -> None:
    whole, parts = (ScrubReport(Cleaner(Scrubber()), ["label"]) for _ in range(2))
    whole.add(pl.DataFrame({"label": pl.Series(values, dtype=pl.String)}))
    for start in range(0, len(values), 7):
        parts.add(pl.DataFrame({"label": pl.Series(values[start : start + 7], dtype=pl.String)}))
    assert whole.json() == parts.json()
    (column,) = whole.columns()
    assert column.changed == {
        rule: n for rule, n in (("email", values.count("a@example.com")), ("ip", values.count("203.0.113.9"))) if n
    }


@given(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=40))
def test_distinct_values_and_places_give_the_column_back(values: list[int | None]) -> None:
    found, index = texts(pl.Series("x", values, dtype=pl.Int64))
    assert [found[place] for place in index] == [None if one is None else str(one) for one in values]


def test_check_scrub_and_worker_name_one_version_of_a_policy(
    sample: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["scrub", *sample, "--json"])
    scrubbed = json.loads(capsys.readouterr().out)["policy"]
    assert main(["contract", "check", sample[2], "--explain", "--json"]) == 0
    (checked,) = json.loads(capsys.readouterr().out)["policies"]
    assert scrubbed == checked["version"] == Cleaner(Scrubber()).policy(SIGNUP).version


def test_free_texts_are_told_as_workers_keep_them() -> None:
    contract = Contract("asked", 1, {"remark": Field("free_text")}, store_events=True)
    report = ScrubReport(Cleaner(Scrubber()), ["remark"], contract)
    report.add(pl.DataFrame({"remark": ["mail ana@example.com", "b " * 1_500, None, "fine"]}))
    (column,) = report.columns()
    assert (column.action.kind, column.rows, dict(column.changed)) == ("scan", 3, {"email": 1, "cut": 1})
    dropped = ScrubReport(Cleaner(Scrubber()), ["remark"], Contract("asked", 1, {"remark": Field("free_text")}))
    dropped.add(pl.DataFrame({"remark": ["mail ana@example.com", None]}))
    (column,) = dropped.columns()
    assert (column.action.kind, dict(column.changed)) == ("drop", {"free_text": 1})
