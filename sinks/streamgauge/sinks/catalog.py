"""Catalog: series, metrics and contracts that the store knows already, so that each is written and viewed once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.rollups import RollupMetric, SeriesLabels
from streamgauge.schemas.windows import TIERS
from streamgauge.sinks.ddl import StoreSchemaError, table
from streamgauge.sinks.store import Store
from streamgauge.sinks.views import ensure_views

log = logging.getLogger("streamgauge.sinks")

Contracts = Mapping[tuple[str, int], Contract]


class Catalog:
    """Knows at most `capacity` series by id; beyond, it starts anew, which repeats some harmless inserts. Thread-safe."""

    def __init__(self, store: Store, contracts: Callable[[], Contracts], capacity: int = 2_000_000) -> None:
        self._store = store
        self._contracts = contracts
        self._capacity = capacity
        self._series: set[int] = set()
        self._metrics: dict[str, RollupMetric] = {}
        self._heads: dict[str, MetricHead] = {}
        self._viewed: tuple[int, Contracts] | None = None
        self._lock = threading.Lock()

    def load(self) -> None:
        """Learn the metrics that the store has, and make the views of everything declared."""
        metrics = table(self._store.address.database, "metrics")
        query = f"SELECT metric, type, unit, labels, entry FROM {metrics} FINAL WHERE kind = 'metric'"  # noqa: S608  # quoted
        with self._lock:
            for name, kind, unit, labels, entry in self._store.query_rows(query):
                self._heads[name] = MetricHead(name, kind, unit, tuple(labels), TIERS[int(entry)].name)
            self._view()

    def refresh(self) -> None:
        """Make views for contracts that came since."""
        with self._lock:
            self._view()

    def add_series(self, labels: Mapping[int, SeriesLabels]) -> None:
        """Write those that are not known. Errors are the store's; then they stay unknown."""
        with self._lock:
            fresh = [one for key, one in labels.items() if key not in self._series]
        if fresh:
            self._store.insert_series(fresh)
        with self._lock:
            if len(self._series) > self._capacity:
                self._series.clear()
            self._series.update(one.series_id for one in fresh)

    def add_metrics(self, metrics: Mapping[str, RollupMetric]) -> None:
        """Write those that are not known or have changed, and make their views."""
        with self._lock:
            fresh = [one for name, one in metrics.items() if self._metrics.get(name) != one]
            if not fresh:
                return
            self._store.insert_metrics(fresh)
            self._heads |= _heads(fresh)
            self._view()
            self._metrics |= {one.name: one for one in fresh}

    def _view(self) -> None:
        contracts = self._contracts()
        state = (hash(frozenset(self._heads.items())), contracts)
        if self._viewed == state:
            return
        try:
            done = ensure_views(self._store, self._store.address.database, self._heads.values(), contracts.values())
        except StoreSchemaError as error:
            # points must not wait for a view: they stay readable in the tables and in the views of all points
            log.error("views are not up to date: %s", error)
            return
        self._viewed = state
        if done:
            log.info("%d views made or replaced", len(done))


def _heads(metrics: Sequence[RollupMetric]) -> dict[str, MetricHead]:
    plain = [one for one in metrics if one.type not in {"event", "measure", "distinct"}]
    return {one.name: MetricHead(one.name, one.type, one.unit, one.labels, one.granularity) for one in plain}
