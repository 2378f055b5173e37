"""Rows of a file as packed columns: what goes in comes out of the decoder, and what does not fit is refused by reason."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console.instants import instants_ms
from streamgauge.console.replay import Encoder, Plan
from streamgauge.console.rows import MAX_CHARS, MAX_INTEGER, Rows, read_rows
from streamgauge.schemas.batches import MAX_SPAN_MS, Origin, encode_events
from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.decoding import MAX_INSTANT_MS, EventBatch, decode
from streamgauge.schemas.packing import pack_optional, pack_strings

NOON = 1_700_000_000_000
CONTRACT = Contract(
    "visit",
    3,
    {
        "place": Field("dimension", optional=True),
        "floor": Field("dimension", "integer", optional=True),
        "member": Field("dimension", "boolean", optional=True),
        "length": Field("measure", "number", optional=True),
        "steps": Field("measure", "integer", optional=True),
        "visitor": Field("unique", optional=True),
        "note": Field("dropped", optional=True),
    },
    time="at",
)
VALUES = {
    "place": st.one_of(st.none(), st.text(max_size=8)),
    "floor": st.one_of(st.none(), st.integers(-(1 << 60), 1 << 60)),
    "member": st.one_of(st.none(), st.booleans()),
    "length": st.one_of(st.none(), st.floats(-1e300, 1e300)),
    "steps": st.one_of(st.none(), st.integers(1 - MAX_INTEGER, MAX_INTEGER - 1)),
    "visitor": st.one_of(st.none(), st.text(max_size=8)),
    "note": st.one_of(st.none(), st.text(max_size=8)),
}
TYPES: dict[str, Any] = {
    "at": pl.Int64,
    "place": pl.String,
    "floor": pl.Int64,
    "member": pl.Boolean,
    "length": pl.Float64,
    "steps": pl.Int64,
    "visitor": pl.String,
    "note": pl.String,
}
Row = dict[str, Any]
# below 1e11 a number counts seconds
ROWS = st.lists(
    st.fixed_dictionaries({"at": st.integers(100_000_000_000, 4_000_000_000_000), **VALUES}), min_size=1, max_size=60
)


def plan(contract: Contract = CONTRACT, **kwargs: Any) -> Plan:
    return Plan(contract, {"service": "replay", "region": "lab"}, ("one", "two", "three"), 5, **kwargs)


def decoded(rows: Rows, contract: Contract = CONTRACT, **kwargs: Any) -> list[EventBatch]:
    return [cast("EventBatch", decode(batch.value)) for batch in Encoder(plan(contract, **kwargs)).batches(rows)]


def column(batch: EventBatch, name: str) -> list[Any]:
    found = batch.fields[name]
    if isinstance(found, Strings):
        return [found.dictionary[code] for code in found.index.tolist()]
    values: list[Any] = found.values.tolist()
    for position in cast("list[int]", [] if found.missing is None else found.missing.tolist()):
        values[position] = None
    return values


def rows_of(batches: list[EventBatch]) -> list[Row]:
    found: list[Row] = []
    for batch in batches:
        columns = {name: column(batch, name) for name in batch.fields}
        found += [
            {"at": at, **{name: values[row] for name, values in columns.items()}}
            for row, at in enumerate(batch.times.tolist())
        ]
    return found


def as_sent(row: Row) -> Row:
    sent = {name: value for name, value in row.items() if name != "note"}
    sent["floor"] = None if row["floor"] is None else str(row["floor"])
    sent["steps"] = None if row["steps"] is None else float(row["steps"])
    sent["member"] = None if row["member"] is None else str(row["member"]).lower()
    return sent


def by_content(rows: list[Row]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


@given(ROWS, st.integers(1, 7))
def test_rows_come_out_of_the_decoder_as_they_were(rows: list[Row], batch_rows: int) -> None:
    read, refused = read_rows(pl.DataFrame(rows, schema=TYPES), CONTRACT)
    assert refused == []
    batches = decoded(read, batch_rows=batch_rows)
    assert by_content(rows_of(batches)) == by_content([as_sent(row) for row in rows])
    assert {(one.event, one.contract, one.origin.backfill, one.unknown_keys) for one in batches} == {
        ("visit", 3, True, 0)
    }


@given(ROWS)
def test_rows_read_as_text_give_the_same_as_typed_rows(rows: list[Row]) -> None:
    typed = pl.DataFrame(rows, schema=TYPES)
    text = typed.select(pl.all().cast(pl.String))
    ours, theirs = (rows_of(decoded(read_rows(frame, CONTRACT)[0])) for frame in (text, typed))
    assert by_content(ours) == by_content(theirs)


@given(ROWS)
def test_points_are_one_an_event_and_one_a_measure_that_is_there(rows: list[Row]) -> None:
    read, _ = read_rows(pl.DataFrame(rows, schema=TYPES), CONTRACT)
    measures = sum(row[name] is not None for row in rows for name in ("length", "steps"))
    assert sum(batch.points for batch in Encoder(plan()).batches(read)) == len(rows) + measures


def test_the_envelope_is_the_one_that_applications_send() -> None:
    frame = pl.DataFrame({"at": [NOON, NOON + 5], "place": ["b", None], "length": [1.5, None], "visitor": ["x", "x"]})
    contract = Contract(
        "visit",
        3,
        {
            "place": Field("dimension", optional=True),
            "length": Field("measure", "number", optional=True),
            "visitor": Field("unique"),
        },
        time="at",
    )
    read, _ = read_rows(frame, contract)
    (batch,) = Encoder(plan(contract)).batches(read)
    fields = {
        "place": pack_strings(["b", None]),
        "length": pack_optional("f8", [1.5, None]),
        "visitor": pack_strings(["x", "x"]),
    }
    origin = Origin({"service": "replay", "region": "lab"}, "one", 5, 0, backfill=True)
    assert batch.value == encode_events(origin, "visit", 3, [NOON, NOON + 5], fields)


@given(st.lists(st.integers(0, MAX_INSTANT_MS - 1), min_size=1, max_size=50), st.integers(1, 5))
def test_the_times_of_a_batch_never_lie_further_apart_than_the_wire_allows(times: list[int], batch_rows: int) -> None:
    rows = Rows(np.array(times, dtype=np.int64), {})
    batches = decoded(rows, batch_rows=batch_rows)
    assert sorted(time for batch in batches for time in batch.times.tolist()) == sorted(times)
    assert all(np.ptp(batch.times) <= MAX_SPAN_MS for batch in batches)


def test_rows_of_one_span_keep_their_order() -> None:
    times = np.array([NOON + 3, NOON + 1, NOON + 2], dtype=np.int64)
    assert [batch.times.tolist() for batch in decoded(Rows(times, {}), batch_rows=2)] == [
        [NOON + 3, NOON + 1],
        [NOON + 2],
    ]


STRICT = Contract(
    "visit",
    1,
    {
        "place": Field("dimension", values=("north", "south")),
        "length": Field("measure", "number"),
        "steps": Field("measure", "integer"),
        "member": Field("dimension", "boolean", optional=True),
        "floor": Field("dimension", "integer", optional=True),
    },
    time="at",
)
GOOD: Row = {"at": str(NOON), "place": "north", "length": "1.5", "steps": "2", "member": "true", "floor": "7"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("at", "yesterday", "bad_time"),
        ("at", "-5", "bad_time"),
        ("at", "1e300", "bad_time"),
        ("at", "1969-12-31T23:59:59Z", "bad_time"),
        ("at", None, "missing_value"),
        ("place", None, "missing_value"),
        ("place", "west", "bad_value"),
        ("length", None, "missing_value"),
        ("length", "long", "wrong_type"),
        ("length", "NaN", "not_finite"),
        ("length", "-inf", "not_finite"),
        ("steps", "2.5", "wrong_type"),
        ("steps", "inf", "not_finite"),
        ("steps", str(MAX_INTEGER + 1), "wrong_type"),
        ("member", "maybe", "wrong_type"),
        ("floor", "upper", "wrong_type"),
        ("floor", "1.5", "wrong_type"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_alone(field: str, value: str | None, reason: str) -> None:
    frame = pl.DataFrame([GOOD, GOOD | {field: value}, GOOD], schema=dict.fromkeys(GOOD, pl.String))
    rows, refused = read_rows(frame, STRICT)
    assert [(one.reason, one.field, one.positions.tolist()) for one in refused] == [(reason, field, [1])]
    assert len(rows) == 2
    assert len(rows_of(decoded(rows, STRICT))) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_of_a_typed_column_that_is_not_finite_is_refused(bad: float) -> None:
    frame = pl.DataFrame({"at": [NOON, NOON], "length": [bad, 1.0]})
    rows, refused = read_rows(frame, CONTRACT)
    assert [(one.reason, one.positions.tolist()) for one in refused] == [("not_finite", [0])]
    assert len(rows) == 1


def test_a_text_that_is_too_long_is_refused_and_the_longest_one_passes() -> None:
    frame = pl.DataFrame({"at": [NOON] * 2, "visitor": ["ä" * MAX_CHARS, "ä" * (MAX_CHARS + 1)]})
    rows, refused = read_rows(frame, CONTRACT)
    assert [(one.reason, one.field, one.positions.tolist()) for one in refused] == [("too_long", "visitor", [1])]
    assert len(rows_of(decoded(rows))) == 1


def test_a_row_with_several_faults_is_refused_once() -> None:
    frame = pl.DataFrame([dict.fromkeys(GOOD)], schema=dict.fromkeys(GOOD, pl.String))
    _, refused = read_rows(frame, STRICT)
    assert sum(len(one.positions) for one in refused) == 1


def test_an_unreadable_row_is_refused_and_hides_no_other() -> None:
    frame = pl.DataFrame([GOOD, dict.fromkeys(GOOD)], schema=dict.fromkeys(GOOD, pl.String))
    rows, refused = read_rows(frame, STRICT, broken=(1,))
    assert [(one.reason, one.positions.tolist()) for one in refused] == [("unreadable_row", [1])]
    assert len(rows) == 1


def test_an_optional_column_that_the_file_lacks_is_missing_everywhere() -> None:
    rows, refused = read_rows(pl.DataFrame({"at": [NOON]}), CONTRACT)
    assert refused == []
    assert [set(row.values()) for row in rows_of(decoded(rows))] == [{NOON, None}]


def test_dropped_and_undeclared_columns_never_leave() -> None:
    frame = pl.DataFrame({"at": [NOON], "note": ["secret note"], "other": ["secret other"]})
    rows, _ = read_rows(frame, CONTRACT)
    (batch,) = Encoder(plan()).batches(rows)
    assert b"secret" not in batch.value


def test_categories_and_other_types_travel_as_text() -> None:
    frame = pl.DataFrame({"at": [NOON] * 2, "place": pl.Series(["a", None], dtype=pl.Categorical), "visitor": [1, 2]})
    rows, refused = read_rows(frame, CONTRACT)
    assert refused == []
    assert [(row["place"], row["visitor"]) for row in rows_of(decoded(rows))] == [("a", "1"), (None, "2")]


def test_a_column_of_lists_is_refused_where_it_has_a_value() -> None:
    frame = pl.DataFrame({"at": [NOON] * 2, "place": [["a"], None]})
    rows, refused = read_rows(frame, CONTRACT)
    assert [(one.reason, one.field, one.positions.tolist()) for one in refused] == [("wrong_type", "place", [0])]
    assert len(rows) == 1


TEN = 1_357_034_400_000  # 2013-01-01T10:00:00Z


@pytest.mark.parametrize(
    "text",
    [
        "2013-01-01T10:00:00Z",
        "2013-01-01T10:00:00.000Z",
        "2013-01-01T12:00:00+02:00",
        "2013-01-01 10:00:00",
        "2013-01-01 10:00:00+00:00",
        "2013-01-01T10:00",
        " 2013-01-01 10:00 ",
        "1357034400",
        "1357034400000",
        "1357034400000000",
        "1357034400000000000",
        "1357034400.0",
    ],
)
def test_a_time_as_text_is_read_in_many_spellings_even_mixed(text: str) -> None:
    column = pl.Series(["2013-01-01T10:00:00Z", text, "1357034400", "nonsense", None])
    assert instants_ms(column).to_list() == [TEN, TEN, TEN, None, None]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([datetime(2013, 1, 1, 10), None]),  # noqa: DTZ001  # a naive time is the case
        pl.Series([datetime(2013, 1, 1, 10, tzinfo=UTC), None]),
        pl.Series([TEN // 1000, None]),
        pl.Series([TEN, None]),
        pl.Series([TEN * 1000, None]),
        pl.Series([TEN * 1_000_000, None]),
        pl.Series([TEN / 1000, math.nan]),
    ],
    ids=str,
)
def test_a_typed_time_is_read_in_its_unit(column: pl.Series) -> None:
    assert instants_ms(column).to_list() == [TEN, None]


def test_a_date_is_its_midnight_in_utc() -> None:
    assert instants_ms(pl.Series([date(2013, 1, 1)])).to_list() == [TEN - 36_000_000]


@given(st.lists(st.integers(0, MAX_INSTANT_MS - 1).filter(lambda at: at >= 100_000_000_000), min_size=1))
def test_milliseconds_survive_every_spelling(times: list[int]) -> None:
    stamps = pl.Series(times).cast(pl.Datetime("ms"))
    assert instants_ms(stamps).to_list() == times
    assert instants_ms(stamps.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).to_list() == times


def test_numbers_stay_numbers_and_texts_stay_texts() -> None:
    frame = pl.DataFrame({"at": [NOON], "place": ["7"], "steps": ["7"]})
    (batch,) = decoded(read_rows(frame, CONTRACT)[0])
    assert isinstance(batch.fields["place"], Strings)
    assert isinstance(batch.fields["steps"], Numbers)


def test_columns_of_other_names_and_times_of_a_stated_format_are_read_under_the_contract() -> None:
    fields = {"cost": Field("measure", "number", column="Total Cost $"), "kind": Field("dimension", column="a kind")}
    contract = Contract("visit", 1, fields, time="when", time_format="%b %d %Y")
    frame = pl.DataFrame({"when": ["Jan 1 2000", "1.2.2000"], "Total Cost $": ["3", "4"], "a kind": ["x", "y"]})
    rows, refused = read_rows(frame, contract)
    assert rows.times.tolist() == [946_684_800_000]
    assert rows.points(slice(0, 1)) == 2
    assert [(one.reason, one.positions.tolist()) for one in refused] == [("bad_time", [1])]
