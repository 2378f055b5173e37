"""The page in a real browser: charts are drawn, their SQL is shown, the path is told, and nothing leaves this machine."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from streamgauge.console.page import Page, start_page
from streamgauge.console.page_accounts import Emission, balance_json, settle
from streamgauge.console.page_ledger import LedgerCount, StoreCount
from streamgauge.console.page_queries import Look, board
from streamgauge.console.shop.events import EVENTS, OrderPlaced
from streamgauge.console.verify import PartitionReport, Verification
from streamgauge.console.verify_text import watch_line
from streamgauge.producers import Counter, Histogram, set_default
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.errors import StoreUnavailable
from streamgauge.schemas.events import contract_of
from streamgauge.schemas.windows import TIER_NAMES
from tests.support.rolled_up import RolledUp

pytestmark = [pytest.mark.browser, pytest.mark.clickhouse]

T = TypeVar("T")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1400",
)
REGIONS = {"ap-southeast-2": 8, "eu-central-1": 0, "us-east-1": 0}
"""Regions and how many of a hundred requests fail there."""
LEDGER = LedgerCount(990, {"too_old": 10}, {"email": 3, "pseudonym": 40}, dict.fromkeys(TIER_NAMES, 990))
ACCOUNT = settle(
    [Emission(1_000, 1_000, {}, {"email": 3}, final=True)],
    LEDGER,
    StoreCount(dict.fromkeys(TIER_NAMES, 990), 990, 10),
    (1.1, 2.0),
    final=True,
)


class Loop:
    """An event loop in a thread, for the page's server, while the browser is driven from the test."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()


class Served:
    """A page whose store and state a test can change, and the browser that looks at it."""

    def __init__(self, loop: Loop, driver: webdriver.Chrome, store: RolledUp | None) -> None:
        self.loop = loop
        self.driver = driver
        self.store = store
        self.away = store is None
        self.asked: list[str] = []
        self.state: dict[str, Any] = {"mode": "demo", "accounts": balance_json(ACCOUNT)}
        self.page: Page = loop.run(
            start_page(self._query, lambda: self.state, database=store.database if store else "db")
        )

    async def _query(self, sql: str, params: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        if self.store is None or self.away:
            raise StoreUnavailable("no ClickHouse answers")
        self.asked.append(sql)
        return self.store.rows(sql, params)

    def open(self, query: str = "") -> None:
        for kind in ("browser", "performance"):
            self.log(kind)  # what an earlier page said
        self.driver.get(f"{self.page.address}/{query}")

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, 30, 0.1).until(lambda _: condition())

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        return list(self.driver.execute_script(script, selector))

    def drawn(self, chart: str) -> bool:
        """Whether the canvas of a chart shows a line: pixels in the colour of one of its series."""
        return bool(
            self.driver.execute_script(
                "const card = document.querySelector(`[data-chart='${arguments[0]}']`);"
                "const c = card?.querySelector('canvas');"
                "if (!c || !c.width) return false;"
                "const lines = new Set([...card.querySelectorAll('.swatch')].map((one) =>"
                "  getComputedStyle(one).backgroundColor.match(/\\d+/g).slice(0, 3).join()));"
                "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
                "let found = 0;"
                "for (let i = 0; i < d.length; i += 4) found += lines.has(`${d[i]},${d[i + 1]},${d[i + 2]}`);"
                "return found > 100",
                chart,
            )
        )

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What the browser said since it was asked last."""
        return cast("Any", self.driver).get_log(kind)  # type: ignore[no-any-return]  # selenium does not say

    def hosts(self) -> set[str]:
        """Hosts of all requests that the browser made since `open`."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        urls = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).hostname or "" for url in urls if url.startswith(("http", "ws", "ftp"))}

    def close(self) -> None:
        self.driver.get("about:blank")
        self.loop.run(self.page.close())


@pytest.fixture(scope="module")
def rolled_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolledUp]:
    made = RolledUp(tmp_path_factory.mktemp("store"), "browser", [contract_of(event) for event in EVENTS])
    fill(made)
    yield made
    made.close()


def fill(store: RolledUp) -> None:
    """Six complete windows of three regions."""
    now = int(time.time())
    for region, failures in REGIONS.items():
        for ago in range(70, 10, -10):
            producer, transport, clock = captured_producer(
                ProducerSettings(service="storefront", environment="demo", cloud_region=region)
            )
            clock.step(now - ago - clock.wall_ns() / 1e9)
            requests = Counter("http_server_requests", "", ["operation", "method", "status"], producer=producer)
            seconds = Histogram("http_server_request_duration_seconds", "", ["operation"], unit="s", producer=producer)
            for number in range(100):
                requests.labels("/home", "GET", "503" if number < failures else "200").inc()
                seconds.labels("/home").observe(0.01 + number / 1_000)
            for number in range(10):
                producer.emit(
                    OrderPlaced(
                        country="AU", segment="pro", coupon=None, amount=20.0, items=1,
                        customer_id=f"c-{number}", order_id=f"{region}-{ago}-{number}", note=None,
                    ),
                    at_ms=(now - ago) * 1_000,
                )  # fmt: skip
            producer.flush()
            store.take(transport.delivered, now * 1_000)


