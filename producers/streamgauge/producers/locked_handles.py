"""Locked handles: the same handles for interpreters whose threads run at once (free-threaded builds).

There, an addition in straight lines can be torn apart by another thread, so every record takes the metric's lock.
"""

from __future__ import annotations

import sys
from typing import Any, TypeVar, cast

from streamgauge.producers.around import Timer
from streamgauge.producers.handles import CounterHandle, GaugeHandle, Handle, HistogramHandle

H = TypeVar("H", bound=Handle)


class LockedCounterHandle(CounterHandle):
    """One series of a counter."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which must not be negative."""
        with self._family.lock:
            super().inc(amount)


class LockedGaugeHandle(GaugeHandle):
    """One series of a gauge."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """The value is now `value`."""
        with self._family.lock:
            super().set(value)

    def _step(self, amount: Any, sign: int) -> None:
        with self._family.lock:
            super()._step(amount, sign)


class LockedHistogramHandle(HistogramHandle):
    """One series of a histogram."""

    __slots__ = ()

    def observe(self, amount: float) -> None:
        """Count one observation of `amount`."""
        with self._family.lock:
            super().observe(amount)

    def time(self) -> Timer:
        """Observe the seconds that a block or every call of a function takes."""
        return Timer.of(self.observe)


_LOCKED: dict[type[Handle], type[Handle]] = {
    CounterHandle: LockedCounterHandle,
    GaugeHandle: LockedGaugeHandle,
    HistogramHandle: LockedHistogramHandle,
}


def one_thread_at_a_time() -> bool:
    """Whether this interpreter has one lock for all its threads."""
    asked = getattr(sys, "_is_gil_enabled", None)
    return asked is None or bool(asked())


def exact(handle: type[H]) -> type[H]:
    """The class whose records are exact here: `handle` itself, or the one that locks."""
    return handle if one_thread_at_a_time() else cast("type[H]", _LOCKED[handle])
