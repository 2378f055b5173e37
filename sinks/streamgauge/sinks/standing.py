"""Standing: asks the store what it holds of a partition, and what was written since. Thin: `decisions` and `cover` decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamgauge.schemas.topics import DISTINCT, ROLLUPS, SCRUBBED
from streamgauge.sinks.cover import PARTS_SETTING, SECONDS_SETTING, Window, smallest, window_of
from streamgauge.sinks.ddl import DEDUPLICATED_TABLES, Client, table
from streamgauge.sinks.decisions import InStore, StoredBlock, StoreView, in_store
from streamgauge.sinks.ranges import Committed, GroupSays, Place, Range

COUNTED_KINDS = frozenset({ROLLUPS.kind, DISTINCT.kind, SCRUBBED.kind})
"""Topics whose blocks count: rows of the others replace each other, and their blocks are not in `blocks`."""

CLOCKS_DIFFER_MS = 60_000
"""Clocks of sinks may differ by so much."""

ONE_CLOCK_MS = 1_000
"""What may lie between cutting a range and noting when."""

CRASH_S = 60
"""A block that came so shortly before the store ended may be in some tiers only."""

ROWS = 1_000

# identifiers are put in quoted, values are bound: hence the noqa
_PLACE = "region = {region:String} AND topic = {topic:String} AND partition = {partition:UInt16}"
_LIVES = "SELECT incarnation, max(block_to) FROM %s WHERE " + _PLACE + " GROUP BY incarnation"  # noqa: S608
# the embedded engine does not say for how long it has run: its uptime is always 0
_STARTED = "if({uptime:UInt32} = 0, toDateTime64(0, 3, 'UTC'), now64(3, 'UTC') - {uptime:UInt32}) AS started"
_HALF = "inserted_at <= started AND inserted_at > started - {crash:UInt32} AS half"
_ENDING = _PLACE + " AND incarnation IN {lives:Array(String)} AND block_to > {start:UInt64}"
_BLOCKS = (
    f"SELECT block_from, block_to, {_HALF} FROM (SELECT block_from, block_to, inserted_at, {_STARTED} FROM %s "  # noqa: S608
    f"WHERE {_ENDING}) ORDER BY block_from LIMIT {{rows:UInt32}}"
)
_SINCE_BEHIND = "SELECT max(inserted_at) FROM %s WHERE " + _PLACE + " AND block_to <= {start:UInt64}"  # noqa: S608
# the range was sent after the block before it was in, which the store tells by its own clock, if nobody has set that back
_SINCE_WRITTEN = (
    "SELECT if(behind > now64(3, 'UTC'), written, greatest(written, behind)) FROM (SELECT "  # noqa: S608
    f"now64(3, 'UTC') - toIntervalMillisecond({{age:Int64}}) AS written, ({_SINCE_BEHIND}) AS behind)"
)
_PARTS = (
    "WITH (%s) AS since SELECT sum(greatest(parts, 1)), dateDiff('second', since, now64(3, 'UTC')) FROM %s "
    "WHERE inserted_at >= since"
)


class Standing:
    """What the store says. Raises what its client raises.

    `unnamed`: blocks of format 1, which do not name the life of their topic, may be of this one.
    """

    def __init__(
        self, client: Client, database: str, clocks_differ_ms: int = CLOCKS_DIFFER_MS, unnamed: bool = True
    ) -> None:
        self._unnamed = ("",) if unnamed else ()
        self._clocks_differ_ms = clocks_differ_ms
        self._client = client
        self._database = database
        self._blocks = table(database, "blocks")

    def beside(self, says: GroupSays, place: Place, now_ms: int) -> StoreView:
        """What there is beside what is committed."""
        if says.pending is not None:
            return self.of_range(says.pending, now_ms)
        return self.of_offset(place, says.offset, says.kind is Committed.BY_HAND)

    def of_offset(self, place: Place, offset: int, by_hand: bool = False) -> StoreView:
        """What there is beside a committed offset; a negative one is before everything. One that was set by hand may be of a
        new life of the topic: blocks of format 1, which name none, do not count then.
        """
        return self._view(place, max(offset, 0), max(offset, 0), () if by_hand else self._unnamed, ())

    def of_range(self, pending: Range, now_ms: int, age_s: float | None = None) -> StoreView:
        """What there is of a pending range, and whether all tables still know its token if it ever came.

        `age_s`: how long ago it was cut, where that is known without comparing clocks.
        """
        old = self._unnamed if pending.block_format == 1 else ()
        view = self._view(pending.place, pending.start, pending.end, self._unnamed, old)
        return StoreView(view.found, self.covers(pending, now_ms, age_s), view.until)

    def _view(self, place: Place, start: int, end: int, if_alone: Sequence[str], also: Sequence[str]) -> StoreView:
        rows = self._client.query_rows(_LIVES % self._blocks, _bound(place))
        ends = {str(life): int(until) for life, until in rows}
        lives = [place.incarnation, *(also if any(ends) else if_alone)]
        until = max((last for life, last in ends.items() if life in lives), default=0)
        before = InStore.BEHIND if until else InStore.OTHER_LIFE if ends else InStore.NOTHING
        found: list[StoredBlock] = []
        if until > start:
            values = {**_bound(place), "lives": lives, "start": start, "rows": ROWS}
            values |= {"crash": CRASH_S, "uptime": self.uptime_s()}
            rows = self._client.query_rows(_BLOCKS % self._blocks, values)
            found = [StoredBlock(int(first), int(last), bool(half)) for first, last, half in rows]
        return StoreView(in_store(found, start, end, before), until=until)

    def uptime_s(self) -> int:
        """For how long the store has run; 0 where it does not say."""
        return int(self._client.query_rows("SELECT uptime()")[0][0])

    def covers(self, pending: Range, now_ms: int, age_s: float | None = None) -> bool:
        """Whether every table knows the token of a range, by what was written since the range was."""
        values: dict[str, Any] = {**_bound(pending.place), "start": pending.start}
        since = _SINCE_WRITTEN
        if age_s is not None:
            values["age"] = round(age_s * 1000) + ONE_CLOCK_MS
        elif pending.written_ms:
            values["age"] = max(now_ms - pending.written_ms, 0) + self._clocks_differ_ms
        else:  # format 1 says no time
            since = _SINCE_BEHIND
        ((parts, seconds),) = self._client.query_rows(_PARTS % (since % self._blocks, self._blocks), values)
        return self.window().covers(int(parts or 0), float(seconds or 0))

    def window(self) -> Window:
        """What every table that counts remembers."""
        defaults = {
            str(name): int(value)
            for name, value in self._client.query_rows(
                "SELECT name, value FROM system.merge_tree_settings WHERE name IN {names:Array(String)}",
                {"names": [*PARTS_SETTING.values(), SECONDS_SETTING]},
            )
        }
        engines = self._client.query_rows(
            "SELECT engine_full FROM system.tables WHERE database = {database:String} AND name IN {names:Array(String)}",
            {"database": self._database, "names": list(DEDUPLICATED_TABLES)},
        )
        return smallest(window_of(str(engine), defaults) for (engine,) in engines)


def _bound(place: Place) -> Mapping[str, Any]:
    return {"region": place.region, "topic": place.topic, "partition": place.partition}
