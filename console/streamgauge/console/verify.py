"""Verify: the ledger of all transactions against what the tables hold, in every tier, by UTC day. Pure; see `commands_verify`.

The ledger was written by the workers, the tables by the sinks; neither is computed from the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from streamgauge.console.verify_live import LivePosition
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import DAY_MS, TIER_NAMES

ROUNDING = 1e-9
"""Sums of floats depend on their order by about this much of their magnitudes."""
LOST, DOUBLED = 0, 1
Certain = Mapping[tuple[int, int], tuple[int, int]]
"""Points that are lost and doubled, by UTC day and index of the tier."""
_NOTHING = ((0, 0),) * len(TIER_NAMES)
SATURATED = 1e300
"""Sums near the end of what doubles hold stand there, and say nothing."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Ranges of offsets of one partition, in one life of its topic, that must meet. The first may start anywhere.

    `gaps` and `overlaps` are ranges [start, end), the first of them; `missing` and `repeated` count the offsets of all.
    `since_ms` is when the first range behind a gap, or over another, was written: Unix time, None where there is none.
    """

    topic: str
    partition: int
    incarnation: str
    start: int
    end: int
    gaps: tuple[tuple[int, int], ...] = ()
    overlaps: tuple[tuple[int, int], ...] = ()
    missing: int = 0
    repeated: int = 0
    since_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReport(Chain):
    """What the ledger says of one raw partition: its transactions are the ranges.

    `short` are offsets within transactions for which nothing was added, `passed` such that retention had deleted unread;
    `sequence_gaps` are batches that producers numbered and that never came, `sequence_repeats` such that came again.
    """

    messages: int = 0
    batches: int = 0
    points: int = 0
    refused: int = 0
    sequence_gaps: int = 0
    sequence_repeats: int = 0
    short: int = 0
    passed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReport(Chain):
    """What the store's blocks say of one rolled-up partition: its blocks are the ranges."""

    blocks: int = 0
    rows: int = 0
    points: int = 0


@dataclass(frozen=True, slots=True)
class DayReport:
    """Points of one UTC day: by the ledger, and for each tier what is expected and found (None: the tier has expired).

    `at_most` are the tiers that contracts let forget some of the day's points, and not all: there fewer are right too.
    """

    day: int
    ledger: int
    tiers: tuple[tuple[int, int] | None, ...]
    at_most: frozenset[int] = frozenset()

    def differences(self) -> Iterator[int]:
        """By how much the tiers differ from what they must hold, each with its sign; nothing for expired ones."""
        for tier, pair in enumerate(self.tiers):
            if pair is not None:
                found = pair[1] - pair[0]
                yield max(0, found) if tier in self.at_most else found

    def complete(self) -> Iterator[int]:
        """The tiers that hold exactly what the ledger says."""
        return (tier for tier, pair in enumerate(self.tiers) if pair is not None and pair[0] == pair[1])

    def forgotten(self, tier: int) -> int:
        """Points that the tier lacks, where contracts let it."""
        pair = self.tiers[tier]
        return max(0, pair[0] - pair[1]) if pair is not None and tier in self.at_most else 0


@dataclass(frozen=True, slots=True)
class ValueReport:
    """A day of a tier whose values do not add up to those of the ledger, beyond what rounding explains."""

    day: int
    tier: str
    expected: float
    found: float


