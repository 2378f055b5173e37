"""What the doctor reads from migrations and types."""

from __future__ import annotations

import pytest

from streamgauge.console.doctor_facts import Column
from streamgauge.console.doctor_schema import expected_schema
from streamgauge.console.doctor_types import split, stored_form
from streamgauge.sinks.ddl import DEDUPLICATED_TABLES
from streamgauge.sinks.migrations import Migration, shipped

MADE = """CREATE TABLE IF NOT EXISTS ${database}.t
(
    a UInt8 COMMENT 'one, two; ENGINE = (',
    b Map(String, Tuple(x Int64, y Float64)) CODEC(ZSTD(1)),
    c DateTime DEFAULT now() COMMENT 'x',
    INDEX d mapKeys(b) TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(c)
PARTITION BY (a, toYYYYMM(c))
ORDER BY (a, b)
SETTINGS ttl_only_drop_parts = 1
COMMENT 'ORDER BY nothing';
"""


def migration(number: int, up: str) -> Migration:
    return Migration(number, "some", up, "")


def test_every_shipped_statement_is_understood() -> None:
    schema = expected_schema(shipped(), "any `name`")
    assert schema.unclear == set()
    assert set(DEDUPLICATED_TABLES) <= schema.tables.keys()
    assert {one.target for one in schema.feeds.values()} == set(DEDUPLICATED_TABLES)
    assert all(one.columns and one.engine for one in schema.tables.values())


def test_a_table_is_read_with_its_columns_keys_and_engine() -> None:
    shape = expected_schema([migration(1, MADE)], "db").tables["t"]
    assert shape.columns == (
        Column("a", "UInt8"),
        Column("b", "Map(String, Tuple(x Int64, y Float64))"),
        Column("c", "DateTime", "DEFAULT", "now()"),
    )
    assert (shape.engine, shape.sorting_key, shape.partition_key) == (
        "ReplacingMergeTree(c)",
        "(a, b)",
        "(a, toYYYYMM(c))",
    )


def test_later_migrations_change_what_earlier_ones_made() -> None:
    change = (
        "ALTER TABLE ${database}.t ADD COLUMN IF NOT EXISTS d Array(UInt8) AFTER a, DROP COLUMN b;\n"
        "ALTER TABLE ${database}.t MODIFY COLUMN a UInt16, MODIFY ORDER BY (a, b, d);\n"
        "ALTER TABLE ${database}.t MODIFY SETTING ttl_only_drop_parts = 0;\n"
    )
    schema = expected_schema([migration(1, MADE), migration(2, change)], "db")
    assert schema.tables["t"].sorting_key == "(a, b, d)"
    assert {one.name: one.type for one in schema.tables["t"].columns} == {
        "a": "UInt16",
        "c": "DateTime",
        "d": "Array(UInt8)",
    }
    assert schema.unclear == set()


def test_a_dropped_table_is_not_expected_and_a_strange_statement_makes_a_table_unclear() -> None:
    assert expected_schema([migration(1, MADE), migration(2, "DROP TABLE ${database}.t;\n")], "db").tables == {}
    strange = migration(2, "EXCHANGE TABLES ${database}.t AND ${database}.u;\n")
    assert expected_schema([migration(1, MADE), strange], "db").unclear == {"t", "u"}
    moved = migration(2, "ALTER TABLE ${database}.t MODIFY SAMPLE BY a;\n")
    assert expected_schema([migration(1, MADE), moved], "db").unclear == {"t"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("UInt64", "SimpleAggregateFunction(sum, UInt64)"),
        ("Tuple(Int64, Float64)", "SimpleAggregateFunction(max, Tuple(ms Int64, value Float64))"),
        ("Map(Int16, UInt64)", "SimpleAggregateFunction(sumMap, Map(Int16, UInt64))"),
        ("String", "LowCardinality(String)"),
        ("DateTime", "DateTime('UTC')"),
        ("DateTime64(3)", "DateTime64(3, 'UTC')"),
        ("AggregateFunction(uniqCombined64, UInt64)", "AggregateFunction(uniqCombined64,\n    UInt64)"),
    ],
)
def test_types_that_hold_the_same_values_are_one(given: str, kept: str) -> None:
    assert stored_form(given) == stored_form(kept)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("UInt64", "SimpleAggregateFunction(sum, UInt32)"),
        ("AggregateFunction(uniqCombined64, UInt64)", "AggregateFunction(uniqCombined64, UInt32)"),
        ("DateTime64(3)", "DateTime64(6)"),
        ("Nullable(String)", "String"),
        ("Map(Int16, UInt64)", "Map(Int32, UInt64)"),
    ],
)
def test_types_that_change_values_differ(given: str, kept: str) -> None:
    assert stored_form(given) != stored_form(kept)


def test_brackets_and_quotes_never_separate() -> None:
    assert [piece for _, piece in split("a, f(b, c), 'd, e', [1, 2]")] == ["a", "f(b, c)", "'d, e'", "[1, 2]"]
