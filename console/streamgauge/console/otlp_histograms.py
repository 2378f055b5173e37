"""OTLP histograms as ours: exponential buckets of scale 5. Count and sum stay exact. Pure.

An exponential histogram of scale 5 or finer is downscaled exactly. Of a coarser one, and of explicit buckets, it is only
known that values lie in a bucket: its count is spread evenly inside, so a quantile may be off by as much as the sender's
bucket is wide, and never lies outside of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from streamgauge.console.otlp_model import ExponentialPoint, HistogramPoint
from streamgauge.schemas.histogram import KEY_OFFSET, MAX_INDEX, SCALE, Buckets, bucket_of, downscale, value_of

SPREAD = 16
"""A bucket's count is spread over so many places at most."""
MAX_BUCKETS = 2_000
"""Of one point and sign; senders keep 160."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A histogram that can be recorded."""

    count: int
    sum: float
    min: float
    max: float
    buckets: Buckets
    estimated: bool = False
    """Whether the sender gave no sum, so that it is made from the buckets."""


@dataclass(frozen=True, slots=True)
class Explicit:
    """What an explicit histogram holds; of a cumulative one, so far."""

    count: int
    sum: float | None
    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def minus(self, before: Explicit) -> Explicit | None:
        """What came since; None when something fell."""
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        count = self.count - before.count
        if count < 0 or min(counts, default=0) < 0:
            return None
        total = None if self.sum is None or before.sum is None else self.sum - before.sum
        return Explicit(count, total, self.bounds, counts)

    def whole(self, low: float | None, high: float | None) -> Whole:
        """As ours; `low` and `high` are the extremes, where they are known."""
        buckets: Buckets = {}
        edges = list(_edges(self.bounds, self.counts, low, high))
        for bottom, top, count in edges:
            _spread(buckets, _places(bottom, top), count)
        if not edges and self.count:
            middle = 0.0 if self.sum is None else self.sum / self.count
            buckets[bucket_of(middle)] = self.count
            edges = [(middle, middle, self.count)]
        return _whole(self.count, self.sum, low, high, buckets, edges)


@dataclass(frozen=True, slots=True)
class Exponential:
    """What an exponential histogram holds, by index; of a cumulative one, so far."""

    count: int
    sum: float | None
    scale: int
    zero: int
    positive: Mapping[int, int]
    negative: Mapping[int, int]

    def to_scale(self, scale: int) -> Exponential:
        """The same at a scale that is not finer."""
        by = self.scale - scale
        if by <= 0:
            return self
        return Exponential(
            self.count, self.sum, scale, self.zero, downscale(self.positive, by), downscale(self.negative, by)
        )

    def minus(self, before: Exponential) -> Exponential | None:
        """What came since; None when something fell. Senders make their scale coarser as values spread."""
        scale = min(self.scale, before.scale)
        now, then = self.to_scale(scale), before.to_scale(scale)
        positive, negative = _less(now.positive, then.positive), _less(now.negative, then.negative)
        zero, count = now.zero - then.zero, now.count - then.count
        if positive is None or negative is None or zero < 0 or count < 0:
            return None
        total = None if self.sum is None or before.sum is None else self.sum - before.sum
        return Exponential(count, total, scale, zero, positive, negative)

    def whole(self, low: float | None, high: float | None) -> Whole:
        """As ours; `low` and `high` are the extremes, where they are known."""
        fine = self.to_scale(SCALE)
        buckets: Buckets = {0: self.zero} if self.zero else {}
        coarser = SCALE - fine.scale
        for sign, indexes in ((1, fine.positive), (-1, fine.negative)):
            for index, count in indexes.items():
                if coarser:
                    _spread(buckets, [sign * key for key in _keys(index, coarser)], count)
                else:
                    key = sign * (min(max(index, -MAX_INDEX), MAX_INDEX) + KEY_OFFSET)
                    buckets[key] = buckets.get(key, 0) + count
        if self.sum is not None and low is not None and high is not None:
            return _whole(self.count, self.sum, low, high, buckets, ())
        edges = [(value_of(key), value_of(key), count) for key, count in sorted(buckets.items())]
        return _whole(self.count, self.sum, low, high, buckets, edges)


