"""Views: what people read. One per metric or event and tier, with columns named as declared, never a partial row.

Every view adds partial rows up first and joins the labels of series after that, so that neither a repeated nor a missing
row in `series` changes a number. Only the current materialization version shows.
"""

# ruff: noqa: S608  (bodies of views bind no values: names and text pass through ddl.quoted and ddl.literal)
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.windows import DAY_MS, TIER_NAMES, tier_index
from streamgauge.sinks.ddl import Client, StoreSchemaError, literal, literals, quoted, table
from streamgauge.sinks.functions import FUNCTIONS
from streamgauge.sinks.regions import REGION_GROUPS, group_expression

CONTEXT: Final = (
    "service",
    "environment",
    "region",
    "version",
    "instance",
    "country",
    "tenant",
    "segment",
    "operation",
    "status",
    "error_type",
)
"""Canonical labels: columns of every view, empty where a series has none."""

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
OWN_NAMES: Final = frozenset({"rollups", "distinct", "points"})
"""A metric of such a name would meet a table of ours."""

Column = tuple[str, str]
"""Name and expression."""


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


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Where `version` of a metric (empty: of every metric) is current instead of version 1: windows of [from, to).

    Both ends are starts of UTC days, so that a window of the coarsest tier has one version.
    """

    metric: str
    from_ms: int
    to_ms: int
    version: int

    def problems(self) -> list[str]:
        """Everything that is wrong with this range; empty when it can be used."""
        found: list[str] = []
        if self.from_ms % DAY_MS or self.to_ms % DAY_MS:
            found.append("begins or ends within a UTC day")
        if self.from_ms >= self.to_ms:
            found.append("ends before it begins")
        return found


@dataclass(frozen=True, slots=True)
class Source:
    """What the views of one database have in common."""

    database: str
    groups: Mapping[str, str]
    ranges: Sequence[VersionRange] = ()

    def rows(self, name: str, metrics: Sequence[str] = ()) -> str:
        """FROM and WHERE over the current rows of a tier's table (of every metric when none is named)."""
        own = f"metric IN {literals(metrics)} AND " if metrics else ""
        return f"FROM {table(self.database, name)} AS r WHERE {own}{self._current(metrics)}"

    def labels(self, family: str | None) -> str:
        """Series of a family (all when None), each with its labels."""
        where = "" if family is None else f" WHERE family = {literal(family)}"
        names = ", ".join(("series_id", "family", "labels", *CONTEXT))
        return f"(SELECT {names} FROM {table(self.database, 'series')}{where}) AS s"

    def _current(self, metrics: Sequence[str]) -> str:
        ranges = [one for one in self.ranges if not metrics or not one.metric or one.metric in metrics]
        if not ranges:
            return "materialization_version = 1"
        cases = ", ".join(f"{_range(one)}, {one.version}" for one in sorted(ranges, key=lambda one: -one.version))
        # the first condition is what the store can prune parts by
        known = ", ".join(str(version) for version in sorted({1, *(one.version for one in ranges)}))
        return f"materialization_version IN ({known}) AND materialization_version = multiIf({cases}, 1)"


def _range(one: VersionRange) -> str:
    metric = f"r.metric = {literal(one.metric)} AND " if one.metric else ""
    ends = [f"toDateTime({ms // 1_000}, 'UTC')" for ms in (one.from_ms, one.to_ms)]
    return f"{metric}r.window >= {ends[0]} AND r.window < {ends[1]}"


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
    values = _METRIC_COLUMNS.get(head.type, _METRIC_COLUMNS["histogram"])
    says = f"Metric {head.name} ({head.type}{_unit(head.unit)})"
    return [
        View(
            f"{base}_{tier}",
            f"{says} {_in_windows(tier)} {_METRIC_WORDS.get(head.type, _METRIC_WORDS['histogram'])}",
            _joined(
                f"SELECT series_id AS _series, window AS _window, {_SUMS} {source.rows(f'rollups_{tier}', [head.name])}"
                " GROUP BY r.series_id, r.window",
                source.labels(head.name),
                _context_columns(source.groups),
                values,
                head.labels,
            ),
        )
        for tier in _tiers(head.granularity)
    ]