@pytest.fixture
def served(loop: Loop, driver: webdriver.Chrome, rolled_up: RolledUp) -> Iterator[Served]:
    made = Served(loop, driver, rolled_up)
    yield made
    made.close()


@pytest.fixture
def without_store(loop: Loop, driver: webdriver.Chrome) -> Iterator[Served]:
    made = Served(loop, driver, None)
    yield made
    made.close()


CHARTS = [one.id for one in board(Look(), "db")]


def test_every_chart_is_drawn_with_the_numbers_of_the_store(served: Served) -> None:
    served.open()
    for chart in CHARTS:
        served.wait(partial(served.drawn, chart))
        assert all(value != "–" for value in served.texts(f"[data-chart='{chart}'] .legend output"))
    errors = served.texts("[data-chart='errors'] .legend button")
    assert errors == ["ap-southeast-2 8 %", "eu-central-1 0 %", "us-east-1 0 %"]
    assert served.texts("[data-chart='requests'] .legend output") == ["10/s"] * 3
    assert served.texts("[data-chart='revenue'] .legend output") == ["$1,200/min"] * 3
    assert served.texts("[data-chart='latency'] .legend button")[0].startswith("p50 ")
    # what is worth an alarm stands out
    assert served.texts("[data-chart='errors'] .legend output.bad") == ["8 %"]


def test_the_browser_reports_no_error_and_asks_nobody_else(served: Served) -> None:
    served.open()
    served.wait(lambda: served.drawn("customers"))
    rounds = len(served.asked)
    served.wait(lambda: len(served.asked) > rounds)  # it goes on asking
    assert served.log("browser") == []
    assert served.hosts() == {"127.0.0.1"}


def test_the_sql_button_shows_what_the_store_was_asked(served: Served) -> None:
    served.open()
    served.wait(lambda: served.drawn("errors"))
    served.find("[data-chart='errors'] button.sql").click()
    served.wait(lambda: served.find("#sql").is_displayed())
    shown = served.texts("#sql-text")[0]
    assert shown in served.asked
    assert "sumIf(value, status >= '500') / sum(value)" in shown
    assert "span = 300" in served.find("#sql-params").text
    served.find("#sql-copy").click()
    served.wait(lambda: served.find("#sql-note").text)
    served.find("#sql").send_keys(Keys.ESCAPE)
    served.wait(lambda: not served.find("#sql").is_displayed())


def test_the_path_panel_tells_where_every_point_is(served: Served) -> None:
    served.open()
    served.wait(lambda: served.find("#emitted").text == "1,000")
    assert [served.find(f"#{name}").text for name in ("rolled_up", "in_store", "lag")] == ["990", "990", "1.1 s"]
    assert "2 s" in served.find("#lag-how").text
    sides = dict(zip(served.texts("#sides dt"), served.texts("#sides dd"), strict=True))
    assert sides["Scrubbed"] == "43pseudonym 40, email 3"
    assert sides["Refused"] == "10too old 10"
    assert (sides["Lost"], sides["Doubled"], sides["Dead letters"]) == ("0", "0", "10")
    assert served.find("#verdict").text == "every count agrees"


def test_the_privacy_section_counts_by_rule_and_lists_new_keys_by_shape_suspicious_ones_first(served: Served) -> None:
    assert served.store is not None
    producer, transport, clock = captured_producer(ProducerSettings(service="storefront"))
    clock.step(time.time() - 20 - clock.wall_ns() / 1e9)
    replies = Counter("replies", "", ["channel", "answer_to"], producer=producer)
    replies.labels("mail", "canary.jane@example.com").inc()
    producer.flush()
    served.store.take(transport.delivered, int(time.time() * 1_000))
    served.open()
    served.wait(lambda: served.all("#inbox tbody tr"))
    assert served.texts("#rules tbody tr:first-child td") == ["pseudonym", "40", "93 %"]
    assert served.texts("#inbox tbody tr:first-child td")[:4] == ["replies", "answer_to", "email", "a+.a+@a+.a+ "]
    assert ["replies", "channel", "passes", "a+ "] in [
        served.texts(f"#inbox tbody tr:nth-child({row}) td")[:4] for row in range(2, 12)
    ]
    assert served.texts("#inbox td.bad")[0] == "email"
    assert "canary" not in served.driver.page_source
    served.find("#inbox-sql").click()
    served.wait(lambda: served.find("#sql").is_displayed())
    assert served.texts("#sql-text")[0] in served.asked


def test_an_account_that_does_not_balance_says_so(served: Served) -> None:
    served.state["accounts"] = {**balance_json(ACCOUNT), "lost": 7, "balanced": False}
    served.open()
    served.wait(lambda: served.find("#verdict").text == "counts differ")
    assert served.texts("#sides output.bad") == ["10", "10", "7"]


