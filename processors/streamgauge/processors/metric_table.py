"""Metric tables: points of metrics since the last commit, and their rollup. Delta points of many instances add up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamgauge.processors.event_table import TableRollup
from streamgauge.processors.grouping import edges
from streamgauge.processors.series import Labels, SeriesIndex
from streamgauge.schemas.columns import Array
from streamgauge.schemas.rollups import Histograms, RollupMetric, RollupRows, no_histograms

ZERO_KEY = 1 << 15


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
        order = np.lexsort((last, last_ms, window, entry, series, metric))
        metric, series, entry, window = metric[order], series[order], entry[order], window[order]
        changed = (
            (metric[1:] != metric[:-1])
            | (series[1:] != series[:-1])
            | (entry[1:] != entry[:-1])
            | (window[1:] != window[:-1])
        )
        starts = np.concatenate([[0], np.flatnonzero(changed) + 1])
        ends = np.append(starts[1:], len(order)) - 1
        ids: list[int] = []
        known: dict[int, tuple[str, Labels]] = {}
        for family, labels in self.series:
            one = index.id_of(family, labels)
            ids.append(one)
            known[one] = (family, labels)
        cell = np.empty(len(order), np.int64)
        cell[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        rows = RollupRows(
            metric=metric[starts].astype(np.uint32),
            series_id=np.array(ids, np.uint64)[series[starts]],
            entry=entry[starts].astype(np.uint8),
            window=window[starts],
            count=np.add.reduceat(count[order], starts),
            sum=np.add.reduceat(total[order], starts),
            min=np.minimum.reduceat(low[order], starts),
            max=np.maximum.reduceat(high[order], starts),
            last=last[order][ends],
            last_ms=last_ms[order][ends],
            hist=self._histograms(cell, len(starts)),
        )
        return TableRollup([rows], [], known)

    def _histograms(self, cell: Array, cells: int) -> Histograms:
        per_row, keys, counts = (np.concatenate([part[i] for part in self._buckets]) for i in range(3))
        if not len(keys):
            return no_histograms(cells)
        owner = np.repeat(cell, per_row.astype(np.int64))
        composite = (owner << 16) | (keys.astype(np.int64) + ZERO_KEY)
        order = np.argsort(composite)
        ordered = composite[order]
        starts = edges(ordered)
        merged = ordered[starts]
        return Histograms(
            np.bincount(merged >> 16, minlength=cells).astype(np.uint64),
            ((merged & 0xFFFF) - ZERO_KEY).astype(np.int16),
            np.add.reduceat(counts[order], starts),
        )
