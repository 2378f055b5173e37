"""Key inbox: keys that are new, or in which something personal was found, as one statement and its answer."""

# ruff: noqa: S608  (names are quoted by ddl.table, values are bound)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from streamgauge.schemas.key_notes import CALM, DECLARED, UNDECLARED
from streamgauge.schemas.packing import Json
from streamgauge.schemas.windows import DAY_MS
from streamgauge.sinks.ddl import table

WEEK_MS: Final = 7 * DAY_MS
MAX_KEYS: Final = 1_000
PASSES: Final = "passes"
"""What is said of a key whose values just pass."""


@dataclass(frozen=True, slots=True)
class InboxKey:
    """One key. Instants are ms: when a worker told of it first and last; it does so once a day."""

    region: str
    family: str
    key: str
    rule: str
    suspicious: bool
    first_ms: int
    last_ms: int
    shapes: tuple[str, ...]

    @property
    def said(self) -> str:
        """The rule in words."""
        return self.rule or PASSES

    def json(self) -> Json:
        """As a JSON object."""
        return {
            "region": self.region,
            "family": self.family,
            "key": self.key,
            "rule": self.rule,
            "suspicious": self.suspicious,
            "first_seen": instant(self.first_ms),
            "last_seen": instant(self.last_ms),
            "shapes": list(self.shapes),
        }


def inbox_sql(database: str) -> str:
    """One statement; its parameters are from `inbox_params`, its rows go to `inbox_keys`.

    A key is in it from when it is first told of, and one in which something personal was found as long as it is told of.
    An undeclared field leaves it when a contract declares the field.
    """
    keys = table(database, "key_inbox")
    found = "rule NOT IN {calm:Array(String)}"
    return (
        f"SELECT region, family, key, rule, {found} AS suspicious, toUnixTimestamp64Milli(first) AS first_ms,\n"
        "  toUnixTimestamp64Milli(last) AS last_ms, arraySort(looks) AS shapes\n"
        "FROM (SELECT region, family, key, rule, min(first_seen) AS first, max(last_seen) AS last,\n"
        f"    groupUniqArrayArray(5)(shapes) AS looks FROM {keys} GROUP BY region, family, key, rule)\n"
        "WHERE rule != {declared:String} AND if(suspicious, last, first) >= fromUnixTimestamp64Milli({since_ms:Int64})\n"
        "  AND (suspicious OR NOT {suspicious:Bool})\n"
        "  AND ({rule:String} = '' OR has(splitByRegexp('[:,]', rule), {rule:String}))\n"
        "  AND NOT (splitByChar(':', rule)[1] = {undeclared:String}\n"
        f"    AND (region, family, key) IN (SELECT region, family, key FROM {keys} WHERE rule = {{declared:String}}))\n"
        f"ORDER BY suspicious DESC, if(suspicious, last, first) DESC, region, family, key, rule\nLIMIT {MAX_KEYS}"
    )


def inbox_params(since_ms: int, rule: str = "", suspicious: bool = False) -> dict[str, Any]:
    """Keys since an instant (ms); only of a rule, or only suspicious ones."""
    return {
        "since_ms": max(0, since_ms),
        "rule": rule,
        "suspicious": suspicious,
        "calm": sorted(CALM),
        "declared": DECLARED,
        "undeclared": UNDECLARED,
    }


def inbox_keys(rows: Sequence[Sequence[Any]]) -> list[InboxKey]:
    """The answer to `inbox_sql`."""
    return [
        InboxKey(
            str(region), str(family), str(key), str(rule), bool(bad), int(first), int(last), tuple(map(str, shapes))
        )
        for region, family, key, rule, bad, first, last, shapes in rows
    ]


def instant(ms: int) -> str:
    """An instant to the second, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
