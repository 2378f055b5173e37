"""Migrations: numbered scripts that bring a database to the shape this version expects, recorded with their checksums.

`migrate` may run at every start: what is done already is not done again. Beside the scripts it keeps the functions,
the deduplication windows and the retention of every table as they must be.
"""

# ruff: noqa: S608  (only identifiers are filled in, by ddl.table; values are bound)
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from streamgauge.schemas.contracts import Contract
from streamgauge.sinks.ddl import (
    DEDUPLICATED_TABLES,
    DEDUPLICATION_WINDOW,
    Client,
    Reader,
    StoreSchemaError,
    quoted,
    statements,
    table,
)
from streamgauge.sinks.functions import FUNCTIONS, creation
from streamgauge.sinks.retention import Retention
from streamgauge.sinks.table_ttl import ttl_drift

DEFAULT_DATABASE: Final = "streamgauge"

# a log: the last row of a number says whether it is in force
_LOG = """CREATE TABLE IF NOT EXISTS {table}
(
    number UInt32,
    name String,
    checksum String,
    applied UInt8 COMMENT '0: taken back',
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (number, at)
COMMENT 'Migrations, in the order in which they were applied and taken back'"""

_DANGEROUS = re.compile(
    r"^\s*(?:(?:DROP|TRUNCATE|DETACH|RENAME|EXCHANGE|DELETE|UPDATE|KILL|REPLACE)\b|CREATE\s+OR\s+REPLACE\s+(?!FUNCTION\b)"
    r"|ALTER\b.*\b(?:DROP|DELETE|UPDATE|CLEAR|DETACH|REPLACE|MOVE|RENAME)\b)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered script and the script that takes it back."""

    number: int
    name: str
    up: str
    down: str

    @property
    def checksum(self) -> str:
        """Changes with every character of the script."""
        return hashlib.sha256(self.up.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Drift:
    """A table that is not as it must be, in words, and the statement that puts it right."""

    table: str
    finding: str
    statement: str


def shipped() -> tuple[Migration, ...]:
    """The migrations of this version, by number."""
    scripts = {
        file.name: file.read_text(encoding="utf-8") for file in (files("streamgauge.sinks") / "migrations").iterdir()
    }
    found = [re.fullmatch(r"(\d{4})_(\w+)\.up\.sql", name) for name in sorted(scripts)]
    return tuple(
        Migration(int(match[1]), match[2], scripts[match[0]], scripts[f"{match[1]}_{match[2]}.down.sql"])
        for match in found
        if match
    )


def is_dangerous(statement: str) -> bool:
    """Whether a statement may destroy data, or something that data depends on."""
    return _DANGEROUS.match(statement) is not None


def pending(known: Sequence[Migration], applied: dict[int, str]) -> list[Migration]:
    """What remains to be done, where `applied` maps numbers to checksums.

    Raises StoreSchemaError when an applied script has changed since, or is unknown here.
    """
    if unknown := sorted(applied.keys() - {one.number for one in known}):
        raise StoreSchemaError(
            f"the database has migrations that this version does not know: {unknown}.\n"
            "  It was migrated by a newer version; run that one, or let it take them back first."
        )
    for one in known:
        if applied.get(one.number, one.checksum) != one.checksum:
            raise StoreSchemaError(
                f"migration {one.number:04} ({one.name}) was applied in another form than it has now.\n"
                "  Applied scripts never change: restore the file, and put the change into a new migration."
            )
    return [one for one in known if one.number not in applied]


def migrate(
    client: Client,
    retention: Retention,
    database: str = DEFAULT_DATABASE,
    *,
    allow_dangerous: bool = False,
    migrations: Sequence[Migration] | None = None,
    contracts: Iterable[Contract] = (),
) -> list[str]:
    """Bring `database` up to date and return what was done, in words; an empty list when nothing was to do.

    Raises StoreSchemaError before anything is changed when the retention cannot be used, an applied migration differs
    from ours, or a pending one may destroy data and `allow_dangerous` is not given.
    """
    if problems := retention.problems():
        raise StoreSchemaError("retention: " + "\nretention: ".join(problems))
    done: list[str] = []
    if not client.query_rows("SELECT 1 FROM system.databases WHERE name = {name:String}", {"name": database}):
        client.command(f"CREATE DATABASE IF NOT EXISTS {quoted(database)}")
        done.append(f"created database {database}")
    client.command(_LOG.format(table=table(database, "migrations")))
    todo = pending(shipped() if migrations is None else migrations, applied_migrations(client, database))
    if not allow_dangerous:
        _refuse_danger([(one, one.up) for one in todo], database)
    for one in todo:
        _run(client, database, one, one.up, applied=True)
        done.append(f"applied migration {one.number:04} {one.name}")
    for name in _missing_functions(client):
        client.command(creation(name, replace=True))
        done.append(f"created function {name}")
    for drift in find_drift(client, retention, database, contracts):
        client.command(drift.statement)
        done.append(f"{drift.table}: {drift.finding}; put right")
    return done


def roll_back(
    client: Client,
    database: str,
    to: int,
    *,
    allow_dangerous: bool = False,
    migrations: Sequence[Migration] | None = None,
) -> list[str]:
    """Take back every migration above number `to`, the last one first, and return what was done.

    This drops tables with what they hold, so it raises StoreSchemaError unless `allow_dangerous` is given.
    """
    known = shipped() if migrations is None else migrations
    applied = applied_migrations(client, database)
    pending(known, applied)
    back = [one for one in reversed(known) if one.number > to and one.number in applied]
    if not allow_dangerous:
        _refuse_danger([(one, one.down) for one in back], database)
    for one in back:
        _run(client, database, one, one.down, applied=False)
    return [f"took back migration {one.number:04} {one.name}" for one in back]


def applied_migrations(client: Client, database: str) -> dict[int, str]:
    """Number and checksum of every migration that is in force."""
    rows = client.query_rows(
        "SELECT number, argMax(checksum, at) AS latest FROM "
        f"{table(database, 'migrations')} GROUP BY number HAVING argMax(applied, at) ORDER BY number"
    )
    return {int(number): str(checksum) for number, checksum in rows}


def find_drift(client: Client, retention: Retention, database: str, contracts: Iterable[Contract] = ()) -> list[Drift]:
    """Every table whose deduplication window or retention is not as it must be. Raises StoreSchemaError for more contracts
    than a table's rule can hold."""
    engines = engines_of(client, database)
    ttls = ttl_drift(retention.rules(), engines, contracts, database)
    return [*_window_drift(engines, database), *(Drift(one.table, one.finding, one.statement) for one in ttls)]


def engines_of(client: Reader, database: str) -> dict[str, str]:
    """Every table's engine with its keys, its TTL and its settings."""
    rows = client.query_rows(
        "SELECT name, engine_full FROM system.tables WHERE database = {database:String}", {"database": database}
    )
    return {str(name): str(engine) for name, engine in rows}


def _window_drift(engines: dict[str, str], database: str) -> Iterator[Drift]:
    for name in DEDUPLICATED_TABLES:
        if name not in engines:
            continue
        found = re.search(r"\bnon_replicated_deduplication_window = (\d+)", engines[name])
        size = int(found[1]) if found else 0
        if size < DEDUPLICATION_WINDOW:
            finding = f"has a deduplication window of {size}" if size else "has no deduplication window"
            yield Drift(
                name,
                f"{finding}: a repeated block would count twice there",
                f"ALTER TABLE {table(database, name)} "
                f"MODIFY SETTING non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}",
            )


def _missing_functions(client: Client) -> list[str]:
    return [
        name
        for name in FUNCTIONS
        # compared in the words of the store, which formats what it is given
        if not client.query_rows(
            "SELECT 1 FROM system.functions WHERE name = {name:String} AND origin = 'SQLUserDefined'"
            " AND create_query = formatQuerySingleLine({text:String})",
            {"name": name, "text": creation(name)},
        )
    ]


def _refuse_danger(scripts: Sequence[tuple[Migration, str]], database: str) -> None:
    for one, script in scripts:
        for statement in statements(script, database):
            if is_dangerous(statement):
                raise StoreSchemaError(
                    f"migration {one.number:04} ({one.name}) may destroy data: {statement.splitlines()[0]}\n"
                    "  Nothing was changed. Make a backup, then allow dangerous migrations."
                )


def _run(client: Client, database: str, one: Migration, script: str, *, applied: bool) -> None:
    for statement in statements(script, database):
        client.command(statement)
    client.command(
        f"INSERT INTO {table(database, 'migrations')} (number, name, checksum, applied)"
        " SELECT {number:UInt32}, {name:String}, {checksum:String}, {applied:UInt8}",
        {"number": one.number, "name": one.name, "checksum": one.checksum, "applied": int(applied)},
    )