def event_views(contract: Contract, base: str, source: Source) -> list[View]:
    """One view per tier that the event is kept in: its count, its measures, its distinct counts."""
    event = contract.name
    sums = [f"sumIf(u.count, u.metric = {literal(event)}) AS _count"]
    values: list[Column] = [("count", "p._count")]
    taken = {name for name, _ in _context_columns(source.groups)} | {"count", "series_id", "labels"}
    for place, measure in enumerate(contract.of_kind("measure")):
        sums += _measure_sums(f"{event}.{measure}", place)
        for name, expression in _measure_columns(place):
            values.append((_free(f"{measure}_{name}", taken, "_measure"), expression))
    for place, field in enumerate(contract.of_kind("unique")):
        sums.append(f"uniqCombined64MergeStateIf(u.state, u.metric = {literal(f'{event}.{field}')}) AS _state{place}")
        name = _free(plural(field), taken, "_state")
        values.append((name, f"p._state{place}"))
        values.append((_free(f"distinct_{name}", taken, "_number"), f"finalizeAggregation(p._state{place})"))
    units = "; ".join(f"{m} in {u}" for m in contract.of_kind("measure") if (u := contract.fields[m].unit))
    return [
        View(
            f"{base}_{tier}",
            f"Event {event} {_in_windows(tier)} {_EVENT_WORDS}{f' Units: {units}.' if units else ''}",
            _joined(
                f"SELECT u.series_id AS _series, u.window AS _window, {', '.join(sums)}"
                f" FROM ({_event_rows(contract, tier, source)}) AS u GROUP BY u.series_id, u.window",
                source.labels(event),
                _context_columns(source.groups),
                values,
                contract.of_kind("dimension"),
            ),
        )
        for tier in _tiers(contract.granularity)
    ]


