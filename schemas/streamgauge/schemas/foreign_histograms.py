"""Foreign histograms: those of other systems as ours. Counts and sums stay exact; where a bucket is wider than ours, the
values in it are taken to lie evenly between its bounds.

So a quantile lies in the same foreign bucket as the one that was observed: it is off by at most that bucket's width.
Exponential histograms of scale 5 and more fit ours exactly.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from streamgauge.schemas.histogram import KEY_OFFSET, MAX_INDEX, SCALE, Buckets, bucket_of, downscale, value_of

SPREAD = 16
"""At most so many places are taken up by the values of one foreign bucket."""
LARGEST = sys.float_info.max


class InconsistentHistogram(ValueError):
    """Its buckets hold more values than it says it has, or do not fit its bounds."""


@dataclass(frozen=True, slots=True)
class Explicit:
    """Buckets with bounds of their own: `counts[i]` values lie in (bounds[i - 1], bounds[i]], the last ones above all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def total(self) -> int:
        """Values whose bucket says something of them: without a bound it does not."""
        return sum(self.counts) if self.bounds else 0

    def minus(self, earlier: Shape) -> Explicit | None:
        """What was added since `earlier`; None when this does not continue it."""
        if not isinstance(earlier, Explicit) or earlier.bounds != self.bounds:
            return None
        counts = tuple(a - b for a, b in zip(self.counts, earlier.counts, strict=True))
        return None if min(counts, default=0) < 0 else Explicit(self.bounds, counts)

    def add_to(self, buckets: Buckets, low: float, high: float) -> None:
        """Count the values in our buckets. None of them lies outside low … high, which may be infinite."""
        if not self.bounds:
            return
        if len(self.counts) != len(self.bounds) + 1 or any(a >= b for a, b in pairwise(self.bounds)):
            raise InconsistentHistogram("the buckets of a histogram do not fit its bounds")
        # of an open bucket whose end is not known, what lies towards zero counts; else its bound
        first = low if low > -math.inf else min(self.bounds[0], 0.0)
        last = high if high < math.inf else max(self.bounds[-1], 0.0)
        for (above, below), count in zip(pairwise((first, *self.bounds, last)), self.counts, strict=True):
            if count:
                spread(buckets, max(above, low), min(below, high), count)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Base-2 buckets of a scale: counts of magnitudes by index, as in OpenTelemetry's data model."""

    scale: int
    zero: int = 0
    positive: Mapping[int, int] = field(default_factory=dict[int, int])
    negative: Mapping[int, int] = field(default_factory=dict[int, int])

    def total(self) -> int:
        """Values in all buckets."""
        return self.zero + sum(self.positive.values()) + sum(self.negative.values())

    def at(self, scale: int) -> Exponential:
        """The same at a coarser scale. Exact."""
        by = self.scale - scale
        return replace(self, scale=scale, positive=downscale(self.positive, by), negative=downscale(self.negative, by))

    def minus(self, earlier: Shape) -> Exponential | None:
        """What was added since `earlier`; None when this does not continue it."""
        if not isinstance(earlier, Exponential) or earlier.scale < self.scale:
            return None  # scales only get coarser while a histogram grows
        before = earlier.at(self.scale)
        positive, negative = _less(self.positive, before.positive), _less(self.negative, before.negative)
        if positive is None or negative is None or self.zero < before.zero:
            return None
        return Exponential(self.scale, self.zero - before.zero, positive, negative)

    def add_to(self, buckets: Buckets, low: float, high: float) -> None:
        """Count the values in our buckets. None of them lies outside low … high, which may be infinite."""
        if self.zero:
            buckets[0] = buckets.get(0, 0) + self.zero
        if self.scale >= SCALE:
            fitting = self.at(SCALE)
            for sign, counts in ((1, fitting.positive), (-1, fitting.negative)):
                for index, count in counts.items():
                    key = sign * (min(max(index, -MAX_INDEX), MAX_INDEX) + KEY_OFFSET)
                    buckets[key] = buckets.get(key, 0) + count
            return
        for index, count in self.positive.items():
            above, below = self._bound(index), self._bound(index + 1)
            spread(buckets, max(above, low), min(below, high), count)
        for index, count in self.negative.items():
            above, below = -self._bound(index + 1), -self._bound(index)
            spread(buckets, max(above, low), min(below, high), count)

    def _bound(self, index: int) -> float:
        exponent = math.ldexp(index, -self.scale)
        return 2.0**exponent if -1074 <= exponent < 1024 else LARGEST if exponent > 0 else 0.0


