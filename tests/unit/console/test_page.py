"""The page: what it asks, whom it answers, and that every chart's SQL gives the numbers that were emitted."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import aiohttp
import pytest

from streamgauge.console.page import Page, asset, start_page
from streamgauge.console.page_answers import Answers, Shared, plain
from streamgauge.console.page_catalog import Entry, Wish, chart, entries, values
from streamgauge.console.page_guard import HEADERS, refusal
from streamgauge.console.page_queries import SPANS, Look, board
from streamgauge.console.shop.events import EVENTS, OrderPlaced
from streamgauge.producers import Counter, Gauge, Histogram
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.errors import InputError, StoreUnavailable
from streamgauge.schemas.events import contract_of
from streamgauge.schemas.windows import TIER_NAMES
from tests.support.rolled_up import RolledUp

Rows = Sequence[Sequence[Any]]
VIEWS = [[one.view] for span in SPANS for one in board(Look(span), "db")]


class FakeStore:
    """Answers by what a statement contains, and remembers what it was asked."""

    def __init__(self, answers: Mapping[str, Rows | Exception]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.gate: asyncio.Event | None = None

    async def query(self, sql: str, params: Mapping[str, Any]) -> Rows:
        self.asked.append((sql, params))
        if self.gate is not None:
            await self.gate.wait()
        for part, answer in self.answers.items():
            if part in sql:
                if isinstance(answer, Exception):
                    raise answer
                return answer
        return []

    def times(self, part: str) -> int:
        return sum(part in sql for sql, _ in self.asked)


class Clock:
    """Seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def by_id(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {one["id"]: one for one in answer["charts"]}


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "LOCALHOST", "192.168.1.4:80"])
def test_addresses_and_localhost_are_answered(host: str) -> None:
    assert refusal(host, "same-origin") == ""