def test_the_standing_check_says_that_all_is_exact_or_what_is_wrong_and_since_when(served: Served) -> None:
    at = datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC)
    served.state["checked"] = watch_line(Verification((), ()), at, None)
    served.open()
    served.wait(lambda: served.all("#checked"))
    assert served.texts("#checked dd") == ["exactledger against every tier at 12:00:05 UTC"]
    wrong = Verification((PartitionReport("raw", 0, "", 0, 9, missing=2),), ())
    served.state["checked"] = watch_line(wrong, at, at - timedelta(minutes=3))
    served.wait(lambda: served.texts("#checked output.bad") == ["not exact"])
    assert served.texts("#checked dd") == ["not exactlost 2; since 11:57:05 UTC"]


def test_a_region_that_is_chosen_stays_in_the_address(served: Served) -> None:
    served.open()
    served.wait(lambda: len(served.all("#region option")) == 4)
    served.find("#region option[value='us-east-1']").click()
    served.wait(lambda: served.texts("[data-chart='requests'] .legend button") == ["us-east-1 10/s"])
    assert "region=us-east-1" in served.driver.current_url
    served.driver.refresh()
    served.wait(lambda: served.texts("[data-chart='requests'] .legend button") == ["us-east-1 10/s"])


def test_the_page_can_be_used_with_the_keyboard_alone(served: Served) -> None:
    served.open()
    served.wait(lambda: served.drawn("requests"))
    seen: list[str] = []
    for _ in range(12):
        served.driver.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(served.driver.execute_script("return document.activeElement.textContent.trim().slice(0, 12)"))
    assert "SQL" in seen
    assert any(text.startswith("ap-southeast") for text in seen)
    served.find("[data-chart='requests'] .legend button").send_keys(Keys.SPACE)
    served.wait(lambda: served.find("[data-chart='requests'] .legend button").get_attribute("aria-pressed") == "false")
    served.find("[data-chart='requests'] button.sql").send_keys(Keys.ENTER)
    served.wait(lambda: served.find("#sql").is_displayed())


def test_the_theme_is_remembered(served: Served) -> None:
    def ground() -> str:
        return str(served.driver.execute_script("return getComputedStyle(document.body).backgroundColor"))

    served.open()
    served.wait(lambda: served.drawn("requests"))
    light = ground()
    served.find("#theme").click()
    assert served.find("#theme").text == "Theme: dark"
    assert ground() != light
    served.driver.refresh()
    assert served.find("#theme").text == "Theme: dark"
    served.find("#theme").click()
    served.find("#theme").click()
    assert served.find("#theme").text == "Theme: system"


def test_anything_that_has_arrived_can_be_drawn(served: Served) -> None:
    served.open()
    served.wait(lambda: served.all("#entries li"))
    served.find("li[data-name='http_server_requests'] button").click()
    served.wait(lambda: served.drawn("http_server_requests:rate"))
    served.find("#wish-group option[value='status']").click()
    served.wait(lambda: len(served.texts("#chosen .legend button")) == 2)
    assert [text.split()[0] for text in served.texts("#chosen .legend button")] == ["200", "503"]


def test_without_a_shop_the_page_says_how_to_emit(loop: Loop, driver: webdriver.Chrome, tmp_path: Path) -> None:
    class Empty(RolledUp):
        """A store that has tables and nothing in them."""

        def __init__(self) -> None:
            self.database = "db"

        def rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
            return []

    served = Served(loop, driver, Empty())
    served.state = {"mode": "dev", "addresses": {"broker": "127.0.0.1:5321"}}
    try:
        served.open()
        served.wait(lambda: served.find("#emit").is_displayed())
        assert "from streamgauge.producers import Counter" in served.find("#snippet").text
        assert "127.0.0.1:5321" in served.find("#emit-where").text
        assert not served.find("#board").is_displayed()
        producer, transport, _ = captured_producer()
        set_default(producer)
        exec(compile(served.texts("#snippet")[0], "snippet", "exec"), {})  # it is a program that runs
        producer.flush()
        assert transport.sums()["checkout_requests"] == 1
    finally:
        set_default(None)
        served.close()


def test_a_store_that_is_away_is_said_and_its_return_noticed(served: Served) -> None:
    served.open()
    served.wait(lambda: served.drawn("requests"))
    served.away = True
    served.wait(lambda: "no ClickHouse answers" in served.find("#trouble").text)
    assert served.drawn("requests")  # what was known stays
    served.away = False
    served.wait(lambda: not served.find("#trouble").is_displayed())


def test_a_page_without_a_store_from_the_start_says_what_is_missing(without_store: Served) -> None:
    without_store.open()
    without_store.wait(lambda: "no ClickHouse answers" in without_store.find("#trouble").text)
    assert without_store.find("#emitted").text == "1,000"


def test_a_server_that_ends_is_said(loop: Loop, driver: webdriver.Chrome, rolled_up: RolledUp) -> None:
    served = Served(loop, driver, rolled_up)
    served.open()
    served.wait(lambda: served.drawn("requests"))
    loop.run(served.page.close())
    served.wait(lambda: "does not answer" in served.find("#trouble").text)
    driver.get("about:blank")
