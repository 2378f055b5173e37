"""Metric tables: points of metrics since the last commit, and their rollup. Delta points of many instances add up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamgauge.processors.event_table import TableRollup
from streamgauge.processors.series import Labels, SeriesIndex
from streamgauge.schemas.columns import Array
from streamgauge.schemas.merging import merge_rows
from streamgauge.schemas.rollups import Histograms, RollupMetric, RollupRows


@dataclass(slots=True)
class MetricTable:
    """Points as they came: one array per column and batch."""

    metrics: dict[RollupMetric, int] = field(default_factory=dict[RollupMetric, int])
    series: dict[tuple[str, Labels], int] = field(default_factory=dict[tuple[str, Labels], int])
    points: int = 0
    _parts: list[tuple[Array, ...]] = field(default_factory=list[tuple[Array, ...]])
    _buckets: list[tuple[Array, Array, Array]] = field(default_factory=list[tuple[Array, Array, Array]])

    def metric_code(self, metric: RollupMetric) -> int:
        """A small integer for a metric."""
        return self.metrics.setdefault(metric, len(self.metrics))

    def series_code(self, family: str, labels: Labels) -> int:
        """A small integer for a series."""
        return self.series.setdefault((family, labels), len(self.series))

    def add(self, columns: tuple[Array, ...], buckets: tuple[Array, Array, Array] | None) -> None:
        """Add rows: metric code, series code, entry, window (s), count, sum, min, max, last, last_ms; and histograms."""
        n = len(columns[0])
        self.points += int(columns[4].sum())
        self._parts.append(columns)
        self._buckets.append(buckets or (np.zeros(n, np.uint64), np.zeros(0, np.int16), np.zeros(0, np.uint64)))

    def roll_up(self, index: SeriesIndex) -> TableRollup:
        """Everything added, merged by metric, series, entry and window; of gauges the latest value wins."""
        metric, series, entry, window, count, total, low, high, last, last_ms = (
            np.concatenate([part[i] for part in self._parts]) for i in range(10)
        )
        ids: list[int] = []
        known: dict[int, tuple[str, Labels]] = {}
        for family, labels in self.series:
            one = index.id_of(family, labels)
            ids.append(one)
            known[one] = (family, labels)
        hist = Histograms(*(np.concatenate([part[i] for part in self._buckets]) for i in range(3)))
        rows = RollupRows(
            metric=metric.astype(np.uint32),
            series_id=np.array(ids, np.uint64)[series],
            entry=entry.astype(np.uint8),
            window=window,
            count=count,
            sum=total,
            min=low,
            max=high,
            last=last,
            last_ms=last_ms,
            hist=hist,
        )
        return TableRollup([merge_rows(rows)], [], known)
