"""OTLP histograms: points as distributions, which know how to become ours. Pure."""

from __future__ import annotations

import math
from itertools import pairwise

from streamgauge.console.otlp_model import ExponentialPoint, HistogramPoint
from streamgauge.schemas.foreign_histograms import Distribution, Explicit, Exponential, Shape, extreme, indexed

MAX_BUCKETS = 2_000
"""Of one point and sign; senders keep 160."""


def distribution_of(point: HistogramPoint | ExponentialPoint) -> Distribution | None:
    """What a point holds; None when it contradicts itself."""
    shape = _explicit(point) if isinstance(point, HistogramPoint) else _exponential(point)
    if shape is None:
        return None
    return Distribution(point.number, point.sum, shape, extreme(point.min), extreme(point.max))


def _explicit(point: HistogramPoint) -> Shape | None:
    counts, bounds = point.counts, point.bounds
    ordered = all(one < other for one, other in pairwise(bounds))
    fits = (not counts and not bounds) or (len(counts) == len(bounds) + 1 and sum(counts) == point.number)
    if not ordered or not fits or not all(map(math.isfinite, bounds)) or len(bounds) > MAX_BUCKETS:
        return None
    return Explicit(bounds, counts)


def _exponential(point: ExponentialPoint) -> Shape | None:
    if len(point.positive) > MAX_BUCKETS or len(point.negative) > MAX_BUCKETS or not -10 <= point.scale <= 20:
        return None
    shape = Exponential(
        point.scale,
        point.zero_count,
        indexed(point.positive_offset, point.positive),
        indexed(point.negative_offset, point.negative),
    )
    return shape if shape.total() == point.number else None
