"""Retention: how long each table keeps its rows, as TTL clauses of whole parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streamgauge.schemas.windows import DAY_MS, TIER_NAMES
from streamgauge.sinks.ddl import table

FOR_EVER = -1
MAX_YEARS = 40
"""The store's times end in 2106: a longer rule would overflow, and forget everything at once."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Milliseconds that a row is kept after its window, a single event after it happened, a row of the accounts after it was
    written; FOR_EVER keeps all.

    Rows go in whole parts, so they may stay for up to a day longer in the fine tiers and a month in the others; what a
    contract lets go earlier goes row by row (see `table_ttl`).
    """

    tier_10s: int = 3 * DAY_MS
    tier_1m: int = 30 * DAY_MS
    tier_1h: int = 400 * DAY_MS
    tier_1d: int = FOR_EVER
    accounts: int = 400 * DAY_MS
    dead: int = 30 * DAY_MS
    events: int = 30 * DAY_MS

    def problems(self) -> list[str]:
        """Everything that is wrong with these times; empty when they can be used."""
        kept = {name: int(getattr(self, name)) for name in self.__slots__}
        return [
            f"{name}: {ms} ms; keep rows for a second to {MAX_YEARS} years, or for ever ({FOR_EVER})"
            for name, ms in kept.items()
            if ms != FOR_EVER and not 1_000 <= ms <= MAX_YEARS * 365 * DAY_MS
        ]

    def rules(self) -> Iterator[Rule]:
        """What this means for every table that forgets."""
        for tier in TIER_NAMES:
            for kind in ("rollups", "distinct"):
                yield Rule(f"{kind}_{tier}", "window", getattr(self, f"tier_{tier}"))
        yield Rule("blocks", "inserted_at", self.accounts)
        yield Rule("ledger", "committed_at", self.accounts)
        yield Rule("dead", "at", self.dead)
        yield Rule("events", "at", self.events)
        yield Rule("key_inbox", "last_seen", self.accounts)


@dataclass(frozen=True, slots=True)
class Rule:
    """One table forgets `ms` milliseconds after the time in `column`."""

    table: str
    column: str
    ms: int

    @property
    def clause(self) -> str:
        """The TTL clause in the words that the store gives it back in; empty for ever."""
        if self.ms == FOR_EVER:
            return ""
        return f"{self.instant} + toIntervalSecond({-(-self.ms // 1_000)})"

    @property
    def instant(self) -> str:
        """The instant that the time is counted from."""
        return self.column if self.column == "window" else f"toDateTime({self.column})"

    def statement(self, database: str) -> str:
        """The statement that makes the table follow this rule."""
        if self.ms == FOR_EVER:
            return f"ALTER TABLE {table(database, self.table)} REMOVE TTL"
        return f"ALTER TABLE {table(database, self.table)} MODIFY TTL {self.clause}"