Shape = Explicit | Exponential


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram of another system. `min` and `max` are its extremes, `low` and `high` bounds that none of its values
    lies beyond. What is not known is None."""

    count: int
    sum: float | None
    shape: Shape
    min: float | None = None
    max: float | None = None
    low: float | None = None
    high: float | None = None

    def minus(self, earlier: Distribution) -> Distribution | None:
        """What was added since `earlier`; None when this does not continue it. An extreme is known if it is a new one."""
        if self.count < earlier.count or (shape := self.shape.minus(earlier.shape)) is None:
            return None
        low = self.min if self.min is not None and earlier.min is not None and self.min < earlier.min else None
        high = self.max if self.max is not None and earlier.max is not None and self.max > earlier.max else None
        total = None if self.sum is None or earlier.sum is None else self.sum - earlier.sum
        return Distribution(self.count - earlier.count, total, shape, low, high, low=self.min, high=self.max)

    def buckets(self) -> Buckets:
        """In our buckets. Raises InconsistentHistogram."""
        low = next((one for one in (self.min, self.low) if one is not None), -math.inf)
        high = next((one for one in (self.max, self.high) if one is not None), math.inf)
        found: Buckets = {}
        missing = self.count - self.shape.total()
        if missing < 0:
            raise InconsistentHistogram("the buckets of a histogram hold more values than its count says")
        self.shape.add_to(found, low, high)
        if missing:  # nothing but their mean is known
            mean = 0.0 if self.sum is None else self.sum / self.count
            spread(found, mean, mean, missing)
        return found

    def extremes(self, buckets: Buckets) -> tuple[float, float]:
        """Smallest and largest value, from the outermost of its `buckets` where they are not known."""
        low, high = self._bounded(value_of(min(buckets))), self._bounded(value_of(max(buckets)))
        low, high = low if self.min is None else self.min, high if self.max is None else self.max
        return min(low, high), max(low, high)

    def total(self, buckets: Buckets) -> float:
        """Its sum, or what its `buckets` add up to."""
        return sum(value_of(key) * count for key, count in buckets.items()) if self.sum is None else self.sum

    def _bounded(self, value: float) -> float:
        value = value if self.low is None else max(value, self.low)
        return value if self.high is None else min(value, self.high)


def extreme(told: float | None) -> float | None:
    """An extreme as a sender tells it; one that is not finite says that there is none."""
    return told if told is not None and math.isfinite(told) else None


def spread(buckets: Buckets, low: float, high: float, count: int) -> None:
    """Count `count` values that lie somewhere in low … high, as if they lay evenly."""
    places = min(count, SPREAD) if high > low else 1
    each, more = divmod(count, places)
    for place in range(places):
        share = (place + 0.5) / places
        # two terms, because the distance may be more than a double can hold
        key = bucket_of(low * (1 - share) + high * share if high > low else low)
        buckets[key] = buckets.get(key, 0) + each + (place < more)


def indexed(offset: int, counts: Sequence[int]) -> dict[int, int]:
    """Counts by index, from a run of them that begins at `offset`."""
    return {offset + place: count for place, count in enumerate(counts) if count}


def _less(left: Mapping[int, int], right: Mapping[int, int]) -> dict[int, int] | None:
    found = {index: count - right.get(index, 0) for index, count in left.items()}
    if min(found.values(), default=0) < 0 or any(count and index not in left for index, count in right.items()):
        return None
    return {index: count for index, count in found.items() if count}
