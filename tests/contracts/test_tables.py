"""The tables and views on the real engine: every tier counts once, and every regrouping in SQL gives the right number."""

from __future__ import annotations

import io
import math
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.histogram import RELATIVE_ERROR, histogram_of, merge, quantile
from streamgauge.schemas.windows import DAY_MS, TIER_NAMES, TIERS, window_start
from streamgauge.sinks.ddl import (
    DEDUPLICATED_TABLES,
    DISTINCT_TABLES,
    INSERT_SETTINGS,
    ROLLUP_TABLES,
    StoreSchemaError,
    table,
)
from streamgauge.sinks.functions import FUNCTIONS, creation
from streamgauge.sinks.migrations import Migration, find_drift, migrate, roll_back, shipped
from streamgauge.sinks.retention import FOR_EVER, Retention
from streamgauge.sinks.views import ensure_views

pytestmark = pytest.mark.clickhouse

T0 = 1_796_083_200  # 2026-12-01 00:00 UTC
KEPT = Retention(FOR_EVER, FOR_EVER, FOR_EVER, FOR_EVER, FOR_EVER, FOR_EVER)
REQUESTS = MetricHead("checkout_requests", "counter", "{request}", ("endpoint", "status"))
LATENCY = MetricHead("checkout_latency_seconds", "histogram", "s", ("endpoint",))
DEPTH = MetricHead("queue_depth", "gauge", "{item}", ("queue",))
ORDERS = Contract(
    "order_placed",
    1,
    {
        "country": Field("dimension"),
        "amount": Field("measure", "number", unit="{USD}"),
        "customer_id": Field("unique"),
        "note": Field("dropped"),
    },
)


class Engine:
    """The embedded engine behind the client that production uses."""

    def __init__(self, path: Path) -> None:
        import clickhouse_connect

        self._client: Any = clickhouse_connect.get_client(interface="chdb", path=str(path))

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> object:
        return self._client.command(sql, parameters=params)

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = self._client.query(sql, parameters=params).result_rows
        return rows

    def insert(self, name: str, frame: pl.DataFrame, **settings: object) -> None:
        buffer = io.BytesIO()
        frame.write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
        self._client.raw_insert(
            name, column_names=frame.columns, insert_block=buffer.getvalue(), settings=settings, fmt="ArrowStream"
        )

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("store"))
    yield engine
    engine.close()


@dataclass
class Store:
    """One database of the engine, migrated."""

    engine: Engine
    database: str

    def one(self, sql: str) -> Any:
        """The only value of a query in which `db.` stands for the database."""
        ((value,),) = self.rows(sql)
        return value

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.engine.query_rows(sql.replace("db.", f"`{self.database}`."))]

    def insert(self, rows: Sequence[Row], token: str) -> None:
        self.engine.insert(table(self.database, "rollups_landing"), landing(rows), **settings(token))

    def insert_hashes(self, rows: Sequence[tuple[Row, int]], token: str) -> None:
        frame = landing([row for row, _ in rows]).drop("count", "sum", "min", "max", "last_ms", "last", "hist", "topic")
        frame = frame.with_columns(
            pl.Series("hash", [value for _, value in rows], pl.UInt64), pl.lit("sg.eu.distinct.v1").alias("topic")
        )
        self.engine.insert(table(self.database, "distinct_landing"), frame, **settings(token))

    def name(self, family: str, series_id: int, labels: Mapping[str, str]) -> None:
        """Say what a series is called."""
        self.engine.command(
            f"INSERT INTO {table(self.database, 'series')} (family, series_id, labels)"
            " SELECT {family:String}, {id:UInt64}, mapFromArrays({names:Array(String)}, {values:Array(String)})",
            {"family": family, "id": series_id, "names": list(labels), "values": list(labels.values())},
        )

    def ensure(self, heads: Sequence[MetricHead] = (), contracts: Sequence[Contract] = ()) -> list[str]:
        return ensure_views(self.engine, self.database, heads, contracts)


