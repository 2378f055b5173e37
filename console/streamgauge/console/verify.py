"""Verify: the ledger of all transactions against what the tables hold, in every tier, by UTC day. Pure; see `commands_verify`.

The ledger was written by the workers, the tables by the sinks; neither is computed from the other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import DAY_MS, TIER_NAMES

SUMMED = ("messages", "batches", "points", "refused", "sequence_gaps", "sequence_repeats", "short", "passed")
ROUNDING = 1e-9
"""Sums of floats depend on their order by about this much of their magnitudes."""
SATURATED = 1e300
"""Sums near the end of what doubles hold stand there, and say nothing."""


@dataclass(frozen=True, slots=True)
class LedgerRange:
    """A transaction as the store's ledger has it."""

    topic: str
    partition: int
    start: int
    end: int
    messages: int
    batches: int
    points: int
    refused: int
    incarnation: str = ""
    sequence_gaps: int = 0
    sequence_repeats: int = 0
    passed: int = 0
    """Offsets that retention had passed by before they could be read; the ledger says so itself."""

    @property
    def short(self) -> int:
        """Offsets of the range for which nothing was added."""
        return max(0, self.end - self.start - self.messages - self.passed)


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """What the ledger says of one raw partition. `gaps` and `overlaps` are ranges of offsets [start, end);
    `short` are offsets within transactions for which nothing was added, `passed` such that retention had deleted unread;
    `sequence_gaps` are batches that producers numbered and that never came, `sequence_repeats` such that came again."""

    topic: str
    partition: int
    start: int
    end: int
    messages: int
    batches: int
    points: int
    refused: int
    gaps: tuple[tuple[int, int], ...] = ()
    overlaps: tuple[tuple[int, int], ...] = ()
    sequence_gaps: int = 0
    sequence_repeats: int = 0
    short: int = 0
    passed: int = 0


@dataclass(frozen=True, slots=True)
class DayReport:
    """Points of one UTC day: by the ledger, and for each tier what is expected and found (None: the tier has expired)."""

    day: int
    ledger: int
    tiers: tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class ValueReport:
    """A day of a tier whose values do not add up to those of the ledger, beyond what rounding explains."""

    day: int
    tier: str
    expected: float
    found: float


@dataclass(frozen=True, slots=True)
class Verification:
    """The whole account. `lost` and `doubled` are the worst tier's, summed over days."""

    partitions: tuple[PartitionReport, ...]
    days: tuple[DayReport, ...]
    refused: Mapping[str, int] = field(default_factory=dict[str, int])
    values: tuple[ValueReport, ...] = ()

    @property
    def missing(self) -> int:
        """Batches that producers numbered and that never came."""
        return sum(one.sequence_gaps for one in self.partitions)

    @property
    def lost(self) -> int:
        """Points in the ledger that a tier does not have, and offsets without a transaction, or not added by theirs."""
        return self._worst(1) + sum(one.short + sum(b - a for a, b in one.gaps) for one in self.partitions)

    @property
    def doubled(self) -> int:
        """Points in a tier that the ledger does not have, and offsets with two transactions."""
        return self._worst(-1) + sum(b - a for one in self.partitions for a, b in one.overlaps)

    @property
    def exact(self) -> bool:
        """Nothing is lost, nothing is doubled, and values add up where points do."""
        return not self.lost and not self.doubled and not self.values

    def _worst(self, sign: int) -> int:
        found = [0] * len(TIER_NAMES)
        for day in self.days:
            for tier, pair in enumerate(day.tiers):
                if pair is not None:
                    found[tier] += max(0, sign * (pair[0] - pair[1]))
        return max(found)


def partition_reports(ranges: Iterable[LedgerRange]) -> tuple[PartitionReport, ...]:
    """Ranges by partition and life of its topic, with the holes and overlaps between them. The first may start anywhere."""
    grouped: dict[tuple[str, int, str], list[LedgerRange]] = defaultdict(list)
    for one in ranges:
        grouped[one.topic, one.partition, one.incarnation].append(one)
    reports: list[PartitionReport] = []
    for (topic, partition, _), found in sorted(grouped.items()):
        found.sort(key=lambda one: one.start)
        gaps: list[tuple[int, int]] = []
        overlaps: list[tuple[int, int]] = []
        reached = found[0].start
        for one in found:
            if one.start > reached:
                gaps.append((reached, one.start))
            elif one.start < reached:
                overlaps.append((one.start, min(reached, one.end)))
            reached = max(reached, one.end)
        sums = {name: sum(getattr(one, name) for one in found) for name in SUMMED}
        reports.append(
            PartitionReport(
                topic, partition, found[0].start, reached, gaps=tuple(gaps), overlaps=tuple(overlaps), **sums
            )
        )
    return tuple(reports)


def day_reports(
    ledger: Mapping[tuple[int, int], int],
    tables: Sequence[Mapping[int, int]],
    retention_ms: Sequence[int],
    now_ms: int,
) -> tuple[DayReport, ...]:
    """`ledger` holds points by (entry tier, day), `tables` for each tier its counts by day. Newest day first.

    A point that entered at a tier is expected there and in every coarser one, as long as that one keeps its day.
    """
    days = {day for _, day in ledger} | {day for counts in tables for day in counts}
    reports: list[DayReport] = []
    for day in sorted(days, reverse=True):
        tiers: list[tuple[int, int] | None] = []
        for tier, counts in enumerate(tables):
            kept = retention_ms[tier]
            if kept != FOR_EVER and day * DAY_MS < now_ms - kept:
                tiers.append(None)
                continue
            expected = sum(points for (entry, of), points in ledger.items() if of == day and entry <= tier)
            tiers.append((expected, counts.get(day, 0)))
        reports.append(DayReport(day, sum(points for (_, of), points in ledger.items() if of == day), tuple(tiers)))
    return tuple(reports)


def value_reports(
    ledger: Mapping[tuple[int, int], tuple[float, float]],
    tables: Sequence[Mapping[int, float]],
    retention_ms: Sequence[int],
    now_ms: int,
) -> tuple[ValueReport, ...]:
    """Days whose values differ. `ledger` holds (sum, sum of magnitudes) by (entry tier, day), `tables` sums by day.

    Where a magnitude is infinite an entry did not say, and nothing is compared.
    """
    found: list[ValueReport] = []
    for day in sorted({day for _, day in ledger}, reverse=True):
        for tier, sums in enumerate(tables):
            kept = retention_ms[tier]
            if kept != FOR_EVER and day * DAY_MS < now_ms - kept:
                continue
            parts = [both for (entry, of), both in ledger.items() if of == day and entry <= tier]
            expected, magnitude = math.fsum(total for total, _ in parts), math.fsum(size for _, size in parts)
            got = sums.get(day, 0.0)
            if max(magnitude, abs(got)) < SATURATED and abs(got - expected) > ROUNDING * magnitude:
                found.append(ValueReport(day, TIER_NAMES[tier], expected, got))
    return tuple(found)
