"""Views: what people read. One per metric or event and tier, one per event of single rows; columns are named as declared."""

# ruff: noqa: S608  (only identifiers are filled in, by ddl.table; values are bound)
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.windows import TIER_NAMES, tier_index
from streamgauge.sinks.ddl import Client, StoreSchemaError, literal, table
from streamgauge.sinks.functions import FUNCTIONS
from streamgauge.sinks.regions import REGION_GROUPS
from streamgauge.sinks.view_queries import (
    Source,
    VersionRange,
    event_query,
    metric_query,
    points_query,
    single_events_query,
)

OWN_NAMES: Final = frozenset({"rollups", "distinct", "points"})
"""A metric of such a name would meet a table of ours."""


@dataclass(frozen=True, slots=True)
class View:
    """A view's name, what is said about it, and its query."""

    name: str
    comment: str
    query: str

    @property
    def full_comment(self) -> str:
        """The comment with a fingerprint of all that the view is made from, which shows whether it is up to date."""
        text = "\n".join((self.name, self.comment, self.query, *FUNCTIONS.values()))
        return f"{self.comment} [{hashlib.sha256(text.encode()).hexdigest()[:12]}]"

    def statement(self, database: str) -> str:
        """The statement that creates the view, or replaces the view that bears its name."""
        return f"CREATE OR REPLACE VIEW {table(database, self.name)} AS\n{self.query}\nCOMMENT {literal(self.full_comment)}"


def view_bases(names: Iterable[str]) -> dict[str, str]:
    """The first part of the view names of each event and metric: the name with `_` for whatever is not a word.

    Where two would be equal, the one that is spelt so keeps it and the others get a suffix made from their name.
    """
    bases: dict[str, str] = {}
    taken = set(OWN_NAMES)
    for name in sorted(set(names), key=lambda name: (re.sub(r"\W", "_", name) != name, name)):
        base = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
        if base in taken:
            base = f"{base}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        taken.add(base)
        bases[name] = base
    return bases


def metric_views(head: MetricHead, base: str, source: Source) -> list[View]:
    """One view per tier that the metric is kept in."""
    says = f"Metric {head.name} ({head.type}{f', unit {head.unit}' if head.unit else ''})"
    words = _METRIC_WORDS.get(head.type, _METRIC_WORDS["histogram"])
    return [
        View(f"{base}_{tier}", f"{says} {_in_windows(tier)} {words}", metric_query(head, tier, source))
        for tier in _tiers(head.granularity)
    ]


def event_views(contract: Contract, base: str, source: Source) -> list[View]:
    """One view per tier that the event is kept in."""
    units = "; ".join(f"{m} in {u}" for m in contract.of_kind("measure") if (u := contract.fields[m].unit))
    words = f"{_EVENT_WORDS}{f' Units: {units}.' if units else ''}"
    return [
        View(
            f"{base}_{tier}", f"Event {contract.name} {_in_windows(tier)} {words}", event_query(contract, tier, source)
        )
        for tier in _tiers(contract.granularity)
    ]


def single_events_view(contract: Contract, base: str, source: Source) -> View:
    """The view over an event's single rows."""
    says = f"Event {contract.name}, row by row, at is the instant, in UTC. Unique fields are tokens of persons. {_KEPT}"
    return View(f"{base}_events", says, single_events_query(contract, source))


def point_views(source: Source) -> list[View]:
    """One view per tier over every metric, for whoever does not know the name before asking."""
    return [
        View(
            f"points_{tier}",
            f"Every metric and event {_in_windows(tier)} {_POINT_WORDS}",
            points_query(tier, source),
        )
        for tier in TIER_NAMES
    ]


