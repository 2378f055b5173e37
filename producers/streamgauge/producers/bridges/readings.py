"""Readings: totals that somebody else counts, as increments of a counter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgauge.producers.metrics import Counter


class Readings:
    """Remembers the last total of each series. The first one counts whole when `from_zero`, else it is the start.

    A total that shrinks has begun anew: it counts whole.
    """

    def __init__(self, *, from_zero: bool = False) -> None:
        self._from_zero = from_zero
        self._last: dict[tuple[str, ...], float] = {}

    def add(self, counter: Counter, labels: tuple[str, ...], total: float) -> None:
        """Add what the total of a series grew by since the last call."""
        key = (counter.head.name, *labels)
        before = self._last.get(key, 0.0 if self._from_zero else total)
        self._last[key] = total
        grown = total - before if total >= before else total
        if grown > 0:
            counter.labels(*labels).inc(grown)
