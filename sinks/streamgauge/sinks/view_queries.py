"""Queries: the bodies of views, as text made from declarations.

Rows are read merged (FINAL), so that nobody sees a partial one, and labels are joined after that, so that neither a
repeated nor a missing row in `series` changes a number. Only the current materialization version shows.
"""

# ruff: noqa: S608  (bodies of views bind no values: names and text pass through ddl.quoted and ddl.literal)
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.windows import DAY_MS
from streamgauge.sinks.ddl import EVENTS_TABLE, literal, literals, quoted, table
from streamgauge.sinks.regions import group_expression

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

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

Column = tuple[str, str]
"""Name and expression."""


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
    """What the queries of one database have in common."""

    database: str
    groups: Mapping[str, str]
    ranges: Sequence[VersionRange] = ()

    def rows(self, name: str, metrics: Sequence[str] = ()) -> str:
        """FROM and WHERE over the current rows of a tier's table (of every metric when none is named), merged.

        FINAL costs nothing where the store has merged already, and far less than GROUP BY where it has not (measured).
        """
        own = f"metric IN {literals(metrics)} AND " if metrics else ""
        return f"FROM {table(self.database, name)} AS r FINAL WHERE {own}{self._current(metrics, 'metric', 'window')}"

    def events(self, event: str) -> str:
        """FROM and WHERE over the current single events of one name."""
        current = self._current([event], "event", "at")
        return f"FROM {table(self.database, EVENTS_TABLE)} AS r WHERE event = {literal(event)} AND {current}"

    def series(self, family: str | None, labels: Sequence[str]) -> str:
        """Series of a family (all when None) with their labels: those named, as `_label0` and so on.

        Labels are taken out here, once a series; after the join it would be once a row.
        """
        where = "" if family is None else f" WHERE family = {literal(family)}"
        named = [f"toLowCardinality(labels[{literal(label)}]) AS _label{n}" for n, label in enumerate(labels)]
        group = f"toLowCardinality({group_expression('region', self.groups)}) AS _region_group"
        columns = ", ".join(("series_id", "family", "labels", *CONTEXT, group, *named))
        return f"(SELECT {columns} FROM {table(self.database, 'series')}{where}) AS s"

    def _current(self, metrics: Sequence[str], name: str, time: str) -> str:
        ranges = [one for one in self.ranges if not metrics or not one.metric or one.metric in metrics]
        if not ranges:
            return "materialization_version = 1"
        cases = ", ".join(
            f"{_within(one, name, time)}, {one.version}" for one in sorted(ranges, key=lambda one: -one.version)
        )
        # the first condition is what the store can prune parts by
        known = ", ".join(str(version) for version in sorted({1, *(one.version for one in ranges)}))
        return f"materialization_version IN ({known}) AND materialization_version = multiIf({cases}, 1)"


def _within(one: VersionRange, name: str, time: str) -> str:
    metric = f"r.{name} = {literal(one.metric)} AND " if one.metric else ""
    start, end = (f"toDateTime({ms // 1_000}, 'UTC')" for ms in (one.from_ms, one.to_ms))
    return f"{metric}r.{time} >= {start} AND r.{time} < {end}"


def metric_query(head: MetricHead, tier: str, source: Source) -> str:
    """The query of a metric in one tier."""
    partials = f"SELECT {_ROW} {source.rows(f'rollups_{tier}', [head.name])}"
    return _joined(partials, source, head.name, head.labels, [], _METRIC_COLUMNS.get(head.type, _HISTOGRAM))


def points_query(tier: str, source: Source) -> str:
    """The query over every metric in one tier."""
    partials = f"SELECT metric AS _metric, {_ROW} {source.rows(f'rollups_{tier}')}"
    names = [("metric", "p._metric"), ("family", "s.family")]
    return _joined(partials, source, None, (), names, [*_HISTOGRAM, ("last", "p._last.2"), _LAST_AT])


def event_query(contract: Contract, tier: str, source: Source) -> str:
    """The query of an event in one tier: its count, its measures, its distinct counts, side by side."""
    event = contract.name
    sums = [f"sumIf(u.count, u.metric = {literal(event)}) AS _count"]
    values: list[Column] = [("count", "p._count")]
    taken = {"window", "region_group", *CONTEXT, "count", "labels", "series_id"}
    for place, measure in enumerate(contract.of_kind("measure")):
        sums += _measure_sums(f"{event}.{measure}", place)
        values += [
            (_free(f"{measure}_{name}", taken, "_measure"), expression) for name, expression in _measure_columns(place)
        ]
    for place, field in enumerate(contract.of_kind("unique")):
        sums.append(f"uniqCombined64MergeStateIf(u.state, u.metric = {literal(f'{event}.{field}')}) AS _state{place}")
        name = _free(plural(field), taken, "_state")
        values.append((name, f"p._state{place}"))
        values.append((_free(f"distinct_{name}", taken, "_number"), f"finalizeAggregation(p._state{place})"))
    partials = (
        f"SELECT u.series_id AS _series, u.window AS _window, {', '.join(sums)}"
        f" FROM ({_event_rows(contract, tier, source)}) AS u GROUP BY u.series_id, u.window"
    )
    return _joined(partials, source, event, contract.of_kind("dimension"), [], values)


