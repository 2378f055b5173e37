"""Migrations on the real engine: done once, checked first, and what has drifted is put right."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streamgauge.schemas.windows import DAY_MS, window_start
from streamgauge.sinks.ddl import DEDUPLICATED_TABLES, ROLLUP_TABLES, StoreSchemaError, table
from streamgauge.sinks.functions import FUNCTIONS, creation
from streamgauge.sinks.migrations import Migration, find_drift, migrate, roll_back, shipped
from streamgauge.sinks.retention import FOR_EVER, Retention
from streamgauge.sinks.views import ensure_views
from tests.support.tables import (
    KEPT,
    REQUESTS,
    T0,
    Engine,
    Row,
    Store,
    landing,
    settings,
)

pytestmark = pytest.mark.clickhouse


def test_migrating_twice_does_nothing_the_second_time(engine: Engine, unique: str) -> None:
    first = migrate(engine, Retention(), unique)
    assert first[0] == f"created database {unique}"
    assert sum("applied migration" in line for line in first) == len(shipped())
    assert migrate(engine, Retention(), unique) == []


def test_a_database_may_have_any_name(engine: Engine, unique: str) -> None:
    name = f"{unique}-`we'ird\\"
    migrate(engine, Retention(), name)
    assert migrate(engine, Retention(), name) == []
    ensure_views(engine, name, [REQUESTS])
    engine.insert(table(name, "rollups_landing"), landing([Row("checkout_requests", 1, T0)]), **settings("a"))
    assert engine.query_rows(f"SELECT count FROM {table(name, 'checkout_requests_1d')}")[0][0] == 1


def test_a_changed_migration_and_an_unknown_one_are_refused(store: Store) -> None:
    known = shipped()
    changed = Migration(known[0].number, known[0].name, known[0].up + "\n-- changed", known[0].down)
    with pytest.raises(StoreSchemaError, match="another form"):
        migrate(store.engine, KEPT, store.database, migrations=(changed, *known[1:]))
    with pytest.raises(StoreSchemaError, match="newer version"):
        migrate(store.engine, KEPT, store.database, migrations=known[:-1])


def test_a_migration_that_may_destroy_data_needs_leave(store: Store) -> None:
    dangerous = (*shipped(), Migration(99, "tidy", "DROP TABLE ${database}.dead;\n", "SELECT 1;\n"))
    with pytest.raises(StoreSchemaError, match="may destroy data: DROP TABLE"):
        migrate(store.engine, KEPT, store.database, migrations=dangerous)
    assert store.one("SELECT count() FROM db.dead") == 0
    assert migrate(store.engine, KEPT, store.database, migrations=dangerous, allow_dangerous=True) == [
        "applied migration 0099 tidy"
    ]


def test_migrations_can_be_taken_back_and_applied_again(store: Store) -> None:
    with pytest.raises(StoreSchemaError, match="may destroy data"):
        roll_back(store.engine, store.database, 0)
    assert len(roll_back(store.engine, store.database, 0, allow_dangerous=True)) == len(shipped())
    assert store.one(f"SELECT groupArray(name) FROM system.tables WHERE database = '{store.database}'") == [
        "migrations"
    ]
    assert len(migrate(store.engine, KEPT, store.database)) == len(shipped())


def test_a_lost_deduplication_window_is_found_and_put_right(store: Store) -> None:
    for name in DEDUPLICATED_TABLES:
        store.engine.command(
            f"ALTER TABLE {table(store.database, name)} RESET SETTING non_replicated_deduplication_window"
        )
    found = find_drift(store.engine, KEPT, store.database)
    assert [one.table for one in found] == list(DEDUPLICATED_TABLES)
    assert "would count twice" in found[0].finding
    assert len(migrate(store.engine, KEPT, store.database)) == len(DEDUPLICATED_TABLES)
    rows = [Row("requests", 1, T0)]
    store.insert(rows, "a")
    store.insert(rows, "a")
    assert [store.one(f"SELECT sum(count) FROM db.{name}") for name in ROLLUP_TABLES] == [1, 1, 1, 1]


def test_each_tier_forgets_by_its_own_rule_and_a_shorter_rule_holds_for_old_parts(store: Store) -> None:
    today = window_start(int(datetime.now(UTC).timestamp()), 86_400)
    store.insert([Row("requests", 1, today - 86_400 * 100, 1), Row("requests", 1, today, 2)], "a")
    shorter = Retention(DAY_MS, 30 * DAY_MS, 400 * DAY_MS, FOR_EVER)
    assert any("rollups_10s: forgets by" in line for line in migrate(store.engine, shorter, store.database))
    for name in ROLLUP_TABLES:
        store.engine.command(f"OPTIMIZE TABLE {table(store.database, name)} FINAL")
    assert [store.one(f"SELECT sum(count) FROM db.{name}") for name in ROLLUP_TABLES] == [2, 2, 3, 3]
    assert migrate(store.engine, shorter, store.database) == []
    assert len(migrate(store.engine, KEPT, store.database)) == 11


def test_retention_beyond_the_end_of_the_stores_time_is_refused(store: Store) -> None:
    with pytest.raises(StoreSchemaError, match="tier_1d"):
        migrate(store.engine, Retention(tier_1d=100 * 365 * DAY_MS), store.database)


REOPEN = """
import sys, chdb
store = chdb.connect(sys.argv[1])
for statement in sys.argv[2:]:
    print(store.query(statement, "TSV"), end="")
store.close()
"""


def test_functions_are_still_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    def run(*sql: str) -> str:
        command = [sys.executable, "-c", REOPEN, str(tmp_path / "data"), *sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    run(*(creation(name) for name in FUNCTIONS))
    assert run("SELECT round(sg_quantile(0.5, CAST(map(16384, 1), 'Map(Int16, UInt64)')), 2)").strip() == "1.01"
