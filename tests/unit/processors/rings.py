"""Key rings for tests: their secrets are fixed, and known nowhere else."""

from __future__ import annotations

from streamgauge.processors.keyring import DAY_MS, Keyring, new_ring
from tests.unit.processors.raw import NOW

TODAY = NOW - NOW % DAY_MS
YESTERDAY, TOMORROW = TODAY - DAY_MS, TODAY + DAY_MS


def secret(number: int) -> bytes:
    """The secret of `k<number>`."""
    return bytes([number]) * 32


def ring_with(*days: int, first: bytes | None = None, taken_over: bool = False) -> Keyring:
    """A ring whose first key is in force for all times, and whose others are from these days on."""
    ring = new_ring(days[0] - 30 * DAY_MS if days else NOW, first or secret(1), secret(99), taken_over)
    for number, day in enumerate(days, 2):
        ring = ring.rotated(day, day - 2 * DAY_MS, secret(number))
    return ring
