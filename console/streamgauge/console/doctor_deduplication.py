"""Deduplication: whether every table of the cascade recognises a repeated block, and for how long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil

from streamgauge.console.doctor_facts import StoreFacts, Table, Wanted
from streamgauge.console.doctor_findings import Finding, error, ok, span, warning
from streamgauge.sinks.ddl import DEDUPLICATED_TABLES, DEDUPLICATION_WINDOW, IDEMPOTENT_TABLES, table

AREA = "deduplication"
BY_KEY = ("ledger", "dead")
"""Written with tokens too, but a repeat has the same key and is merged with the first: `FINAL` shows it once."""
PLAIN, REPLICATED = "non_replicated_deduplication_window", "replicated_deduplication_window"
SECONDS = "replicated_deduplication_window_seconds"
SPARE = 1.5


def deduplication(facts: StoreFacts, wanted: Wanted) -> Iterator[Finding]:
    """One finding for each table that may count a block twice; one for all that will not."""
    held = {(one.database, one.name): one for one in facts.tables}
    targets = [(wanted.database, name) for name in DEDUPLICATED_TABLES]
    targets += [(one.target_database, one.target) for one in facts.feeds]
    covers: list[float] = []
    sizes: list[int] = []
    for place in dict.fromkeys(targets):
        if place[0] == wanted.database and place[1] in IDEMPOTENT_TABLES:
            continue
        found = held.get(place)
        if found is None or "MergeTree" not in found.engine:
            continue  # a missing table is told elsewhere; a Null table stores nothing
        # a table that only other people's views fill has the rate of what feeds it at least
        rate = facts.parts_per_second.get(found.name, 0.0)
        size, seconds, names = window(found, facts)
        shown = found.name if found.database == wanted.database else f"{found.database}.{found.name}"
        ours = place[0] == wanted.database and place[1] in DEDUPLICATED_TABLES
        if (told := _judged(found, shown, ours, size, seconds, names, rate, wanted)) is not None:
            yield told
        else:
            sizes.append(size)
            covers.append(_cover_s(size, seconds, rate))
    if sizes:
        least = min(covers)
        cover = f"at the present rate {span(1000 * least)} at least" if least != float("inf") else "nothing is written"
        yield ok(AREA, f"{len(sizes)} tables", f"remember {min(sizes):,} parts or more: {cover}")
    for name in BY_KEY:
        found = held.get((wanted.database, name))
        if found is not None and "Replacing" not in found.engine:
            yield error(
                AREA,
                name,
                f"has the engine {found.engine}, which keeps a repeated row",
                "make the table anew with the statement of the migration, and copy its rows with INSERT … SELECT",
            )


def window(found: Table, facts: StoreFacts) -> tuple[int, int | None, tuple[str, str | None]]:
    """Parts that a table remembers, seconds for which it does (None: for ever), and the settings that say so."""
    replicated = found.engine.startswith(("Replicated", "Shared"))
    name = REPLICATED if replicated else PLAIN
    size = _setting(found, name, facts.window_defaults.get(name, 0))
    if not replicated:
        return size, None, (name, None)
    return size, _setting(found, SECONDS, facts.window_defaults.get(SECONDS, 0)), (name, SECONDS)


def _setting(found: Table, name: str, default: int) -> int:
    said = re.search(rf"\b{name} = (\d+)", found.engine_full)
    return int(said[1]) if said else default


def _cover_s(size: int, seconds: int | None, rate: float) -> float:
    by_parts = size / rate if rate > 0 else float("inf")
    return by_parts if seconds is None else min(by_parts, seconds)


def _judged(
    found: Table,
    shown: str,
    ours: bool,
    size: int,
    seconds: int | None,
    names: tuple[str, str | None],
    rate: float,
    wanted: Wanted,
) -> Finding | None:
    outage_s = wanted.outage_ms / 1000
    needed = max(DEDUPLICATION_WINDOW, ceil(rate * outage_s * SPARE / 10_000) * 10_000)
    changes = [f"{names[0]} = {max(size, needed)}"]
    if names[1] is not None:
        changes.append(f"{names[1]} = {max(seconds or 0, ceil(outage_s * SPARE), 7 * 86_400)}")
    sql = f"ALTER TABLE {table(found.database, found.name)} MODIFY SETTING {', '.join(changes)}"
    cover = _cover_s(size, seconds, rate)
    if size == 0 or seconds == 0:
        # our own numbers stay right when somebody else's table counts twice
        return (error if ours else warning)(
            AREA, shown, "remembers no parts: a block that is inserted again counts twice there", "set its window", sql
        )
    if cover < outage_s:
        why = (
            f"{size:,} parts at {rate:.2g} parts a second"
            if seconds is None or size < rate * seconds
            else f"parts are forgotten after {span(1000 * seconds)}"
        )
        return warning(
            AREA,
            shown,
            f"recognises a repeat for {span(1000 * cover)} only ({why}); wanted are {span(wanted.outage_ms)}",
            "enlarge its window, or give doctor a shorter --outage",
            sql,
        )
    if ours and size < DEDUPLICATION_WINDOW:
        return warning(
            AREA, shown, f"remembers {size:,} parts, not the usual {DEDUPLICATION_WINDOW:,}", "enlarge its window", sql
        )
    return None
