"""Exponential histograms: base-2 buckets of one fixed scale, so that merging is addition everywhere.

Bucket i of scale s holds magnitudes in (2^(i / 2^s), 2^((i + 1) / 2^s)], as in the OpenTelemetry data model
(metrics data model, "Exponential Buckets"). A bucket is named by one signed 16-bit key whose order is the order of the
values: 0 is zero, a positive value has the key i + 16384, a negative one the negated key of its magnitude. Magnitudes
beyond 2^±512 count in the outermost bucket. The representative of a bucket is the value with the same relative distance
to both bounds: (b - 1) / (b + 1), 1.09 % at scale 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

SCALE = 5
PER_DOUBLING = 1 << SCALE
KEY_OFFSET = 16_384
MAX_INDEX = KEY_OFFSET - 1
GROWTH = 2.0 ** (1.0 / PER_DOUBLING)
RELATIVE_ERROR = (GROWTH - 1) / (GROWTH + 1)
"""A quantile lies within this share of a value that nearest rank would have given."""

Buckets = dict[int, int]
"""Bucket key to count."""


def bucket_of(value: float) -> int:
    """Key of the bucket that holds `value`, which must be finite."""
    if value == 0.0:
        return 0
    index = math.ceil(math.log2(abs(value)) * PER_DOUBLING) - 1
    key = min(max(index, -MAX_INDEX), MAX_INDEX) + KEY_OFFSET
    return key if value > 0 else -key


def value_of(key: int) -> float:
    """The value that stands for all values of a bucket."""
    if key == 0:
        return 0.0
    magnitude = 2.0 ** ((abs(key) - KEY_OFFSET) / PER_DOUBLING) * (2 * GROWTH / (1 + GROWTH))
    return math.copysign(magnitude, key)


def histogram_of(values: Iterable[float]) -> Buckets:
    """Count finite values by bucket."""
    buckets: Buckets = {}
    for value in values:
        key = bucket_of(value)
        buckets[key] = buckets.get(key, 0) + 1
    return buckets


def merge(left: Mapping[int, int], right: Mapping[int, int]) -> Buckets:
    """Sum of two histograms of the same scale: associative, commutative, with `{}` as its zero."""
    merged = dict(left)
    for key, count in right.items():
        merged[key] = merged.get(key, 0) + count
    return merged


def downscale(indexes: Mapping[int, int], by: int) -> Buckets:
    """Indexes (not keys) of a histogram of scale s, as indexes of scale s - `by`. Exact: 2^by buckets fall into one."""
    scaled: Buckets = {}
    for index, count in indexes.items():
        scaled[index >> by] = scaled.get(index >> by, 0) + count
    return scaled


def quantile(buckets: Mapping[int, int], q: float) -> float:
    """Nearest-rank quantile: the representative of the bucket that holds the ceil(q·n)-th smallest value (at least the first).

    Raises ValueError for an empty histogram or q outside 0..1.
    """
    total = sum(buckets.values())
    if total <= 0 or not 0.0 <= q <= 1.0:
        raise ValueError("a quantile needs a histogram that is not empty, and q between 0 and 1")
    rank = max(1, math.ceil(q * total))
    seen = 0
    for key in sorted(buckets):
        seen += buckets[key]
        if seen >= rank:
            return value_of(key)
    raise ValueError("counts must not be negative")
