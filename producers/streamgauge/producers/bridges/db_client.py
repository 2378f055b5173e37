"""Database client: the metric of calls to a database, the same for every library.

`db_client_operation_duration` (OpenTelemetry's `db.client.operation.duration`, s) by `system` (`db.system.name`),
`operation` (`db.operation.name`: the kind of statement or command, never its text) and `error_type`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from streamgauge.producers.metrics import Histogram

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

OTHER = "_OTHER"
STATEMENTS = frozenset(
    {
        *("ALTER", "ANALYZE", "BEGIN", "CALL", "COMMIT", "COPY", "CREATE", "DELETE", "DROP", "EXPLAIN", "GRANT"),
        *("INSERT", "MERGE", "PRAGMA", "REFRESH", "REINDEX", "RELEASE", "REPLACE", "REVOKE", "ROLLBACK", "SAVEPOINT"),
        *("SELECT", "SET", "SHOW", "TRUNCATE", "UPDATE", "USE", "VACUUM", "VALUES", "WITH"),
    }
)
"""Kinds of statements that get a series; any other is `_OTHER`."""
_LEADING = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*([A-Za-z]+)", re.DOTALL)
_COMMAND = re.compile(r"[A-Za-z][A-Za-z_.]{0,39}")


class DatabaseMetrics:
    """Declares the metric and takes one call at a time."""

    def __init__(self, producer: Producer | None = None) -> None:
        self._duration = Histogram(
            "db_client_operation_duration",
            "Calls of databases",
            ["system", "operation", "error_type"],
            unit="s",
            producer=producer,
        )

    def record(self, system: str, operation: str, error: str, seconds: float) -> None:
        """A call is over."""
        self._duration.labels(system, operation, error).observe(seconds)


def statement_kind(statement: str) -> str:
    """The first word of an SQL statement, if it is one of SQL's; comments are skipped."""
    found = _LEADING.match(statement)
    word = found[1].upper() if found else ""
    return word if word in STATEMENTS else OTHER


def command_name(command: object) -> str:
    """The first word of a Redis command, if it can be one."""
    text = command.decode("ascii", "replace") if isinstance(command, bytes) else str(command)
    word = text.partition(" ")[0]
    return word.upper() if _COMMAND.fullmatch(word) else OTHER