def point_views(source: Source) -> list[View]:
    """One view per tier over every metric, for whoever does not know the name before asking."""
    return [
        View(
            f"points_{tier}",
            f"Every metric and event {_in_windows(tier)} {_POINT_WORDS}",
            _joined(
                f"SELECT metric AS _metric, series_id AS _series, window AS _window, {_SUMS}"
                f" {source.rows(f'rollups_{tier}')} GROUP BY r.metric, r.series_id, r.window",
                source.labels(None),
                [("metric", "p._metric"), ("family", "s.family"), *_context_columns(source.groups)],
                [*_HISTOGRAM, ("last", "p._last.2"), _LAST_AT],
                (),
            ),
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


def plural(field: str) -> str:
    """The column that holds the sketch of a unique field: `customer_id` → `customers`."""
    stem = field.removesuffix("_id") or field
    if re.search(r"[^aeiou]y$", stem):
        return f"{stem[:-1]}ies"
    return f"{stem}es" if stem.endswith(("s", "x", "z", "ch", "sh")) else f"{stem}s"


_SUMS = (
    "sum(r.count) AS _count, sum(r.sum) AS _sum, min(r.min) AS _min, max(r.max) AS _max,"
    " max(r.last) AS _last, sumMap(r.hist) AS _hist"
)
_LAST_AT: Column = ("last_at", "fromUnixTimestamp64Milli(p._last.1, 'UTC')")


def _quantile_columns(hist: str, low: str, high: str) -> list[Column]:
    # a bucket's representative may lie outside of what was seen
    return [
        (f"p{f'{q:g}'[2:]:0<2}", f"if(empty({hist}), NULL, least(greatest(sg_quantile({q}, {hist}), {low}), {high}))")
        for q in QUANTILES
    ]


_HISTOGRAM: list[Column] = [
    ("count", "p._count"),
    ("sum", "p._sum"),
    ("min", "p._min"),
    ("max", "p._max"),
    ("avg", "p._sum / p._count"),
    *_quantile_columns("p._hist", "p._min", "p._max"),
    ("hist", "p._hist"),
]
_METRIC_COLUMNS: dict[str, list[Column]] = {
    "counter": [("value", "p._sum"), ("count", "p._count")],
    "gauge": [
        ("value", "p._last.2"),
        ("min", "p._min"),
        ("max", "p._max"),
        ("mean", "p._sum / p._count"),
        ("count", "p._count"),
        ("sum", "p._sum"),
        _LAST_AT,
    ],
    "histogram": _HISTOGRAM,
}
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
_POINT_WORDS = "Over groups: sum(count), sum(sum), min(min), max(max), sg_quantile(0.99, sumMap(hist))."


def _in_windows(tier: str) -> str:
    day = " (UTC days)" if tier == "1d" else ""
    return f"in windows of {tier}{day}; window is the start, in UTC."


def _unit(unit: str) -> str:
    return f", unit {unit}" if unit else ""


def _tiers(granularity: str) -> Sequence[str]:
    return TIER_NAMES[tier_index(granularity) :]


def _united(first: MetricHead, second: MetricHead) -> MetricHead:
    finest = min(first.granularity, second.granularity, key=tier_index)
    return replace(first, labels=tuple(dict.fromkeys((*first.labels, *second.labels))), granularity=finest)


def _measure_sums(metric: str, place: int) -> list[str]:
    own = f"u.metric = {literal(metric)}"
    return [
        f"sumIf(u.count, {own}) AS _count{place}",
        f"sumIf(u.sum, {own}) AS _sum{place}",
        # a window without a value must not look like a zero
        f"minOrNullIf(u.min, {own}) AS _min{place}",
        f"maxOrNullIf(u.max, {own}) AS _max{place}",
        f"sumMapIf(u.hist, {own}) AS _hist{place}",
    ]


def _measure_columns(place: int) -> list[Column]:
    count, total, low, high, hist = (f"p._{name}{place}" for name in ("count", "sum", "min", "max", "hist"))
    return [
        ("count", count),
        ("sum", total),
        ("min", low),
        ("max", high),
        ("avg", f"{total} / nullIf({count}, 0)"),
        *_quantile_columns(hist, low, high),
        ("hist", hist),
    ]


def _event_rows(contract: Contract, tier: str, source: Source) -> str:
    metrics = [contract.name, *(f"{contract.name}.{measure}" for measure in contract.of_kind("measure"))]
    sketches = [f"{contract.name}.{field}" for field in contract.of_kind("unique")]
    keys, numbers = "r.metric AS metric, r.series_id AS series_id, r.window AS window", "count, sum, min, max, hist"
    rollups = source.rows(f"rollups_{tier}", metrics)
    if not sketches:
        return f"SELECT {keys}, {numbers} {rollups}"
    # a union, not a join: conditions on the window reach both tables, and what only one of them has still shows
    return (
        f"SELECT {keys}, {numbers}, arrayReduce('uniqCombined64State', emptyArrayUInt64()) AS state {rollups}"
        f" UNION ALL SELECT {keys}, toUInt64(0) AS count, 0. AS sum, 0. AS min, 0. AS max,"
        f" CAST(map(), 'Map(Int16, UInt64)') AS hist, state {source.rows(f'distinct_{tier}', sketches)}"
    )


def _context_columns(groups: Mapping[str, str]) -> list[Column]:
    columns: list[Column] = [("window", "p._window")]
    for name in CONTEXT:
        columns.append((name, f"s.{name}"))
        if name == "region":
            columns.append(("region_group", group_expression("s.region", groups)))
    return columns


def _free(name: str, taken: set[str], suffix: str) -> str:
    """`name`, with as many suffixes as it takes to be the only one, added to `taken`."""
    while name in taken:
        name += suffix
    taken.add(name)
    return name


def _label_columns(labels: Iterable[str], taken: set[str]) -> Iterator[Column]:
    for label in dict.fromkeys(labels):
        if label not in CONTEXT:
            yield _free(label, taken, "_label"), f"s.labels[{literal(label)}]"


def _joined(
    partials: str, series: str, context: Sequence[Column], values: Sequence[Column], labels: Iterable[str]
) -> str:
    """The query of a view: partial rows added up, then labels beside them."""
    end: list[Column] = [("labels", "s.labels"), ("series_id", "p._series")]
    taken = {name for name, _ in (*context, *values, *end)}
    columns = [*context, *_label_columns(labels, taken), *values, *end]
    chosen = ",\n".join(f"    {expression} AS {quoted(name)}" for name, expression in columns)
    return f"SELECT\n{chosen}\nFROM ({partials}) AS p\nLEFT ANY JOIN {series} ON p._series = s.series_id"
