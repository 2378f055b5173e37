"""Reads ClickHouse for the doctor. Runs queries that read, nothing else; what is refused becomes a line of `unread`."""

# ruff: noqa: S608  (identifiers come from ddl.table, a view's own query from the server; values are bound)
from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from streamgauge.console.doctor_facts import (
    Clock,
    Column,
    Feed,
    Reached,
    ServerSetting,
    StoreFacts,
    Table,
)
from streamgauge.console.doctor_schema import expected_schema
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.errors import StreamgaugeError
from streamgauge.schemas.topics import DISTINCT, ROLLUPS, SCRUBBED
from streamgauge.schemas.windows import TIERS
from streamgauge.sinks.ddl import DISTINCT_TABLES, EVENTS_TABLE, INSERT_SETTINGS, ROLLUP_TABLES, Client, table
from streamgauge.sinks.functions import FUNCTIONS, creation
from streamgauge.sinks.migrations import Migration, applied_migrations
from streamgauge.sinks.store import StoreError, error_text
from streamgauge.sinks.views import current_ranges, planned_views

T = TypeVar("T")
Place = tuple[str, str]
SETTINGS: Final = (*INSERT_SETTINGS, "readonly")
BUCKET_S: Final = 300
"""Rates are those of the busiest five minutes: covers must hold then."""
_TARGET = re.compile(r"\bTO (`(?:[^`\\]|\\.)*`|\w+)\.(`(?:[^`\\]|\\.)*`|\w+)")
_DERIVED = {
    **dict.fromkeys(ROLLUP_TABLES, ROLLUPS.kind),
    **dict.fromkeys(DISTINCT_TABLES, DISTINCT.kind),
    EVENTS_TABLE: SCRUBBED.kind,
}


