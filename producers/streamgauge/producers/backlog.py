"""Backlog: metric windows that wait, unnumbered, while nobody takes batches. Pure. Bounded: resolution goes before counts.

Merging adds counts, sums and buckets, keeps extremes, and of last values the newest. Beyond the bound the oldest windows
are merged into minutes, then ten minutes, then hours, each placed where the coarser window begins; only then is the
oldest one given up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from streamgauge.producers.gains import Taken
from streamgauge.schemas.batches import Delta, MetricHead
from streamgauge.schemas.histogram import merge as merge_buckets
from streamgauge.schemas.windows import window_start

WIDTHS_MS = (60_000, 600_000, 3_600_000)
"""Resolutions to fall back on, finest first."""
ENTRY_BYTES = 400
"""About what one series takes in one window, without buckets (measured)."""
BUCKET_BYTES = 100
TARGET = 0.75
"""How full it is after shrinking: not every flush shrinks again."""

Key = tuple[MetricHead, tuple[str, ...]]


def merged(one: Delta, other: Delta, window_ms: int) -> Delta:
    """Both deltas of a series as one in the window `window_ms`. Of equally new last values `other`'s counts."""
    newest = other if other.last_ms >= one.last_ms else one
    return Delta(
        window_ms,
        one.count + other.count,
        one.sum + other.sum,
        min(one.min, other.min),
        max(one.max, other.max),
        newest.last,
        newest.last_ms,
        merge_buckets(one.buckets, other.buckets) if one.buckets or other.buckets else {},
    )


def moved(delta: Delta, window_ms: int) -> Delta:
    """The same delta in another window."""
    if delta.window_ms == window_ms:
        return delta
    d = delta
    return Delta(window_ms, d.count, d.sum, d.min, d.max, d.last, d.last_ms, d.buckets)


class Backlog:
    """Deltas by window and series, within about `max_bytes`. Not thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._windows: dict[int, dict[Key, Delta]] = {}
        self._keys: dict[Key, Key] = {}
        self._points: Counter[str] = Counter()
        self._bytes = 0
        self._lost: dict[str, Counter[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._windows.values()))

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        return self._bytes

    def windows(self) -> Sequence[int]:
        """Starts of the windows there are, in ms, oldest first."""
        return sorted(self._windows)

    def points(self) -> Mapping[str, int]:
        """Points that wait, by metric."""
        return +self._points

    def add(self, taken: Iterable[Taken]) -> dict[str, Counter[str]]:
        """Keep these; returns points that were given up for it, by reason and metric."""
        for one in taken:
            key = (one.head, one.labels)
            self._points[one.head.name] += one.delta.count
            self._put(one.delta.window_ms, self._keys.setdefault(key, key), one.delta)
        if self._bytes > self._max_bytes:
            self._shrink(round(self._max_bytes * TARGET))
        lost, self._lost = self._lost, {}
        return lost

    def take(self, most: int) -> list[Taken]:
        """At most so many deltas, oldest windows first; they are no longer here."""
        found: list[Taken] = []
        while self._windows and len(found) < most:
            window_ms = min(self._windows)
            series = self._windows[window_ms]
            for key in list(islice(series, most - len(found))):
                delta = series.pop(key)
                self._count_out(key, delta)
                found.append(Taken(key[0], key[1], delta))
            if not series:
                del self._windows[window_ms]
        if not self._windows:
            self._keys.clear()
        return found

    def _put(self, window_ms: int, key: Key, delta: Delta) -> None:
        series = self._windows.setdefault(window_ms, {})
        known = series.get(key)
        if known is None:
            series[key] = moved(delta, window_ms)
            self._bytes += _size(delta)
            return
        both = merged(known, delta, window_ms)
        if not math.isfinite(both.sum):
            self._give_up(key, delta, "not_finite")
            return
        series[key] = both
        self._bytes += _size(both) - _size(known)

    def _shrink(self, target: int) -> None:
        for width in WIDTHS_MS:
            for coarse in dict.fromkeys(window_start(window, width) for window in self.windows()):
                if self._bytes <= target:
                    return
                self._coarsen(coarse, width)
        for window_ms in self.windows():
            if self._bytes <= target:
                return
            for key, delta in self._windows.pop(window_ms).items():
                self._bytes -= _size(delta)
                self._give_up(key, delta, "backlog_full")

    def _coarsen(self, coarse: int, width: int) -> None:
        for window_ms in [window for window in self.windows() if coarse < window < coarse + width]:
            for key, delta in self._windows.pop(window_ms).items():
                self._bytes -= _size(delta)
                self._put(coarse, key, delta)

    def _count_out(self, key: Key, delta: Delta) -> None:
        self._bytes -= _size(delta)
        self._points[key[0].name] -= delta.count

    def _give_up(self, key: Key, delta: Delta, reason: str) -> None:
        self._points[key[0].name] -= delta.count
        self._lost.setdefault(reason, Counter())[key[0].name] += delta.count


def _size(delta: Delta) -> int:
    return ENTRY_BYTES + BUCKET_BYTES * len(delta.buckets)
