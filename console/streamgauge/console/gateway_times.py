"""Times that senders name: taken within bounds around now. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge.console.gateway_account import Refusal

MAX_FUTURE_MS = 300_000
"""Clocks that are further ahead than this are wrong; workers allow for twice as much."""


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """How far from now a time may lie, in milliseconds."""

    max_age_ms: int = 86_400_000
    max_future_ms: int = MAX_FUTURE_MS

    def checked(self, at_ms: int, now_ms: int) -> int:
        """The same instant. Raises Refusal: `too_old` or `in_the_future`."""
        if at_ms < now_ms - self.max_age_ms:
            raise Refusal("too_old")
        if at_ms > now_ms + self.max_future_ms:
            raise Refusal("in_the_future")
        return at_ms
