"""Catalog: series, metrics and contracts that the store knows already, so that each is written and viewed once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.rollups import RollupMetric, SeriesLabels, united
from streamgauge.schemas.windows import TIERS
from streamgauge.sinks.ddl import StoreSchemaError, table
from streamgauge.sinks.store import Store, StoreError, error_text
from streamgauge.sinks.views import ensure_views

log = logging.getLogger("streamgauge.sinks")

Contracts = Mapping[tuple[str, int], Contract]


class Later(Protocol):
    """Has work done by a thread that nothing else waits for, one piece after the other."""

    def __call__(self, work: Callable[[], None], /) -> Future[None]:
        """Done when the work is."""
        ...


def at_once(work: Callable[[], None]) -> Future[None]:
    """Does it before it returns."""
    done: Future[None] = Future()
    work()
    done.set_result(None)
    return done


class Catalog:
    """Knows at most `capacity` series by id; beyond, it starts anew, which repeats some harmless inserts. Thread-safe.

    Views are made by `later`. Points wait for them `patience_s` at most: a store under load takes a second a view (measured:
    34 s for twelve). Views that cannot be made are tried again every `retry_s` seconds.
    """

    def __init__(
        self,
        store: Store,
        contracts: Callable[[], Contracts],
        capacity: int = 2_000_000,
        retry_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
        later: Later = at_once,
        patience_s: float = 1.0,
    ) -> None:
        self._store = store
        self._contracts = contracts
        self._capacity = capacity
        self._retry_s = retry_s
        self._monotonic = monotonic
        self._later = later
        self._patience_s = patience_s
        self._series: set[int] = set()
        self._metrics: dict[str, RollupMetric] = {}
        self._loaded = False
        self._viewed: tuple[list[MetricHead], Contracts] | None = None
        self._try_again_at = 0.0
        self._lock = threading.Lock()
        self._viewing = threading.Lock()

    def load(self) -> None:
        """Learn the metrics that the store has, and make the views of everything declared. Says what fails, never raises."""
        try:
            with self._lock:
                self._load()
        except StoreError as error:
            self._say(error_text(error))
        self._view()

    def refresh(self) -> None:
        """Make views for contracts that came since. Says what fails, never raises."""
        self._view()

    def add_series(self, labels: Mapping[int, SeriesLabels]) -> None:
        """Write those that are not known. Errors are the store's; then they stay unknown."""
        with self._lock:
            fresh = [one for key, one in labels.items() if key not in self._series]
        if not fresh:
            return
        self._store.insert_series(fresh)
        with self._lock:
            if len(self._series) > self._capacity:
                self._series.clear()
            self._series.update(one.series_id for one in fresh)

    def add_metrics(self, metrics: Mapping[str, RollupMetric]) -> None:
        """Write those that are not known or say more, and have their views made. Errors of writing are the store's."""
        with self._lock:
            found = {name: united(self._metrics.get(name), one) for name, one in metrics.items()}
            if fresh := [one for name, one in found.items() if self._metrics.get(name) != one]:
                self._store.insert_metrics(fresh)
                self._metrics |= {one.name: one for one in fresh}
            due = bool(fresh) or 0 < self._try_again_at <= self._monotonic()
        if due:
            self._view()

    def _view(self) -> None:
        """Have it done, and wait a little: mostly whoever sees points has a view of them too."""
        with suppress(TimeoutError):
            self._later(self._make_views).result(self._patience_s)

    def _make_views(self) -> None:
        try:
            with self._viewing:
                with self._lock:
                    self._load()
                    contracts, heads = self._contracts(), _heads(self._metrics)
                if self._viewed != (heads, contracts):
                    done = ensure_views(self._store, self._store.address.database, heads, contracts.values())
                    self._viewed = (heads, contracts)
                    if done:
                        log.info("%d views made or replaced", len(done))
                self._try_again_at = 0.0
        except (StoreSchemaError, StoreError) as error:
            # points must not wait for a view: they stay readable in the tables and in the views of all points
            self._say(str(error) if isinstance(error, StoreSchemaError) else error_text(error))

    def _say(self, what: str) -> None:
        log.error("views are not up to date, trying again: %s", what)
        self._try_again_at = self._monotonic() + self._retry_s

    def _load(self) -> None:
        if self._loaded:
            return
        metrics = table(self._store.address.database, "metrics")
        query = f"SELECT metric, type, family, unit, labels, entry FROM {metrics} FINAL"  # noqa: S608  # quoted
        for name, kind, family, unit, labels, entry in self._store.query_rows(query):
            stored = RollupMetric(name, kind, family, unit, tuple(labels), TIERS[int(entry)].name)
            newer = self._metrics.get(name)
            self._metrics[name] = stored if newer is None else united(stored, newer)
        self._loaded = True


def _heads(metrics: Mapping[str, RollupMetric]) -> list[MetricHead]:
    plain = [one for one in metrics.values() if one.type not in {"event", "measure", "distinct"}]
    return [MetricHead(one.name, one.type, one.unit, one.labels, one.granularity) for one in plain]
