"""Accounts of the store: what its ledger, its blocks and its tiers hold. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from streamgauge.console.verify import (
    BlockReport,
    Chain,
    EventRows,
    PartitionReport,
    Verification,
    day_reports,
    value_reports,
)
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.topics import DISTINCT, ROLLUPS, SCRUBBED
from streamgauge.schemas.windows import DAY_MS, TIERS
from streamgauge.sinks.ddl import Reader, table
from streamgauge.sinks.migrations import engines_of
from streamgauge.sinks.table_ttl import shortest_kept

C = TypeVar("C", bound=Chain)

BLOCK_TOPICS: Final = (ROLLUPS, DISTINCT, SCRUBBED)
"""Topics whose messages become blocks."""

WHOLE_MS: Final = 365 * DAY_MS
"""For so long ledger and blocks surely have all that they ever had: they forget after 400 days, and not at the same instant."""

NAMED: Final = 100
"""So many gaps, and overlaps, of a partition are named; all are counted."""
SUMS_OF_LEDGER: Final = {
    "messages": "messages",
    "batches": "batches",
    "points": "points",
    "refused": "refused_points",
    "sequence_gaps": "sequence_gaps",
    "sequence_repeats": "sequence_repeats",
    "passed": "refused['offsets_lost']",
    "short": "greatest(0, toInt64(b - a) - toInt64(messages) - toInt64(refused['offsets_lost']))",
}
SUMS_OF_BLOCKS: Final = {"blocks": "1", "rows": "rows", "points": "points"}


def read_verification(
    store: Reader,
    database: str,
    region: str,
    retention_ms: Sequence[int],
    since_ms: int,
    now_ms: int,
    contracts: Iterable[Contract] = (),
) -> Verification:
    """Compare ledger and tables for windows since `since_ms` (whole UTC days; 0: everything).

    On days that `contracts`, or the rules of the tables, let go of early, tiers may hold fewer points than the ledger.
    """
    day = since_ms // DAY_MS
    # no transaction adds to a window of a day before that day, give or take what clocks differ by
    bound: dict[str, Any] = {
        "region": region,
        "since": day,
        "since_ms": max(0, (day - 1) * DAY_MS),
        "topics": [topic.name(region) for topic in BLOCK_TOPICS],
    }
    where = (
        f"FROM (SELECT * FROM {table(database, 'ledger')} FINAL WHERE region = {{region:String}}"
        # the same entry again: an older sink stored it, without the name of its topic's life, and a newer one repeated it
        f" AND {_since('committed_at')} LIMIT 1 BY topic, partition, offset_from, offset_to, committed_at)"
    )
    by_day = {
        (int(tier), int(of)): int(points)
        for tier, of, points in store.query_rows(
            f"SELECT tier, toUInt32(day), sum(n) FROM (SELECT tiers, days, day_points {where}) "
            "ARRAY JOIN tiers AS tier, days AS day, day_points AS n WHERE toUInt32(day) >= {since:UInt32} GROUP BY tier, day",
            bound,
        )
    }
    sums = {
        (int(tier), int(of)): (float(total), float(magnitude))
        for tier, of, total, magnitude in store.query_rows(
            "SELECT tier, toUInt32(day), sum(total), sum(size) FROM (SELECT tiers, days, "
            # what was written before these columns existed has none: infinite sizes say so
            "arrayResize(day_sums, length(days), 0) AS totals, arrayResize(day_magnitudes, length(days), inf) AS sizes "
            f"{where}) ARRAY JOIN tiers AS tier, days AS day, totals AS total, sizes AS size "
            "WHERE toUInt32(day) >= {since:UInt32} GROUP BY tier, day",
            bound,
        )
    }
    refused: Counter[str] = Counter()
    for reason, points in store.query_rows(
        f"SELECT reason, sum(n) FROM (SELECT refused {where}) ARRAY JOIN mapKeys(refused) AS reason, "
        "mapValues(refused) AS n GROUP BY reason",
        bound,
    ):
        refused[str(reason)] = int(points)
    partitions = _chains(
        store,
        f"SELECT *, offset_from AS a, offset_to AS b {where}",
        "committed_at",
        SUMS_OF_LEDGER,
        PartitionReport,
        bound,
    )
    blocks = _blocks(store, database, bound)
    tiers = [_tier_days(store, database, tier.name, bound) for tier in TIERS]
    counts = [{of: points for of, (points, _) in days.items()} for days in tiers]
    values = [{of: total for of, (_, total) in days.items()} for days in tiers]
    early = shortest_kept(engines_of(store, database), contracts)
    shortest_ms = [early.get(tier.name, FOR_EVER) for tier in TIERS]
    days = day_reports(by_day, counts, retention_ms, now_ms, shortest_ms)
    # where points are missing, forgotten or on their way, values must differ
    whole = {(one.day, TIERS[tier].name) for one in days if not any(one.differences()) for tier in one.complete()}
    edited = [one for one in value_reports(sums, values, retention_ms, now_ms) if (one.day, one.tier) in whole]
    events = _events(store, database, bound, where, now_ms)
    return Verification(partitions, days, refused, tuple(edited), blocks, events=events)


def _since(column: str) -> str:
    return f"{column} >= fromUnixTimestamp64Milli({{since_ms:Int64}})"


def _chains(
    store: Reader, ranges: str, written: str, sums: Mapping[str, str], of: type[C], bound: Mapping[str, Any]
) -> tuple[C, ...]:
    """Ranges [a, b) by partition and life of its topic, with the holes and overlaps between them."""
    found_lives = store.query_rows(
        f"SELECT topic, partition, incarnation, min({written}), max({written}) FROM ({ranges})"
        " GROUP BY topic, partition, incarnation",
        bound,
    )
    joined = one_life(
        [(str(topic), int(partition), str(life), start, end) for topic, partition, life, start, end in found_lives]
    )
    lives = {"aliases": [f"{place}/{life}" for place, life in joined], "lives": list(joined.values())}
    life = "transform(concat(topic, '/', toString(partition), '/', incarnation), {aliases:Array(String)}, {lives:Array(String)}, "
    ranges = f"SELECT * REPLACE ({life} toString(incarnation)) AS incarnation) FROM ({ranges})"
    rows = store.query_rows(
        "SELECT topic, partition, incarnation, min(a), max(b),"
        f" groupArrayIf({NAMED})((seen, a), hole > 0), groupArrayIf({NAMED})((a, least(seen, b)), again > 0),"
        f" sum(hole), sum(again), toUnixTimestamp64Milli(minIf({written}, hole > 0 OR again > 0)), "
        + ", ".join(f"sum({sql})" for sql in sums.values())
        # the first range of all has nothing before it: its `seen` is 0, which no range ends at
        + " FROM (SELECT *, if(seen = 0, 0, greatest(0, toInt64(a) - toInt64(seen))) AS hole,"
        " if(seen = 0, 0, greatest(0, toInt64(least(seen, b)) - toInt64(a))) AS again FROM (SELECT *, max(b) OVER"
        " (PARTITION BY topic, incarnation, partition ORDER BY a, b ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        f" AS seen FROM ({ranges}))) GROUP BY topic, partition, incarnation ORDER BY topic, partition, min({written})",
        {**bound, **lives},
    )
    found: list[C] = []
    for topic, partition, life, start, end, gaps, overlaps, missing, repeated, since, *added in rows:
        own: dict[str, Any] = {name: int(value) for name, value in zip(sums, added, strict=True)}
        own |= {"gaps": _pairs(gaps), "overlaps": _pairs(overlaps), "missing": int(missing), "repeated": int(repeated)}
        own["since_ms"] = int(since) if missing or repeated else None
        found.append(of(str(topic), int(partition), str(life), int(start), int(end), **own))
    return tuple(found)


def one_life(lives: Sequence[tuple[str, int, str, datetime, datetime]]) -> dict[tuple[str, str], str]:
    """Names of the same life, by (topic/partition, name). `lives` are topic, partition, name, and when the first and the last
    range were written.

    Older releases name no life, or that of another topic: where their ranges and those of newer ones alternate in time, the
    releases worked beside each other. Such a name is empty, or several topics have it. Two lives that their own topic names
    are never one, whatever clocks said when they ended.
    """
    vague = _vague((topic, name) for topic, _, name, _, _ in lives)
    found: dict[tuple[str, str], str] = {}
    until: dict[str, tuple[str, datetime]] = {}
    for topic, partition, name, start, end in sorted(lives, key=lambda one: (*one[:2], one[3])):
        place = f"{topic}/{partition}"
        same, last = until.get(place, (name, start))
        if start < last and vague & {name, same}:
            found[place, name] = same
            until[place] = same, max(last, end)
        else:
            until[place] = name, end
    return found


def _vague(named: Iterable[tuple[str, str]]) -> set[str]:
    topics: dict[str, set[str]] = defaultdict(set)
    for topic, name in named:
        topics[name].add(topic)
    return {name for name, of in topics.items() if not name or len(of) > 1}


def _pairs(ranges: Iterable[Sequence[Any]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(a), int(b)) for a, b in ranges)


def _blocks(store: Reader, database: str, bound: Mapping[str, Any]) -> tuple[BlockReport, ...]:
    """Blocks of the rolled-up partitions. A gap in which a message was refused is none: what holds no rows leaves no block.

    A block that is noted twice is one: when it came again after a migration, the tiers knew its token and the list did not.
    """
    chains = _chains(
        store,
        "SELECT topic, partition, incarnation, a, b, any(rows_of) AS rows, any(points_of) AS points, min(at) AS inserted_at"
        " FROM (SELECT topic, partition, incarnation, block_from AS a, block_to AS b, rows AS rows_of, points AS points_of,"
        f" inserted_at AS at FROM {table(database, 'blocks')} WHERE region = {{region:String}}"
        f" AND topic IN {{topics:Array(String)}} AND {_since('inserted_at')}) GROUP BY topic, partition, incarnation, a, b",
        "inserted_at",
        SUMS_OF_BLOCKS,
        BlockReport,
        bound,
    )
    if not any(one.missing for one in chains):
        return chains
    letters = refused_offsets(store, database, bound["region"])
    found: list[BlockReport] = []
    for one in chains:
        of = [offset for topic, partition, offset in letters if (topic, partition) == (one.topic, one.partition)]
        excused = [(a, b) for a, b in one.gaps if any(a <= offset < b for offset in of)]
        gaps = tuple(gap for gap in one.gaps if gap not in excused)
        missing = one.missing - sum(b - a for a, b in excused)
        found.append(
            replace(one, gaps=gaps, missing=missing, since_ms=one.since_ms if missing or one.repeated else None)
        )
    return tuple(found)


def _events(store: Reader, database: str, bound: Mapping[str, Any], where: str, now_ms: int) -> EventRows:
    """Rows of single events. A transaction and its block are written at different times, so sums are compared of all only."""
    bound = {**bound, "topic": SCRUBBED.name(bound["region"])}
    ((stored, repeated),) = store.query_rows(
        "SELECT sum(all), sum(all) - sum(once) FROM (SELECT sum(rows) AS all, any(rows) AS once"
        f" FROM {table(database, 'blocks')} WHERE region = {{region:String}} AND topic = {{topic:String}}"
        f" AND {_since('inserted_at')} GROUP BY partition, incarnation, block_from, block_to)",
        bound,
    )
    ((sent, oldest_ms),) = store.query_rows(
        f"SELECT sum(events), toUnixTimestamp64Milli(min(committed_at)) {where}", bound
    )
    whole = not bound["since"] and (not sent or oldest_ms > now_ms - WHOLE_MS)
    return EventRows(int(sent) if whole else None, int(stored), int(repeated))


def refused_offsets(store: Reader, database: str, region: str) -> list[tuple[str, int, int]]:
    """Topic, partition and offset of messages of the rolled-up topics that a sink refused."""
    topics = [topic.name(region) for topic in BLOCK_TOPICS]
    rows = store.query_rows(
        f"SELECT DISTINCT topic, partition, offset FROM {table(database, 'dead')} WHERE region = {{region:String}}"
        " AND topic IN {topics:Array(String)}",
        {"region": region, "topics": topics},
    )
    return [(str(topic), int(partition), int(offset)) for topic, partition, offset in rows]


def read_ends(store: Reader, database: str, region: str) -> dict[tuple[str, int], dict[str, int]]:
    """One after the last offset that the store knows of each partition, by the name of the topic's life: by the ledger of raw
    ones, by blocks of others. Names that say nothing (see `one_life`) are all called "".
    """
    found: list[tuple[str, int, str, int]] = []
    for name, end in (("ledger", "offset_to"), ("blocks", "block_to")):
        found += [
            (str(topic), int(partition), str(life), int(last))
            for topic, partition, life, last in store.query_rows(
                f"SELECT topic, partition, incarnation, max({end}) FROM {table(database, name)}"
                " WHERE region = {region:String} GROUP BY topic, partition, incarnation",
                {"region": region},
            )
        ]
    vague = _vague((topic, life) for topic, _, life, _ in found)
    ends: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for topic, partition, life, last in found:
        of, named = ends[topic, partition], "" if life in vague else life
        of[named] = max(last, of.get(named, 0))
    return dict(ends)


def _tier_days(store: Reader, database: str, tier: str, bound: Mapping[str, Any]) -> dict[int, tuple[int, float]]:
    """Points and the sum of values by UTC day."""
    rows = store.query_rows(
        f"SELECT toUInt32(toDate(window)) AS day, sum(count), sum(sum) FROM {table(database, f'rollups_{tier}')} "
        "WHERE toUInt32(toDate(window)) >= {since:UInt32} GROUP BY day",
        bound,
    )
    return {int(day): (int(points), float(total)) for day, points, total in rows}


def day_text(day: int) -> str:
    """A UTC day as people write it."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