def explicit(point: HistogramPoint) -> Explicit | None:
    """What a point holds; None when it contradicts itself."""
    counts, bounds = point.counts, point.bounds
    ordered = all(one < other for one, other in pairwise(bounds))
    fits = (not counts and not bounds) or (len(counts) == len(bounds) + 1 and sum(counts) == point.number)
    if not ordered or not fits or not all(map(math.isfinite, bounds)) or len(bounds) > MAX_BUCKETS:
        return None
    return Explicit(point.number, point.sum, bounds, counts)


def exponential(point: ExponentialPoint) -> Exponential | None:
    """What a point holds; None when it contradicts itself."""
    if len(point.positive) > MAX_BUCKETS or len(point.negative) > MAX_BUCKETS or not -10 <= point.scale <= 20:
        return None
    positive = {point.positive_offset + i: count for i, count in enumerate(point.positive) if count}
    negative = {point.negative_offset + i: count for i, count in enumerate(point.negative) if count}
    if sum(positive.values()) + sum(negative.values()) + point.zero_count != point.number:
        return None
    return Exponential(point.number, point.sum, point.scale, point.zero_count, positive, negative)


def _less(now: Mapping[int, int], then: Mapping[int, int]) -> dict[int, int] | None:
    found: dict[int, int] = {}
    for index in now.keys() | then.keys():
        more = now.get(index, 0) - then.get(index, 0)
        if more < 0:
            return None
        if more:
            found[index] = more
    return found


def _keys(index: int, finer: int) -> list[int]:
    """The keys of our buckets that one of a scale coarser by `finer` covers, or some of them, evenly apart."""
    first, width = index << finer, 1 << finer
    step = max(1, width // SPREAD)
    indexes = range(first + (step - 1) // 2, first + width, step)
    return list(dict.fromkeys(min(max(one, -MAX_INDEX), MAX_INDEX) + KEY_OFFSET for one in indexes))


def _edges(
    bounds: Sequence[float], counts: Sequence[int], low: float | None, high: float | None
) -> Iterator[tuple[float, float, int]]:
    """Bottom and top of each bucket that holds something, drawn in to the extremes."""
    for place, count in enumerate(counts):
        if not count:
            continue
        top = bounds[place] if place < len(bounds) else None
        bottom = bounds[place - 1] if place else None
        if bottom is None:
            bottom = low if low is not None else min(0.0, top) if top is not None else 0.0
        if top is None:
            top = high if high is not None else bottom
        if low is not None:
            bottom = max(bottom, low)
        if high is not None:
            top = min(top, high)
        yield min(bottom, top), max(bottom, top), count


def _places(bottom: float, top: float) -> list[int]:
    """Keys at even distances inside (bottom, top]."""
    if not bottom < top:
        return [bucket_of(top)]
    return [bucket_of(bottom + (top - bottom) * ((i + 0.5) / SPREAD)) for i in range(SPREAD)]


def _spread(buckets: Buckets, keys: Sequence[int], count: int) -> None:
    each, more = divmod(count, len(keys))
    if not more:
        for key in keys:
            buckets[key] = buckets.get(key, 0) + each
        return
    # what does not divide goes to the middle first, where one value alone does least harm
    middle = len(keys) // 2
    first = middle - more // 2
    for place, key in enumerate(keys):
        if add := each + (first <= place < first + more):
            buckets[key] = buckets.get(key, 0) + add


def _whole(
    count: int,
    total: float | None,
    low: float | None,
    high: float | None,
    buckets: Buckets,
    edges: Iterable[tuple[float, float, int]],
) -> Whole:
    ends = list(edges)
    if low is None or not math.isfinite(low):
        low = ends[0][0] if ends else 0.0
    if high is None or not math.isfinite(high):
        high = ends[-1][1] if ends else 0.0
    estimated = total is None
    if total is None:
        total = sum((bottom + top) / 2 * held for bottom, top, held in ends)
    return Whole(count, total, low, high, buckets, estimated)
