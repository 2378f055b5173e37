"""Folding: many observations at once as counts by bucket. Sorted first, so that a bucket costs one search and not one a value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import ceil, log2

from streamgauge.schemas.histogram import KEY_OFFSET, PER_DOUBLING, Buckets, bucket_of

USUAL_LOW, USUAL_HIGH = 1e-150, 1e150
BASE = KEY_OFFSET - 1


def count_below(ordered: Sequence[float], bounds: Sequence[float], counts: Sequence[int]) -> list[int]:
    """`counts` and how many of the ordered values lie in each bucket that ends with (and holds) one of the bounds."""
    found: list[int] = []
    start = 0
    for bound, count in zip(bounds, counts, strict=True):
        end = bisect_right(ordered, bound, start)
        found.append(count + end - start)
        start = end
    return found


def count_keys(ordered: Sequence[float], keys: Buckets) -> Buckets:
    """`keys` and the exponential buckets of the ordered values, each as `bucket_of` says."""
    found = dict(keys)
    start = bisect_right(ordered, USUAL_LOW)
    end = bisect_left(ordered, USUAL_HIGH, start)
    for values in (ordered[:start], ordered[end:]):
        for value in values:
            key = bucket_of(value)
            found[key] = found.get(key, 0) + 1
    while start < end:
        key = ceil(log2(ordered[start]) * PER_DOUBLING) + BASE
        past = bisect_right(ordered, 2.0 ** ((key - BASE) / PER_DOUBLING), start + 1, end)
        # bound and logarithm are rounded: what the bound takes in may be the next bucket's; what it leaves out is looked at next
        while past > start + 1 and ceil(log2(ordered[past - 1]) * PER_DOUBLING) + BASE != key:
            past -= 1
        found[key] = found.get(key, 0) + past - start
        start = past
    return found