@dataclass(frozen=True, slots=True)
class EventRows:
    """Single events: rows that workers sent by the `ledger` (None: it was not asked for all of them), rows of the blocks that
    are `stored`, and those of blocks that are there once more, under their own range."""

    ledger: int | None = None
    stored: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """The whole account. `lost` and `doubled` are the worst tier's, summed over days.

    `certain` says how much of what a tier lacks, or has too much, is not on its way; see `certain_of`. Without it, all.
    """

    partitions: tuple[PartitionReport, ...]
    days: tuple[DayReport, ...]
    refused: Mapping[str, int] = field(default_factory=dict[str, int])
    values: tuple[ValueReport, ...] = ()
    blocks: tuple[BlockReport, ...] = ()
    live: tuple[LivePosition, ...] | None = None
    """What Kafka's offsets say; None where it was not asked."""
    certain: Certain | None = None
    events: EventRows = field(default_factory=EventRows)
    certain_events: tuple[int, int] | None = None
    """Rows of single events that are lost and doubled, as `certain` is of points."""

    @property
    def points(self) -> int:
        """Points that the ledger knows."""
        return sum(one.points for one in self.partitions)

    @property
    def missing(self) -> int:
        """Batches that producers numbered and that never came."""
        return sum(one.sequence_gaps for one in self.partitions)

    @property
    def gaps(self) -> int:
        """Raw offsets without a transaction."""
        return sum(one.missing for one in self.partitions)

    @property
    def overlaps(self) -> int:
        """Raw offsets with two transactions: something was read again, and counted again."""
        return sum(one.repeated for one in self.partitions)

    @property
    def lost(self) -> int:
        """Points in the ledger that a tier does not have, single events that no block has, and raw offsets without a
        transaction, or not added by theirs."""
        unaccounted = sum(one.unaccounted for one in self.live or () if one.raw)
        short = sum(one.short for one in self.partitions)
        return self._worst(LOST) + self._of_events()[LOST] + self.gaps + short + unaccounted

    @property
    def doubled(self) -> int:
        """Points in a tier, and single events in blocks, that the ledger does not have, and raw offsets with two
        transactions."""
        return self._worst(DOUBLED) + self._of_events()[DOUBLED] + self.overlaps

    @property
    def misplaced(self) -> int:
        """Offsets of the rolled-up topics that no block has, or more than one. What they held is lost or doubled above,
        if the tiers still keep it."""
        unaccounted = sum(one.unaccounted for one in self.live or () if not one.raw)
        return sum(one.missing + one.repeated for one in self.blocks) + unaccounted

    @property
    def moving(self) -> int:
        """Points by which the worst tier differs from the ledger now, and that may be on their way."""
        differ = sum(max((abs(one) for one in day.differences()), default=0) for day in self.days)
        points = differ - self._worst(LOST) - self._worst(DOUBLED)
        # an event that is on its way may be missing as a point and as a row: it is counted once
        return max(0, points, sum(_differences(self.events)) - sum(self._of_events()))

    @property
    def forgotten(self) -> int:
        """Points that the tier which lacks most lacks by the leave of contracts. A loss among them cannot be told."""
        return max(sum(day.forgotten(tier) for day in self.days) for tier in range(len(TIER_NAMES)))

    @property
    def since_ms(self) -> int | None:
        """When the first range was written that does not meet the one before it; None where all do."""
        known = [one.since_ms for one in (*self.partitions, *self.blocks) if one.since_ms is not None]
        return min(known, default=None)

    @property
    def exact(self) -> bool:
        """Nothing is lost, nothing is doubled, values add up where points do, and blocks meet."""
        return not self.lost and not self.doubled and not self.values and not self.misplaced

    @property
    def whole(self) -> bool:
        """Exact, and nothing is on its way."""
        return self.exact and not self.moving

    def _of_events(self) -> tuple[int, int]:
        return certain_events(None, self.events, (0, 0), True) if self.certain_events is None else self.certain_events

    def _worst(self, kind: int) -> int:
        certain = certain_of(None, self.days, {}, True) if self.certain is None else self.certain
        found = [0] * len(TIER_NAMES)
        for (_, tier), amounts in certain.items():
            found[tier] += amounts[kind]
        return max(found)


def certain_of(
    then: Sequence[DayReport] | None, now: Sequence[DayReport], known: Certain, settled: bool
) -> dict[tuple[int, int], tuple[int, int]]:
    """Points that are surely lost and doubled, by (day, tier).

    What was in the ledger `then` must be in a tier `now`, and what was in a tier must be in the ledger, if it has `settled`:
    had the time to arrive. `then` is None where now is all there is. What was `known` before stays known as long as there
    is such a difference.
    """
    earlier = None if then is None else {one.day: one.tiers for one in then}
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for day in now:
        before = day.tiers if earlier is None else earlier.get(day.day, _NOTHING)
        for tier, pair in enumerate(day.tiers):
            if pair is None:
                continue
            expected, held = pair
            lost, doubled = known.get((day.day, tier), (0, 0))
            if settled:
                was_expected, was_held = before[tier] or pair
                lost, doubled = max(lost, was_expected - held), max(doubled, was_held - expected)
            lost = 0 if tier in day.at_most else lost
            both = min(lost, max(0, expected - held)), min(doubled, max(0, held - expected))
            if any(both):
                found[day.day, tier] = both
    return found


def certain_events(then: EventRows | None, now: EventRows, known: tuple[int, int], settled: bool) -> tuple[int, int]:
    """Rows of single events that are surely lost and doubled; `then`, `known` and `settled` as for `certain_of`."""
    lost, doubled = known
    before = now if then is None else then
    if settled and now.ledger is not None and before.ledger is not None:
        lost, doubled = max(lost, before.ledger - now.stored), max(doubled, before.stored - now.ledger)
    short, over = _differences(now)
    return min(lost, short), max(now.repeated, min(doubled, over))


def _differences(rows: EventRows) -> tuple[int, int]:
    """By how much blocks differ from the ledger: rows that they lack, and rows that are too many."""
    if rows.ledger is None:
        return 0, rows.repeated
    return max(0, rows.ledger - rows.stored), max(0, rows.stored - rows.ledger)


def day_reports(
    ledger: Mapping[tuple[int, int], int],
    tables: Sequence[Mapping[int, int]],
    retention_ms: Sequence[int],
    now_ms: int,
    shortest_ms: Sequence[int] = (FOR_EVER,) * len(TIER_NAMES),
) -> tuple[DayReport, ...]:
    """`ledger` holds points by (entry tier, day), `tables` for each tier its counts by day. Newest day first.

    A point that entered at a tier is expected there and in every coarser one, as long as that one keeps its day; after
    `shortest_ms` it may be gone.
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
        early = (shortest != FOR_EVER and day * DAY_MS < now_ms - shortest for shortest in shortest_ms)
        at_most = frozenset(tier for tier, gone in enumerate(early) if gone and tiers[tier] is not None)
        total = sum(points for (_, of), points in ledger.items() if of == day)
        reports.append(DayReport(day, total, tuple(tiers), at_most))
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
