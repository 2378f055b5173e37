"""DDL: the one place that quotes identifiers and text, names tables, and states how a block is inserted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import Template
from typing import Any, Final, Protocol

from streamgauge.schemas.errors import StreamgaugeError
from streamgauge.schemas.windows import TIER_NAMES

ROLLUPS_LANDING: Final = "rollups_landing"
DISTINCT_LANDING: Final = "distinct_landing"
EVENTS_LANDING: Final = "events_landing"
ROLLUP_TABLES: Final = tuple(f"rollups_{tier}" for tier in TIER_NAMES)
DISTINCT_TABLES: Final = tuple(f"distinct_{tier}" for tier in TIER_NAMES)
EVENTS_TABLE: Final = "events"
DEDUPLICATED_TABLES: Final = (*ROLLUP_TABLES, *DISTINCT_TABLES, EVENTS_TABLE, "blocks")
"""Tables that are written by blocks with a token, and must recognise it for as long as a block may be repeated."""

IDEMPOTENT_TABLES: Final = ("key_inbox",)
"""Tables that views fill, and in which a repeat changes nothing: they count nothing, and need to recognise none."""

COUNTED_TABLES: Final = frozenset({ROLLUPS_LANDING, DISTINCT_LANDING, EVENTS_LANDING})
"""Tables whose blocks would count twice without their token; rows of all others replace each other."""

DEDUPLICATION_WINDOW: Final = 10_000
"""Parts that each table remembers."""

MAX_DAYS_PER_BLOCK: Final = 64
"""Distinct UTC days that a block may touch: every one is a part of its own in the fine tiers."""

INSERT_SETTINGS: Final[Mapping[str, str | int]] = {
    "async_insert": 0,
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "max_insert_block_size": 1_048_449,
    "max_insert_threads": 1,
    "max_partitions_per_insert_block": 4 * MAX_DAYS_PER_BLOCK,
    "min_insert_block_size_bytes": 0,
    "min_insert_block_size_rows": 1_048_449,
    # the sink has merged the rows: merging them again in four tables costs as much as all the rest (measured)
    "optimize_on_insert": 0,
}
"""What every insert of a block states, beside its `insert_deduplication_token`: server defaults change."""


class Reader(Protocol):
    """A door to the store for whoever only reads. Values are bound as `{name:Type}`; errors are raised."""

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Rows of a query."""
        ...


class Client(Reader, Protocol):
    """A door to the store."""

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> object:
        """Run one statement that returns nothing of interest."""
        ...


class StoreSchemaError(StreamgaugeError):
    """The store's tables, views or migrations are not what they must be. Nothing was changed."""


def quoted(name: str) -> str:
    """An identifier that is taken literally, whatever it holds: reserved words, dots, backticks."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def table(database: str, name: str) -> str:
    """A table of `database`, quoted."""
    return f"{quoted(database)}.{quoted(name)}"


def literal(text: str) -> str:
    """Text inside a statement that cannot bind values: the body of a view, a comment, a TTL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def literals(texts: Sequence[str]) -> str:
    """A parenthesised list of texts."""
    return f"({', '.join(literal(text) for text in texts)})"


def statements(script: str, database: str) -> Iterator[str]:
    """The statements of a script, with `${database}` filled in. A statement ends with `;` at the end of a line."""
    for part in Template(script).substitute(database=quoted(database)).split(";\n"):
        lines = [line for line in part.splitlines() if line.strip() and not line.lstrip().startswith("--")]
        if lines:
            yield "\n".join(lines)