@pytest.mark.parametrize("host", ["", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[::1"])
def test_a_name_that_may_be_anybodys_is_refused(host: str) -> None:
    assert "address" in refusal(host, "")


def test_a_name_that_was_given_is_answered() -> None:
    assert refusal("gauge.internal:80", "", {"gauge.internal"}) == ""


def test_a_request_that_a_browser_makes_for_another_page_is_refused() -> None:
    assert "origins" in refusal("127.0.0.1:8080", "cross-site")


def test_the_vendored_library_is_the_one_that_its_readme_names() -> None:
    folder = files("streamgauge.console") / "static" / "vendor"
    listed = dict(re.findall(r"^\| (\S+) \|.*`([0-9a-f]{64})`", (folder / "README.md").read_text(), re.MULTILINE))
    assert set(listed) == {"uPlot.iife.min.js", "uPlot.min.css"}
    for name, wanted in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == wanted


def test_the_page_names_nothing_outside_of_itself_and_holds_no_inline_script() -> None:
    folder = files("streamgauge.console") / "static"
    for file in folder.iterdir():
        if file.is_file():
            assert not re.search(
                r"(?:https?:)?//[a-z0-9-]+\.", file.read_text().replace("http://www.w3.org/2000/svg", "")
            )
    html = (folder / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|\sstyle=|<style", html)


@pytest.mark.parametrize("path", ["../page.py", "", ".", "vendor/../../page.py", "vendor", "missing.js"])
def test_only_files_of_the_page_are_served(path: str) -> None:
    assert asset(path) is None


def test_a_look_that_is_not_offered_is_refused_with_what_is() -> None:
    with pytest.raises(InputError, match="300, 900"):
        Look(301)


@pytest.mark.parametrize("span", SPANS)
def test_every_statement_binds_all_its_values_and_is_limited(span: int) -> None:
    for one in board(Look(span, "eu'; DROP"), "db"):
        assert set(re.findall(r"\{(\w+):\w+\}", one.sql)) == set(one.params)
        assert "DROP" not in one.sql
        assert "LIMIT" in one.sql
        assert "max_execution_time" in one.sql
        assert one.view.endswith(f"_{SPANS[span]}")


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert [plain(one) for one in (math.nan, math.inf, 1.5, 3, None, "x")] == [None, None, 1.5, 3, None, "x"]


async def test_viewers_share_one_answer_for_a_second() -> None:
    store, clock = FakeStore({"system.tables": VIEWS, "SELECT": [[1, "eu", 2.0]]}), Clock()
    answers = Answers(store.query, "db", clock)
    store.gate = asyncio.Event()
    together = [asyncio.create_task(answers.board(Look())) for _ in range(20)]
    await asyncio.sleep(0)
    store.gate.set()
    await asyncio.gather(*together)
    clock.now = 0.9
    await answers.board(Look())
    once = len(store.asked)
    assert once == 1 + len(board(Look(), "db"))
    clock.now = 1.1
    await answers.board(Look())
    assert len(store.asked) == 2 * once - 1  # which views there are is kept for longer


async def test_a_viewer_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    shared, gate = Shared(Clock()), asyncio.Event()

    async def make() -> int:
        await gate.wait()
        return 7

    leaves, stays = (asyncio.create_task(shared.get("key", 1, make)) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    gate.set()
    assert await stays == 7


async def test_a_failure_is_not_kept() -> None:
    shared = Shared(Clock())
    outcomes: list[int | Exception] = [OSError("away"), 7]

    async def make() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(OSError, match="away"):
        await shared.get("key", 10, make)
    assert await shared.get("key", 10, make) == 7


async def test_what_is_kept_is_bounded() -> None:
    shared, made = Shared(Clock(), most=2), 0

    async def make() -> int:
        nonlocal made
        made += 1
        return made

    for key in ("a", "b", "c", "a"):
        await shared.get(key, 10, make)
    assert made == 4


async def test_a_chart_whose_view_does_not_exist_yet_says_what_it_awaits_and_is_not_asked() -> None:
    store = FakeStore({"system.tables": [["http_server_requests_10s"]]})
    charts = by_id(await Answers(store.query, "db").board(Look()))
    assert charts["orders"]["rows"] == []
    assert charts["orders"]["awaits"] == "an event order_placed"
    assert "error" not in charts["orders"]
    assert store.times("order_placed_10s") == 0
    assert store.times("http_server_requests_10s") == 2


async def test_a_store_that_is_away_is_said_once_for_the_board() -> None:
    store = FakeStore({"system.tables": StoreUnavailable("no ClickHouse answers")})
    answer = await Answers(store.query, "db").board(Look())
    assert answer["store"] == "no ClickHouse answers"
    assert len(answer["charts"]) == 6


async def test_a_store_that_goes_away_between_two_questions_is_said_too() -> None:
    store = FakeStore({"system.tables": VIEWS, "SELECT": ConnectionRefusedError("secret host")})
    answer = await Answers(store.query, "db").board(Look())
    assert "ConnectionRefusedError" in answer["store"]
    assert "secret" not in str(answer)


async def test_one_chart_that_fails_leaves_the_others() -> None:
    store = FakeStore({"system.tables": VIEWS, "order_placed": ValueError("a value"), "SELECT": [[1, "eu", 2.0]]})
    answer = await Answers(store.query, "db").board(Look())
    charts = by_id(answer)
    assert charts["requests"]["rows"] == [[1, "eu", 2.0]]
    assert "ValueError" in charts["orders"]["error"]
    assert answer["store"] == ""


async def test_every_chart_shows_the_statement_and_the_values_that_were_asked() -> None:
    store = FakeStore({"system.tables": VIEWS, "SELECT": [[1, "eu", 2.0]]})
    answer = await Answers(store.query, "db").board(Look(900, "eu"))
    asked = {sql: params for sql, params in store.asked if "system.tables" not in sql}
    assert {one["sql"]: one["params"] for one in answer["charts"]} == asked


REQUESTS = Entry("shop.requests", "counter", "{request}", ("status",), 1, "shop_requests")
PLACED = Entry("order_placed", "event", "{event}", ("country",), 0, "order_placed", (("amount", "{USD}"),))


def test_a_chart_of_a_coarse_metric_uses_a_tier_that_holds_it() -> None:
    assert chart(REQUESTS, Wish(), Look(300), "db").view == "shop_requests_1m"


@pytest.mark.parametrize(
    ("wish", "said"),
    [(Wish(value="p99"), "rate, total"), (Wish(group="password"), "status"), (Wish(tier="10s"), "1m, 1h, 1d")],
)
def test_a_wish_that_cannot_be_drawn_is_refused_with_what_can(wish: Wish, said: str) -> None:
    with pytest.raises(InputError, match=said):
        chart(REQUESTS, wish, Look(), "db")


def test_only_what_has_a_view_is_listed() -> None:
    rows: list[list[Any]] = [
        ["a", "a", "counter", "", ["x"], 0],
        ["hidden", "hidden", "counter", "", [], 0],
        ["order_placed", "order_placed", "event", "{event}", ["country"], 0],
        ["order_placed.amount", "order_placed", "measure", "{USD}", ["country"], 0],
        ["order_placed.customer_id", "order_placed", "distinct", "", ["country"], 0],
    ]
    found = entries(rows, frozenset({"a_10s", "order_placed_10s"}))
    assert [one.name for one in found] == ["a", "order_placed"]
    assert [name for name, _ in values(found[1])] == ["rate", "total", "amount sum", "amount quantiles"]


@pytest.fixture
async def served() -> AsyncIterator[tuple[Page, FakeStore]]:
    store = FakeStore({"system.tables": VIEWS, "`metrics`": [], "SELECT": [[1, "eu", 2.0]]})
    page = await start_page(store.query, lambda: {"mode": "dev", "elapsed_s": 3.5}, database="db")
    yield page, store
    await page.close()


async def test_every_answer_carries_the_headers_that_bind_the_browser(served: tuple[Page, FakeStore]) -> None:
    page, _ = served
    async with aiohttp.ClientSession(page.address) as session:
        for path in (
            "/",
            "/static/app.js",
            "/static/vendor/uPlot.iife.min.js",
            "/api/state",
            "/nothing",
            "/api/board?span=1",
        ):
            async with session.get(path) as answer:
                assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
    assert "default-src 'self'" in HEADERS["Content-Security-Policy"]


async def test_a_page_that_rebinds_its_name_learns_nothing(served: tuple[Page, FakeStore]) -> None:
    page, store = served
    async with (
        aiohttp.ClientSession(page.address) as session,
        session.get("/api/board", headers={"Host": "evil.example"}) as answer,
    ):
        assert answer.status == 403
        assert "rows" not in await answer.text()
    assert store.asked == []


async def test_the_page_only_reads(served: tuple[Page, FakeStore]) -> None:
    page, _ = served
    async with aiohttp.ClientSession(page.address) as session:
        for method in ("POST", "PUT", "DELETE"):
            async with session.request(method, "/api/state") as answer:
                assert answer.status == 405


async def test_wrong_questions_are_answered_with_advice(served: tuple[Page, FakeStore]) -> None:
    page, _ = served
    async with aiohttp.ClientSession(page.address) as session:
        for path in (
            "/api/board?span=12",
            "/api/board?span=" + "9" * 5_000,
            "/api/board?span=-300",
            "/api/chart?name=x",
        ):
            async with session.get(path) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]


async def test_files_are_served_as_what_they_are(served: tuple[Page, FakeStore]) -> None:
    page, _ = served
    kinds = {"/": "text/html", "/static/app.js": "text/javascript", "/static/style.css": "text/css"}
    async with aiohttp.ClientSession(page.address) as session:
        for path, kind in kinds.items():
            async with session.get(path) as answer:
                assert (answer.status, answer.content_type) == (200, kind)
        async with session.get("/static/..%2Fpage.py") as answer:
            assert answer.status == 404
        async with session.get("/api/state") as answer:
            assert await answer.json() == {"mode": "dev", "elapsed_s": 3.5}


async def test_a_port_in_use_is_said_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="another port"):
        await start_page(FakeStore({}).query, dict, taken.getsockname()[1])


@pytest.fixture(scope="module")
def rolled_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolledUp]:
    made = RolledUp(tmp_path_factory.mktemp("store"), "page", [contract_of(event) for event in EVENTS])
    fill(made)
    yield made
    made.close()


def now_s(store: RolledUp) -> int:
    return int(store.rows("SELECT toUnixTimestamp(now())")[0][0])


def fill(store: RolledUp) -> None:
    """Two regions, one complete window a minute ago: 40 requests each, of which 4 fail in one of them."""
    at_ms = (now_s(store) - 60) * 1_000
    for region, failures in (("ap-southeast-2", 4), ("eu-central-1", 0)):
        producer, transport, clock = captured_producer(
            ProducerSettings(service="storefront", environment="demo", cloud_region=region)
        )
        clock.step(at_ms / 1_000 - clock.wall_ns() / 1e9)
        requests = Counter("http_server_requests", "", ["operation", "method", "status"], producer=producer)
        seconds = Histogram("http_server_request_duration_seconds", "", ["operation"], unit="s", producer=producer)
        memory = Gauge("process_resident_memory_bytes", "", unit="By", producer=producer)
        for number in range(40):
            requests.labels("/home", "GET", "503" if number < failures else "200").inc()
            seconds.labels("/home").observe(0.010 if number < 38 else 1.0)
        memory.set(5e7)
        for number in range(10):
            producer.emit(
                OrderPlaced(
                    country="AU",
                    segment="pro",
                    coupon=None,
                    amount=20.0,
                    items=1,
                    customer_id=f"c-{number % 5}",
                    order_id=f"{region}-{number}",
                    note=None,
                ),
                at_ms=at_ms,
            )
        producer.flush()
        store.take(transport.delivered, at_ms)


def latest(rows: Rows) -> dict[str, float]:
    return {series: y for _, series, y in rows}


@pytest.mark.clickhouse
@pytest.mark.parametrize("span", SPANS)
def test_the_sql_of_every_chart_runs_in_every_tier(rolled_up: RolledUp, span: int) -> None:
    for one in board(Look(span), rolled_up.database):
        rows = rolled_up.rows(one.sql, one.params)
        # windows of the coarser tiers are still filling
        assert rows or "settled" in one.params
        assert all(len(row) == (len(one.names) + 1 if one.names else 3) for row in rows)


@pytest.mark.clickhouse
def test_charts_show_the_numbers_that_were_emitted(rolled_up: RolledUp) -> None:
    charts = {one.id: rolled_up.rows(one.sql, one.params) for one in board(Look(300), rolled_up.database)}
    assert latest(charts["requests"]) == {"ap-southeast-2": 4.0, "eu-central-1": 4.0}
    assert latest(charts["errors"]) == pytest.approx({"ap-southeast-2": 0.1, "eu-central-1": 0.0})
    assert latest(charts["orders"]) == {"ap-southeast-2": 1.0, "eu-central-1": 1.0}
    assert latest(charts["revenue"]) == {"ap-southeast-2": 1_200.0, "eu-central-1": 1_200.0}
    assert latest(charts["customers"]) == {"ap-southeast-2": 5, "eu-central-1": 5}
    ((_, p50, p95, p99),) = charts["latency"]
    # merged over both regions: 76 fast and 4 slow requests, so the 95th percentile is the last fast one
    assert (p50, p95, p99) == (
        pytest.approx(0.01, rel=0.011),
        pytest.approx(0.01, rel=0.011),
        pytest.approx(1, rel=0.011),
    )


@pytest.mark.clickhouse
def test_a_region_that_is_chosen_is_the_only_one_that_shows(rolled_up: RolledUp) -> None:
    for one in board(Look(300, "eu-central-1"), rolled_up.database):
        rows = rolled_up.rows(one.sql, one.params)
        assert one.names or {series for _, series, _ in rows} == {"eu-central-1"}


@pytest.mark.clickhouse
async def test_everything_that_has_arrived_can_be_drawn_in_every_way_that_is_offered(rolled_up: RolledUp) -> None:
    answers = Answers(rolled_up.query, rolled_up.database)
    catalog = await answers.catalog()
    assert {one["name"] for one in catalog["entries"]} == {
        "http_server_requests",
        "http_server_request_duration_seconds",
        "order_placed",
        "process_resident_memory_bytes",
    }
    for one in catalog["entries"]:
        wishes = [Wish(value) for value in one["values"]]
        wishes += [Wish("", group) for group in one["groups"]] + [Wish("", "region", tier) for tier in TIER_NAMES]
        for wish in wishes:
            (drawn,) = (await answers.one(one["name"], wish, Look(300)))["charts"]
            assert "error" not in drawn
            assert drawn["rows"] or wish.tier not in ("", "10s")


@pytest.mark.clickhouse
async def test_a_gauge_shows_its_last_value_and_a_measure_its_sum(rolled_up: RolledUp) -> None:
    answers = Answers(rolled_up.query, rolled_up.database)

    async def drawn(name: str, wish: Wish) -> dict[str, float]:
        (found,) = (await answers.one(name, wish, Look(300)))["charts"]
        return latest(found["rows"])

    assert await drawn("process_resident_memory_bytes", Wish("value", "service")) == {"storefront": 5e7}
    assert await drawn("order_placed", Wish("amount sum", "country")) == {"AU": 400.0}
    assert await drawn("http_server_requests", Wish("total", "status")) == {"200": 76.0, "503": 4.0}
