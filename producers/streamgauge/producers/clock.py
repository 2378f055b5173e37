"""Clock: the two times a producer needs. Everything that depends on time takes one."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for the data, monotonic time for schedules and deadlines."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch (UTC). May step when the system's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...


class SystemClock:
    """The machine's own clocks, without a Python call in between."""

    wall_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)
