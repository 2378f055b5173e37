"""Shapes: the live tables and views against what the migrations make, and views against the tables they fill."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from streamgauge.console.doctor_facts import Column, Feed, StoreFacts, Table, Wanted
from streamgauge.console.doctor_findings import Finding, error, note, ok, warning
from streamgauge.console.doctor_schema import FeedShape, TableShape, expected_schema
from streamgauge.console.doctor_types import squeezed, stored_form
from streamgauge.sinks.ddl import StoreSchemaError, quoted, table
from streamgauge.sinks.migrations import Migration
from streamgauge.sinks.table_ttl import longer_than_kept, ttl_drift, undeclared

MIGRATIONS, TABLES, VIEWS, RETENTION = "migrations", "tables", "views", "retention"
NOT_REPEATED = "run this statement; `streamgauge migrate` does not repeat a migration that is recorded as applied"
ANEW = (
    "stop the sinks, make the table anew with the statement of {migration}, copy the rows with INSERT … SELECT, "
    "exchange the two"
)


def migrations(facts: StoreFacts, wanted: Wanted, known: Sequence[Migration]) -> Iterator[Finding]:
    """Migrations that are not applied, changed since, or of a newer version."""
    if facts.applied is None:
        yield error(
            MIGRATIONS,
            wanted.database,
            "the database was never migrated: nothing can be stored",
            "streamgauge migrate",
        )
        return
    bad = False
    if missing := [f"{one.number:04}_{one.name}" for one in known if one.number not in facts.applied]:
        bad = True
        yield error(MIGRATIONS, wanted.database, f"not applied: {', '.join(missing)}", "streamgauge migrate")
    if unknown := sorted(facts.applied.keys() - {one.number for one in known}):
        bad = True
        yield error(
            MIGRATIONS,
            wanted.database,
            f"applied by a newer version: {', '.join(map(str, unknown))}",
            "run the newer version of streamgauge everywhere",
        )
    for one in known:
        if facts.applied.get(one.number, one.checksum) != one.checksum:
            bad = True
            yield error(
                MIGRATIONS,
                f"{one.number:04}_{one.name}",
                "was applied in another form than it has now",
                "restore the file: applied scripts never change; put the change into a new migration",
            )
    if facts.functions_missing:
        bad = True
        yield error(
            MIGRATIONS,
            "functions",
            f"missing or changed: {', '.join(facts.functions_missing)}; views that use them fail or answer wrongly",
            "streamgauge migrate",
        )
    if not bad:
        yield ok(MIGRATIONS, wanted.database, f"{len(facts.applied)} applied, none is missing")


def shapes(facts: StoreFacts, wanted: Wanted, known: Sequence[Migration]) -> Iterator[Finding]:
    """Tables and materialized views that are missing, or were altered by hand."""
    if facts.applied is None:
        return
    schema = expected_schema([one for one in known if one.number in facts.applied], wanted.database)
    live = {one.name: one for one in facts.tables if one.database == wanted.database}
    problems: list[Finding] = []
    for name, shape in schema.tables.items():
        if name in schema.unclear:
            yield note(TABLES, name, "a migration alters it in a way that doctor does not follow; it was not compared")
        elif name not in live:
            problems.append(error(TABLES, name, "the table is missing", NOT_REPEATED, shape.statement))
        else:
            problems += _compared(live[name], shape)
    feeds = {one.name: one for one in facts.feeds if one.database == wanted.database}
    for name, feed in schema.feeds.items():
        if name not in schema.unclear:
            problems += _feed(feeds.get(name), feed, wanted)
    for one in facts.feeds:
        problems += _types(one, facts)
        if one.database != wanted.database or one.name not in schema.feeds:
            yield note(
                VIEWS,
                f"{one.database}.{one.name}",
                f"a materialized view that is not ours takes what is inserted here into {one.target}",
                "when it fails, the sink's inserts fail with it",
            )
    yield from problems
    if not problems:
        yield ok(TABLES, wanted.database, f"{len(schema.tables)} tables and {len(schema.feeds)} views are as migrated")


def _compared(live: Table, shape: TableShape) -> Iterator[Finding]:
    name = table(live.database, live.name)
    anew = ANEW.format(migration=shape.migration)
    if _engine(live.engine, live.engine_full) != _engine(shape.engine.partition("(")[0], shape.engine):
        yield error(TABLES, live.name, f"has the engine {live.engine}, not {shape.engine}", anew)
    for what, is_key, must_be in (
        ("sorted by", live.sorting_key, shape.sorting_key),
        ("partitioned by", live.partition_key, shape.partition_key),
    ):
        if _key(is_key) != _key(must_be):
            yield error(TABLES, live.name, f"is {what} ({is_key or 'nothing'}), not {must_be or 'nothing'}", anew)
    found_columns = {one.name: one for one in live.columns}
    for column in shape.columns:
        found = found_columns.pop(column.name, None)
        sql = f"ALTER TABLE {name} {{}} COLUMN {quoted(column.name)} {column.type}"
        if found is None:
            yield error(
                TABLES, live.name, f"the column {column.name} is missing", "add it", sql.format("ADD") + _said(column)
            )
        elif squeezed(found.type) != squeezed(column.type):
            yield error(
                TABLES,
                live.name,
                f"the column {column.name} has the type {found.type}, not {column.type}",
                "set the type back; values that did not fit are wrong already (`streamgauge verify` counts points)",
                sql.format("MODIFY"),
            )
        elif (found.kind, squeezed(found.expression)) != (column.kind, squeezed(column.expression)):
            yield warning(
                TABLES,
                live.name,
                f"the column {column.name} is computed by {_said(found).strip() or 'nothing'}, "
                f"not by {_said(column).strip() or 'nothing'}",
                "set it back",
                sql.format("MODIFY") + _said(column),
            )
    if found_columns:
        yield note(TABLES, live.name, f"has columns of somebody else: {', '.join(found_columns)}")


def _said(column: Column) -> str:
    return f" {column.kind} {column.expression}" if column.kind else ""


def _engine(name: str, full: str) -> tuple[str, str]:
    """An engine's name and arguments; replicated ones are as good as plain ones, and their paths say nothing."""
    plain = re.sub(r"^(Replicated|Shared)", "", name.strip("` "))
    found = re.match(r"`?\w+`?\(([^)]*)\)", full)
    arguments = [one for one in (found[1].split(",") if found else []) if one.strip() and "'" not in one]
    return plain, squeezed(",".join(arguments))


