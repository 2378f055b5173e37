"""The catalog: what the store knows already is not written again, and no view ever holds up points."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.rollups import RollupMetric, SeriesLabels
from streamgauge.schemas.settings import Secret
from streamgauge.schemas.windows import tier_index
from streamgauge.sinks.catalog import Catalog
from streamgauge.sinks.store import Store, StoreAddress
from streamgauge.sinks.threads import Threads

REQUESTS = RollupMetric("requests", "counter", "requests", "{request}", ("endpoint",))
ORDERS = Contract("order_placed", 1, {"country": Field("dimension")})


class TablesOnly(Store):
    """A store that remembers what it is told, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(StoreAddress("http://127.0.0.1:1", "default", Secret(""), "db"))
        self.series: list[int] = []
        self.metrics: list[RollupMetric] = []
        self.views: dict[str, str] = {}
        self.others: list[str] = []
        self.failure: Exception | None = None
        self.view_failure: Exception | None = None
        self.questions = 0

    def insert_series(self, labels: Sequence[SeriesLabels]) -> None:
        if self.failure:
            raise self.failure
        self.series += [one.series_id for one in labels]

    def insert_metrics(self, metrics: Sequence[RollupMetric]) -> None:
        if self.failure:
            raise self.failure
        self.metrics += metrics

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> object:
        if self.view_failure:
            raise self.view_failure
        found = re.search(r"VIEW `db`\.`(\w+)`", sql)
        comment = re.search(r"COMMENT '((?:[^'\\]|\\.)*)'", sql)
        assert found
        assert comment
        self.views[found[1]] = re.sub(r"\\(.)", r"\1", comment[1])
        return None

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        self.questions += 1
        if self.failure:
            raise self.failure
        if "system.tables" in sql:
            views = [(name, "View", comment) for name, comment in self.views.items()]
            return views + [(name, "MergeTree", "") for name in self.others]
        if "`metrics`" in sql:
            latest = {one.name: one for one in self.metrics}
            return [
                (m.name, m.type, m.family, m.unit, list(m.labels), tier_index(m.granularity)) for m in latest.values()
            ]
        return []


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def labelled(*ids: int) -> dict[int, SeriesLabels]:
    return {one: SeriesLabels(one, "requests", {"endpoint": "/pay"}) for one in ids}


@pytest.fixture
def store() -> TablesOnly:
    return TablesOnly()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contracts() -> dict[tuple[str, int], Contract]:
    return {}


@pytest.fixture
def catalog(store: TablesOnly, clock: Clock, contracts: dict[tuple[str, int], Contract]) -> Catalog:
    return Catalog(store, lambda: dict(contracts), capacity=4, monotonic=clock)


def test_each_series_is_written_once(catalog: Catalog, store: TablesOnly) -> None:
    for ids in ((1, 2), (2, 3), (1, 2, 3), ()):
        catalog.add_series(labelled(*ids))
    assert store.series == [1, 2, 3]


def test_points_do_not_wait_for_views_that_take_long_which_are_made_all_the_same(store: TablesOnly) -> None:
    threads, working, may_go_on = Threads(1, "views"), threading.Event(), threading.Event()
    command = store.command

    def slow(sql: str, params: Mapping[str, Any] | None = None) -> object:
        working.set()
        assert may_go_on.wait(20)
        return command(sql, params)

    store.command = slow  # type: ignore[method-assign]  # as a store under load is
    catalog = Catalog(store, dict[tuple[str, int], Contract], later=threads.submit, patience_s=0.0)
    catalog.add_metrics({"requests": REQUESTS})
    assert working.wait(20)
    catalog.add_metrics({"others": replace(REQUESTS, name="others", family="others")})
    catalog.add_series(labelled(1))
    assert (store.series, [one.name for one in store.metrics], store.views) == ([1], ["requests", "others"], {})
    may_go_on.set()
    last = threads.submit(lambda: None)
    last.result(20)
    assert {"requests_1m", "others_1m"} <= store.views.keys()
    threads.close()


def test_series_that_were_not_written_stay_unknown(catalog: Catalog, store: TablesOnly) -> None:
    store.failure = OperationalError("away")
    with pytest.raises(OperationalError):
        catalog.add_series(labelled(1))
    store.failure = None
    catalog.add_series(labelled(1))
    assert store.series == [1]


