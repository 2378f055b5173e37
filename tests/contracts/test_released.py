"""Released views on the real engine: small groups stay hidden whatever comes late, and the total stays the total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.small_cells import SmallCells
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.released import released_query
from streamgauge.sinks.releases import Release, asking, due_windows, read_cells, release_due
from streamgauge.sinks.view_queries import Source
from streamgauge.sinks.views import ensure_views
from tests.support.rolled_up import LocalStore
from tests.support.tables import KEPT, T0, Engine, Row, Store, observed

pytestmark = pytest.mark.clickhouse

DAY = 86_400
ASKED = SmallCells(5, "customer_id", "1d", "2d")
ORDERS = Contract(
    "order_placed",
    1,
    {
        "country": Field("dimension"),
        "plan": Field("dimension", optional=True),
        "amount": Field("measure", "number", unit="{USD}"),
        "tip": Field("measure", "number", unit="{USD}", optional=True),
        "customer_id": Field("unique"),
        "device_id": Field("unique"),
    },
    small_cells=ASKED,
)
DECIDED = T0 + 3 * DAY
"""When the day that begins at T0 is due."""


class Shop:
    """A store with a shop's orders, cell by cell, and the job that decides."""

    def __init__(self, engine: Engine, database: str, event: str, asked: SmallCells = ASKED) -> None:
        self.store = Store(engine, database)
        self.sink = LocalStore.over(engine.client, database)
        self.event = event
        self.asked = asked
        self.contract = replace(ORDERS, name=event, small_cells=asked)
        self._tokens = 0
        self.store.ensure([], [self.contract])
        for series, country in enumerate(("JP", "DE", "IS", "MT", "LI"), 1):
            self.store.name(event, series, {"country": country, "service": "checkout"})

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query in which `EVENT` stands for the event's views, and `RELEASES` for its decisions."""
        releases = f"(SELECT * FROM db.releases WHERE event = '{self.event}')"
        return self.store.rows(sql.replace("EVENT", f"db.{self.event}").replace("RELEASES", releases))

    def sell(self, series: int, customers: Sequence[int], window: int = T0, amount: float = 10.0) -> None:
        """An order of each of these customers, in this series."""
        self._tokens += 1
        self.store.insert(
            [
                Row(self.event, series, window, len(customers), float(len(customers))),
                observed(f"{self.event}.amount", series, window, [amount] * len(customers)),
                observed(f"{self.event}.tip", series, window, [1.0]),
            ],
            f"{self.event}-o{self._tokens}",
        )
        hashes = [(Row(f"{self.event}.customer_id", series, window), one) for one in customers]
        device = (Row(f"{self.event}.device_id", series, window), 1)
        self.store.insert_hashes([*hashes, device], f"{self.event}-c{self._tokens}")

    def decide(self, now: int = DECIDED) -> list[Release]:
        """Run the job once."""
        at = datetime.fromtimestamp(now, UTC)
        return [one for one, _ in self.job(at)]

    def job(self, at: datetime) -> Iterator[tuple[Release, int]]:
        """The job, to be taken step by step."""
        ((contract, asked),) = asking([self.contract])
        return release_due(self.sink, self.store.database, contract, asked, lambda: at)

    def due(self, asked: SmallCells, now: int) -> list[int]:
        """What the job would decide, had the contract asked for this."""
        contract = replace(self.contract, small_cells=asked)
        return due_windows(self.sink, self.store.database, contract, asked, now * 1_000)

    def shown(self) -> dict[str, tuple[int, float, int]]:
        """Orders, amounts and contributors by country, as the released view shows them."""
        rows = self.rows("SELECT country, count, amount_sum, contributors FROM EVENT_released")
        assert len({country for country, *_ in rows}) == len(rows)
        return {country: (count, amount, contributors) for country, count, amount, contributors in rows}

    def totals(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Orders and amounts by day: of the released view, and of the whole one."""
        ask = "SELECT window, sum(count), sum(amount_count), sum(amount_sum) FROM {} GROUP BY window ORDER BY window"
        return self.rows(ask.format("EVENT_released")), self.rows(ask.format("EVENT_1d"))


@pytest.fixture(scope="module")
def database(engine: Engine) -> str:
    """One database for all tests here: each has an event of its own."""
    migrate(engine, KEPT, "released")
    return "released"


@pytest.fixture
def shop(engine: Engine, database: str, unique: str) -> Shop:
    return Shop(engine, database, f"order_{unique}")


def test_small_groups_and_the_next_larger_one_are_one_remainder_and_the_total_stays(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107), amount=3.0)
    shop.sell(3, [200], amount=99.0)
    assert shop.shown() == {}, "nothing before it is decided"
    (one,) = shop.decide()
    assert one.verdict.shown == (1,)
    assert shop.shown() == {"JP": (20, 200.0, 20), "__suppressed__": (8, 120.0, 8)}
    released, whole = shop.totals()
    assert released == whole


def test_groups_of_the_same_people_are_counted_once(shop: Shop) -> None:
    shop.sell(1, range(20))
    for series in (3, 4):
        shop.sell(series, range(4))
    shop.sell(2, range(6))
    shop.decide()
    assert shop.shown()["__suppressed__"] == (14, 140.0, 6), "four people twice are four, so Germany is hidden too"


def test_late_orders_never_bring_a_hidden_group_out(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.sell(3, [200])
    shop.decide()
    before = shop.shown()
    shop.sell(3, range(300, 350))
    shop.decide()
    after = shop.shown()
    assert after["JP"] == before["JP"]
    assert after["__suppressed__"] == (58, 580.0, 58)
    assert set(after) == {"JP", "__suppressed__"}
    released, whole = shop.totals()
    assert released == whole


def test_late_orders_of_a_shown_group_are_shown_and_those_of_a_new_one_are_not(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.sell(3, [200])
    shop.decide()
    shop.sell(1, [21])
    shop.sell(5, range(400, 450))
    shop.decide()
    assert shop.shown() == {"JP": (21, 210.0, 21), "__suppressed__": (58, 580.0, 58)}
    released, whole = shop.totals()
    assert released == whole


def test_late_newcomers_where_nothing_was_hidden_wait_until_they_are_enough(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.decide()
    assert set(shop.shown()) == {"JP", "DE"}
    shop.sell(3, [200, 201, 202, 203])
    assert set(shop.shown()) == {"JP", "DE"}, "four people would stand alone"
    shop.sell(4, [204])
    assert shop.shown()["__suppressed__"] == (5, 50.0, 5)
    released, whole = shop.totals()
    assert released == whole


def test_a_window_of_few_people_is_withheld_for_ever(shop: Shop) -> None:
    shop.sell(1, [1, 2])
    shop.sell(2, [3, 4])
    (one,) = shop.decide()
    assert one.verdict.withheld
    shop.sell(1, range(50))
    shop.decide()
    assert shop.shown() == {}
    assert shop.rows("SELECT withheld, k, shown, hidden FROM RELEASES") == [(1, 5, [], 0)]


def test_a_group_without_contributors_is_a_small_one(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.store.insert([Row(shop.event, 3, T0, 9, 9.0)], f"{shop.event}-nobody")
    shop.decide()
    assert shop.shown() == {"JP": (20, 200.0, 20), "__suppressed__": (16, 70.0, 7)}


def test_a_window_is_decided_when_it_has_been_over_for_long_enough_and_not_before(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(1, range(20), T0 + DAY)
    assert shop.decide(DECIDED - 1) == []
    assert [one.window for one in shop.decide(DECIDED)] == [T0]
    assert [one.window for one in shop.decide(DECIDED + DAY)] == [T0 + DAY]
    assert shop.decide(DECIDED + DAY) == []


def test_the_first_of_two_decisions_stays(shop: Shop) -> None:
    """Two jobs at once: both see that nothing is decided; one of them sees an order more."""
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.sell(3, [200])
    at = datetime.fromtimestamp(DECIDED, UTC)
    first, other = shop.job(at), shop.job(at + timedelta(seconds=9))
    late: list[Release] = []

    def second() -> None:
        shop.sell(3, range(300, 350))
        late.extend(one for one, _ in other)

    insert = shop.sink.insert_release

    def interrupted(one: Release) -> None:
        shop.sink.insert_release = insert  # type: ignore[method-assign]
        second()
        insert(one)

    shop.sink.insert_release = interrupted  # type: ignore[method-assign]
    (mine,) = [one for one, _ in first]
    assert mine.verdict.shown == (1,)
    assert late[0].verdict.shown == (2, 1, 3)
    assert shop.rows("SELECT shown FROM RELEASES") == [([2, 1, 3],)]
    insert(mine)
    assert set(shop.shown()) == {"JP", "DE", "IS"}


def test_where_a_store_has_forgotten_a_token_the_earlier_decision_counts(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.sell(3, [200])
    (one,) = shop.decide()
    later = replace(
        one, verdict=replace(one.verdict, shown=(1, 2, 3)), decided_at=one.decided_at + timedelta(seconds=1)
    )
    shop.sink.insert_release(later)
    assert shop.rows("SELECT count() FROM RELEASES") == [(1,)]
    shop.store.engine.command(
        "INSERT INTO released.releases SELECT * REPLACE ([1, 2, 3] AS shown, decided_at + INTERVAL 1 SECOND AS decided_at)"
        f" FROM released.releases WHERE event = '{shop.event}'"
    )
    assert shop.rows("SELECT count() FROM RELEASES") == [(2,)]
    assert set(shop.shown()) == {"JP", "__suppressed__"}


def test_what_was_decided_in_one_tier_is_not_decided_in_another(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(1, range(20), T0 + DAY)
    shop.decide(DECIDED)
    for tier in ("10s", "1m", "1h"):
        assert shop.due(SmallCells(5, "customer_id", tier, "2d"), DECIDED + DAY) == [T0 + DAY]


def test_coarser_windows_over_decided_finer_ones_are_not_decided(engine: Engine, database: str, unique: str) -> None:
    shop = Shop(engine, database, f"order_{unique}", SmallCells(5, "customer_id", "1h", "1h"))
    shop.sell(1, range(20), T0 + 3_600)
    shop.sell(1, range(20), T0 + DAY)
    assert [one.window for one in shop.decide(T0 + 3 * 3_600)] == [T0 + 3_600]
    assert shop.due(ASKED, T0 + 9 * DAY) == [T0 + DAY]


def test_nothing_that_one_person_stands_for_is_a_column(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.sell(3, [200])
    shop.decide()
    names = {str(row[0]) for row in shop.rows("DESCRIBE TABLE EVENT_released")}
    assert {"country", "plan", "count", "contributors", "amount_sum", "amount_p50", "distinct_devices"} <= names
    assert not {"amount_min", "amount_max", "amount_hist", "customers", "labels", "series_id"} & names
    assert not {name for name in names if name.startswith("tip")}, "nobody knows how many people gave one"
    assert sorted(shop.rows("SELECT country, amount_p50 > 0, amount_p90 FROM EVENT_released")) == [
        ("JP", 1, None), ("__suppressed__", None, None),
    ]  # fmt: skip


def test_every_dimension_of_a_remainder_says_so(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.sell(3, [200])
    shop.decide()
    said = "service, environment, region, region_group, country, plan"
    found = shop.rows(f"SELECT {said} FROM EVENT_released ORDER BY country")
    assert found == [("checkout", "", "", "", "JP", ""), ("__suppressed__",) * 6]


def test_readers_need_no_right_to_what_the_view_is_made_from(shop: Shop) -> None:
    ((made,),) = shop.rows("SHOW CREATE TABLE EVENT_released")
    assert "SQL SECURITY DEFINER" in made
    ((plain,),) = shop.rows("SHOW CREATE TABLE EVENT_1d")
    assert "DEFINER" not in plain
    assert ensure_views(shop.store.engine, shop.store.database, [], [shop.contract]) == []


def test_no_setting_of_a_reader_chooses_what_a_remainder_is_made_of(shop: Shop) -> None:
    shop.sell(1, range(20))
    shop.sell(2, range(100, 107))
    shop.sell(3, [200])
    shop.decide()
    source = Source("released", {})
    plain = f"CREATE VIEW released.{shop.event}_plain AS {released_query(shop.contract, ASKED, source)}"
    shop.store.engine.command(plain)  # without a definer, as older stores treat one that has it
    for view in ("EVENT_released", "EVENT_plain"):
        ask = f"SELECT sum(count) FROM {view} WHERE country = '__suppressed__' SETTINGS "
        assert shop.rows(ask + "additional_table_filters = {'released.rollups_1d': 'series_id = 3'}") == [(8,)]
        assert shop.rows(ask + "readonly = 1") == [(8,)]
        with pytest.raises(Exception, match="TOO_MANY_ROWS"):
            shop.rows(ask + "max_rows_to_group_by = 1, group_by_overflow_mode = 'any'")


def test_views_of_random_days_are_what_brute_force_says(shop: Shop) -> None:
    random = Random(7)
    windows = [T0 + n * DAY for n in range(25)]

    def crowds(most: int) -> dict[tuple[int, int], set[int]]:
        found = {
            (w, n): {random.randrange(12) for _ in range(random.randrange(most))} for w in windows for n in range(1, 7)
        }
        return {cell: who for cell, who in found.items() if who}

    def people(crowd: dict[tuple[int, int], set[int]], w: int, cells: list[int]) -> set[int]:
        return {one for n in cells for one in crowd.get((w, n), ())}

    def come(crowd: dict[tuple[int, int], set[int]], token: str) -> None:
        shop.store.insert(
            [Row(shop.event, n, w, len(who), entry=3) for (w, n), who in crowd.items()], f"{shop.event}-{token}"
        )
        hashes = [
            (Row(f"{shop.event}.customer_id", n, w, entry=3), one) for (w, n), who in crowd.items() for one in who
        ]
        shop.store.insert_hashes(hashes, f"{shop.event}-{token}-hashes")

    def expected(now: dict[tuple[int, int], set[int]], orders: Counter[tuple[int, int]]) -> dict[tuple[int, str], Any]:
        found: dict[tuple[int, str], Any] = {}
        for w in {w for w, _ in early}:
            cells = sorted((len(who), n) for (at, n), who in early.items() if at == w)
            prefixes = [[n for _, n in cells[:size]] for size in range(len(cells) + 1)]
            large = [
                one
                for one in prefixes
                if {n for size, n in cells if size < ASKED.k} <= set(one)
                and (not one or len(people(early, w, one)) >= ASKED.k)
            ]
            if not large:
                continue
            shown = [n for _, n in cells if n not in large[0]]
            rest = [n for n in range(1, 7) if n not in shown]
            for name, members in [*((str(n), [n]) for n in shown), ("rest", rest)]:
                who = people(now, w, members)
                if len(who) >= ASKED.k:
                    found[w, name] = (sum(orders[w, n] for n in members), len(who))
        return found

    def seen() -> dict[tuple[int, str], Any]:
        rows = shop.rows("SELECT toUnixTimestamp(window), country, count, contributors FROM EVENT_released")
        names = {"JP": "1", "DE": "2", "IS": "3", "MT": "4", "LI": "5", "": "6", "__suppressed__": "rest"}
        return {(w, names[country]): (count, people) for w, country, count, people in rows}

    early = crowds(10)
    come(early, "early")
    shop.decide(T0 + 99 * DAY)
    orders = Counter({cell: len(who) for cell, who in early.items()})
    assert seen() == expected(early, orders)
    late = {cell: who for cell, who in crowds(9).items() if cell[0] in {w for w, _ in early}}
    come(late, "late")
    assert shop.decide(T0 + 99 * DAY) == []
    together = {cell: early.get(cell, set()) | late.get(cell, set()) for cell in {*early, *late}}
    orders.update({cell: len(who) for cell, who in late.items()})
    assert seen() == expected(together, orders)
    assert {name for _, name in seen()} >= {"1", "rest"}, "the days are of every kind"


def test_conditions_on_the_window_reach_the_parts(shop: Shop) -> None:
    since = T0 + 60 * DAY
    for window in (T0, T0 + 30 * DAY, since):
        shop.sell(1, range(20), window)
    shop.decide(T0 + 99 * DAY)
    ask = f"EXPLAIN indexes = 1 SELECT sum(count) FROM EVENT_released WHERE window >= toDateTime({since}, 'UTC')"
    plan = "\n".join(str(row[0]) for row in shop.rows(ask))
    assert plan.count(f"toYYYYMM(window) in [{datetime.fromtimestamp(since, UTC):%Y%m}, +Inf)") == 2, plan


def test_unions_are_exact_up_to_the_largest_threshold(shop: Shop) -> None:
    hashes = [(Row(f"{shop.event}.customer_id", n, T0), 10 * n + one) for n in range(1, 101) for one in range(15)]
    shop.store.insert_hashes(hashes, f"{shop.event}-many")
    cells = read_cells(shop.sink, shop.store.database, shop.contract, ASKED, [T0])[T0]
    assert [(one.series_id, one.contributors) for one in cells] == [(n, 15) for n in range(1, 101)]
    assert [one.union for one in cells] == [10 * n + 5 for n in range(1, 101)]