def planned_views(
    heads: Iterable[MetricHead],
    contracts: Iterable[Contract],
    database: str,
    groups: Mapping[str, str] = REGION_GROUPS,
    ranges: Sequence[VersionRange] = (),
) -> list[View]:
    """All views over these declarations. Of an event's versions the newest counts; heads of one metric are united.

    Give everything that is declared: names are told apart among what is given. An event goes before a metric of its name.
    """
    source = Source(database, groups, ranges)
    events: dict[str, Contract] = {}
    for contract in sorted(contracts, key=lambda one: one.version):
        events[contract.name] = contract
    metrics: dict[str, MetricHead] = {}
    for head in heads:
        if head.name not in events:
            metrics[head.name] = _united(metrics[head.name], head) if head.name in metrics else head
    bases = view_bases([*events, *metrics])
    views = point_views(source)
    for name in sorted(events):
        views += event_views(events[name], bases[name], source)
        if events[name].store_events:
            views.append(single_events_view(events[name], bases[name], source))
    for name in sorted(metrics):
        views += metric_views(metrics[name], bases[name], source)
    return views


def ensure_views(
    client: Client,
    database: str,
    heads: Iterable[MetricHead] = (),
    contracts: Iterable[Contract] = (),
    groups: Mapping[str, str] = REGION_GROUPS,
) -> list[str]:
    """Create the views of everything that is declared, replace those that changed, and return what was done.

    Views of what is declared no longer stay. Raises StoreSchemaError when a table bears a view's name, or `versions`
    holds a range that cuts through a UTC day; nothing is changed then.
    """
    views = planned_views(heads, contracts, database, groups, current_ranges(client, database))
    existing = {
        str(name): (str(engine), str(comment))
        for name, engine, comment in client.query_rows(
            "SELECT name, engine, comment FROM system.tables WHERE database = {database:String}",
            {"database": database},
        )
    }
    # replacing would drop the table with all its rows
    if tables := [view.name for view in views if existing.get(view.name, ("View", ""))[0] != "View"]:
        raise StoreSchemaError(f"{', '.join(tables)}: a table has the name that a view needs. Rename the table.")
    done: list[str] = []
    for view in views:
        if view.name not in existing:
            done.append(f"created view {view.name}")
        elif existing[view.name][1] != view.full_comment:
            done.append(f"replaced view {view.name}")
        else:
            continue
        client.command(view.statement(database))
    return done


def current_ranges(client: Client, database: str) -> list[VersionRange]:
    """What the table `versions` says. Raises StoreSchemaError for a range that cannot be used."""
    ranges = [
        VersionRange(str(metric), int(start) * 1_000, int(end) * 1_000, int(version))
        for metric, start, end, version in client.query_rows(
            "SELECT metric, toUnixTimestamp(from_window), toUnixTimestamp(to_window), version"
            f" FROM {table(database, 'versions')} FINAL ORDER BY ALL"
        )
    ]
    for one in ranges:
        if problems := one.problems():
            raise StoreSchemaError(f"versions: version {one.version} of {one.metric!r} {' and '.join(problems)}")
    return ranges


_METRIC_WORDS = {
    "counter": "value: what was added; count: how often. Sum both over any grouping.",
    "gauge": (
        "value: the last one, set at last_at. Over groups: argMax(value, last_at), min(min), max(max),"
        " sum(sum) / sum(count)."
    ),
    "histogram": (
        "Over groups: sum(sum) / sum(count), min(min), max(max), sg_quantile(0.99, sumMap(hist));"
        " never an average of p99."
    ),
}
_EVENT_WORDS = (
    "Over groups: sum(count), sum(<measure>_sum), sg_quantile(0.5, sumMap(<measure>_hist)), uniqCombined64Merge(<sketch>);"
    " never the sum of a distinct_ column nor an average of a p column."
)
_KEPT = "Rows are kept for a while only; counts over longer times are in the views of windows."
_POINT_WORDS = "Over groups: sum(count), sum(sum), min(min), max(max), sg_quantile(0.99, sumMap(hist))."


def _in_windows(tier: str) -> str:
    day = " (UTC days)" if tier == "1d" else ""
    return f"in windows of {tier}{day}; window is the start, in UTC."


def _tiers(granularity: str) -> Sequence[str]:
    return TIER_NAMES[tier_index(granularity) :]


def _united(first: MetricHead, second: MetricHead) -> MetricHead:
    finest = min(first.granularity, second.granularity, key=tier_index)
    return replace(first, labels=tuple(dict.fromkeys((*first.labels, *second.labels))), granularity=finest)
