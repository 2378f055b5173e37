"""Cumulative: what points that count from a start add to those before them, stream by stream. Memory is bounded.

A stream that starts anew (a later start, or a total that went down) adds all it says; a point that is not newer than
the last one adds nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

MAX_STREAMS = 20_000


class TooManyStreams(Exception):  # carries a reason to whoever converts, never leaves the bridges
    """This stream cannot be followed: what it adds is not known."""


class Total(Protocol):
    """A number or histogram that grows."""

    def minus(self, earlier: Self, /) -> Self | None:
        """What was added since `earlier`; None when this does not continue it."""
        ...


@dataclass(frozen=True, slots=True)
class Number:
    """A sum that grows."""

    value: float

    def minus(self, earlier: Number) -> Number | None:
        """What was added since `earlier`; None when it went down."""
        return Number(self.value - earlier.value) if self.value >= earlier.value else None


T = TypeVar("T", bound=Total)


@dataclass(slots=True)
class _Known(Generic[T]):
    start_ns: int
    time_ns: int
    total: T


class Cumulative(Generic[T]):
    """Follows streams. Not thread-safe.

    The first point of a stream that started before `since_ns` says where it stands and adds nothing: someone may have
    counted it before.
    """

    def __init__(self, max_streams: int = MAX_STREAMS, since_ns: int = 0) -> None:
        self._max = max_streams
        self._since_ns = since_ns
        self._known: dict[Hashable, _Known[T]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def added(self, stream: Hashable, start_ns: int, time_ns: int, total: T) -> T | None:
        """What the point adds; None for nothing. Raises TooManyStreams."""
        known = self._known.get(stream)
        if known is None:
            if len(self._known) >= self._max:
                raise TooManyStreams
            self._known[stream] = _Known(start_ns, time_ns, total)
            return total if start_ns >= self._since_ns else None
        if time_ns <= known.time_ns:
            return None
        gained = total.minus(known.total) if start_ns <= known.start_ns else None
        known.start_ns, known.time_ns, known.total = max(start_ns, known.start_ns), time_ns, total
        return total if gained is None else gained


class Running:
    """The opposite for sums that go up and down and are told as differences: where each stream stands. Not thread-safe."""

    def __init__(self, max_streams: int = MAX_STREAMS) -> None:
        self._max = max_streams
        self._totals: dict[Hashable, float] = {}

    def total(self, stream: Hashable, change: float) -> float:
        """The stream's value after this change, from 0 on. Raises TooManyStreams."""
        if stream not in self._totals and len(self._totals) >= self._max:
            raise TooManyStreams
        total = self._totals[stream] = self._totals.get(stream, 0.0) + change
        return total