def _key(text: str) -> str:
    """A key without blanks and without the brackets around all of it."""
    found = squeezed(text)
    while _wraps(found):
        found = found[1:-1]
    return found


def _wraps(text: str) -> bool:
    """Whether the first bracket is closed by the last one."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return letter == ")" and position == len(text) - 1
    return False


def _feed(live: Feed | None, shape: FeedShape, wanted: Wanted) -> Iterator[Finding]:
    told = (
        "; `streamgauge verify` tells what is missing in the tier, and blocks in Kafka can be stored again only by hand"
    )
    drop = f"DROP VIEW {table(wanted.database, shape.name)};\n{shape.statement}"
    if live is None:
        yield error(
            VIEWS,
            shape.name,
            f"the materialized view is missing: nothing that is inserted reaches {shape.target}",
            f"stop the sinks first, then {NOT_REPEATED}{told}",
            shape.statement,
        )
    elif (live.target_database, live.target) != (wanted.database, shape.target):
        yield error(
            VIEWS,
            shape.name,
            f"fills {live.target_database}.{live.target}, not {shape.target}",
            f"stop the sinks first, then run these statements{told}",
            drop,
        )
    elif live.as_shipped is False:
        yield error(
            VIEWS,
            shape.name,
            "has another query than the migration gave it, so the tier may hold something else",
            f"stop the sinks first, then run these statements{told}",
            drop,
        )


def _types(feed: Feed, facts: StoreFacts) -> Iterator[Finding]:
    """What a view gives against what its table takes."""
    if feed.problem:
        yield error(
            VIEWS,
            feed.name,
            f"its query fails ({feed.problem}), so every insert of the sink fails",
            "put right what it reads, or replace the view",
        )
        return
    target = next(
        (one for one in facts.tables if (one.database, one.name) == (feed.target_database, feed.target)), None
    )
    if target is None:
        yield error(
            VIEWS,
            feed.name,
            f"its table {feed.target} is missing, so every insert of the sink fails",
            "make the table again, or drop the view if it is not ours",
        )
        return
    taken = {one.name: one for one in target.columns}
    for one in feed.gives:
        into = taken.pop(one.name, None)
        if into is None:
            yield warning(
                VIEWS,
                feed.name,
                f"gives {one.name}, which {feed.target} does not have: it is dropped silently",
                f"add the column to {feed.target}, or take it out of the view",
            )
        elif stored_form(one.type) != stored_form(into.type):
            yield error(
                VIEWS,
                feed.name,
                f"gives {one.name} as {one.type}, and {feed.target} keeps {into.type}: values are converted or refused",
                f"make both types equal (the one in {feed.target} is wrong if it differs from the migration)",
            )
    if feed.gives and (left := [one.name for one in taken.values() if not one.kind]):
        yield warning(
            VIEWS,
            feed.name,
            f"gives no {', '.join(left)}: {feed.target} fills in zeros or empty text",
            "add the columns to the view, or give them a DEFAULT",
        )


def retention(facts: StoreFacts, wanted: Wanted) -> Iterator[Finding]:
    """Tables that forget by another rule than settings and contracts say."""
    engines = {one.name: one.engine_full for one in facts.tables if one.database == wanted.database}
    rules = [rule for rule in wanted.retention.rules() if rule.table in engines]
    try:
        found = list(ttl_drift(rules, engines, wanted.contracts, wanted.database))
    except StoreSchemaError as problem:
        yield warning(RETENTION, wanted.database, str(problem), "declare less in contracts, and more in settings")
        return
    for one in found:
        yield warning(
            RETENTION,
            one.table,
            one.finding,
            "give doctor the settings and contracts of the other parts, or run `streamgauge migrate` with the right ones",
            one.statement,
        )
    for one in undeclared(engines, wanted.contracts, wanted.database):
        yield note(
            RETENTION, one.table, one.finding, "give doctor all contracts; if it is not wanted, end it", one.statement
        )
    for longer in longer_than_kept(wanted.retention, wanted.contracts):
        remedy = "a contract does not lengthen what a tier keeps: keep the tier for longer, or declare less"
        yield note(RETENTION, wanted.database, longer, remedy)
    if rules and not found:
        said = "settings and contracts say" if wanted.contracts else "the settings say"
        yield ok(RETENTION, wanted.database, f"{len(rules)} tables forget by the rules that {said}")


def people_views(facts: StoreFacts, wanted: Wanted) -> Iterator[Finding]:
    """Views for people that should be there: over every metric that the store knows and every contract."""
    live = {one.name: one for one in facts.tables if one.database == wanted.database}
    missing = [name for name in facts.planned_views if name not in live]
    hidden = [name for name in facts.planned_views if name in live and live[name].engine != "View"]
    stale = [
        name
        for name, comment in facts.planned_views.items()
        if name in live and live[name].engine == "View" and live[name].comment != comment
    ]
    remedy = "streamgauge migrate --contracts … makes them; so does a sink when it starts"
    if hidden:
        yield error(VIEWS, _some(hidden), "a table has the name that a view needs", "rename the table")
    if missing:
        yield warning(VIEWS, _some(missing), "missing: people who ask these views get an error", remedy)
    if stale:
        yield note(VIEWS, _some(stale), "made by another version, or from other declarations", remedy)
    if facts.planned_views and not (missing or hidden or stale):
        yield ok(VIEWS, wanted.database, f"{len(facts.planned_views)} views for people are there and up to date")


def _some(names: Sequence[str], shown: int = 3) -> str:
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
