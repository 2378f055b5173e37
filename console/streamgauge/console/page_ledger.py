"""Ledger and tables as two independent counts of the same points, and the SQL that reads them from the store."""

# ruff: noqa: S608  (names are quoted by ddl.table, values are bound)
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamgauge.schemas.ledger import LedgerEntry
from streamgauge.schemas.topics import ROLLUPS
from streamgauge.schemas.windows import TIER_NAMES
from streamgauge.sinks.ddl import table

SINCE = "fromUnixTimestamp64Milli({since_ms:Int64})"


@dataclass(frozen=True, slots=True)
class LedgerCount:
    """What the ledger says. `tiers` are the points that each tier must hold, `gaps` and `overlaps` messages that no
    entry or more than one entry covers, `repeated` the points of what was covered twice."""

    points: int = 0
    refused: Mapping[str, int] = field(default_factory=dict[str, int])
    scrubbed: Mapping[str, int] = field(default_factory=dict[str, int])
    tiers: Mapping[str, int] = field(default_factory=dict[str, int])
    gaps: int = 0
    overlaps: int = 0
    repeated: int = 0


class LedgerBook:
    """Adds up ledger entries as they come from the ledger topic, each partition's in order of offsets."""

    def __init__(self) -> None:
        self._points = self._gaps = self._overlaps = self._repeated = 0
        self._refused: Counter[str] = Counter()
        self._scrubbed: Counter[str] = Counter()
        self._entries: Counter[int] = Counter()
        self._ends: dict[tuple[str, str, int], int] = {}

    def add(self, entry: LedgerEntry) -> None:
        """Count one transaction. What lies before a partition's first entry is not asked for."""
        place = (entry.region, entry.topic, entry.partition)
        expected = self._ends.get(place, entry.start)
        self._gaps += max(0, entry.start - expected)
        if again := max(0, min(expected, entry.end) - entry.start):
            self._overlaps += again
            # which of its points were there before is not known: at least one, in proportion otherwise
            self._repeated += max(1, round(entry.total * again / (entry.end - entry.start)))
        self._ends[place] = max(expected, entry.end)
        self._points += entry.total
        self._refused.update(entry.refused)
        self._scrubbed.update(entry.scrubbed)
        for (tier, _), points in entry.points.items():
            self._entries[tier] += points

    def count(self) -> LedgerCount:
        """Everything added so far."""
        return LedgerCount(
            self._points,
            dict(self._refused),
            dict(self._scrubbed),
            _held(self._entries),
            self._gaps,
            self._overlaps,
            self._repeated,
        )


@dataclass(frozen=True, slots=True)
class StoreCount:
    """What is really in the tables: points by tier, points by the blocks that were inserted, refused rows."""

    tiers: Mapping[str, int] = field(default_factory=dict[str, int])
    blocks: int = 0
    dead: int = 0

    def since(self, before: StoreCount) -> StoreCount:
        """What came after `before`, taken with the same instant: tiers may hold the points of earlier runs."""
        tiers = {name: count - before.tiers.get(name, 0) for name, count in self.tiers.items()}
        return StoreCount(tiers, self.blocks - before.blocks, self.dead - before.dead)


def store_sql(database: str) -> str:
    """One statement that counts everything of `StoreCount`; blocks and dead letters since `{since_ms:Int64}`."""
    sums = [f"(SELECT sum(count) FROM {table(database, f'rollups_{tier}')})" for tier in TIER_NAMES]
    # a region holds no dot, so the last but one part of a topic's name is its kind
    ours = f"splitByChar('.', topic)[-2] = '{ROLLUPS.kind}'"
    blocks = f"(SELECT sum(points) FROM {table(database, 'blocks')} WHERE {ours} AND inserted_at >= {SINCE})"
    dead = f"(SELECT sum(rows) FROM {table(database, 'dead')} FINAL WHERE at >= {SINCE})"
    return f"SELECT {', '.join([*sums, blocks, dead])}"


def store_count(rows: Sequence[Sequence[Any]]) -> StoreCount:
    """The answer to `store_sql`."""
    *tiers, blocks, dead = (int(value or 0) for value in rows[0])
    return StoreCount(dict(zip(TIER_NAMES, tiers, strict=True)), blocks, dead)


def ledger_sql(database: str) -> str:
    """One statement that counts the ledger's table since `{since_ms:Int64}`; see `ledger_count`."""
    place = "PARTITION BY region, topic, incarnation, partition ORDER BY offset_from"
    covered = f"max(offset_to) OVER ({place} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    entries = [f"sum(arraySum((p, t) -> if(t = {tier}, p, 0), day_points, tiers))" for tier in range(len(TIER_NAMES))]
    return (
        "SELECT sum(points), sumMap(refused), sumMap(scrubbed),"
        f" [{', '.join(entries)}],"
        " sum(if(seen = 0, 0, greatest(toInt64(offset_from) - toInt64(seen), 0))),"
        " sum(again),"
        " sum(if(again = 0, 0, greatest(1, round(points * again / (offset_to - offset_from)))))"
        f" FROM (SELECT *, {covered} AS seen,"
        " greatest(toInt64(least(seen, offset_to)) - toInt64(offset_from), 0) AS again"
        f" FROM {table(database, 'ledger')} FINAL WHERE committed_at >= {SINCE})"
    )


def ledger_count(rows: Sequence[Sequence[Any]]) -> LedgerCount:
    """The answer to `ledger_sql`."""
    points, refused, scrubbed, entries, gaps, overlaps, repeated = rows[0]
    return LedgerCount(
        int(points),
        {str(key): int(value) for key, value in dict(refused).items()},
        {str(key): int(value) for key, value in dict(scrubbed).items()},
        _held(dict(enumerate(map(int, entries)))),
        int(gaps),
        int(overlaps),
        int(repeated),
    )


def _held(entries: Mapping[int, int]) -> dict[str, int]:
    """Points that each tier must hold: those that entered there or finer."""
    return {name: sum(n for entry, n in entries.items() if entry <= tier) for tier, name in enumerate(TIER_NAMES)}
