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


@dataclass(frozen=True, slots=True)
class Gained(Generic[T]):
    """What a point adds, None for nothing; and a word for what is special: `baseline`, `repeated`, `reset`."""

    total: T | None
    note: str = ""


@dataclass(slots=True)
class _Known(Generic[T]):
    start_ns: int
    time_ns: int
    total: T
    seen_ms: int


class Cumulative(Generic[T]):
    """Follows streams, at most `max_streams`. Not thread-safe.

    The first point of a stream that started before `since_ns` says where it stands and adds nothing: someone may have
    counted it before. Who needs room for others longer than for their memory says so with `rest_ms`: then what was not
    seen for so long, or for longest when there are too many, is forgotten, and `since_ns` moves to when it was seen.
    """

    def __init__(self, max_streams: int = MAX_STREAMS, since_ns: int = 0, rest_ms: int | None = None) -> None:
        self._max = max_streams
        self._since_ns = since_ns
        self._rest_ms = rest_ms
        self._known: dict[Hashable, _Known[T]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def added(self, stream: Hashable, start_ns: int, time_ns: int, total: T, now_ms: int = 0) -> Gained[T]:
        """What the point adds. Raises TooManyStreams, unless it may forget."""
        known = self._known.get(stream)
        if known is None:
            self._make_room(now_ms)
            self._known[stream] = _Known(start_ns, time_ns, total, now_ms)
            return Gained(total) if start_ns >= self._since_ns else Gained(None, "baseline")
        if time_ns <= known.time_ns:
            return Gained(None, "repeated")
        gained = total.minus(known.total) if start_ns <= known.start_ns else None
        known.start_ns, known.time_ns, known.total = max(start_ns, known.start_ns), time_ns, total
        if self._rest_ms is not None:  # what stands at the beginning was not seen for longest
            known.seen_ms = now_ms
            self._known[stream] = self._known.pop(stream)
        return Gained(total, "reset") if gained is None else Gained(gained)

    def _make_room(self, now_ms: int) -> None:
        if self._rest_ms is None:
            if len(self._known) >= self._max:
                raise TooManyStreams
            return
        while self._known:
            stream = next(iter(self._known))
            oldest = self._known[stream]
            if len(self._known) < self._max and now_ms - oldest.seen_ms <= self._rest_ms:
                return
            del self._known[stream]
            # it may come back: nothing that started before its last sight counts in full any more
            self._since_ns = max(self._since_ns, oldest.seen_ms * 1_000_000 + 1)


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
