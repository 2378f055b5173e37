"""Rate: how many a second are let through. Time is given."""

from __future__ import annotations


class Rate:
    """Lets `per_second` through on average, and as many at once; everything where it is 0."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = float(per_second)
        self._at = 0.0

    def take(self, many: int, now: float) -> bool:
        """Whether so many more may pass now (seconds of a clock that only grows). More than a second's at once never may."""
        if not self._per_second:
            return True
        if now > self._at:
            self._left = min(float(self._per_second), self._left + (now - self._at) * self._per_second)
            self._at = now
        if many > self._left:
            return False
        self._left -= many
        return True
