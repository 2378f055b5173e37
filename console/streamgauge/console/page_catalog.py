"""Catalog of the page: which metrics and events have arrived, and a chart of any of them."""

# ruff: noqa: S608  (names are quoted by ddl, values are bound)
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from streamgauge.console.page_queries import LIMITS, QUANTILE_NAMES, Chart, Look, lines, quantiles
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.windows import TIER_NAMES, TIERS
from streamgauge.sinks.ddl import quoted, table
from streamgauge.sinks.views import view_bases

GROUPS: Final = ("region", "service", "environment")
"""Columns that everything can be grouped by, beside its own labels."""

VALUE_COLUMNS: Final = frozenset(
    {"value", "count", "sum", "min", "max", "avg", "mean", "hist", "last_at", "p50", "p90"}
)
"""Columns of numbers: a label of such a name has another one in the view."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One metric or event that has arrived: its declaration, and the columns that it can be grouped by."""

    name: str
    type: str
    unit: str
    labels: tuple[str, ...]
    finest: int
    view: str
    measures: tuple[tuple[str, str], ...] = ()
    """Of an event: its measures with their units."""

    @property
    def tiers(self) -> tuple[str, ...]:
        """Tiers that hold it."""
        return TIER_NAMES[self.finest :]

    @property
    def groups(self) -> tuple[str, ...]:
        """What it can be grouped by."""
        return tuple(one for one in dict.fromkeys((*GROUPS, *self.labels)) if one not in VALUE_COLUMNS)

    def json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "name": self.name,
            "type": self.type,
            "unit": self.unit,
            "labels": list(self.labels),
            "tiers": list(self.tiers),
            "groups": list(self.groups),
            "values": [name for name, _ in values(self)],
        }


def views_sql() -> str:
    """The views that there are in `{database:String}`."""
    return f"SELECT name FROM system.tables WHERE database = {{database:String}} AND engine = 'View'{LIMITS}"


def metrics_sql(database: str) -> str:
    """What has arrived; see `entries`."""
    return f"SELECT metric, family, type, unit, labels, entry FROM {table(database, 'metrics')} FINAL ORDER BY metric{LIMITS}"


def entries(rows: Iterable[Sequence[Any]], views: frozenset[str]) -> list[Entry]:
    """Everything that can be asked, from the answers to `metrics_sql` and `views_sql`."""
    found: dict[str, Entry] = {}
    measures: dict[str, list[tuple[str, str]]] = {}
    for name, family, kind, unit, labels, entry in rows:
        if kind == "measure":
            measures.setdefault(str(family), []).append((str(name).removeprefix(f"{family}."), str(unit)))
        elif kind != "distinct":
            found[str(name)] = Entry(str(name), str(kind), str(unit), tuple(map(str, labels)), int(entry), "")
    bases = view_bases(found)
    named = [
        replace(one, view=bases[name], measures=tuple(sorted(measures.get(name, [])))) for name, one in found.items()
    ]
    return [one for one in named if f"{one.view}_{one.tiers[0]}" in views]


def values(entry: Entry) -> list[tuple[str, str]]:
    """What can be drawn of an entry: names, and the unit of each."""
    rate = f"{entry.unit.strip('{}')}/s" if entry.unit else "/s"
    match entry.type:
        case "counter":
            return [("rate", rate), ("total", entry.unit)]
        case "gauge":
            return [("value", entry.unit), ("max", entry.unit), ("min", entry.unit)]
        case "histogram":
            return [("quantiles", entry.unit), ("average", entry.unit), ("rate", "/s")]
        case _:
            drawn = [("rate", rate), ("total", entry.unit)]
            for measure, unit in entry.measures:
                drawn += [(f"{measure} sum", unit), (f"{measure} quantiles", unit)]
            return drawn


@dataclass(frozen=True, slots=True)
class Wish:
    """The chart that a person asks for."""

    value: str = ""
    group: str = "region"
    tier: str = ""


def chart(entry: Entry, wish: Wish, look: Look, database: str) -> Chart:
    """A chart of anything. Raises InputError for a value, group or tier that it does not have."""
    offered = dict(values(entry))
    value = wish.value or next(iter(offered))
    tier = wish.tier or (look.tier.name if look.tier.name in entry.tiers else entry.tiers[0])
    for what, given, allowed in (
        ("value", value, offered),
        ("group", wish.group, entry.groups),
        ("tier", tier, entry.tiers),
    ):
        if given not in allowed:
            raise InputError(f"{entry.name} has no {what} {given!r}; there are {', '.join(allowed)}")
    view = f"{entry.view}_{tier}"
    source = table(database, view)
    width = TIERS[TIER_NAMES.index(tier)].width_ms // 1_000
    drawn = Chart(f"{entry.name}:{value}", entry.name, "", offered[value], view, "", {"span": look.span_s})
    if value.endswith("quantiles"):
        measure = value.removesuffix("quantiles").strip()
        hist = quoted(f"{measure}_hist") if measure else "hist"
        return replace(drawn, sql=quantiles(hist, source), names=QUANTILE_NAMES, says=f"{value}, windows of {tier}")
    expression, complete = _expression(entry, value, width)
    return replace(
        drawn,
        says=f"{value} by {wish.group}, windows of {tier}",
        sql=lines(quoted(wish.group), expression, source, complete),
        params={"span": look.span_s, **({"settled": width + 3} if complete else {})},
    )


def _expression(entry: Entry, value: str, width_s: int) -> tuple[str, bool]:
    """The SQL of a value, and whether only complete windows show it right."""
    plain: Mapping[tuple[str, str], str] = {
        ("counter", "rate"): f"sum(value) / {width_s}",
        ("counter", "total"): "sum(value)",
        ("gauge", "value"): "argMax(value, last_at)",
        ("gauge", "max"): "max(max)",
        ("gauge", "min"): "min(min)",
        ("histogram", "average"): "sum(sum) / sum(count)",
        ("histogram", "rate"): f"sum(count) / {width_s}",
        ("event", "rate"): f"sum(count) / {width_s}",
        ("event", "total"): "sum(count)",
    }
    expression = plain.get((entry.type, value))
    if expression is None:
        expression = f"sum({quoted(value.removesuffix(' sum') + '_sum')})"
    return expression, value in {"rate", "total"} or value.endswith(" sum")
