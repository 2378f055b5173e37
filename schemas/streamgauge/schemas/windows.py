"""Windows: integer intervals of event time. Every instant lies in exactly one window of each tier."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Tier:
    """One resolution of the rollups: windows of `width_ms` milliseconds, aligned to the epoch (UTC)."""

    name: str
    width_ms: int


TIERS = (Tier("10s", 10_000), Tier("1m", 60_000), Tier("1h", 3_600_000), Tier("1d", DAY_MS))
"""Finest first. Each width divides the next, so every window lies in one window of every coarser tier."""

TIER_NAMES = tuple(tier.name for tier in TIERS)


def window_start(instant_ms: int, width_ms: int) -> int:
    """Start of the window that holds `instant_ms` (ms since the epoch, UTC). Negative instants are floored."""
    return instant_ms - instant_ms % width_ms


def tier_index(name: str) -> int:
    """Position of the tier called `name` in `TIERS`. Raises ValueError, naming the tiers there are."""
    if name not in TIER_NAMES:
        raise ValueError(f"no tier is called {name!r}; there are {', '.join(TIER_NAMES)}")
    return TIER_NAMES.index(name)


FIRST_MONTHLY_TIER = 2
"""The store keeps finer tiers in partitions of a day, this one and coarser ones in partitions of a month."""
