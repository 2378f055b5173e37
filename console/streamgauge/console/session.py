"""A session of the embedded mode: its parts, its page and its account, from the first address to the last line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from streamgauge.console.doctor_kafka_reader import reader_of
from streamgauge.console.embedded import Embedded
from streamgauge.console.ledger_feed import LedgerFeed
from streamgauge.console.page import Page, start_page
from streamgauge.console.page_accounts import Accounts, Emission, balance_json, emission_of_stats, settle
from streamgauge.console.page_lag import LagMeter, LagProbe
from streamgauge.console.page_ledger import StoreCount, store_count, store_sql
from streamgauge.console.verify_checks import Checks
from streamgauge.console.verify_metrics import VerifyMetrics
from streamgauge.console.verify_text import watch_line
from streamgauge.producers import Producer, producer_settings
from streamgauge.schemas.events import contract_of
from streamgauge.schemas.settings import FOR_EVER, Secret, load
from streamgauge.sinks.settings import SinkSettings
from streamgauge.sinks.store import Store, StoreAddress, StoreError

SETTLE_S = 20.0
LOOK_S = 0.5
VERIFY_S, VERIFY_WAIT_S = 10.0, 5.0


@dataclass(slots=True)
class Session:
    """Use `open`, `account` any number of times, `settle`, `close`."""

    embedded: Embedded
    page_port: int
    mode: str
    run_s: float = 0.0
    shop: str = ""
    incident: Mapping[str, Any] | None = None
    emissions: dict[str, Emission] = field(default_factory=dict[str, Emission])
    page: Page | None = None
    accounts: Accounts | None = None
    _started: float = field(default_factory=time.monotonic)
    _since_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    _store: Store | None = None
    _feed: LedgerFeed | None = None
    _before: StoreCount = field(default_factory=StoreCount)
    _probe: Producer | None = None
    _meter: LagMeter | None = None
    _checked: Mapping[str, object] | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(3, "streamgauge-query"))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the parts were up."""
        return time.monotonic() - self._started

    async def open(self, say: Callable[[str], None], ended: asyncio.Event) -> None:
        """Bring everything up; parts that die are started again until `ended`."""
        await self.embedded.start()
        password = Secret("")
        self._store = Store(StoreAddress(self.embedded.store_address, "default", password, self.embedded.database))
        self._before = await self._store_count()
        self._feed = LedgerFeed({"bootstrap.servers": self.embedded.brokers, "log_level": 0}, self.embedded.region)
        self._feed.start()
        await asyncio.to_thread(self.embedded.publish, [contract_of(LagProbe)])
        self._probe = Producer(producer_settings(self.producer_environ("streamgauge")))
        self._meter = LagMeter(self._probe, self.query, self.embedded.database)
        self.page = await start_page(self.query, self.state, self.page_port, database=self.embedded.database)
        self._announce()
        self._started = time.monotonic()
        self._tasks = [
            asyncio.create_task(self.embedded.watch(ended, say)),
            asyncio.create_task(self._measure(self._meter, self._probe)),
            asyncio.create_task(self._look()),
            asyncio.create_task(self._verify(self._store, VerifyMetrics(self._probe))),
        ]

    def producer_environ(self, service: str) -> dict[str, str]:
        """Environment of a producer of this session."""
        names = {
            "brokers": self.embedded.brokers,
            "region": self.embedded.region,
            "environment": self.mode,
            "service": service,
        }
        return {f"STREAMGAUGE_{name.upper()}": value for name, value in names.items()}

    def _announce(self) -> None:
        self.embedded.home.announce(
            {
                "brokers": self.embedded.brokers,
                "region": self.embedded.region,
                "store": self.embedded.store_address,
                "database": self.embedded.database,
                "page": self.page.address if self.page else "",
                "embedded": True,
                "process_group": f"sg-{self.embedded.region}-process",
            }
        )

    async def query(self, sql: str, params: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Rows of a statement, read in a thread."""
        if self._store is None:
            return []
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._store.query_rows, sql, params)

    async def _store_count(self) -> StoreCount:
        return store_count(await self.query(store_sql(self.embedded.database), {"since_ms": self._since_ms}))

    async def account(self, final: bool = False) -> Accounts:
        """The account now. `final` only when the senders are closed."""
        emissions = list(self.emissions.values())
        if self._probe is not None:
            emissions.append(emission_of_stats(self._probe.stats(), final))
        ledger = self._feed.count() if self._feed else LedgerFeed({}, "").count()
        lag = self._meter.quantiles() if self._meter else (None, None)
        store = (await self._store_count()).since(self._before)
        known = emissions if self.mode == "demo" else None
        self.accounts = settle(known, ledger, store, lag, final=final)
        return self.accounts

    async def _measure(self, meter: LagMeter, probe: Producer) -> None:
        """Measure lag from when a first probe has come through: until then the parts are starting, not lagging."""
        probe.emit(LagProbe(sent=time.time()))
        await self._arrived.wait()
        await meter.run()

    async def _look(self) -> None:
        while True:
            with suppress(Exception):  # the store is being started again; the page says so by itself
                if (await self.account()).in_store:
                    self._arrived.set()
            await asyncio.sleep(LOOK_S)

    async def _verify(self, store: Store, metrics: VerifyMetrics) -> None:
        """The standing check of `streamgauge verify --every`, over everything that the store holds."""
        names = ("brokers", "region", "database")
        settings = load(
            SinkSettings, {name: getattr(self.embedded, name) for name in names} | dict(self.embedded.retention)
        )
        checks = Checks(store, settings, FOR_EVER, reader_of(settings).look)
        since: datetime | None = None
        while True:
            await asyncio.sleep(VERIFY_S)
            at = datetime.now(UTC)
            with suppress(StoreError):  # the store is being started again
                found = await asyncio.to_thread(checks.until_settled, VERIFY_WAIT_S, patience=1)
                since = None if found.exact else since or at
                metrics.set(found, at, since)
                self._checked = watch_line(found, at, since)

    def state(self) -> Mapping[str, Any]:
        """What the page shows beside the store's answers."""
        shown: dict[str, Any] = {
            "mode": self.mode,
            "elapsed_s": self.elapsed_s,
            "run_s": self.run_s or None,
            "shop": self.shop,
        }
        shown["addresses"] = {"broker": self.embedded.brokers, "store": self.embedded.store_address}
        shown["accounts"] = balance_json(self.accounts) if self.accounts else None
        shown["incident"] = self.incident
        shown["checked"] = self._checked
        return {key: value for key, value in shown.items() if value not in (None, "")}

    async def settle(self, within_s: float = SETTLE_S) -> Accounts:
        """Close our own sender, then wait until worker and sink have caught up. The last account, right or wrong."""
        self._cancel(self._tasks[1:])
        self._tasks = self._tasks[:1]
        if self._probe is not None:
            await asyncio.to_thread(self._probe.close, 3.0)
        deadline = time.monotonic() + within_s
        while True:
            try:
                accounts = await self.account(final=True)
            except Exception:
                if time.monotonic() >= deadline:
                    raise
            else:
                if accounts.balanced or time.monotonic() >= deadline:
                    return accounts
            await asyncio.sleep(0.1)

    def _cancel(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()

    async def close(self) -> None:
        """End everything, in the order of the path."""
        self._cancel(self._tasks)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._probe is not None:
            await asyncio.to_thread(self._probe.close, 1.0)
        if self._feed is not None:
            await asyncio.to_thread(self._feed.close)
        if self.page is not None:
            await self.page.close()
        await self.embedded.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.embedded.home.close()


def parse_line(line: bytes) -> dict[str, Any] | None:
    """A JSON line of a child; None for anything else it says."""
    try:
        body: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else None