@pytest.fixture
def store(engine: Engine, unique: str) -> Store:
    migrate(engine, KEPT, unique)
    return Store(engine, unique)


@dataclass(frozen=True)
class Row:
    """A row of a block, with the defaults of a counter that was called once."""

    metric: str
    series_id: int
    window: int
    count: int = 1
    sum: float = 1.0
    min: float = 0.0
    max: float = 0.0
    last_ms: int = 0
    last: float = 0.0
    hist: Mapping[int, int] = field(default_factory=dict[int, int])
    entry: int = 0
    version: int = 1


def observed(metric: str, series_id: int, window: int, values: Sequence[float], entry: int = 0) -> Row:
    return Row(
        metric,
        series_id,
        window,
        len(values),
        math.fsum(values),
        min(values),
        max(values),
        hist=histogram_of(values),
        entry=entry,
    )


def landing(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "materialization_version": pl.Series([r.version for r in rows], dtype=pl.UInt16),
            "metric": [r.metric for r in rows],
            "series_id": pl.Series([r.series_id for r in rows], dtype=pl.UInt64),
            "entry": pl.Series([r.entry for r in rows], dtype=pl.UInt8),
            "window": pl.Series([r.window for r in rows], dtype=pl.UInt32),
            "count": pl.Series([r.count for r in rows], dtype=pl.UInt64),
            "sum": pl.Series([r.sum for r in rows], dtype=pl.Float64),
            "min": pl.Series([r.min for r in rows], dtype=pl.Float64),
            "max": pl.Series([r.max for r in rows], dtype=pl.Float64),
            "last_ms": pl.Series([r.last_ms for r in rows], dtype=pl.Int64),
            "last": pl.Series([r.last for r in rows], dtype=pl.Float64),
            "hist": pl.Series(
                [[(key + 32_768) << 48 | count for key, count in r.hist.items()] for r in rows],
                dtype=pl.List(pl.UInt64),
            ),
            "topic": ["sg.eu.rollups.v1"] * len(rows),
            "partition": pl.Series([0] * len(rows), dtype=pl.UInt16),
            "block_from": pl.Series([10] * len(rows), dtype=pl.UInt64),
            "block_to": pl.Series([20] * len(rows), dtype=pl.UInt64),
            "region": ["eu"] * len(rows),
        }
    )


def settings(token: str) -> dict[str, object]:
    return {**INSERT_SETTINGS, "insert_deduplication_token": token}


