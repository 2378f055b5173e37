"""Released: the query of an event in which small groups are hidden, made from what was decided of each window."""

# ruff: noqa: S608  (bodies of views bind no values: names and text pass through ddl.quoted and ddl.literal)
from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.small_cells import SmallCells
from streamgauge.sinks.ddl import literal, quoted, table
from streamgauge.sinks.view_queries import (
    CONTEXT,
    QUANTILES,
    Column,
    Source,
    event_rows,
    free_name,
    plural,
)

SUPPRESSED: Final = "__suppressed__"
"""The value of every dimension of a remainder."""

_PINNED: Final = ", ".join(
    [
        "additional_table_filters = {}",
        *(
            f"{what}_overflow_mode = 'throw'"
            for what in ("read", "group_by", "join", "set", "distinct", "sort", "timeout")
        ),
    ]
)
# measured: a reader's own settings choose the rows that a view is made of, unless it says otherwise; newer stores keep filters
# from a view that has a definer, older ones do not. The remainder of one hidden series alone would be that series


def released_query(contract: Contract, asked: SmallCells, source: Source) -> str:
    """Cells that are shown, and of each decided window the remainder of all others, which takes in what comes late.

    Left out is what shows single people, in a group of any size: extremes, histograms, sketches, measures that not every
    event has, and quantiles with fewer than k contributors' worth of values on either side. A remainder of fewer than k
    contributors (late ones, where nothing was hidden) waits until it has as many.
    """
    sums = [f"sumIf(u.count, u.metric = {literal(contract.name)}) AS _count"]
    values: list[Column] = [("count", "p._count"), ("contributors", "p._contributors")]
    taken = {"window", "region_group", *CONTEXT, "count", "contributors"}
    for place, measure in enumerate(_everywhere(contract)):
        own = f"u.metric = {literal(f'{contract.name}.{measure}')}"
        sums += [
            f"sumIf(u.count, {own}) AS _count{place}",
            f"sumIf(u.sum, {own}) AS _sum{place}",
            f"sumMapIf(u.keys, u.counts, {own}) AS _hist{place}",
        ]
        values += [
            (free_name(f"{measure}_{name}", taken, "_measure"), expression)
            for name, expression in _measure_columns(place)
        ]
    for place, field in enumerate(contract.of_kind("unique")):
        own = f"u.metric = {literal(f'{contract.name}.{field}')}"
        if field == asked.contributors:
            sums.append(f"uniqCombined64MergeIf(u.state, {own}) AS _contributors")
        else:
            sums.append(f"uniqCombined64MergeIf(u.state, {own}) AS _distinct{place}")
            values.append((free_name(f"distinct_{plural(field)}", taken, "_number"), f"p._distinct{place}"))
    rows = event_rows(contract, asked.tier, source)
    series = f"(d.window, u.series_id) IN (SELECT window, arrayJoin(shown) FROM {_decided(contract, asked, source)})"
    partials = (
        f"SELECT u.window AS _window, any(d.k) AS _k, {series} AS _is_shown, if(_is_shown, u.series_id, 0) AS _series,"
        f" {', '.join(sums)} FROM ({rows}) AS u INNER JOIN {_decided(contract, asked, source)} AS d ON u.window = d.window"
        " GROUP BY _window, _is_shown, _series HAVING _is_shown OR _contributors >= _k"
    )
    labels = [label for label in contract.of_kind("dimension") if label not in CONTEXT]
    taken |= {"window", *(name for name, _ in values)}
    columns = [*_dimensions(labels, taken), *values]
    text = ",\n".join(f"    {expression} AS {quoted(name)}" for name, expression in columns)
    return (
        f"SELECT\n{text}\nFROM ({partials}) AS p\n"
        f"LEFT ANY JOIN {source.series(contract.name, labels)} ON p._series = s.series_id\nSETTINGS {_PINNED}"
    )


def _decided(contract: Contract, asked: SmallCells, source: Source) -> str:
    """Windows that were decided and not withheld. Of two decisions the first one counts."""
    own = f"event = {literal(contract.name)} AND tier = {literal(asked.tier)}"
    first = f"{table(source.database, 'releases')} WHERE {own} ORDER BY decided_at LIMIT 1 BY window"
    return f"(SELECT window, k, shown FROM (SELECT window, k, shown, withheld FROM {first}) WHERE NOT withheld)"


def _everywhere(contract: Contract) -> Iterator[str]:
    """Measures that every event has: of others, nobody knows how many people the values are of."""
    return (name for name in contract.of_kind("measure") if not contract.fields[name].optional)


def _measure_columns(place: int) -> Iterator[Column]:
    count, total, hist = (f"p._{name}{place}" for name in ("count", "sum", "hist"))
    yield "count", count
    yield "sum", total
    yield "avg", f"{total} / nullIf({count}, 0)"
    for name, q in QUANTILES.items():
        beyond = round(100 * min(q, 1 - q))
        enough = f"p._contributors * {beyond} >= 100 * p._k"
        yield name, f"if({enough}, sg_quantile({q}, mapFromArrays({hist}.1, {hist}.2)), NULL)"


def _dimensions(labels: list[str], taken: set[str]) -> Iterator[Column]:
    yield "window", "p._window"
    for name in CONTEXT:
        yield name, _masked(f"s.{name}")
        if name == "region":
            yield "region_group", _masked("s._region_group")
    for n, label in enumerate(labels):
        yield free_name(label, taken, "_label"), _masked(f"s._label{n}")


def _masked(label: str) -> str:
    return f"toLowCardinality(if(p._is_shown, toString({label}), {literal(SUPPRESSED)}))"
