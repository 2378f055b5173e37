"""Spread: what points of gauges and histograms say beyond count and sum, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice


@dataclass(slots=True)
class Spread:
    """As many values in each of the first five columns as there are points; `last_ms` is the instant of `last`.

    `sizes` says how many buckets each point has, `keys` and `amounts` hold the buckets of all of them.
    """

    low: list[float] = field(default_factory=list[float])
    high: list[float] = field(default_factory=list[float])
    last: list[float] = field(default_factory=list[float])
    last_ms: list[int] = field(default_factory=list[int])
    sizes: list[int] = field(default_factory=list[int])
    keys: list[int] = field(default_factory=list[int])
    amounts: list[int] = field(default_factory=list[int])

    def add(self, low: float, high: float, last: float, last_ms: int, buckets: Mapping[int, int]) -> None:
        """One point more."""
        self.low.append(low)
        self.high.append(high)
        self.last.append(last)
        self.last_ms.append(last_ms)
        self.sizes.append(len(buckets))
        self.keys.extend(buckets)
        self.amounts.extend(buckets.values())

    def blank(self, points: int, at_ms: int) -> None:
        """So many points of counters, which have nothing of it."""
        zeros = [0.0] * points
        self.extend(Spread(zeros, zeros, zeros, [at_ms] * points, [0] * points))

    def extend(self, other: Spread) -> None:
        """The points of another one."""
        self.low += other.low
        self.high += other.high
        self.last += other.last
        self.last_ms += other.last_ms
        self.sizes += other.sizes
        self.keys += other.keys
        self.amounts += other.amounts

    def part(self, start: int, stop: int) -> Spread:
        """The points from `start` to before `stop`."""
        first = sum(self.sizes[:start])
        end = first + sum(self.sizes[start:stop])
        return Spread(
            self.low[start:stop],
            self.high[start:stop],
            self.last[start:stop],
            self.last_ms[start:stop],
            self.sizes[start:stop],
            self.keys[first:end],
            self.amounts[first:end],
        )

    def buckets(self) -> Iterator[dict[int, int]]:
        """The buckets of each point."""
        pairs = zip(self.keys, self.amounts, strict=True)
        for size in self.sizes:
            yield dict(islice(pairs, size))
