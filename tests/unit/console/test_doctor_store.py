"""The doctor's findings of a store: what is dangerous is found, with the statement that puts it right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamgauge.console.doctor import diagnose
from streamgauge.console.doctor_facts import Clock, Column, Feed, ServerSetting, StoreFacts, Table
from streamgauge.console.doctor_findings import Finding, Severity
from streamgauge.sinks.ddl import DEDUPLICATED_TABLES
from streamgauge.sinks.migrations import shipped
from streamgauge.sinks.retention import FOR_EVER, Retention
from tests.support.healthy import (
    DATABASE,
    MINUTE,
    WANTED,
    bad_store,
    healthy_kafka,
    healthy_store,
    region,
    with_columns,
    with_feed,
    with_table,
    with_window,
)


def only(findings: list[Finding]) -> Finding:
    (one,) = findings
    return one


def notes(store: StoreFacts, area: str) -> list[Finding]:
    found = diagnose(region(store, healthy_kafka()), WANTED, shipped())
    return [one for one in found if one.area == area and one.severity is Severity.NOTE]


def test_a_healthy_region_has_neither_warning_nor_error() -> None:
    assert bad_store(healthy_store()) == []


@pytest.mark.parametrize("name", DEDUPLICATED_TABLES)
def test_every_table_of_the_cascade_must_remember_parts(name: str) -> None:
    found = only(bad_store(with_window(healthy_store(), name, 0)))
    assert (found.severity, found.area, found.where) == (Severity.ERROR, "deduplication", name)
    assert found.sql == f"ALTER TABLE `db`.`{name}` MODIFY SETTING non_replicated_deduplication_window = 10000"


def test_a_window_is_told_as_the_time_that_it_covers() -> None:
    found = only(bad_store(healthy_store(), replace(WANTED, outage_ms=6 * 60 * MINUTE))[:1])
    assert found.severity is Severity.WARNING
    assert "83 minutes only (10,000 parts at 2 parts a second); wanted are 6 hours" in found.what
    # 2 parts a second over 6 hours, and half as much again
    assert found.sql.endswith("non_replicated_deduplication_window = 70000")


def test_a_window_that_is_smaller_than_usual_is_a_warning_even_when_nothing_is_written() -> None:
    store = replace(with_window(healthy_store(), "distinct_1h", 100), parts_per_second={})
    found = only(bad_store(store))
    assert (found.severity, found.where) == (Severity.WARNING, "distinct_1h")


def test_a_replicated_table_forgets_by_time_too() -> None:
    store = healthy_store()
    (table,) = [one for one in store.tables if one.name == "rollups_1m"]
    replicated = with_table(
        replace(
            store,
            window_defaults={
                "replicated_deduplication_window": 10_000,
                "replicated_deduplication_window_seconds": 600,
            },
        ),
        "rollups_1m",
        engine="ReplicatedAggregatingMergeTree",
        engine_full="ReplicatedAggregatingMergeTree('/path', '{replica}') "
        + table.engine_full.removeprefix("AggregatingMergeTree "),
    )
    found = only(bad_store(replicated))
    assert "10 minutes only (parts are forgotten after 10 minutes)" in found.what
    assert "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800" in found.sql
    assert "non_" not in found.sql


def test_the_target_of_somebody_elses_view_is_warned_of_too() -> None:
    store = healthy_store()
    theirs = Table("other", "copy", "MergeTree", "MergeTree ORDER BY c SETTINGS index_granularity = 8192")
    feed = Feed("other", "copy_feed", "other", "copy")
    found = only(bad_store(replace(store, tables=(*store.tables, theirs), feeds=(*store.feeds, feed))))
    assert (found.severity, found.where) == (Severity.WARNING, "other.copy")


def test_a_ledger_that_keeps_repeated_rows_is_found() -> None:
    store = with_table(healthy_store(), "ledger", engine="MergeTree", engine_full="MergeTree ORDER BY region")
    assert {one.area for one in bad_store(store) if one.where == "ledger"} == {"deduplication", "tables", "retention"}


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("24.7.1.1", "counts twice"),
        ("25.8.3.1", "counts twice"),
        ("26.1.9.9", "counts twice"),
        ("24.3.2.1", "older than anything"),
        ("26.2.1.1", ""),
        ("26.9.2.1", ""),
    ],
)
def test_versions_in_which_repeats_double_are_refused(version: str, said: str) -> None:
    found = bad_store(replace(healthy_store(), version=version))
    assert [said in one.what for one in found] == ([True] if said else [])


@pytest.mark.parametrize(("version", "dangerous"), [("26.3.16.1", True), ("26.3.17.1", False), ("26.7.1.1", False)])
def test_ttl_group_by_is_an_error_where_it_merges_for_ever(version: str, dangerous: bool) -> None:
    store = replace(healthy_store(), version=version)
    assert [one.severity for one in notes(store, "version")] == ([Severity.NOTE] if dangerous else [])
    grouping = with_table(
        store, "metrics", engine_full="ReplacingMergeTree(inserted_at) ORDER BY metric TTL t GROUP BY metric SET x = 1"
    )
    assert [one.where for one in bad_store(grouping)] == (["metrics"] if dangerous else [])


def test_async_insert_by_default_is_only_worth_a_note() -> None:
    store = healthy_store()
    on = tuple(replace(one, value="1") if one.name == "async_insert" else one for one in store.settings)
    assert bad_store(replace(store, settings=on)) == []
    (found,) = notes(replace(store, settings=on), "settings")
    assert "async_insert is on by default" in found.what


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (ServerSetting("async_insert", "1", locked=True), "may not be changed"),
        (ServerSetting("max_partitions_per_insert_block", "100", maximum="200"), "must lie in"),
        (ServerSetting("readonly", "1"), "can insert nothing"),
    ],
)
def test_a_profile_that_refuses_the_sinks_inserts_is_an_error(setting: ServerSetting, said: str) -> None:
    store = healthy_store()
    settings = (*(one for one in store.settings if one.name != setting.name), setting)
    found = only(bad_store(replace(store, settings=settings)))
    assert found.severity is Severity.ERROR
    assert said in found.what


def test_a_locked_setting_with_the_value_that_the_sink_states_is_fine() -> None:
    store = healthy_store()
    assert bad_store(replace(store, settings=tuple(replace(one, locked=True) for one in store.settings))) == []


def test_a_server_that_does_not_know_a_setting_of_the_sink_is_an_error() -> None:
    store = healthy_store()
    left = tuple(one for one in store.settings if one.name != "deduplicate_insert")
    assert "does not know deduplicate_insert" in only(bad_store(replace(store, settings=left))).what


def test_a_missing_table_and_what_makes_it() -> None:
    store = healthy_store()
    left = tuple(one for one in store.tables if one.name != "dead")
    found = [one for one in bad_store(replace(store, tables=left)) if one.area == "tables"]
    assert only(found).sql.startswith("CREATE TABLE IF NOT EXISTS `db`.dead")


def test_a_missing_feed_and_what_makes_it() -> None:
    store = healthy_store()
    left = tuple(one for one in store.feeds if one.name != "rollups_1h_feed")
    found = only(bad_store(replace(store, feeds=left)))
    assert "nothing that is inserted reaches rollups_1h" in found.what
    assert found.sql.startswith("CREATE MATERIALIZED VIEW IF NOT EXISTS `db`.rollups_1h_feed")


def test_a_changed_type_is_found_in_the_table_and_against_its_view() -> None:
    def narrowed(one: Column) -> Column:
        return replace(one, type="UInt32") if one.name == "points" else one

    table, *views = bad_store(with_columns(healthy_store(), "blocks", narrowed))
    assert table.what == "the column points has the type UInt32, not UInt64"
    assert table.sql == "ALTER TABLE `db`.`blocks` MODIFY COLUMN `points` UInt64"
    assert {(one.where, one.severity) for one in views} == {
        ("distinct_blocks_feed", Severity.ERROR),
        ("events_blocks_feed", Severity.ERROR),
        ("rollups_blocks_feed", Severity.ERROR),
    }


def test_a_dropped_column_is_found() -> None:
    found = bad_store(with_columns(healthy_store(), "series", lambda one: None if one.name == "service" else one))
    assert only(found).sql == (
        "ALTER TABLE `db`.`series` ADD COLUMN `service` LowCardinality(String) MATERIALIZED labels['service']"
    )


def test_a_column_that_is_computed_otherwise_is_found() -> None:
    def other(one: Column) -> Column:
        return replace(one, expression="labels['x']") if one.name == "tenant" else one

    assert (
        "computed by MATERIALIZED labels['x']" in only(bad_store(with_columns(healthy_store(), "series", other))).what
    )


def test_a_column_of_somebody_else_is_worth_a_note() -> None:
    store = healthy_store()
    (table,) = [one for one in store.tables if one.name == "series"]
    changed = with_table(store, "series", columns=(*table.columns, Column("extra", "String", "DEFAULT", "''")))
    assert bad_store(changed) == []
    assert "extra" in notes(changed, "tables")[0].what


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sorting_key": "metric, window"}, "sorted by"),
        ({"partition_key": "toYYYYMM(window)"}, "partitioned by"),
        ({"engine": "SummingMergeTree", "engine_full": "SummingMergeTree"}, "has the engine SummingMergeTree"),
    ],
)
def test_another_key_or_engine_is_found(changes: dict[str, str], said: str) -> None:
    found = [one for one in bad_store(with_table(healthy_store(), "rollups_10s", **changes)) if one.area == "tables"]
    assert said in only(found).what


def test_a_view_with_another_query_or_target_is_found() -> None:
    changed = only(bad_store(with_feed(healthy_store(), "rollups_1m_feed", as_shipped=False)))
    assert "another query" in changed.what
    assert changed.sql.startswith("DROP VIEW `db`.`rollups_1m_feed`;\nCREATE MATERIALIZED VIEW")
    assert (
        "fills db.rollups_1h"
        in only(bad_store(with_feed(healthy_store(), "rollups_1m_feed", target="rollups_1h"))).what
    )


def test_a_view_whose_query_fails_stops_every_insert() -> None:
    found = only(bad_store(with_feed(healthy_store(), "rollups_1m_feed", gives=(), problem="code 47")))
    assert "every insert of the sink fails" in found.what


def test_a_view_that_leaves_out_a_column_is_found() -> None:
    (feed,) = [one for one in healthy_store().feeds if one.name == "rollups_1m_feed"]
    gives = tuple(one for one in feed.gives if one.name != "hist")
    assert only(bad_store(with_feed(healthy_store(), feed.name, gives=gives))).what.startswith("gives no hist")


def test_migrations_that_are_missing_changed_or_newer_are_found() -> None:
    store = healthy_store()
    applied = dict(store.applied or {})
    last = max(applied)
    missing = only(bad_store(replace(store, applied={n: c for n, c in applied.items() if n != last})))
    name = f"{shipped()[-1].number:04d}_{shipped()[-1].name}"
    assert (missing.remedy, f"not applied: {name}" in missing.what) == ("streamgauge migrate", True)
    assert "newer version: 99" in only(bad_store(replace(store, applied={**applied, 99: "x"}))).what
    assert "another form" in only(bad_store(replace(store, applied={**applied, 1: "x"}))).what


def test_a_database_that_was_never_migrated_is_one_finding() -> None:
    store = StoreFacts("http://127.0.0.1:8123", "sink", "26.9.2.1", applied=None, clock=Clock(0, 1))
    assert only(bad_store(store)).remedy == "streamgauge migrate"


def test_missing_functions_are_found() -> None:
    assert "sg_quantile" in only(bad_store(replace(healthy_store(), functions_missing=("sg_quantile",)))).what


def test_a_table_that_forgets_by_another_rule_is_found() -> None:
    found = only(bad_store(healthy_store(), replace(WANTED, retention=replace(Retention(), tier_1m=FOR_EVER)))[:1])
    assert (found.area, found.where) == ("retention", "rollups_1m")
    assert found.sql == "ALTER TABLE `db`.`rollups_1m` REMOVE TTL"


def test_views_for_people_that_are_missing_hidden_or_stale() -> None:
    store = healthy_store()
    missing = only(bad_store(replace(store, planned_views={"hits_1m": "x [1]", "points_1m": "Every metric [1]"})))
    assert (missing.severity, missing.where) == (Severity.WARNING, "hits_1m")
    assert bad_store(replace(store, planned_views={"points_1m": "newer [2]"})) == []
    assert only(bad_store(replace(store, planned_views={"series": "x"}))).severity is Severity.ERROR


@pytest.mark.parametrize(
    ("clock", "severity"),
    [
        (Clock(-1_900.0, 2_000.0), None),
        (Clock(5_000.0, 5_010.0), Severity.WARNING),
        (Clock(-90_010.0, -90_000.0), Severity.ERROR),
    ],
)
def test_a_clock_is_judged_by_what_is_certain(clock: Clock, severity: Severity | None) -> None:
    found = bad_store(replace(healthy_store(), clock=clock))
    assert [one.severity for one in found] == ([severity] if severity else [])


def test_what_the_store_refuses_to_tell_is_a_note() -> None:
    store = replace(healthy_store(), unread=("settings cannot be read: code 497",))
    assert bad_store(store) == []
    assert notes(store, "not read")


def test_one_database_is_named_in_every_statement() -> None:
    findings = bad_store(with_window(healthy_store(), "blocks", 0))
    assert all(f"`{DATABASE}`" in one.sql for one in findings)