def test_memory_is_bounded_at_the_price_of_harmless_repeats(catalog: Catalog, store: TablesOnly) -> None:
    for _ in range(2):
        for one in range(50):
            catalog.add_series(labelled(one))
    assert store.series == [*range(50)] * 2


def test_a_metric_is_written_once_and_gets_its_views(catalog: Catalog, store: TablesOnly) -> None:
    catalog.load()
    for _ in range(3):
        catalog.add_metrics({"requests": REQUESTS})
    assert store.metrics == [REQUESTS]
    assert {"requests_10s", "requests_1m", "requests_1h", "requests_1d"} <= store.views.keys()


def test_known_blocks_ask_the_store_nothing(catalog: Catalog, store: TablesOnly) -> None:
    catalog.add_metrics({"requests": REQUESTS})
    before = store.questions
    for _ in range(10):
        catalog.add_metrics({"requests": REQUESTS})
        catalog.add_series({})
    assert store.questions == before


def test_what_the_store_knows_is_not_written_after_a_restart(catalog: Catalog, store: TablesOnly, clock: Clock) -> None:
    catalog.add_metrics({"requests": REQUESTS})
    again = Catalog(store, dict[tuple[str, int], Contract], monotonic=clock)
    again.load()
    again.add_metrics({"requests": REQUESTS})
    assert store.metrics == [REQUESTS]


def test_two_versions_of_a_service_side_by_side_settle_on_all_labels(catalog: Catalog, store: TablesOnly) -> None:
    newer = replace(REQUESTS, labels=("endpoint", "status"), granularity="1m")
    for _ in range(4):
        catalog.add_metrics({"requests": newer})
        catalog.add_metrics({"requests": REQUESTS})
    assert len(store.metrics) == 2, "once each, and no view changes for ever"
    assert store.metrics[-1] == replace(REQUESTS, labels=("endpoint", "status"))


def test_measures_and_sketches_have_no_views_of_their_own(catalog: Catalog, store: TablesOnly) -> None:
    catalog.add_metrics({"order_placed.amount": RollupMetric("order_placed.amount", "measure", "order_placed")})
    assert store.metrics
    assert not [name for name in store.views if name.startswith("order_placed")]


def test_a_contract_that_comes_later_gets_its_views(
    catalog: Catalog, store: TablesOnly, contracts: dict[tuple[str, int], Contract]
) -> None:
    catalog.load()
    assert "order_placed_1m" not in store.views
    contracts["order_placed", 1] = ORDERS
    catalog.refresh()
    assert "order_placed_1m" in store.views


@pytest.mark.parametrize("failure", [OperationalError("secret"), DatabaseError("secret", code=497)])
def test_views_that_cannot_be_made_hold_up_no_point_are_said_and_tried_again(
    catalog: Catalog, store: TablesOnly, clock: Clock, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    store.view_failure = failure
    catalog.add_metrics({"requests": REQUESTS})
    assert store.metrics == [REQUESTS]
    assert "views are not up to date" in caplog.text
    assert "secret" not in caplog.text
    before = store.questions
    catalog.add_metrics({"requests": REQUESTS})
    assert store.questions == before, "not with every block"
    store.view_failure = None
    clock.now += 30
    catalog.add_metrics({"requests": REQUESTS})
    assert "requests_1m" in store.views
    after = store.questions
    catalog.add_metrics({"requests": REQUESTS})
    assert store.questions == after


def test_a_table_with_a_views_name_is_kept_and_said_and_stops_nothing(
    catalog: Catalog, store: TablesOnly, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.others.append("requests_1h")
    catalog.add_metrics({"requests": REQUESTS})
    assert store.metrics == [REQUESTS]
    assert "Rename the table" in caplog.text
    store.others.clear()
    clock.now += 30
    catalog.add_metrics({"requests": REQUESTS})
    assert "requests_1h" in store.views


def test_a_store_that_is_not_there_at_the_start_is_learned_later(
    catalog: Catalog, store: TablesOnly, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.metrics = [replace(REQUESTS, name="old", family="old", labels=("x",))]
    store.failure = DatabaseError("no table", code=60)
    catalog.load()
    assert "streamgauge migrate" in caplog.text
    with pytest.raises(DatabaseError):
        catalog.add_metrics({"requests": REQUESTS})
    store.failure = None
    catalog.add_metrics({"requests": REQUESTS})
    assert {"old_1m", "requests_1m"} <= store.views.keys()
