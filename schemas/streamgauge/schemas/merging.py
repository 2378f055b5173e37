"""Merging: partials of equal metric, series, entry tier and window become one row.

The same rows in the same order give the same bytes; another order changes nothing but the last bits of sums.
"""

from __future__ import annotations

import numpy as np

from streamgauge.schemas.columns import Array, saturated
from streamgauge.schemas.rollups import DistinctRows, Histograms, RollupRows, no_histograms

ZERO_KEY = 1 << 15


def run_starts(*columns: Array) -> Array:
    """Where rows begin that differ from the row before in any of these sorted columns (which are not empty)."""
    changed = np.zeros(len(columns[0]) - 1, bool)
    for column in columns:
        changed |= column[1:] != column[:-1]
    return np.concatenate([[0], np.flatnonzero(changed) + 1])


def merge_rows(rows: RollupRows) -> RollupRows:
    """Sorted by metric, entry, series and window, without equal keys. Of `last`, the latest wins, then the greatest.

    A sum that leaves the range of doubles stays at its end (`columns.saturated`).
    """
    if not len(rows):
        return rows
    order = _order(rows.window, rows.series_id, rows.entry, rows.metric)
    keys = [column[order] for column in (rows.metric, rows.entry, rows.series_id, rows.window)]
    starts = run_starts(*keys)
    if len(starts) == len(order) and _ascending(rows.hist):
        return rows.take(order)
    if rows.last_ms.any():
        order = _order(rows.last, rows.last_ms, rows.window, rows.series_id, rows.entry, rows.metric)
    metric, entry, series, window = (column[starts] for column in keys)
    ends = np.append(starts[1:], len(order)) - 1
    cell = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    with np.errstate(over="ignore", invalid="ignore"):
        sums = saturated(np.add.reduceat(rows.sum[order], starts))
    return RollupRows(
        metric=metric,
        series_id=series,
        entry=entry,
        window=window,
        count=np.add.reduceat(rows.count[order], starts),
        sum=sums,
        min=np.minimum.reduceat(rows.min[order], starts),
        max=np.maximum.reduceat(rows.max[order], starts),
        last=rows.last[order][ends],
        last_ms=rows.last_ms[order][ends],
        hist=_merge_histograms(rows.hist.take(order), cell, len(starts)),
    )


def _order(*columns: Array) -> Array:
    """How to sort by the columns, the last one first. Equal rows keep their order."""
    deciding = [column for column in columns if (column != column[0]).any()]
    return np.lexsort(deciding) if deciding else np.arange(len(columns[0]))


def _ascending(hist: Histograms) -> bool:
    """Whether the keys of each row ascend, so that none occurs twice."""
    begins_row = np.zeros(len(hist.keys) + 1, bool)
    begins_row[np.cumsum(hist.per_row, dtype=np.int64)] = True
    return bool((begins_row[1:-1] | (hist.keys[1:] > hist.keys[:-1])).all())


def _merge_histograms(hist: Histograms, cell: Array, cells: int) -> Histograms:
    if not len(hist.keys):
        return no_histograms(cells)
    owner = np.repeat(cell, hist.per_row.astype(np.int64))
    composite = (owner << 16) | (hist.keys.astype(np.int64) + ZERO_KEY)
    order = np.argsort(composite)
    ordered = composite[order]
    starts = run_starts(ordered)
    merged = ordered[starts]
    return Histograms(
        np.bincount(merged >> 16, minlength=cells).astype(np.uint64),
        ((merged & 0xFFFF) - ZERO_KEY).astype(np.int16),
        np.add.reduceat(hist.counts[order], starts, dtype=np.uint64),
    )


def merge_distinct(rows: DistinctRows) -> DistinctRows:
    """Sorted by metric, entry, series, window and hash, each once."""
    if not len(rows):
        return rows
    order = np.lexsort((rows.hash, rows.window, rows.series_id, rows.entry, rows.metric))
    ordered = rows.take(order)
    return ordered.take(run_starts(ordered.metric, ordered.entry, ordered.series_id, ordered.window, ordered.hash))