def within(found: float, wanted: float) -> bool:
    return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_a_block_of_all_entry_tiers_counts_once_in_every_tier_however_often_it_is_repeated(
    store: Store, repeats: int
) -> None:
    rows = [
        observed("latency", series, window_start(T0 + at, TIERS[entry].width_ms // 1_000), [0.1, 0.2 * series], entry)
        for entry in range(4)
        for series in range(1, 40)
        for at in (0, 70, 4_000, 90_000, 3_000_000)
    ]
    hashes = [(row, 1_000 * row.entry + n % 7) for n, row in enumerate(rows)]
    for _ in range(1 + repeats):
        store.insert(rows, "first")
        store.insert_hashes(hashes, "first")
    store.insert(rows[:10], "second")

    for entry, name in enumerate(ROLLUP_TABLES):
        held = [row for row in rows if row.entry <= entry]
        assert store.one(f"SELECT sum(count) FROM db.{name}") == 2 * len(held) + 20, name
        assert store.one(f"SELECT arraySum(mapValues(sumMap(hist))) FROM db.{name}") == 2 * len(held) + 20, name
    for entry, name in enumerate(DISTINCT_TABLES):
        cells = {
            (row.series_id, window_start(row.window, TIERS[entry].width_ms // 1_000))
            for row in rows
            if row.entry <= entry
        }
        assert store.one(f"SELECT count() FROM db.{name}") == len(cells), name
        assert store.one(f"SELECT uniqCombined64Merge(state) FROM db.{name}") == 7 * (1 + entry), name
    assert store.rows("SELECT topic, block_from, block_to, rows, points FROM db.blocks ORDER BY topic, rows") == [
        ("sg.eu.distinct.v1", 10, 20, len(rows), len(rows)),
        ("sg.eu.rollups.v1", 10, 20, 10, 20),
        ("sg.eu.rollups.v1", 10, 20, len(rows), 2 * len(rows)),
    ]


def test_two_equal_blocks_with_two_tokens_both_count(store: Store) -> None:
    rows = [Row("requests", 1, T0, 3)]
    store.insert(rows, "a")
    store.insert(rows, "b")
    assert [store.one(f"SELECT sum(count) FROM db.{name}") for name in ROLLUP_TABLES] == [6, 6, 6, 6]


def test_a_block_over_64_days_is_taken_and_recognised(store: Store) -> None:
    rows = [Row("requests", 1, T0 + 86_400 * day, 1) for day in range(64)]
    store.insert(rows, "wide")
    store.insert(rows, "wide")
    assert [store.one(f"SELECT sum(count) FROM db.{name}") for name in ROLLUP_TABLES] == [64, 64, 64, 64]


def test_a_repeated_series_row_does_not_multiply_and_a_missing_one_hides_nothing(store: Store) -> None:
    store.ensure([REQUESTS])
    store.insert([Row("checkout_requests", 1, T0, 5, 5.0), Row("checkout_requests", 2, T0, 7, 7.0)], "a")
    for _ in range(3):
        store.name("checkout_requests", 1, {"endpoint": "/pay", "status": "200", "region": "ap-southeast-2"})

    assert store.rows(
        "SELECT endpoint, status, region_group, labels, sum(value) FROM db.checkout_requests_1m"
        " GROUP BY ALL ORDER BY endpoint"
    ) == [
        ("", "", "", {}, 7.0),
        ("/pay", "200", "APAC", {"endpoint": "/pay", "status": "200", "region": "ap-southeast-2"}, 5.0),
    ]
    assert store.one("SELECT sum(count) FROM db.points_1h") == 12


def test_a_view_never_shows_a_partial_row(store: Store) -> None:
    store.ensure([REQUESTS])
    for n in range(5):
        store.insert([Row("checkout_requests", 1, T0 + 10 * n, 1, 2.0)], str(n))
    assert store.rows("SELECT value, count FROM db.checkout_requests_1m") == [(10.0, 5)]
    assert store.one("SELECT count() FROM db.checkout_requests_10s") == 5


def test_windows_of_one_block_that_meet_in_a_coarser_tier_show_as_one(store: Store) -> None:
    store.ensure([LATENCY], [ORDERS])
    for name in (*ROLLUP_TABLES, *DISTINCT_TABLES):
        store.engine.command(f"SYSTEM STOP MERGES {table(store.database, name)}")
    windows = [T0 + 10 * n for n in range(5)]
    rows = [observed(metric, 1, at, [2.0]) for metric in (LATENCY.name, "order_placed.amount") for at in windows]
    store.insert([*rows, *(Row("order_placed", 1, at) for at in windows)], "one block")
    assert store.one("SELECT count() FROM db.rollups_1m WHERE metric = 'order_placed'") == 5, (
        "the part holds them apart"
    )

    key = next(iter(histogram_of([2.0])))
    for tier in TIER_NAMES[1:]:
        assert store.rows(f"SELECT count, sum, hist FROM db.{LATENCY.name}_{tier}") == [(5, 10.0, {key: 5})]
        assert store.rows(f"SELECT count, amount_sum, amount_hist FROM db.order_placed_{tier}") == [(5, 10.0, {key: 5})]
        assert store.rows(f"SELECT metric, count FROM db.points_{tier} WHERE metric LIKE '%amount'") == [
            ("order_placed.amount", 5)
        ]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_month_from_days_equals_the_observations_it_was_made_of(store: Store, seed: int) -> None:
    draw = random.Random(seed)
    store.ensure([LATENCY])
    seen: list[tuple[int, float]] = []
    for block in range(12):
        rows: list[Row] = []
        for _ in range(60):
            series = draw.randrange(8)
            values = [draw.choice([0.0, draw.lognormvariate(0, 2), -draw.lognormvariate(0, 2)]) for _ in range(9)]
            seen += [(series, value) for value in values]
            rows.append(observed(LATENCY.name, series, T0 + 10 * draw.randrange(30 * 8_640), values))
        for _ in range(draw.randint(1, 3)):
            store.insert(rows, f"block {block}")
    for series in range(8):
        store.name(LATENCY.name, series, {"endpoint": f"/{series % 3}"})

    truth: dict[str, list[float]] = {}
    for series, value in seen:
        truth.setdefault(f"/{series % 3}", []).append(value)
    for tier in TIER_NAMES:
        found = store.rows(
            "SELECT endpoint, sum(count), sum(sum), min(min), max(max), sg_quantile(0.5, sumMap(hist)),"
            f" sg_quantile(0.99, sumMap(hist)) FROM db.{LATENCY.name}_{tier} GROUP BY endpoint ORDER BY endpoint"
        )
        assert [row[0] for row in found] == sorted(truth)
        for endpoint, count, total, low, high, median, p99 in found:
            values = sorted(truth[endpoint])
            assert count == len(values)
            assert within(total, math.fsum(values))
            assert (low, high) == (values[0], values[-1])
            for q, estimate in ((0.5, median), (0.99, p99)):
                exact = values[max(1, math.ceil(q * len(values))) - 1]
                assert math.isclose(estimate, exact, rel_tol=RELATIVE_ERROR * 1.0001), (tier, q)


def test_the_last_value_of_a_gauge_is_the_latest_by_time_even_if_it_came_first(store: Store) -> None:
    store.ensure([DEPTH])
    at = T0 * 1_000
    store.insert([Row(DEPTH.name, 1, T0 + 20, 2, 3.0, -4.0, 7.0, at + 25_000, 7.0)], "new")
    store.insert([Row(DEPTH.name, 1, T0, 3, 300.0, 90.0, 110.0, at + 9_000, 100.0)], "late")
    store.insert([Row(DEPTH.name, 1, T0 + 20, 1, 500.0, 500.0, 500.0, at + 21_000, 500.0)], "later still")
    assert store.rows(
        f"SELECT value, min, max, mean, count, toUnixTimestamp64Milli(last_at) FROM db.{DEPTH.name}_1m"
    ) == [(7.0, -4.0, 500.0, 803.0 / 6, 6, at + 25_000)]


@pytest.mark.parametrize("seed", range(5))
def test_sql_and_python_agree_on_every_quantile(store: Store, seed: int) -> None:
    draw = random.Random(seed)
    buckets = histogram_of(
        [draw.choice([0.0, 1.0, -1.0]) * draw.lognormvariate(0, 5) for _ in range(draw.randint(1, 300))]
    )
    buckets = merge(buckets, {32_767: 2, -32_767: 1})
    for q in (0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 1.0, draw.random()):
        found = store.engine.query_rows(
            "SELECT sg_quantile({q:Float64}, mapFromArrays({keys:Array(Int16)}, {counts:Array(UInt64)}))",
            {"q": q, "keys": list(buckets), "counts": list(buckets.values())},
        )[0][0]
        assert math.isclose(found, quantile(buckets, q), rel_tol=1e-12), q


@pytest.mark.parametrize("call", ["0.5, map()", "1.5, map(7, 1)", "-0.1, map(7, 1)", "0.5, map(7, 0)"])
def test_no_quantile_of_nothing(store: Store, call: str) -> None:
    q, hist = call.split(", ", 1)
    assert store.one(f"SELECT sg_quantile({q}, CAST({hist}, 'Map(Int16, UInt64)'))") is None


def test_quantiles_of_a_view_stay_within_what_was_seen(store: Store) -> None:
    store.ensure([LATENCY])
    store.insert([observed(LATENCY.name, 1, T0, [0.3]), observed(LATENCY.name, 2, T0, [-5.0, -5.0])], "a")
    assert store.rows(f"SELECT p50, p90, p95, p99, avg FROM db.{LATENCY.name}_10s ORDER BY p50") == [
        (-5.0, -5.0, -5.0, -5.0, -5.0),
        (0.3, 0.3, 0.3, 0.3, 0.3),
    ]


def test_distinct_counts_merge_over_series_windows_and_tiers(store: Store) -> None:
    store.ensure(contracts=[ORDERS])
    draw = random.Random(1)
    people = {1: set[int](), 2: set[int]()}
    for block in range(4):
        rows: list[tuple[Row, int]] = []
        for _ in range(500):
            series, person = draw.randint(1, 2), draw.getrandbits(9) * 0x9E3779B97F4A7C15 % 2**64
            people[series].add(person)
            rows.append((Row("order_placed.customer_id", series, T0 + 10 * draw.randrange(8_640)), person))
        for _ in range(2):
            store.insert_hashes(rows, f"block {block}")
    store.name("order_placed", 1, {"country": "JP"})
    store.name("order_placed", 2, {"country": "NZ"})

    for tier in TIER_NAMES:
        found = dict(
            store.rows(f"SELECT country, uniqCombined64Merge(customers) FROM db.order_placed_{tier} GROUP BY country")
        )
        assert found["JP"] == pytest.approx(len(people[1]), rel=0.01)
        assert found["NZ"] == pytest.approx(len(people[2]), rel=0.01)
        together = store.one(f"SELECT uniqCombined64Merge(customers) FROM db.order_placed_{tier}")
        assert together == pytest.approx(len(people[1] | people[2]), rel=0.01)
    assert sum(store.one("SELECT groupArray(distinct_customers) FROM db.order_placed_1d")) == pytest.approx(
        len(people[1]) + len(people[2]), rel=0.01
    )


def test_measures_of_an_event_share_its_series_and_do_not_mix(store: Store) -> None:
    contract = Contract("flight", 1, {"dep_delay": Field("measure", "number"), "arr_delay": Field("measure", "number")})
    store.ensure([MetricHead("flight_dep_delay", "counter")], [contract])
    store.insert(
        [
            Row("flight", 1, T0, 10, 10.0),
            observed("flight.dep_delay", 1, T0, [-3.0, 0.0, 12.0]),
            observed("flight.arr_delay", 1, T0, [100.0]),
            Row("flight", 2, T0, 1, 1.0),
            Row("flight_dep_delay", 1, T0, 99, 99.0),
        ],
        "a",
    )
    assert store.rows(
        "SELECT count, dep_delay_count, dep_delay_sum, dep_delay_min, dep_delay_p50, arr_delay_max, arr_delay_avg"
        " FROM db.flight_1h ORDER BY count DESC"
    ) == [(10, 3, 9.0, -3.0, 0.0, 100.0, 100.0), (1, 0, 0.0, None, None, None, None)]
    assert store.rows("SELECT min(dep_delay_min), sum(count) FROM db.flight_1h") == [(-3.0, 11)]
    assert store.one("SELECT sum(value) FROM db.flight_dep_delay_1h") == 99.0


def test_what_only_the_sketches_have_still_shows(store: Store) -> None:
    store.ensure(contracts=[ORDERS])
    store.insert_hashes([(Row("order_placed.customer_id", 1, T0), 4)], "a")
    assert store.rows("SELECT count, amount_min, distinct_customers FROM db.order_placed_1h") == [(0, None, 1)]


def test_versions_never_merge_and_views_show_only_the_current_one(store: Store) -> None:
    day = 86_400
    store.ensure([REQUESTS], [ORDERS])
    for n, version in enumerate((1, 1, 2)):
        rows = [
            Row(metric, 1, T0 + at, 100, 100.0, version=version)
            for metric in ("checkout_requests", "order_placed")
            for at in (0, day)
        ]
        store.insert(rows, str(n))
        store.insert_hashes([(Row("order_placed.customer_id", 1, T0 + day, version=version), n)], str(n))
    for name in ROLLUP_TABLES:
        store.engine.command(f"OPTIMIZE TABLE {table(store.database, name)} FINAL")
        assert store.rows(
            f"SELECT materialization_version, sum(count) FROM db.{name} WHERE metric = 'checkout_requests'"
            " GROUP BY ALL ORDER BY ALL"
        ) == [(1, 400), (2, 200)]
    by_day = "SELECT sum(count) FROM db.{} GROUP BY toStartOfDay(window) ORDER BY toStartOfDay(window)"
    assert store.rows(by_day.format("checkout_requests_1h")) == [(200,), (200,)]

    store.engine.command(
        f"INSERT INTO {table(store.database, 'versions')} (metric, from_window, to_window, version)"
        f" VALUES ('checkout_requests', {T0 + day}, {T0 + 2 * day}, 2), ('order_placed.customer_id', {T0}, {T0 + 5 * day}, 2)"
    )
    assert store.ensure([REQUESTS], [ORDERS])
    for tier in TIER_NAMES:
        assert store.rows(by_day.format(f"checkout_requests_{tier}")) == [(200,), (100,)], tier
        assert store.one(f"SELECT sum(count) FROM db.points_{tier} WHERE metric = 'checkout_requests'") == 300
        assert store.one(f"SELECT sum(count) FROM db.order_placed_{tier}") == 400, "the event itself stayed at 1"
        assert store.one(f"SELECT uniqCombined64Merge(customers) FROM db.order_placed_{tier}") == 1


def test_a_version_range_that_cuts_a_day_is_refused(store: Store) -> None:
    store.engine.command(
        f"INSERT INTO {table(store.database, 'versions')} (metric, from_window, to_window, version)"
        f" VALUES ('', {T0 + 10}, {T0 + 86_400}, 2)"
    )
    with pytest.raises(StoreSchemaError, match="within a UTC day"):
        store.ensure([REQUESTS])


ERROR_RATE = """
SELECT window, endpoint, sumIf(value, status >= '500') / sum(value) AS error_rate
FROM checkout_requests_1m WHERE region_group = 'APAC' AND window > now() - INTERVAL 1 HOUR
GROUP BY window, endpoint ORDER BY window;
"""
REVENUE = """
SELECT country, toStartOfMonth(window) AS month, sum(amount_sum) AS revenue,
       uniqCombined64Merge(customers) AS customers, sg_quantile(0.5, sumMap(amount_hist)) AS median
FROM order_placed_1d WHERE window >= toStartOfMonth(now()) - INTERVAL 1 MONTH GROUP BY country, month;
"""


def test_the_questions_people_ask_run_as_they_are_written(store: Store) -> None:
    store.ensure([REQUESTS], [ORDERS])
    now = window_start(int(datetime.now(UTC).timestamp()), 60) - 120
    for series, (status, region) in enumerate(
        [("200", "ap-southeast-2"), ("503", "ap-southeast-2"), ("503", "eu-central-1")]
    ):
        store.name("checkout_requests", series, {"endpoint": "/pay", "status": status, "region": region})
        store.insert(
            [Row("checkout_requests", series, now + 10 * n, 1, 1.0 + 2 * (series == 0)) for n in range(3)], f"r{series}"
        )
    store.name("order_placed", 9, {"country": "JP", "service": "checkout"})
    store.insert(
        [Row("order_placed", 9, now, 3, 3.0), observed("order_placed.amount", 9, now, [1.0, 42.5, 900.0])], "o"
    )
    store.insert_hashes([(Row("order_placed.customer_id", 9, now), n % 2) for n in range(3)], "c")

    def ask(sql: str, view: str) -> list[tuple[Any, ...]]:
        return store.rows(sql.replace(view, f"db.{view}").strip().rstrip(";"))

    assert [row[1:] for row in ask(ERROR_RATE, "checkout_requests_1m")] == [("/pay", 0.25)]
    ((country, _, revenue, customers, median),) = ask(REVENUE, "order_placed_1d")
    assert (country, revenue, customers) == ("JP", 943.5, 2)
    assert median == pytest.approx(42.5, rel=RELATIVE_ERROR)


def test_names_that_meet_are_told_apart_and_reserved_words_are_only_names(store: Store) -> None:
    heads = [
        MetricHead("http.requests", "counter", labels=("select", "count", "a`b\\'c")),
        MetricHead("http_requests", "counter"),
        MetricHead("rollups", "counter"),
        MetricHead("it's", "counter"),
    ]
    store.ensure(heads)
    for n, head in enumerate(heads):
        store.insert([Row(head.name, 1, T0, n + 1, n + 1.0)], head.name)
    store.name("http.requests", 1, {"select": "x", "count": "y", "a`b\\'c": "z"})

    views = {
        str(name)
        for (name,) in store.rows(
            "SELECT name FROM system.tables WHERE engine = 'View' AND database = '" + store.database + "'"
        )
    }
    dotted = next(
        name for name in views if name.startswith("http_requests_") and len(name) == len("http_requests_abcdef_1d")
    )
    assert store.rows(f"SELECT `select`, count_label, `a\\`b\\\\'c`, count FROM db.`{dotted}`") == [("x", "y", "z", 1)]
    assert store.one("SELECT sum(value) FROM db.http_requests_1d") == 2.0
    assert store.one("SELECT sum(count) FROM db.rollups_1d") == 10, "the table is still a table"


def test_a_coarse_metric_has_no_view_finer_than_it(store: Store) -> None:
    store.ensure([MetricHead("nightly", "counter", granularity="1h")])
    names = store.one(
        f"SELECT groupArray(name) FROM system.tables WHERE database = '{store.database}' AND name LIKE 'nightly%'"
    )
    assert sorted(names) == ["nightly_1d", "nightly_1h"]


def test_views_are_made_once_and_replaced_only_when_they_change(store: Store) -> None:
    assert len(store.ensure([REQUESTS], [ORDERS])) == 12
    assert store.ensure([REQUESTS], [ORDERS]) == []
    wider = MetricHead("checkout_requests", "counter", "{request}", ("endpoint", "status", "method"))
    assert store.ensure([wider], [ORDERS]) == [f"replaced view checkout_requests_{tier}" for tier in TIER_NAMES]
    comment = store.one(
        f"SELECT comment FROM system.tables WHERE database = '{store.database}' AND name = 'order_placed_1d'"
    )
    assert "UTC days" in comment
    assert "amount in {USD}" in comment


def test_a_view_never_replaces_a_table(store: Store) -> None:
    store.engine.command(
        f"CREATE TABLE {table(store.database, 'checkout_requests_1h')} (a UInt8) ENGINE = MergeTree ORDER BY a"
    )
    with pytest.raises(StoreSchemaError, match="checkout_requests_1h"):
        store.ensure([REQUESTS])
    assert (
        store.one(
            f"SELECT engine FROM system.tables WHERE database = '{store.database}' AND name = 'checkout_requests_1h'"
        )
        == "MergeTree"
    )


def test_conditions_on_the_window_reach_the_parts(store: Store) -> None:
    store.ensure([REQUESTS], [ORDERS])
    store.insert(
        [Row(name, 1, T0 + 86_400 * day) for name in ("checkout_requests", "order_placed") for day in range(9)], "a"
    )
    for view in ("checkout_requests_10s", "order_placed_10s", "points_10s"):
        plan = "\n".join(
            str(row[0])
            for row in store.rows(
                f"EXPLAIN indexes = 1 SELECT sum(count) FROM db.{view} WHERE window >= toDateTime({T0 + 7 * 86_400}, 'UTC')"
            )
        )
        assert "Parts: 2/9" in plan, plan


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
    assert len(migrate(store.engine, KEPT, store.database)) == 9


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
