"""Policies: which instants are accepted, in which tier they enter, and when a commit is due. Values only; time is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamgauge.schemas.columns import Array
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import TIERS

TOO_OLD, IN_THE_FUTURE, EXPIRED = "too_old", "in_the_future", "expired"


@dataclass(frozen=True, slots=True)
class TimePolicy:
    """`max_age_ms` and `max_future_ms` bound event times around now (batches marked backfill are exempt), or are `FOR_EVER`.
    `retention_ms` per tier, `FOR_EVER` for no end: what a tier would drop at once enters at the next coarser one."""

    max_age_ms: int = 7 * 86_400_000
    max_future_ms: int = 600_000
    retention_ms: tuple[int, ...] = (FOR_EVER,) * len(TIERS)

    def refused(self, times: Array, now_ms: int, backfill: bool) -> dict[str, Array]:
        """Masks of refused rows by reason; empty when all rows are accepted, as nearly always."""
        masks: dict[str, Array] = {}
        low, high = int(times.min()), int(times.max())
        if not backfill and self.max_age_ms != FOR_EVER and low < now_ms - self.max_age_ms:
            masks[TOO_OLD] = times < now_ms - self.max_age_ms
        if not backfill and self.max_future_ms != FOR_EVER and high > now_ms + self.max_future_ms:
            masks[IN_THE_FUTURE] = times > now_ms + self.max_future_ms
        if (oldest := self._oldest(now_ms)) is not None and low < oldest:
            expired = times < oldest
            masks[EXPIRED] = expired & ~masks[TOO_OLD] if TOO_OLD in masks else expired
        return masks

    def _oldest(self, now_ms: int) -> int | None:
        if FOR_EVER in self.retention_ms:
            return None
        return now_ms - max(self.retention_ms)

    def entries(self, times: Array, finest: int, now_ms: int) -> Array | int:
        """Entry tier of each row, or of all of them: the finest one, from `finest` on, that still keeps the row's day."""
        low = int(times.min())
        if self._keeps(finest, low, now_ms):
            return finest
        entries = np.full(len(times), finest, np.uint8)
        for tier in range(finest, len(TIERS) - 1):
            if self.retention_ms[tier] != FOR_EVER:
                entries[(entries == tier) & (times < now_ms - self.retention_ms[tier])] = tier + 1
        return entries

    def _keeps(self, tier: int, instant_ms: int, now_ms: int) -> bool:
        kept = self.retention_ms[tier]
        return kept == FOR_EVER or instant_ms >= now_ms - kept


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """When what a partition has added is worth a transaction."""

    every_ms: int = 1_000
    max_points: int = 250_000
    max_bytes: int = 64 << 20

    least_share: float = 1 / 64

    def full(self, points: int, size: int, share: float = 1.0) -> bool:
        """More must not be added before a commit: memory is bounded by this, and by a share of it what a transaction holds."""
        return points >= self.max_points * share or size >= self.max_bytes * share

    def after_timeout(self, share: float) -> float:
        """The share after a transaction that the broker did not take in time: as large a one would not get through either."""
        return max(self.least_share, share / 2)

    def after_commit(self, share: float) -> float:
        """The share after one that it took: slowly back to the whole."""
        return min(1.0, share + 1 / 32)

    def due(self, messages: int, since_ms: int, now_ms: int) -> bool:
        """There is something to commit, and it has waited long enough."""
        return messages > 0 and now_ms - since_ms >= self.every_ms
