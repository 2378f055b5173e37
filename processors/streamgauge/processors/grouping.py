"""Grouping: many columns of small integers as one sortable key, and what sorting it tells. Pure numpy, no loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamgauge.schemas.columns import Array, saturated
from streamgauge.schemas.histogram import KEY_OFFSET, MAX_INDEX, PER_DOUBLING
from streamgauge.schemas.rollups import Histograms

KEY_LIMIT = 1 << 46
"""Keys stay below this, so that a 16-bit bucket fits beside them in 62 bits."""


@dataclass(frozen=True, slots=True)
class KeySpace:
    """How columns became one key: digits of a mixed radix, and look-ups where the radix had to be made dense."""

    steps: tuple[int | Array, ...]

    def columns(self, keys: Array) -> list[Array]:
        """The columns of given keys, in the order in which they were combined."""
        found: list[Array] = []
        for step in reversed(self.steps):
            if isinstance(step, int):
                found.append(keys % step)
                keys = keys // step
            else:
                keys = step[keys]
        return found[::-1]


def combine(columns: Sequence[tuple[Array, int]], limit: int = KEY_LIMIT) -> tuple[Array, KeySpace]:
    """One int64 key per row from columns of codes, each with its number of codes (codes are 0 … size - 1).

    Keys stay below `limit`, or below the number of rows where their columns together have more values than that.
    """
    key = np.zeros(len(columns[0][0]), np.int64)
    size = 1
    steps: list[int | Array] = []
    for codes, count in columns:
        if size * count > limit:
            dense, key = np.unique(key, return_inverse=True)
            size = len(dense)
            steps.append(dense)
        key = key * count + codes
        size *= count
        steps.append(count)
    if size > limit:
        dense, key = np.unique(key, return_inverse=True)
        steps.append(dense)
    return key, KeySpace(tuple(steps))


def edges(ordered: Array) -> Array:
    """Where runs of equal values start in a sorted array that is not empty."""
    return np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])


def run_lengths(starts: Array, total: int) -> Array:
    """Lengths of the runs that start there."""
    return np.diff(np.append(starts, total)).astype(np.uint64)


def counted(keys: Array) -> tuple[Array, Array]:
    """Distinct keys in order, and how often each occurs."""
    ordered = np.sort(keys)
    starts = edges(ordered)
    return ordered[starts], run_lengths(starts, len(ordered))


def buckets_of(values: Array) -> Array:
    """Bucket keys of finite values: `histogram.bucket_of` for a whole array."""
    magnitudes = np.abs(values)
    zero = magnitudes == 0
    indexes = np.ceil(np.log2(np.where(zero, 1.0, magnitudes)) * PER_DOUBLING) - 1
    keys = np.clip(indexes, -MAX_INDEX, MAX_INDEX).astype(np.int64) + KEY_OFFSET
    keys = np.where(values < 0, -keys, keys)
    return np.where(zero, 0, keys)


@dataclass(frozen=True, slots=True)
class Summary:
    """What values of equal keys add up to, one row per distinct key in order."""

    keys: Array
    count: Array
    sum: Array
    min: Array
    max: Array
    hist: Histograms


def summarise(keys: Array, values: Array) -> Summary:
    """Count, sum, extremes and histogram of `values` by key, with one sort. A sum beyond all doubles stays at their end."""
    composite = (keys << 16) | (buckets_of(values) + (1 << 15))
    order = np.argsort(composite)
    ordered = composite[order]
    by_value = values[order]
    hist_starts = edges(ordered)
    bucket_keys = ordered[hist_starts]
    cell_of_bucket = bucket_keys >> 16
    cell_starts = edges(cell_of_bucket)
    starts = hist_starts[cell_starts]
    with np.errstate(over="ignore", invalid="ignore"):
        sums = saturated(np.add.reduceat(by_value, starts))
    return Summary(
        cell_of_bucket[cell_starts],
        run_lengths(starts, len(ordered)),
        sums,
        np.minimum.reduceat(by_value, starts),
        np.maximum.reduceat(by_value, starts),
        Histograms(
            run_lengths(cell_starts, len(bucket_keys)),
            ((bucket_keys & 0xFFFF) - (1 << 15)).astype(np.int16),
            run_lengths(hist_starts, len(ordered)),
        ),
    )
