"""Erasure in ClickHouse: a person's rows of `events`, found and deleted by tokens that stand in no statement and no log."""

# ruff: noqa: S608  (only identifiers are filled in, by ddl.table; values are bound)
from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import orjson
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from streamgauge.console.asking import StoreReader, own_error
from streamgauge.console.erasure import DONE, NOT_SHOWN, Deletion, Holding, Receipt
from streamgauge.sinks.ddl import table

TOKENS_AT_ONCE: Final = 100_000
FORGOTTEN_AFTER_MS: Final = 86_400_000
"""Tokens of a request that ended without clearing them, such as by kill -9, are cleared by the next one after so long."""
OURS: Final = "pseudonyms[{name:String}] IN (SELECT token FROM {tokens} WHERE receipt = {receipt:String})"
COLUMNS: Final = (
    *("id", "kind", "state", "revision", "begun_at", "at", "region", "field", "events", "tenants", "subjects", "keys"),
    *("destroyed", "found", "deleted", "left", "old_parts", "detached_parts"),
)


class EventStore:
    """Implements PersonStore over a client of the store. Nothing of a request is in the text of a statement."""

    def __init__(self, client: Client, address: str, database: str) -> None:
        self._client = client
        self._address = address
        self._database = database
        self._reader = StoreReader(client, address)
        self._events = table(database, "events")
        self._tokens = table(database, "erasure_tokens")
        self._receipts = table(database, "erasures")
        self._ours = OURS.replace("{tokens}", self._tokens)

    def fields(self) -> dict[str, frozenset[str]]:
        """The unique fields of every event of which there are, or were, rows or distinct counts."""
        stored = self._reader.query_rows(
            f"SELECT event, groupUniqArrayArray(mapKeys(pseudonyms)) FROM {self._events} GROUP BY event"
        )
        counted = self._reader.query_rows(
            "SELECT family, groupUniqArray(substring(metric, length(family) + 2)) "
            f"FROM {table(self._database, 'metrics')} FINAL WHERE kind = 'distinct' GROUP BY family"
        )
        asked = self._reader.query_rows(
            f"SELECT arrayJoin(events) AS event, groupUniqArray(field) FROM {self._receipts} GROUP BY event"
        )
        found: dict[str, frozenset[str]] = {}
        for event, names in (*stored, *counted, *asked):
            if names:
                found[event] = found.get(event, frozenset()) | frozenset(names)
        return found

    def holdings(self, name: str) -> list[Holding]:
        """How many rows hold a token of this field, by event and key."""
        rows = self._reader.query_rows(
            "SELECT event, substring(token, 4, position(token, '_', 4) - 4) AS key, count() FROM "
            f"(SELECT event, pseudonyms[{{name:String}}] AS token FROM {self._events}) "
            "WHERE token != '' GROUP BY event, key ORDER BY event, key",
            {"name": name},
        )
        return [Holding(str(event), str(key), int(count)) for event, key, count in rows]

    def tenants(self) -> list[str]:
        """Tenants that rows name, or named when somebody was searched; "" where a row names none."""
        rows = self._reader.query_rows(
            f"SELECT DISTINCT labels['tenant'] FROM {self._events} UNION DISTINCT "
            f"SELECT arrayJoin(arrayFilter(tenant -> tenant != {{not_shown:String}}, tenants)) FROM {self._receipts}",
            {"not_shown": NOT_SHOWN},
        )
        return sorted(str(tenant) for (tenant,) in rows)

    def regions(self) -> list[str]:
        """Regions of which there are blocks."""
        rows = self._reader.query_rows(f"SELECT DISTINCT region FROM {table(self._database, 'blocks')}")
        return sorted(str(region) for (region,) in rows)

    def put(self, receipt: str, tokens: Iterable[str], now_ms: int) -> None:
        """See PersonStore."""
        self._command(
            f"ALTER TABLE {self._tokens} DELETE WHERE at < fromUnixTimestamp64Milli({{until:Int64}})",
            {"until": now_ms - FORGOTTEN_AFTER_MS},
        )
        at, rest = _instant(now_ms), iter(tokens)
        while some := [[receipt, token, at] for token in islice(rest, TOKENS_AT_ONCE)]:
            self._insert("erasure_tokens", some, ("receipt", "token", "at"))

    def clear(self, receipt: str) -> None:
        """See PersonStore."""
        self._command(f"ALTER TABLE {self._tokens} DELETE WHERE receipt = {{receipt:String}}", {"receipt": receipt})

    def count(self, receipt: str, name: str) -> dict[str, int]:
        """See PersonStore."""
        rows = self._reader.query_rows(
            f"SELECT event, count() FROM {self._events} WHERE {self._ours} GROUP BY event ORDER BY event",
            {"name": name, "receipt": receipt},
        )
        return {str(event): int(count) for event, count in rows}

    def delete(self, receipt: str, name: str) -> None:
        """See PersonStore."""
        # the tokens stay outside: the store keeps the texts of its mutations on disk
        self._command(
            f"ALTER TABLE {self._events} DELETE WHERE {self._ours}",
            {"name": name, "receipt": receipt},
            {"mutations_sync": 0, "mutations_execute_subqueries_on_initiator": 0},
        )

    def deletion(self, receipt: str) -> Deletion:
        """See PersonStore."""
        ((waiting, parts, failed),) = self._reader.query_rows(
            "SELECT countIf(NOT is_done), sumIf(parts_to_do, NOT is_done), countIf(NOT is_done AND latest_fail_reason != '') "
            "FROM system.mutations WHERE database = {database:String} AND table = 'events' "
            "AND position(command, {receipt:String}) > 0",
            {"database": self._database, "receipt": receipt},
        )
        return Deletion(not waiting, int(parts), bool(failed))

    def remains(self) -> tuple[int, int]:
        """See PersonStore."""
        where = "WHERE database = {database:String} AND table = 'events'"
        bound = {"database": self._database}
        ((old,),) = self._reader.query_rows(f"SELECT countIf(NOT active) FROM system.parts {where}", bound)
        ((detached,),) = self._reader.query_rows(f"SELECT count() FROM system.detached_parts {where}", bound)
        return int(old), int(detached)

    def rows(self, receipt: str, name: str) -> Generator[bytes]:
        """The rows of a request as JSON, the oldest first: without pseudonyms that are not the person's own."""
        columns = "event, contract, materialization_version, policy, toUnixTimestamp64Milli(at) AS ms, labels, measures, texts"
        other = "mapKeys(mapFilter((k, v) -> k != {name:String} AND v != '', pseudonyms))"
        sql = (
            f"SELECT {columns}, pseudonyms[{{name:String}}], {other} FROM {self._events} WHERE {self._ours} "
            "ORDER BY at, event"
        )
        bound = {"name": name, "receipt": receipt}
        stream: Any
        with self._errors(), self._client.query_rows_stream(sql, parameters=bound, settings={"readonly": 2}) as stream:
            for row in stream:
                yield _line(name, row)

    def write(self, receipt: Receipt) -> None:
        """See PersonStore."""
        row: list[Any] = [
            *(receipt.id, receipt.kind, receipt.state, 1 + (receipt.state == DONE)),
            *(_instant(receipt.begun_ms), _instant(receipt.at_ms), receipt.region, receipt.field, list(receipt.events)),
            *(
                list(receipt.tenants),
                receipt.subjects,
                list(receipt.keys),
                list(receipt.destroyed),
                dict(receipt.found),
            ),
            *(dict(receipt.deleted), receipt.left, receipt.old_parts, receipt.detached_parts),
        ]
        self._insert("erasures", [row], COLUMNS)

    def receipts(self, receipt: str = "") -> list[Receipt]:
        """The receipt with this id, or all, the newest first."""
        said = ", ".join(COLUMNS).replace(
            "begun_at, at", "toUnixTimestamp64Milli(begun_at), toUnixTimestamp64Milli(at)"
        )
        rows = self._reader.query_rows(
            f"SELECT {said} FROM {self._receipts} FINAL WHERE {{receipt:String}} IN ('', id) ORDER BY begun_at DESC, id",
            {"receipt": receipt},
        )
        return [_receipt(row) for row in rows]

    def _command(self, sql: str, bound: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> None:
        with self._errors():
            self._client.command(sql, parameters=dict(bound), settings=dict(settings or {}))

    def _insert(self, name: str, rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
        with self._errors():
            self._client.insert(name, rows, list(columns), database=self._database, settings={"async_insert": 0})

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except ClickHouseError as error:
            raise own_error(error, self._address) from error


def _line(name: str, row: Sequence[Any]) -> bytes:
    event, contract, version, policy, ms, labels, measures, texts, token, withheld = row
    return orjson.dumps(
        {
            "event": event,
            "at": _instant(int(ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "labels": labels,
            "measures": measures,
            "texts": texts,
            "pseudonym": {name: token},
            "withheld": sorted(withheld),
            "contract": contract,
            "policy": policy,
            "materialization_version": version,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _receipt(row: Sequence[Any]) -> Receipt:
    name, kind, state, _, begun, at, region, one, events, tenants, subjects, keys, destroyed, found, deleted = row[:15]
    left, old, detached = row[15:]
    return Receipt(
        name, kind, region, one, tuple(events), tuple(tenants), subjects, tuple(keys), tuple(destroyed), begun, at, found,
        deleted, left, old, detached, state,
    )  # fmt: skip


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
