"""Views on the real engine: the questions people ask run as written, names never meet, nothing is replaced by mistake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.histogram import RELATIVE_ERROR
from streamgauge.schemas.windows import TIER_NAMES, window_start
from streamgauge.sinks.ddl import StoreSchemaError, table
from tests.support.tables import (
    ORDERS,
    REQUESTS,
    T0,
    Row,
    Store,
    observed,
)

pytestmark = pytest.mark.clickhouse


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
