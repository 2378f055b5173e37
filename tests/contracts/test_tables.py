"""The tables and views on the real engine: every tier counts once, and every regrouping in SQL gives the right number."""

from __future__ import annotations

import math
import random

import pytest

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.histogram import RELATIVE_ERROR, histogram_of, merge, quantile
from streamgauge.schemas.windows import TIER_NAMES, TIERS, window_start
from streamgauge.sinks.ddl import DISTINCT_TABLES, ROLLUP_TABLES, StoreSchemaError, table
from tests.support.tables import (
    DEPTH,
    LATENCY,
    ORDERS,
    REQUESTS,
    T0,
    Row,
    Store,
    observed,
    within,
)

pytestmark = pytest.mark.clickhouse


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
