"""Gains: what the series of one metric gained in one window, as columns. A flush of many series makes no object of each.

Off the hot path they are made of rows (`Taken`), and read as rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, Protocol

from streamgauge.schemas.batches import Delta, MetricHead, Origin, encode_columns
from streamgauge.schemas.packing import index_type, pack
from streamgauge.schemas.spread import Spread

Labels = tuple[str, ...]


class Taken(NamedTuple):
    """A delta with the metric and label values it belongs to."""

    head: MetricHead
    labels: Labels
    delta: Delta


class Labelled(Protocol):
    """A series, or a row of one."""

    @property
    def labels(self) -> Labels:
        """Its label values, which never change."""
        ...


class Gains:
    """Columns of one length; `spread` only where it is no counter. `distinct`: no series comes twice."""

    __slots__ = ("counts", "distinct", "head", "series", "spread", "sums", "window_ms")

    def __init__(self, head: MetricHead, window_ms: int, distinct: bool = False) -> None:
        self.head = head
        self.window_ms = window_ms
        self.distinct = distinct
        self.series: list[Labelled] = []
        self.counts: list[int] = []
        self.sums: list[float] = []
        self.spread: Spread | None = None

    def add(self, one: Taken) -> None:
        """What one series gained, in this window."""
        delta = one.delta
        self.series.append(one)
        self.counts.append(delta.count)
        self.sums.append(delta.sum)
        if self.head.type != "counter":
            self.spreading().add(delta.min, delta.max, delta.last, delta.last_ms or self.window_ms, delta.buckets)

    def spreading(self) -> Spread:
        """Where its series add what they say beyond count and sum."""
        if self.spread is None:
            self.spread = Spread()
        return self.spread

    def part(self, start: int, stop: int) -> Gains:
        """The rows from `start` to before `stop`."""
        if start == 0 and stop >= len(self):
            return self
        part = Gains(self.head, self.window_ms, self.distinct)
        part.series = self.series[start:stop]
        part.counts = self.counts[start:stop]
        part.sums = self.sums[start:stop]
        part.spread = self.spread and self.spread.part(start, stop)
        return part

    def points(self) -> int:
        """Points of all rows."""
        return sum(self.counts)

    def rows(self) -> Iterator[Taken]:
        """The same row by row."""
        head, window = self.head, self.window_ms
        own = zip(self.series, self.counts, map(float, self.sums), strict=True)
        if (more := self.spread) is None:
            for one, count, total in own:
                yield Taken(head, one.labels, Delta(window, count, total))
            return
        extremes = zip(more.low, more.high, more.last, more.last_ms, more.buckets(), strict=True)
        for (one, count, total), rest in zip(own, extremes, strict=True):
            yield Taken(head, one.labels, Delta(window, count, total, *rest))

    def __len__(self) -> int:
        return len(self.counts)


def gains_of(rows: Iterable[Taken]) -> list[Gains]:
    """Rows as columns. Those of one metric and window come together, in the order given."""
    found: dict[tuple[MetricHead, int], Gains] = {}
    gains: Gains | None = None
    for one in rows:
        if gains is None or one.head is not gains.head or one.delta.window_ms != gains.window_ms:
            key = (one.head, one.delta.window_ms)
            gains = found.get(key) or found.setdefault(key, Gains(*key))
        gains.add(one)
    return list(found.values())


def rows_of(gains: Iterable[Gains]) -> Iterator[Taken]:
    """Columns as rows."""
    for one in gains:
        yield from one.rows()


def points_by_name(gains: Iterable[Gains]) -> Counter[str]:
    """Points, by metric."""
    points: Counter[str] = Counter()
    for one in gains:
        points[one.head.name] += one.points()
    return points


def slices(gains: Iterable[Gains], rows: int) -> Iterator[list[Gains]]:
    """Parts of at most so many rows."""
    part: list[Gains] = []
    room = rows
    for one in gains:
        size, start = len(one), 0
        while size - start >= room:
            part.append(one.part(start, start + room))
            yield part
            start, part, room = start + room, [], rows
        if start < size:
            part.append(one.part(start, size))
            room -= size - start
    if part:
        yield part


def encode_gains(origin: Origin, gains: Sequence[Gains]) -> bytes:
    """One batch of metric points. Raises OverflowError when the windows lie too far apart."""
    heads: dict[MetricHead, int] = {}
    series: list[tuple[Any, ...]] = []
    for one in gains:
        prefix: tuple[Any, ...] = (heads.setdefault(one.head, len(heads)),)
        series += [prefix + labelled.labels for labelled in one.series]
    if len(heads) == len(gains) and all(one.distinct for one in gains):
        index = _counting(len(series))
    else:
        places: dict[tuple[Any, ...], int] = {}
        order = [places.setdefault(one, len(places)) for one in series]
        series = list(places)
        index = pack(index_type(len(series)), order)
    windows = [(one.window_ms, len(one)) for one in gains]
    counts, sums, spread = _united(gains)
    return encode_columns(origin, list(heads), series, index, windows, counts, sums, spread)


def _united(gains: Sequence[Gains]) -> tuple[list[int], list[float], Spread | None]:
    if len(gains) == 1:
        return gains[0].counts, gains[0].sums, gains[0].spread
    counts = list(chain.from_iterable([one.counts for one in gains]))
    sums = list(chain.from_iterable([one.sums for one in gains]))
    if all(one.spread is None for one in gains):
        return counts, sums, None
    spread = Spread()
    for one in gains:
        if one.spread is None:
            spread.blank(len(one), one.window_ms)
        else:
            spread.extend(one.spread)
    return counts, sums, spread


@lru_cache(maxsize=4)
def _counting(size: int) -> str:
    # flushes of one program are of about as many series as the one before: most batches are full
    return pack(index_type(size), list(range(size)))
