"""Contracts' retention on the real engine: rows of one event go, those of the others stay, and repeating changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.settings import Secret
from streamgauge.schemas.windows import DAY_MS, window_start
from streamgauge.sinks.catalog import at_once
from streamgauge.sinks.ddl import table
from streamgauge.sinks.forgetting import Forgetting
from streamgauge.sinks.migrations import find_drift, migrate
from streamgauge.sinks.retention import FOR_EVER, Retention
from streamgauge.sinks.store import Store as HttpStore
from streamgauge.sinks.store import StoreAddress
from tests.support.tables import KEPT, ORDERS, Row, Store

pytestmark = pytest.mark.clickhouse

DAY = 86_400
SHORT = replace(ORDERS, retention="30d", retention_tiers={"10s": "1d", "1m": "7d"})
METRICS = ("order_placed", "order_placed.amount", "requests")
TIERS = Retention(FOR_EVER, 60 * DAY_MS, FOR_EVER, FOR_EVER)


def days_ago(days: int) -> int:
    return window_start(int(datetime.now(UTC).timestamp()), DAY) - days * DAY


def fill(store: Store, *days: int) -> None:
    """A row of every metric on each of these days."""
    store.insert([Row(metric, 1, days_ago(day)) for metric in METRICS for day in days], f"block {days}")
    hashes = [(Row("order_placed.customer_id", 1, days_ago(day)), 7) for day in days]
    store.insert_hashes(hashes, f"hashes {days}")


def held(store: Store, tier: str) -> dict[str, list[int]]:
    """On which days ago a tier of rollups has rows, by metric."""
    found = store.rows(
        f"SELECT metric, groupArray(intDiv({days_ago(0)} - toUnixTimestamp(window), {DAY})) FROM "
        f"(SELECT DISTINCT metric, toStartOfDay(window) AS window FROM db.rollups_{tier} ORDER BY window DESC) GROUP BY metric"
    )
    return {str(metric): list(days) for metric, days in found}


def merge(store: Store, *names: str) -> None:
    for name in names:
        store.engine.command(f"OPTIMIZE TABLE {table(store.database, name)} FINAL")


def test_rows_of_one_event_go_at_the_next_merge_and_the_others_stay(store: Store) -> None:
    migrate(store.engine, TIERS, store.database)
    fill(store, 0, 3, 10, 40)
    done = migrate(store.engine, TIERS, store.database, contracts=[SHORT])
    assert any("rollups_10s: keeps order_placed, order_placed.amount longer than declared (1 d)" in one for one in done)
    fill(store, 2)
    merge(store, "rollups_10s", "rollups_1m", "rollups_1d", "distinct_10s", "distinct_1d")
    gone = {key: [0] for key in METRICS[:2]}
    assert held(store, "10s") == gone | {"requests": [0, 2, 3, 10, 40]}
    assert held(store, "1m") == {key: [0, 2, 3] for key in METRICS[:2]} | {"requests": [0, 2, 3, 10, 40]}
    assert held(store, "1d") == {key: [0, 2, 3, 10] for key in METRICS[:2]} | {"requests": [0, 2, 3, 10, 40]}
    assert [store.one(f"SELECT count() FROM db.distinct_{tier}") for tier in ("10s", "1d")] == [1, 4]
    assert migrate(store.engine, TIERS, store.database, contracts=[SHORT]) == []
    assert migrate(store.engine, TIERS, store.database) == [], "what is not known here was declared elsewhere"


def test_rows_go_by_themselves_from_parts_that_nobody_inserts_into_any_more(store: Store) -> None:
    others = Retention(60 * DAY_MS, FOR_EVER, FOR_EVER, FOR_EVER)
    migrate(store.engine, others, store.database)
    fill(store, 3)
    migrate(store.engine, others, store.database, contracts=[SHORT])
    until = time.monotonic() + 60
    while held(store, "10s") != {"requests": [3]} and time.monotonic() < until:
        time.sleep(0.2)
    assert held(store, "10s") == {"requests": [3]}
    assert held(store, "1h") == {key: [3] for key in METRICS}


def test_a_repeated_block_is_recognised_in_a_table_that_forgets_by_rows(store: Store) -> None:
    migrate(store.engine, KEPT, store.database, contracts=[SHORT])
    for _ in range(2):
        fill(store, 0, 3)
        merge(store, "rollups_10s")
    assert store.one("SELECT sum(count) FROM db.rollups_10s") == 4


def test_an_event_that_declares_no_retention_any_more_is_kept_again(store: Store) -> None:
    migrate(store.engine, KEPT, store.database, contracts=[SHORT])
    newer = replace(ORDERS, version=2, loosens={"retention": "Told on 1 June.", "retention_tiers.10s": "Told."})
    assert {one.table for one in find_drift(store.engine, KEPT, store.database, [SHORT, newer])} >= {"rollups_10s"}
    migrate(store.engine, KEPT, store.database, contracts=[SHORT, newer])
    assert find_drift(store.engine, KEPT, store.database) == []
    fill(store, 40)
    merge(store, "rollups_10s")
    assert held(store, "10s") == {key: [40] for key in METRICS}


def test_no_row_of_others_goes_when_a_table_that_forgot_only_some_gets_a_time_for_all(store: Store) -> None:
    place = table(store.database, "rollups_10s")
    migrate(store.engine, KEPT, store.database, contracts=[SHORT])
    store.engine.command(f"SYSTEM STOP TTL MERGES {place}")
    fill(store, 3)
    # before the store has looked through the parts with the new rule
    store.engine.command(
        f"ALTER TABLE {place} MODIFY TTL window + toIntervalSecond({60 * DAY}) SETTINGS materialize_ttl_after_modify = 0"
    )
    store.engine.command(f"SYSTEM START TTL MERGES {place}")
    until = time.monotonic() + 4
    while len(held(store, "10s")) == 3 and time.monotonic() < until:
        time.sleep(0.1)
    assert held(store, "10s") == {key: [3] for key in METRICS}


def test_single_events_go_by_their_own_time(store: Store) -> None:
    place = table(store.database, "events")
    for event in ("order_placed", "visit"):
        for day in (0, 2, 40):
            store.engine.command(
                f"INSERT INTO {place} (event, at) SELECT '{event}', toDateTime({days_ago(day)}, 'UTC')"
            )
    declared = replace(ORDERS, retention_tiers={"events": "1d"}, store_events=True)
    migrate(store.engine, Retention(), store.database, contracts=[declared])
    assert find_drift(store.engine, Retention(), store.database, [declared]) == []
    merge(store, "events")
    assert store.rows("SELECT event, count() FROM db.events GROUP BY event ORDER BY event") == [
        ("order_placed", 1),
        ("visit", 2),
    ]


class OverHttp(HttpStore):
    """The door of production, with the embedded engine behind it."""

    def __init__(self, store: Store) -> None:
        super().__init__(StoreAddress("http://127.0.0.1:1", "default", Secret(""), store.database))
        self._engine = store.engine
        self.commands: list[str] = []
        self.failure: Exception | None = None

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> object:
        self.commands.append(sql)
        return self._engine.command(sql, params)

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        if self.failure:
            raise self.failure
        return self._engine.query_rows(sql, params)


def test_a_running_sink_shortens_what_new_contracts_declare_and_nothing_else(store: Store) -> None:
    migrate(store.engine, TIERS, store.database)
    door, at = OverHttp(store), [0.0]
    now: dict[tuple[str, int], Contract] = {}
    follower = Forgetting(door, Retention(), lambda: now, at_once, settle_s=2, retry_s=30, monotonic=lambda: at[0])

    def commands_after(seconds: float) -> int:
        follower.follow()
        at[0] += seconds
        follower.follow()
        return len(door.commands)

    assert commands_after(60) == 0
    now = {("order_placed", 0): replace(SHORT, version=0)}
    assert commands_after(1) == 0
    now = {**now, ("order_placed", 1): SHORT}
    assert commands_after(1.5) == 0, "contracts that come together are one change"
    assert commands_after(0.6) == 16, "a rule and a setting for each of eight tables"
    assert find_drift(store.engine, TIERS, store.database, [SHORT]) == []
    now = dict(now)
    assert commands_after(60) == 16, "what is as it must be costs no statement"


def test_a_store_that_is_away_is_asked_again_and_nothing_is_raised(store: Store) -> None:
    door, at = OverHttp(store), [0.0]
    door.failure = DatabaseError("away")
    known = {("order_placed", 1): SHORT}
    follower = Forgetting(door, Retention(), lambda: known, at_once, settle_s=0, retry_s=30, monotonic=lambda: at[0])
    follower.follow()
    at[0], door.failure = 29.0, None
    follower.follow()
    assert door.commands == []
    at[0] = 30.0
    follower.follow()
    assert find_drift(store.engine, KEPT, store.database, [SHORT]) == []
