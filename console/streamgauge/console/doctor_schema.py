"""Schema: the tables and materialized views that our migrations make, read from their scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from streamgauge.console.doctor_facts import Column
from streamgauge.console.doctor_types import split
from streamgauge.sinks.ddl import quoted, statements
from streamgauge.sinks.migrations import Migration

_OF_TABLE = frozenset({"ENGINE", "PARTITION", "ORDER", "PRIMARY", "SAMPLE", "TTL", "SETTINGS", "COMMENT"})
_OF_COLUMN = frozenset({"DEFAULT", "MATERIALIZED", "ALIAS", "EPHEMERAL", "CODEC", "COMMENT", "TTL", "STATISTICS"})
_COMPUTED = ("DEFAULT", "MATERIALIZED", "ALIAS", "EPHEMERAL")
_NO_COLUMN = re.compile(r"(?:INDEX|CONSTRAINT|PROJECTION)\s", re.IGNORECASE)
_HARMLESS = re.compile(
    r"(?:MODIFY|RESET|REMOVE|MATERIALIZE)\s+(?:SETTING|TTL|COMMENT)\b|COMMENT\s+COLUMN\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table as it must be, and the statements that make it."""

    name: str
    engine: str
    partition_key: str
    sorting_key: str
    columns: tuple[Column, ...]
    statement: str
    migration: str


@dataclass(frozen=True, slots=True)
class FeedShape:
    """A materialized view as it must be, and the statement that makes it."""

    name: str
    target: str
    query: str
    statement: str
    migration: str


@dataclass(slots=True)
class Schema:
    """Tables and feeds by name. `unclear` are those with a statement that is not understood: nothing is said of them."""

    tables: dict[str, TableShape] = field(default_factory=dict[str, TableShape])
    feeds: dict[str, FeedShape] = field(default_factory=dict[str, FeedShape])
    unclear: set[str] = field(default_factory=set[str])


def expected_schema(migrations: Iterable[Migration], database: str) -> Schema:
    """What `migrations` make of an empty database."""
    schema = Schema()
    for one in migrations:
        for statement in statements(one.up, database):
            _apply(schema, statement, database, f"{one.number:04}_{one.name}.up.sql")
    return schema


def _apply(schema: Schema, statement: str, database: str, migration: str) -> None:
    prefix = re.escape(quoted(database)) + r"\."
    found = re.match(
        rf"(?P<verb>CREATE|ALTER|DROP)\s+(?P<what>TABLE|MATERIALIZED\s+VIEW|VIEW)\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?"
        rf"{prefix}(?P<name>\w+)\s*(?P<rest>.*)",
        statement,
        re.IGNORECASE | re.DOTALL,
    )
    if found is None:
        schema.unclear |= set(re.findall(rf"{prefix}(\w+)", statement))
        return
    name, rest = found["name"], found["rest"]
    verb, what = found["verb"].upper(), found["what"].upper().split()[0]
    if verb == "DROP":
        schema.tables.pop(name, None)
        schema.feeds.pop(name, None)
    elif verb == "CREATE" and what == "TABLE":
        schema.tables[name] = _table(name, rest, statement, migration)
    elif verb == "CREATE" and (fed := re.match(rf"TO\s+{prefix}(\w+)\s+AS\s+(.*)", rest, re.IGNORECASE | re.DOTALL)):
        schema.feeds[name] = FeedShape(name, fed[1], fed[2].rstrip(";\n "), statement, migration)
    elif verb == "ALTER" and (query := re.match(r"MODIFY\s+QUERY\s+(.*)", rest, re.IGNORECASE | re.DOTALL)):
        if name in schema.feeds:
            made_feed = schema.feeds[name]
            following = _then(made_feed.statement, statement)
            schema.feeds[name] = replace(made_feed, query=query[1].rstrip(";\n "), statement=following)
    elif verb == "ALTER" and what == "TABLE" and name in schema.tables:
        _alter(schema, name, rest)
        made = schema.tables[name]
        schema.tables[name] = replace(made, statement=_then(made.statement, statement))
    elif not (verb == "CREATE" and what == "VIEW"):
        schema.unclear.add(name)


def _then(statement: str, change: str) -> str:
    """What makes a thing anew must bring it to where later migrations brought it."""
    return statement.rstrip(";\n ") + ";\n" + change


def _table(name: str, rest: str, statement: str, migration: str) -> TableShape:
    end = _closing(rest)
    clauses = dict(split(rest[end + 1 :].rstrip(";\n "), _OF_TABLE))
    key = clauses.get("ORDER", "").removeprefix("BY").strip()
    partition = clauses.get("PARTITION", "").removeprefix("BY").strip()
    engine = clauses.get("ENGINE", "").lstrip("= ")
    columns = tuple(_column(piece) for _, piece in split(rest[1:end]) if piece and not _NO_COLUMN.match(piece))
    return TableShape(name, engine, partition, key, columns, statement, migration)


def _closing(text: str) -> int:
    """Where the bracket that `text` begins with is closed."""
    # what follows the bracket on its own level is the first thing that `split` could separate at
    depth = 0
    quote = ""
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[position - 1] != "\\" else quote
        elif letter in "'`":
            quote = letter
        else:
            depth += (letter == "(") - (letter == ")")
            if depth == 0:
                return position
    return len(text)


def _column(text: str) -> Column:
    name, _, rest = text.partition(" ")
    clauses = list(split(rest.strip(), _OF_COLUMN))
    computed = next(((kind, said) for kind, said in clauses if kind in _COMPUTED), ("", ""))
    return Column(name.strip("`"), clauses[0][1], *computed)


def _alter(schema: Schema, name: str, rest: str) -> None:
    columns = {one.name: one for one in schema.tables[name].columns}
    for _, action in split(rest.rstrip(";\n ")):
        found = re.match(
            r"(ADD|MODIFY|DROP)\s+COLUMN\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(.*)", action, re.IGNORECASE | re.DOTALL
        )
        if found is None:
            if key := re.match(r"MODIFY\s+ORDER\s+BY\s+(.*)", action, re.IGNORECASE | re.DOTALL):
                schema.tables[name] = replace(schema.tables[name], sorting_key=key[1].strip())
            elif not _HARMLESS.match(action):
                schema.unclear.add(name)
            continue
        text = re.sub(r"\s+(?:AFTER\s+\S+|FIRST)\s*$", "", found[2], flags=re.IGNORECASE)
        if found[1].upper() == "DROP":
            columns.pop(text.strip().strip("`"), None)
        else:
            changed = _column(text)
            columns[changed.name] = changed
    schema.tables[name] = replace(schema.tables[name], columns=tuple(columns.values()))
