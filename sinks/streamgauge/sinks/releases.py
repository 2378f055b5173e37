"""Releases: deciding once, in the store, which cells of a window may be shown. Views of released events are made of it."""

# ruff: noqa: S608  (only identifiers and declared names are filled in, by ddl and view_queries; values are bound)
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Protocol

from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.small_cells import Cell, SmallCells, Verdict, decide
from streamgauge.schemas.windows import TIERS
from streamgauge.sinks.ddl import table
from streamgauge.sinks.regions import REGION_GROUPS
from streamgauge.sinks.view_queries import Source, VersionRange

AT_ONCE: Final = 50
"""Windows whose cells are read by one query."""


class ReleaseStore(Protocol):
    """The store, as far as it is asked and told here; `store.Store` is one."""

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Rows of a query."""
        ...

    def insert_release(self, one: Release) -> None:
        """Keep a decision, unless there is one of this window."""
        ...


@dataclass(frozen=True, slots=True)
class Release:
    """What is decided of one window, which starts `window` seconds after the epoch."""

    event: str
    asked: SmallCells
    window: int
    verdict: Verdict
    decided_at: datetime

    @property
    def token(self) -> str:
        """The same for every decision of this window: the store takes the first one that comes, whole, and no other."""
        return f"release:{self.event}:{self.asked.tier}:{self.window}"


def asking(contracts: Iterable[Contract]) -> list[tuple[Contract, SmallCells]]:
    """The newest contract of each event, if it asks for small cells to be hidden; by name."""
    newest = {one.name: one for one in sorted(contracts, key=lambda one: one.version)}
    return [(one, one.small_cells) for _, one in sorted(newest.items()) if one.small_cells]


def due_windows(
    store: ReleaseStore,
    database: str,
    contract: Contract,
    asked: SmallCells,
    now_ms: int,
    ranges: Sequence[VersionRange] = (),
) -> list[int]:
    """Windows with data that have been over for long enough and are not decided, oldest first, in s since the epoch.

    What was decided in another tier is not decided again: from both together one could compute what neither shows.
    """
    decided = f"{table(database, 'releases')} WHERE event = {{event:String}} AND tier"
    rows = Source(database, REGION_GROUPS, ranges).rows(f"rollups_{asked.tier}", [contract.name])
    others = " ".join(
        f"AND intDiv(toUnixTimestamp(r.window), {wide}) NOT IN"
        f" (SELECT intDiv(toUnixTimestamp(window), {wide}) FROM {decided} = '{tier.name}')"
        for tier in TIERS
        if tier.name != asked.tier
        for wide in [max(tier.width_ms, asked.width_ms) // 1_000]
    )
    latest = (now_ms - asked.after_ms - asked.width_ms) // 1_000
    if latest < 0:
        return []
    found = store.query_rows(
        f"SELECT DISTINCT toUnixTimestamp(r.window) AS start {rows} AND r.window <= toDateTime({{latest:UInt32}}, 'UTC')"
        f" AND r.window NOT IN (SELECT window FROM {decided} = {{tier:String}}) {others} ORDER BY start",
        {"event": contract.name, "tier": asked.tier, "latest": latest},
    )
    return [int(start) for (start,) in found]


def read_cells(
    store: ReleaseStore,
    database: str,
    contract: Contract,
    asked: SmallCells,
    windows: Sequence[int],
    ranges: Sequence[VersionRange] = (),
) -> dict[int, list[Cell]]:
    """The cells of each of these windows, in the order of `decide`. Unions are made of sketches, not of numbers."""
    source = Source(database, REGION_GROUPS, ranges)
    chosen = (
        "r.window BETWEEN toDateTime({first:UInt32}, 'UTC') AND toDateTime({last:UInt32}, 'UTC')"
        " AND toUnixTimestamp(r.window) IN {windows:Array(UInt32)}"
    )
    keys = "r.window AS window, r.series_id AS series_id"
    counted = source.rows(f"rollups_{asked.tier}", [contract.name])
    people = source.rows(f"distinct_{asked.tier}", [f"{contract.name}.{asked.contributors}"])
    # the label of a cell without contributors must be there: it is as small as a cell can be
    cells = (
        "SELECT window, series_id, uniqCombined64MergeState(state) AS own, uniqCombined64Merge(state) AS contributors FROM"
        f" (SELECT {keys}, arrayReduce('uniqCombined64State', emptyArrayUInt64()) AS state {counted} AND {chosen}"
        f" UNION ALL SELECT {keys}, state {people} AND {chosen}) GROUP BY window, series_id"
    )
    found = store.query_rows(
        "SELECT toUnixTimestamp(window), series_id, contributors, uniqCombined64Merge(own) OVER"
        " (PARTITION BY window ORDER BY contributors, series_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
        f" FROM ({cells}) ORDER BY window, contributors, series_id",
        {"first": min(windows), "last": max(windows), "windows": list(windows)},
    )
    return {
        start: [Cell(int(series), int(number), int(union)) for _, series, number, union in rows]
        for start, rows in groupby(found, key=lambda row: int(row[0]))
    }


def release_due(
    store: ReleaseStore,
    database: str,
    contract: Contract,
    asked: SmallCells,
    now: Callable[[], datetime],
    ranges: Sequence[VersionRange] = (),
) -> Iterator[tuple[Release, int]]:
    """Decide every window that is due, each as it is asked for, with how many are left after it.

    May be stopped after any of them, repeated, and run twice at once: of each window the first decision that the store has
    taken stays. Errors are the store's.
    """
    due = due_windows(store, database, contract, asked, int(now().timestamp() * 1_000), ranges)
    for place in range(0, len(due), AT_ONCE):
        windows = due[place : place + AT_ONCE]
        cells = read_cells(store, database, contract, asked, windows, ranges)
        for n, window in enumerate(windows, place + 1):
            one = Release(contract.name, asked, window, decide(cells.get(window, []), asked.k), now())
            store.insert_release(one)
            yield one, len(due) - n
