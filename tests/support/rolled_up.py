"""Rolled up: an embedded ClickHouse that takes what a captured producer sent, through the worker's and the sink's own steps.

No broker and no process: for tests of what people read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from streamgauge.processors.accumulator import Accumulator, Place, Tools
from streamgauge.processors.outputs import OutputPolicy, outputs
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.sequences import Sequences
from streamgauge.processors.series import SeriesIndex
from streamgauge.producers.testing import Captured
from streamgauge.schemas import ledger as ledgers
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.rollups import RollupMessage, decode_rollups
from streamgauge.schemas.scrubbed_events import decode_scrubbed
from streamgauge.schemas.settings import Secret
from streamgauge.schemas.topics import DISTINCT, LEDGER, ROLLUPS, SCRUBBED
from streamgauge.sinks import ranges
from streamgauge.sinks.blocks import Insert, metrics_of, rollup_insert
from streamgauge.sinks.catalog import Catalog
from streamgauge.sinks.ddl import INSERT_SETTINGS, table
from streamgauge.sinks.event_blocks import event_insert
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.retention import Retention
from streamgauge.sinks.store import Store, StoreAddress

REGION = "test"


class LocalStore(Store):
    """The sink's store over the engine in this process."""

    def __init__(self, path: Path, database: str) -> None:
        import clickhouse_connect

        super().__init__(StoreAddress("http://127.0.0.1:0", "default", Secret(""), database))
        self.engine: Any = clickhouse_connect.get_client(interface="chdb", path=str(path))

    def beside(self, database: str) -> LocalStore:
        """Another database over the same engine: a process can have only one."""
        other = copy(self)
        other.address = replace(self.address, database=database)
        return other

    def _client(self) -> Any:
        return self.engine

    def insert_block(self, one: Insert, token: str) -> None:
        """Insert a block under its token."""
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        name = table(self.address.database, one.table)
        self.engine.raw_insert(name, list(one.columns), one.data, settings=settings, fmt="Native")


class RolledUp:
    """A database with tables and views, and the ledger entries of everything that was taken. Blocks are of `place`."""

    place = ranges.Place(REGION, ROLLUPS.name(REGION), "test", 0)

    def __init__(self, path: Path, database: str, contracts: Sequence[Contract]) -> None:
        self.database = database
        self.store = LocalStore(path, database)
        self.contracts = {(one.name, one.version): one for one in contracts}
        self.entries: list[ledgers.LedgerEntry] = []
        self._offsets = count()
        self._tools = Tools(Scrubber(), DistinctHasher(b"0" * 32, REGION))
        migrate(self.store, Retention(), database)
        self._catalog = Catalog(self.store, lambda: self.contracts)
        self._catalog.load()

    def take(self, messages: Sequence[Captured], now_ms: int) -> None:
        """Roll up and store raw messages as one transaction of one partition."""
        accumulator = Accumulator(Place(REGION, "raw", 0), self._tools)
        first = self.entries[-1].end if self.entries else 0
        for offset, message in enumerate(messages, first):
            accumulator.sequences = Sequences()  # producers that are captured all have one name: nothing is a repeat
            accumulator.add(offset, message.value, self.contracts, now_ms, lambda _: False)
        policy = OutputPolicy(rollup_partitions=1, distinct_partitions=1, event_partitions=1)
        found, entry = outputs(accumulator, first, first + len(messages), SeriesIndex(), policy, now_ms)
        for topic in (ROLLUPS, DISTINCT):
            values = [decode_rollups(one.value) for one in found if one.topic == topic.name(REGION)]
            if values:
                self._insert(topic.name(REGION), values)
        if single := [decode_scrubbed(one.value) for one in found if one.topic == SCRUBBED.name(REGION)]:
            block = self._block(SCRUBBED.name(REGION))
            self.store.insert_block(event_insert(single, block), block.token)
        letters = [one for one in found if one.topic == LEDGER.name(REGION)]
        self.entries += [ledgers.decode_ledger(one.value) for one in letters]
        self.store.insert_ledger([entry], f"ledger-{first}")

    def _insert(self, topic: str, values: list[RollupMessage]) -> None:
        labels = {label.series_id: label for one in values for label in one.labels}
        self._catalog.add_series(labels)
        self._catalog.add_metrics(metrics_of(values))
        block = self._block(topic)
        self.store.insert_block(rollup_insert(values, block), block.token)

    def _block(self, topic: str) -> ranges.Range:
        start = next(self._offsets)
        return ranges.Range(replace(self.place, topic=topic), start, start + 1)

    def rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Rows of a query."""
        return self.store.query_rows(sql, params)

    async def query(self, sql: str, params: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The same, as the page asks."""
        return self.rows(sql, params)

    def close(self) -> None:
        """Let the engine go."""
        self.store.engine.close()
