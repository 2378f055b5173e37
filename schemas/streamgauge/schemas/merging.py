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
    order = np.lexsort((rows.last, rows.last_ms, rows.window, rows.series_id, rows.entry, rows.metric))
    metric, entry, series, window = (column[order] for column in (rows.metric, rows.entry, rows.series_id, rows.window))
    starts = run_starts(metric, entry, series, window)
    ends = np.append(starts[1:], len(order)) - 1
    cell = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    with np.errstate(over="ignore", invalid="ignore"):
        sums = saturated(np.add.reduceat(rows.sum[order], starts))
    return RollupRows(
        metric=metric[starts],
        series_id=series[starts],
        entry=entry[starts],
        window=window[starts],
        count=np.add.reduceat(rows.count[order], starts),
        sum=sums,
        min=np.minimum.reduceat(rows.min[order], starts),
        max=np.maximum.reduceat(rows.max[order], starts),
        last=rows.last[order][ends],
        last_ms=rows.last_ms[order][ends],
        hist=_merge_histograms(rows.hist.take(order), cell, len(starts)),
    )


def _merge_histograms(hist: Histograms, cell: Array, cells: int) -> Histograms:
    if not len(hist.keys):
        return no_histograms(cells)
    owner = np.repeat(cell, hist.per_row.astype(np.int64))
    composite = (owner << 16) | (hist.keys.astype(np.int64) + ZERO_KEY)
    if (composite[1:] > composite[:-1]).all():  # no two rows share a key, as in the store's hardest case
        return Histograms(np.bincount(owner, minlength=cells).astype(np.uint64), hist.keys, hist.counts)
    order = np.argsort(composite)
    ordered = composite[order]
    starts = run_starts(ordered)
    merged = ordered[starts]
    return Histograms(
        np.bincount(merged >> 16, minlength=cells).astype(np.uint64),
        ((merged & 0xFFFF) - ZERO_KEY).astype(np.int16),
        np.add.reduceat(hist.counts[order], starts),
    )


def merge_distinct(rows: DistinctRows) -> DistinctRows:
    """Sorted by metric, entry, series, window and hash, each once."""
    if not len(rows):
        return rows
    order = np.lexsort((rows.hash, rows.window, rows.series_id, rows.entry, rows.metric))
    ordered = rows.take(order)
    return ordered.take(run_starts(ordered.metric, ordered.entry, ordered.series_id, ordered.window, ordered.hash))
