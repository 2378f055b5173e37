"""Accounts of the store: what its ledger and its tables hold. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from streamgauge.console.verify import LedgerRange, Verification, day_reports, partition_reports, value_reports
from streamgauge.schemas.windows import TIERS
from streamgauge.sinks.ddl import table


class Reader(Protocol):
    """Runs a query with bound parameters."""

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Rows of a query."""
        ...


def read_verification(
    store: Reader, database: str, region: str, retention_ms: Sequence[int], since_ms: int, now_ms: int
) -> Verification:
    """Compare ledger and tables for windows since `since_ms` (whole UTC days; 0: everything)."""
    ledger = table(database, "ledger")
    where = f"FROM {ledger} FINAL WHERE region = {{region:String}}"
    bound: dict[str, Any] = {"region": region, "since": since_ms // TIERS[-1].width_ms}
    ranges = [
        LedgerRange(*row)
        for row in store.query_rows(
            f"SELECT topic, partition, offset_from, offset_to, messages, batches, points, refused_points, incarnation, "
            f"sequence_gaps, sequence_repeats, refused['offsets_lost'] {where}",
            bound,
        )
    ]
    by_day = {
        (int(tier), int(day)): int(points)
        for tier, day, points in store.query_rows(
            f"SELECT tier, toUInt32(day), sum(n) FROM (SELECT tiers, days, day_points {where}) "
            "ARRAY JOIN tiers AS tier, days AS day, day_points AS n WHERE toUInt32(day) >= {since:UInt32} GROUP BY tier, day",
            bound,
        )
    }
    sums = {
        (int(tier), int(day)): (float(total), float(magnitude))
        for tier, day, total, magnitude in store.query_rows(
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
    tiers = [_tier_days(store, database, tier.name, bound) for tier in TIERS]
    counts = [{day: points for day, (points, _) in days.items()} for days in tiers]
    values = [{day: total for day, (_, total) in days.items()} for days in tiers]
    days = day_reports(by_day, counts, retention_ms, now_ms)
    balanced = {one.day for one in days if all(pair is None or pair[0] == pair[1] for pair in one.tiers)}
    # where points are missing, or on their way, values must differ
    edited = [one for one in value_reports(sums, values, retention_ms, now_ms) if one.day in balanced]
    return Verification(partition_reports(ranges), days, refused, tuple(edited))


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