def single_events_query(contract: Contract, source: Source) -> str:
    """The query of an event's single rows: its fields as columns. What a row does not have is empty, a measure NULL."""
    fixed: list[Column] = [("at", "r.at")]
    for name in CONTEXT:
        fixed.append((name, f"toLowCardinality(r.labels[{literal(name)}])"))
        if name == "region":
            group = group_expression(f"r.labels[{literal(name)}]", source.groups)
            fixed.append(("region_group", f"toLowCardinality({group})"))
    end: list[Column] = [("contract", "r.contract"), ("policy", "r.policy")]
    taken = {name for name, _ in (*fixed, *end)}
    own = [name for name in contract.of_kind("dimension") if name not in CONTEXT]
    fields = [(_free(name, taken, "_label"), f"r.labels[{literal(name)}]") for name in own]
    for name in contract.of_kind("measure"):
        # a row without a value must not look like a zero
        value = f"if(mapContains(r.measures, {literal(name)}), r.measures[{literal(name)}], NULL)"
        fields.append((_free(name, taken, "_measure"), value))
    for kind, column in (("unique", "pseudonyms"), ("free_text", "texts")):
        fields += [(_free(name, taken, f"_{kind}"), f"r.{column}[{literal(name)}]") for name in contract.of_kind(kind)]
    columns = ",\n".join(f"    {expression} AS {quoted(name)}" for name, expression in (*fixed, *fields, *end))
    return f"SELECT\n{columns}\n{source.events(contract.name)}"


def plural(field: str) -> str:
    """The column that holds the sketch of a unique field: `customer_id` → `customers`."""
    stem = field.removesuffix("_id") or field
    if re.search(r"[^aeiou]y$", stem):
        return f"{stem[:-1]}ies"
    return f"{stem}es" if stem.endswith(("s", "x", "z", "ch", "sh")) else f"{stem}s"


_ROW = (
    "series_id AS _series, window AS _window, count AS _count, sum AS _sum, min AS _min, max AS _max,"
    " last AS _last, hist AS _hist"
)
_LAST_AT: Column = ("last_at", "fromUnixTimestamp64Milli(p._last.1, 'UTC')")


def _quantile_columns(hist: str, low: str, high: str) -> list[Column]:
    # a bucket's representative may lie outside of what was seen
    return [
        (name, f"if(empty({hist}), NULL, least(greatest(sg_quantile({q}, {hist}), {low}), {high}))")
        for name, q in QUANTILES.items()
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
}


def _measure_sums(metric: str, place: int) -> list[str]:
    own = f"u.metric = {literal(metric)}"
    return [
        f"sumIf(u.count, {own}) AS _count{place}",
        f"sumIf(u.sum, {own}) AS _sum{place}",
        # a window without a value must not look like a zero
        f"minOrNullIf(u.min, {own}) AS _min{place}",
        f"maxOrNullIf(u.max, {own}) AS _max{place}",
        # one merged row at most, so its cells need no adding up, which sumMap would do at three times the price
        f"mapFromArrays(groupArrayArrayIf(u.keys, {own}), groupArrayArrayIf(u.counts, {own})) AS _hist{place}",
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
    keys = "r.metric AS metric, r.series_id AS series_id, r.window AS window"
    numbers = "count, sum, min, max, mapKeys(hist) AS keys, mapValues(hist) AS counts"
    rollups = source.rows(f"rollups_{tier}", metrics)
    if not sketches:
        return f"SELECT {keys}, {numbers} {rollups}"
    # a union, not a join: conditions on the window reach both tables, and what only one of them has still shows
    return (
        f"SELECT {keys}, {numbers}, arrayReduce('uniqCombined64State', emptyArrayUInt64()) AS state {rollups}"
        f" UNION ALL SELECT {keys}, toUInt64(0) AS count, 0. AS sum, 0. AS min, 0. AS max,"
        f" emptyArrayInt16() AS keys, emptyArrayUInt64() AS counts, state {source.rows(f'distinct_{tier}', sketches)}"
    )


def _free(name: str, taken: set[str], suffix: str) -> str:
    """`name`, with as many suffixes as it takes to be the only one, added to `taken`."""
    while name in taken:
        name += suffix
    taken.add(name)
    return name


def _context_columns() -> Iterator[Column]:
    yield "window", "p._window"
    for name in CONTEXT:
        yield name, f"s.{name}"
        if name == "region":
            yield "region_group", "s._region_group"


def _joined(
    partials: str,
    source: Source,
    family: str | None,
    labels: Iterable[str],
    names: Sequence[Column],
    values: Sequence[Column],
) -> str:
    """Rows with the labels of their series beside them, empty where the series is not known."""
    fixed = [*names, *_context_columns()]
    end: list[Column] = [("labels", "s.labels"), ("series_id", "p._series")]
    taken = {name for name, _ in (*fixed, *values, *end)}
    own = [label for label in dict.fromkeys(labels) if label not in CONTEXT]
    named = [(_free(label, taken, "_label"), f"s._label{n}") for n, label in enumerate(own)]
    columns = ",\n".join(f"    {expression} AS {quoted(name)}" for name, expression in (*fixed, *named, *values, *end))
    return (
        f"SELECT\n{columns}\nFROM ({partials}) AS p\n"
        f"LEFT ANY JOIN {source.series(family, own)} ON p._series = s.series_id"
    )
