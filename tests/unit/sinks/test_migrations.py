"""Migrations as scripts: numbered, reversible, checked before anything is run."""

from __future__ import annotations

import re

import pytest

from streamgauge.schemas.windows import DAY_MS
from streamgauge.sinks.ddl import DEDUPLICATED_TABLES, DEDUPLICATION_WINDOW, StoreSchemaError, quoted, statements
from streamgauge.sinks.migrations import Migration, is_dangerous, pending, shipped
from streamgauge.sinks.retention import FOR_EVER, Retention

ONE = Migration(1, "one", "CREATE TABLE ${database}.a (x UInt8) ENGINE = Null;\n", "DROP TABLE ${database}.a;\n")
TWO = Migration(2, "two", "SELECT 2;\n", "SELECT 2;\n")


def test_shipped_migrations_are_numbered_without_a_gap() -> None:
    assert [one.number for one in shipped()] == list(range(1, len(shipped()) + 1))


def test_shipped_migrations_destroy_nothing_and_can_be_taken_back() -> None:
    for one in shipped():
        up, down = (list(statements(script, "db")) for script in (one.up, one.down))
        assert not any(map(is_dangerous, up)), one.name
        created = set(re.findall(r"(?:CREATE .*?|ADD COLUMN )IF NOT EXISTS (\S+)", "\n".join(up)))
        dropped = set(re.findall(r"(?:DROP TABLE|DROP VIEW|DROP COLUMN) IF EXISTS ([^\s,]+)", "\n".join(down)))
        assert created == dropped != set(), one.name


def test_every_table_that_takes_blocks_has_a_deduplication_window() -> None:
    tables = {
        line.split(" EXISTS ")[1].split()[0]: line
        for one in shipped()
        for line in statements(one.up, "db")
        if line.startswith("CREATE TABLE")
    }
    for name in DEDUPLICATED_TABLES:
        assert f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}" in tables[f"{quoted('db')}.{name}"]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE a",
        "  truncate table a",
        "ALTER TABLE a DROP COLUMN b",
        "ALTER TABLE a\n  DELETE WHERE 1",
        "RENAME TABLE a TO b",
        "CREATE OR REPLACE VIEW a AS SELECT 1",
        "CREATE OR REPLACE TABLE a (x UInt8) ENGINE = Null",
        "EXCHANGE TABLES a AND b",
    ],
)
def test_a_statement_that_may_destroy_data_is_known_as_such(statement: str) -> None:
    assert is_dangerous(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE IF NOT EXISTS a (dropped UInt8) ENGINE = Null",
        "ALTER TABLE a ADD COLUMN b UInt8",
        "ALTER TABLE a MODIFY SETTING non_replicated_deduplication_window = 1",
        "CREATE OR REPLACE FUNCTION f AS x -> x",
        "INSERT INTO a SELECT 1",
    ],
)
def test_a_statement_that_only_adds_is_let_through(statement: str) -> None:
    assert not is_dangerous(statement)


def test_only_what_is_not_applied_is_pending() -> None:
    assert pending([ONE, TWO], {}) == [ONE, TWO]
    assert pending([ONE, TWO], {1: ONE.checksum}) == [TWO]
    assert pending([ONE, TWO], {1: ONE.checksum, 2: TWO.checksum}) == []


def test_a_changed_or_unknown_migration_is_refused_with_advice() -> None:
    with pytest.raises(StoreSchemaError, match=r"(?s)0001 \(one\).*new migration"):
        pending([ONE, TWO], {1: "another"})
    with pytest.raises(StoreSchemaError, match="newer version"):
        pending([ONE], {1: ONE.checksum, 2: TWO.checksum})


def test_statements_end_at_semicolons_at_the_end_of_a_line_and_hold_no_comments() -> None:
    script = "-- a; b\nSELECT ';'\n  AS x;\n\n-- last\nSELECT 1 FROM ${database}.t;\n-- end\n"
    assert list(statements(script, "d`b")) == ["SELECT ';'\n  AS x", "SELECT 1 FROM `d\\`b`.t"]


def test_retention_becomes_one_rule_per_table_and_for_ever_none() -> None:
    rules = {rule.table: rule for rule in Retention(tier_10s=DAY_MS, tier_1d=FOR_EVER, accounts=1_500).rules()}
    assert rules["distinct_10s"].clause == "window + toIntervalSecond(86400)"
    assert rules["blocks"].clause == "toDateTime(inserted_at) + toIntervalSecond(2)", "never sooner than asked"
    assert rules["rollups_1d"].clause == ""
    assert rules["events"].clause == "toDateTime(at) + toIntervalSecond(2592000)", "30 days if nothing is said"
    assert rules["rollups_1d"].statement("db") == "ALTER TABLE `db`.`rollups_1d` REMOVE TTL"


def test_times_that_cannot_be_kept_are_all_named() -> None:
    found = Retention(tier_10s=0, tier_1h=-2, dead=200 * 365 * DAY_MS).problems()
    assert [line.split(":")[0] for line in found] == ["tier_10s", "tier_1h", "dead"]
    assert Retention().problems() == []
