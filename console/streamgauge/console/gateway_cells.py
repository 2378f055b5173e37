"""Cells: what one series gained in each 10 s window since it was taken, with amounts that stand for many calls.

Unlike an application's handles these take weights, whole histograms and instants of the past. One thread only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from streamgauge.producers.gains import Taken
from streamgauge.schemas.batches import Delta, MetricHead
from streamgauge.schemas.histogram import Buckets, bucket_of
from streamgauge.schemas.windows import TIERS

WINDOW_MS = TIERS[0].width_ms
MAX_CALLS = 1 << 28
"""Of one series and window: 2,000 such rows still fit what a worker takes in one batch."""


class Cell:
    """One window."""

    __slots__ = ("buckets", "count", "last", "last_ms", "max", "min", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.min, self.max = math.inf, -math.inf
        self.last, self.last_ms = 0.0, 0
        self.buckets: Buckets = {}

    def add(
        self, count: int, total: float, low: float, high: float, last: float, last_ms: int, buckets: Mapping[int, int]
    ) -> None:
        """Take in what came later."""
        self.count += count
        self.sum += total
        self.min, self.max = min(self.min, low), max(self.max, high)
        self.last, self.last_ms = last, last_ms
        for key, more in buckets.items():
            self.buckets[key] = self.buckets.get(key, 0) + more


class Series:
    """One label set of one metric of one sender. `dirty` is told when it holds something for the first time since a take.

    `level` is a gauge's value and outlives windows; `stepped` says that it is known nowhere else. `live` is false once it
    is forgotten: look it up anew then.
    """

    __slots__ = ("_carry", "_cells", "_dirty", "_level_ms", "head", "labels", "level", "live", "stepped", "used_ms")

    def __init__(self, head: MetricHead, labels: tuple[str, ...], dirty: list[Series]) -> None:
        self.head = head
        self.labels = labels
        self.level = 0.0
        self.stepped = False
        self.live = True
        self.used_ms = 0
        self._level_ms = 0
        self._carry = 0.0
        self._cells: dict[int, Cell] = {}
        self._dirty = dirty

    def _cell(self, at_ms: int) -> Cell:
        window = at_ms - at_ms % WINDOW_MS
        cell = self._cells.get(window)
        if cell is None:
            if not self._cells:
                self._dirty.append(self)
            cell = self._cells[window] = Cell()
        return cell

    def calls(self, rate: float) -> int:
        """How many calls a sampled one stands for: whole ones, the fractions are carried to the next."""
        if rate == 1.0:
            return 1
        exact = 1.0 / rate + self._carry
        whole = round(exact) if abs(exact - round(exact)) < 1e-6 * exact else int(exact)
        self._carry = max(0.0, exact - whole)
        return whole

    def add(self, amount: float, calls: int, at_ms: int) -> None:
        """A counter gained `amount` by so many calls."""
        cell = self._cell(at_ms)
        cell.count += calls
        cell.sum += amount

    def set(self, value: float, at_ms: int) -> None:
        """A gauge has this value. Of two in one window the later one counts."""
        cell = self._cell(at_ms)
        cell.count += 1
        cell.sum += value
        cell.min = min(cell.min, value)
        cell.max = max(cell.max, value)
        if at_ms >= cell.last_ms:
            cell.last, cell.last_ms = value, at_ms
        if at_ms >= self._level_ms:
            self.level, self._level_ms = value, at_ms

    def step(self, by: float, at_ms: int) -> None:
        """A gauge moved by so much."""
        self.stepped = True
        self.set(self.level + by, at_ms)

    def observe(self, value: float, calls: int, at_ms: int) -> None:
        """A histogram saw this value so many times."""
        cell = self._cell(at_ms)
        cell.count += calls
        cell.sum += value * calls
        if value < cell.min:
            cell.min = value
        if value > cell.max:
            cell.max = value
        cell.last, cell.last_ms = value, at_ms
        key = bucket_of(value)
        cell.buckets[key] = cell.buckets.get(key, 0) + calls

    def merge(self, count: int, total: float, low: float, high: float, buckets: Mapping[int, int], at_ms: int) -> None:
        """A histogram saw a whole one."""
        self._cell(at_ms).add(count, total, low, high, total / count, at_ms, buckets)

    def coarsen(self, width_ms: int) -> None:
        """Merge windows: each goes to the earliest one that holds something of its `width_ms`."""
        first: dict[int, tuple[int, Cell]] = {}
        for window, cell in sorted(self._cells.items()):
            place = first.setdefault(window // width_ms, (window, cell))
            if place[1] is not cell:
                place[1].add(cell.count, cell.sum, cell.min, cell.max, cell.last, cell.last_ms, cell.buckets)
        self._cells = dict(first.values())

    def take(self) -> Iterator[Taken]:
        """Everything gained; the series holds nothing afterwards."""
        counter = self.head.type == "counter"
        cells, self._cells = self._cells, {}
        for window, cell in cells.items():
            if counter:
                delta = Delta(window, cell.count, cell.sum)
            else:
                delta = Delta(window, cell.count, cell.sum, cell.min, cell.max, cell.last, cell.last_ms, cell.buckets)
            yield Taken(self.head, self.labels, delta)

    def __len__(self) -> int:
        return len(self._cells)


def sendable(taken: Taken) -> str:
    """Why a row cannot be sent; empty when it can."""
    if not math.isfinite(taken.delta.sum):
        return "not_finite"
    return "too_many" if taken.delta.count > MAX_CALLS else ""
