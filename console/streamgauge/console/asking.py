"""Asking the store: one read-only statement with bound parameters, its answer or an error that says what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from clickhouse_connect import get_client  # pyright: ignore[reportUnknownVariableType]  # untyped **kwargs
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from streamgauge.console.settings import ConsoleSettings
from streamgauge.schemas.errors import InputError, StoreUnavailable

CONNECT_WITHIN_S = 5
ANSWER_WITHIN_S = 300
READING = re.compile(
    r"(?:\s|--[^\n]*(?:\n|$)|/\*(?:(?!\*/).)*\*/|\()*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS)\b", re.I | re.S
)
PLACEHOLDER = re.compile(r"\{\s*([A-Za-z_]\w*)\s*:")
AUTHENTICATION = frozenset({"192", "193", "194", "497", "516"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A result: names and types of the columns, and the rows."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[Sequence[Any]]

    def json(self) -> dict[str, Any]:
        """In the shape of ClickHouse's own JSON format."""
        return {
            "meta": [{"name": name, "type": kind} for name, kind in zip(self.names, self.types, strict=True)],
            "data": [dict(zip(self.names, row, strict=True)) for row in self.rows],
            "rows": len(self.rows),
        }


def connect(settings: ConsoleSettings) -> Client:
    """A client of the configured store. Raises StoreUnavailable."""
    address = settings.store
    parts = urlsplit(address)
    try:
        return get_client(
            interface=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=settings.store_user,
            password=settings.store_password.reveal(),
            database=settings.database,
            connect_timeout=CONNECT_WITHIN_S,
            send_receive_timeout=ANSWER_WITHIN_S,
            autogenerate_session_id=False,
            query_limit=0,
        )
    except ClickHouseError as error:
        raise store_error(error, address) from error


def ask(client: Client, sql: str, parameters: Mapping[str, str], address: str) -> Answer:
    """Run one reading statement. `parameters` fill its `{name:Type}` places on the server.

    Raises InputError when the statement writes, lacks a parameter or is refused, StoreUnavailable when nothing answers.
    """
    check(sql, parameters)
    try:
        result = client.query(sql, parameters=dict(parameters), settings={"readonly": 2})
    except ClickHouseError as error:
        raise store_error(error, address) from error
    types = tuple(cast("str", one.name) for one in result.column_types)
    return Answer(tuple(result.column_names), types, result.result_rows)


class StoreReader:
    """Runs our own queries, with bound values of any type. Raises as `ask` does."""

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Rows of a query."""
        try:
            return self._client.query(sql, parameters=dict(params or {}), settings={"readonly": 2}).result_rows
        except ClickHouseError as error:
            raise own_error(error, self._address) from error


def check(sql: str, parameters: Mapping[str, str]) -> None:
    """Raises InputError unless the statement reads and its parameters are just those given."""
    if not READING.match(sql):
        raise InputError("only statements that read can be asked: SELECT, WITH, SHOW, DESCRIBE, EXPLAIN, EXISTS")
    wanted = set(PLACEHOLDER.findall(sql))
    if lacking := sorted(wanted - parameters.keys()):
        raise InputError(f"the statement asks for {', '.join(lacking)}: give --param {lacking[0]}=VALUE")
    if unused := sorted(parameters.keys() - wanted):
        raise InputError(f"--param {unused[0]}: the statement has no place {{{unused[0]}:Type}}")


def own_error(error: ClickHouseError, address: str) -> InputError | StoreUnavailable:
    """What to say of an error that a statement of ours met: it is not the statement that is wrong."""
    if any(f"Code: {code}." in str(error) for code in (47, 60)):
        return StoreUnavailable(f"the tables at {address} lack what this release needs; run `streamgauge migrate`")
    return store_error(error, address)


def store_error(error: ClickHouseError, address: str) -> InputError | StoreUnavailable:
    """What to say of an error of the store: whether the statement is wrong, or the store."""
    text = str(error).strip()
    found = re.search(r"[Cc]ode:?\s+(\d+)", text)
    if isinstance(error, OperationalError) or (isinstance(error, DatabaseError) and not found):
        return StoreUnavailable(
            f"no ClickHouse answers at {address} ({type(error).__name__}: {_short(text)}); start one "
            "(`streamgauge dev` brings its own), or correct --store"
        )
    if found and found[1] in AUTHENTICATION:
        return StoreUnavailable(
            f"ClickHouse at {address} refuses this user (code {found[1]}); set STREAMGAUGE_STORE_USER and "
            "STREAMGAUGE_STORE_PASSWORD"
        )
    advice = "; create it with `streamgauge migrate`, or correct --database" if found and found[1] == "81" else ""
    return InputError(f"ClickHouse: {_short(text)}{advice}")


def _short(text: str) -> str:
    # the driver wraps what the server says
    said = re.sub(r"\s*\(for url [^)]*\)\s*$", "", text)
    said = said[found.start() :] if (found := re.search(r"Code: \d+", said)) else said
    return " ".join(said.split())[:1_000]