class StoreReader:
    """Looks at one database of the store for one region. `client` raises the errors of `sinks.store.Store`."""

    def __init__(self, client: Client, address: str, user: str, database: str, region: str) -> None:
        self._client = client
        self._address = address
        self._user = user
        self._database = database
        self._region = region
        self._unread: list[str] = []

    def read(self, known: Sequence[Migration], contracts: Iterable[Contract]) -> StoreFacts:
        """All facts. Raises the store's error only when it does not even tell its version."""
        version = str(self._rows("SELECT version()")[0][0])
        exists = bool(self._rows("SELECT 1 FROM system.databases WHERE name = {name:String}", {"name": self._database}))
        has_log = exists and self._has("migrations")
        no_feeds: tuple[Feed, ...] = ()
        no_tables: tuple[Table, ...] = ()
        no_settings: tuple[ServerSetting, ...] = ()
        no_functions: tuple[str, ...] = ()
        never_reached: tuple[Reached, ...] = ()
        feeds = self._try("materialized views", lambda: self._feeds(known), no_feeds)
        places = {(one.target_database, one.target) for one in feeds}
        return StoreFacts(
            address=self._address,
            user=self._user,
            version=version,
            tables=self._try("tables", lambda: self._tables(places), no_tables),
            feeds=feeds,
            settings=self._try("settings", self._settings, no_settings),
            window_defaults=self._try("settings of tables", self._window_defaults, dict[str, int]()),
            applied=self._try("migrations", lambda: applied_migrations(self._client, self._database), dict[int, str]())
            if has_log
            else None,
            parts_per_second=self._try("the rate of parts", self._parts_per_second, dict[str, float]())
            if has_log
            else {},
            planned_views=self._try("views", lambda: self._planned(contracts), dict[str, str]()) if has_log else {},
            functions_missing=self._try("functions", self._functions_missing, no_functions),
            clock=self._try("the clock", self._clock, None),
            reached=self._try("the account of blocks", self._reached, never_reached) if has_log else (),
            unread=tuple(self._unread),
        )

    def _rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        return self._client.query_rows(sql, params)

    def _try(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except StoreError as error:
            self._unread.append(f"{what} cannot be read: {error_text(error)}")
        except StreamgaugeError as error:
            self._unread.append(f"{what} cannot be read: {error}")
        return otherwise

    def _has(self, name: str, database: str | None = None) -> bool:
        found = self._rows(
            "SELECT 1 FROM system.tables WHERE database = {database:String} AND name = {name:String}",
            {"database": database or self._database, "name": name},
        )
        return bool(found)

    def _clock(self) -> Clock:
        """The narrowest of three looks."""
        looks: list[Clock] = []
        for _ in range(3):
            asked = time.time_ns() / 1e6
            told = float(self._rows("SELECT toUnixTimestamp64Milli(now64(3))")[0][0])
            looks.append(Clock(told - time.time_ns() / 1e6, told + 1 - asked))
        return min(looks, key=lambda one: one.at_most_ms - one.at_least_ms)

    def _settings(self) -> tuple[ServerSetting, ...]:
        rows = self._rows(
            "SELECT name, value, readonly, min, max FROM system.settings WHERE name IN {names:Array(String)}",
            {"names": list(SETTINGS)},
        )
        return tuple(
            ServerSetting(str(name), str(value), bool(locked), low, high) for name, value, locked, low, high in rows
        )

    def _window_defaults(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for source, prefix in (("merge_tree_settings", "non_"), ("replicated_merge_tree_settings", "")):
            rows = self._rows(
                f"SELECT name, value FROM system.{source} WHERE name IN {{names:Array(String)}}",
                {
                    "names": [
                        f"{prefix}replicated_deduplication_window",
                        "replicated_deduplication_window_seconds",
                    ]
                },
            )
            found |= {str(name): int(value) for name, value in rows}
        return found

    def _tables(self, others: set[Place]) -> tuple[Table, ...]:
        """Ours, and the targets of other people's views on them."""
        bound = {
            "database": self._database,
            "databases": [database for database, _ in sorted(others)],
            "names": [name for _, name in sorted(others)],
        }
        zipped = "arrayZip({databases:Array(String)}, {names:Array(String)})"
        columns: dict[Place, list[Column]] = {}
        for database, name, column, kind, computed, expression in self._rows(
            "SELECT database, table, name, type, default_kind, default_expression FROM system.columns"
            f" WHERE database = {{database:String}} OR has({zipped}, (database, table))"
            " ORDER BY database, table, position",
            bound,
        ):
            columns.setdefault((database, name), []).append(Column(column, kind, computed, expression))
        rows = self._rows(
            "SELECT database, name, engine, engine_full, partition_key, sorting_key, comment FROM system.tables"
            f" WHERE database = {{database:String}} OR has({zipped}, (database, name)) ORDER BY database, name",
            bound,
        )
        return tuple(
            Table(database, name, engine, full, partition, key, tuple(columns.get((database, name), ())), comment)
            for database, name, engine, full, partition, key, comment in rows
        )

    def _feeds(self, known: Sequence[Migration]) -> tuple[Feed, ...]:
        """Every materialized view that an insert into our tables reaches."""
        readers = {
            (str(database), str(name)): list(zip(map(str, databases), map(str, names), strict=True))
            for database, name, databases, names in self._rows(
                "SELECT database, name, dependencies_database, dependencies_table FROM system.tables"
                " WHERE notEmpty(dependencies_table)"
            )
        }
        views = {
            (str(database), str(name)): (str(statement), str(query), str(inner))
            for database, name, statement, query, inner in self._rows(
                "SELECT database, name, create_table_query, as_select, if(uuid = toUUID("
                "'00000000-0000-0000-0000-000000000000'), concat('.inner.', name), concat('.inner_id.', toString(uuid)))"
                " FROM system.tables WHERE engine = 'MaterializedView'"
            )
        }
        schema = expected_schema(known, self._database)
        found: dict[Place, Feed] = {}
        waiting = [one for place, ones in readers.items() if place[0] == self._database for one in ones]
        waiting += [place for place in views if place[0] == self._database]
        while waiting:
            place = waiting.pop()
            if place in found or place not in views:
                continue
            statement, query, inner = views[place]
            # the name of the view and its target stand before its columns and its query
            head = statement[: len(statement) - len(query)]
            to = _TARGET.search(head)
            target = (_bare(to[1]), _bare(to[2])) if to else (place[0], inner)
            gives, problem = self._gives(query)
            shape = schema.feeds.get(place[1]) if place[0] == self._database else None
            found[place] = Feed(
                *place, *target, gives, problem, None if shape is None else self._same(query, shape.query)
            )
            waiting += readers.get(target, [])
        return tuple(found[place] for place in sorted(found))

    def _gives(self, query: str) -> tuple[tuple[Column, ...], str]:
        try:
            return tuple(Column(str(row[0]), str(row[1])) for row in self._rows(f"DESCRIBE TABLE ({query})")), ""
        except StoreError as error:
            return (), error_text(error)

    def _same(self, live: str, shipped: str) -> bool | None:
        """Whether two queries are one to the store's own formatter; None where it has none."""
        try:
            found = self._rows(
                "SELECT formatQuerySingleLine({live:String}) = formatQuerySingleLine({shipped:String})",
                {"live": live, "shipped": shipped},
            )
        except StoreError:
            return None
        return bool(found[0][0])

    def _functions_missing(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in FUNCTIONS
            if not self._rows(
                "SELECT 1 FROM system.functions WHERE name = {name:String} AND origin = 'SQLUserDefined'"
                " AND create_query = formatQuerySingleLine({text:String})",
                {"name": name, "text": creation(name)},
            )
        )

    def _parts_per_second(self) -> dict[str, float]:
        """Parts that inserts made, by table: the highest of what log, parts and blocks show."""
        bound = {"database": self._database, "bucket": BUCKET_S}
        seen: list[tuple[str, float]] = []
        if self._has("part_log", "system"):
            seen += self._try(
                "system.part_log",
                lambda: [
                    (str(name), int(parts) / BUCKET_S)
                    for name, parts in self._rows(
                        "SELECT table, max(parts) FROM (SELECT table, intDiv(toUnixTimestamp(event_time), {bucket:UInt32})"
                        " AS at, count() AS parts FROM system.part_log WHERE database = {database:String}"
                        " AND event_type = 'NewPart' AND event_time > now() - 86400 GROUP BY table, at) GROUP BY table",
                        bound,
                    )
                ],
                [],
            )
        # merged parts are kept for eight minutes, so all of the last five are there
        seen += [
            (str(name), int(parts) / BUCKET_S)
            for name, parts in self._rows(
                "SELECT table, count() FROM system.parts WHERE database = {database:String} AND level = 0"
                " AND modification_time > now() - {bucket:UInt32} GROUP BY table",
                bound,
            )
        ]
        if self._has("blocks"):
            seen += self._block_rates()
        found: dict[str, float] = {}
        for name, rate in seen:
            found[name] = max(rate, found.get(name, 0.0))
        return found

    def _block_rates(self) -> list[tuple[str, float]]:
        """Every block leaves one part at least in each table of its kind, and one in `blocks`."""
        buckets: dict[str, Counter[int]] = {"blocks": Counter()}
        for topic, at, blocks in self._rows(
            "SELECT topic, intDiv(toUnixTimestamp(inserted_at), {bucket:UInt32}) AS at, count()"
            f" FROM {table(self._database, 'blocks')} WHERE inserted_at > now() - 86400 GROUP BY topic, at",
            {"bucket": BUCKET_S},
        ):
            kind = str(topic).rpartition(".v")[0].rpartition(".")[2]
            for name in ("blocks", *(name for name, of in _DERIVED.items() if of == kind)):
                buckets.setdefault(name, Counter())[int(at)] += int(blocks)
        return [(name, max(counts.values()) / BUCKET_S) for name, counts in buckets.items() if counts]

    def _planned(self, contracts: Iterable[Contract]) -> dict[str, str]:
        """Views that a sink would make now, with their comments."""
        heads = [
            MetricHead(str(name), str(kind), str(unit), tuple(labels), TIERS[int(entry)].name)
            for name, kind, unit, labels, entry in self._rows(
                f"SELECT metric, type, unit, labels, entry FROM {table(self._database, 'metrics')} FINAL"
                " WHERE type NOT IN ('event', 'measure', 'distinct')"
            )
        ]
        ranges = current_ranges(self._client, self._database)
        return {one.name: one.full_comment for one in planned_views(heads, contracts, self._database, ranges=ranges)}

    def _reached(self) -> tuple[Reached, ...]:
        bound = {"region": self._region}
        newest: dict[tuple[str, int], Reached] = {}
        for topic, partition, offset, at_ms, life in (
            # of a topic that was made anew, the life that was written last
            *self._rows(
                "SELECT topic, partition, max(offset_to), toUnixTimestamp64Milli(max(committed_at)), incarnation"
                f" FROM {table(self._database, 'ledger')} WHERE region = {{region:String}}"
                " GROUP BY topic, partition, incarnation",
                bound,
            ),
            *self._rows(
                "SELECT topic, partition, max(block_to), toUnixTimestamp64Milli(max(inserted_at)), ''"
                f" FROM {table(self._database, 'blocks')} WHERE region = {{region:String}} GROUP BY topic, partition",
                bound,
            ),
        ):
            one = Reached(str(topic), int(partition), int(offset), int(at_ms), str(life))
            known = newest.get((one.topic, one.partition))
            if known is None or known.at_ms < one.at_ms:
                newest[one.topic, one.partition] = one
        return tuple(newest.values())


def _bare(name: str) -> str:
    """An identifier without its quotes."""
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith("`") else name
