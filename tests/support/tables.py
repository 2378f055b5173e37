"""Tables under test: the embedded engine behind the client of production, and blocks made by hand."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.histogram import histogram_of
from streamgauge.sinks.ddl import INSERT_SETTINGS, table
from streamgauge.sinks.retention import FOR_EVER, Retention
from streamgauge.sinks.views import ensure_views

T0 = 1_796_083_200  # 2026-12-01 00:00 UTC
KEPT = Retention(FOR_EVER, FOR_EVER, FOR_EVER, FOR_EVER, FOR_EVER, FOR_EVER, FOR_EVER)
REQUESTS = MetricHead("checkout_requests", "counter", "{request}", ("endpoint", "status"))
LATENCY = MetricHead("checkout_latency_seconds", "histogram", "s", ("endpoint",))
DEPTH = MetricHead("queue_depth", "gauge", "{item}", ("queue",))
ORDERS = Contract(
    "order_placed",
    1,
    {
        "country": Field("dimension"),
        "amount": Field("measure", "number", unit="{USD}"),
        "customer_id": Field("unique"),
        "note": Field("dropped"),
    },
)


class Engine:
    """The embedded engine behind the client that production uses."""

    def __init__(self, path: Path) -> None:
        import clickhouse_connect

        self._client: Any = clickhouse_connect.get_client(interface="chdb", path=str(path))

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> object:
        return self._client.command(sql, parameters=params)

    def query_rows(self, sql: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = self._client.query(sql, parameters=params).result_rows
        return rows

    def insert(self, name: str, frame: pl.DataFrame, **settings: object) -> None:
        buffer = io.BytesIO()
        frame.write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
        self._client.raw_insert(
            name, column_names=frame.columns, insert_block=buffer.getvalue(), settings=settings, fmt="ArrowStream"
        )

    def close(self) -> None:
        self._client.close()


@dataclass
class Store:
    """One database of the engine, migrated."""

    engine: Engine
    database: str

    def one(self, sql: str) -> Any:
        """The only value of a query in which `db.` stands for the database."""
        ((value,),) = self.rows(sql)
        return value

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.engine.query_rows(sql.replace("db.", f"`{self.database}`."))]

    def insert(self, rows: Sequence[Row], token: str) -> None:
        self.engine.insert(table(self.database, "rollups_landing"), landing(rows), **settings(token))

    def insert_hashes(self, rows: Sequence[tuple[Row, int]], token: str) -> None:
        frame = landing([row for row, _ in rows]).drop("count", "sum", "min", "max", "last_ms", "last", "hist", "topic")
        frame = frame.with_columns(
            pl.Series("hash", [value for _, value in rows], pl.UInt64), pl.lit("sg.eu.distinct.v1").alias("topic")
        )
        self.engine.insert(table(self.database, "distinct_landing"), frame, **settings(token))

    def name(self, family: str, series_id: int, labels: Mapping[str, str]) -> None:
        """Say what a series is called."""
        self.engine.command(
            f"INSERT INTO {table(self.database, 'series')} (family, series_id, labels)"
            " SELECT {family:String}, {id:UInt64}, mapFromArrays({names:Array(String)}, {values:Array(String)})",
            {"family": family, "id": series_id, "names": list(labels), "values": list(labels.values())},
        )

    def ensure(self, heads: Sequence[MetricHead] = (), contracts: Sequence[Contract] = ()) -> list[str]:
        return ensure_views(self.engine, self.database, heads, contracts)


@dataclass(frozen=True)
class Row:
    """A row of a block, with the defaults of a counter that was called once."""

    metric: str
    series_id: int
    window: int
    count: int = 1
    sum: float = 1.0
    min: float = 0.0
    max: float = 0.0
    last_ms: int = 0
    last: float = 0.0
    hist: Mapping[int, int] = field(default_factory=dict[int, int])
    entry: int = 0
    version: int = 1


def observed(metric: str, series_id: int, window: int, values: Sequence[float], entry: int = 0) -> Row:
    return Row(
        metric,
        series_id,
        window,
        len(values),
        math.fsum(values),
        min(values),
        max(values),
        hist=histogram_of(values),
        entry=entry,
    )


def landing(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "materialization_version": pl.Series([r.version for r in rows], dtype=pl.UInt16),
            "metric": [r.metric for r in rows],
            "series_id": pl.Series([r.series_id for r in rows], dtype=pl.UInt64),
            "entry": pl.Series([r.entry for r in rows], dtype=pl.UInt8),
            "window": pl.Series([r.window for r in rows], dtype=pl.UInt32),
            "count": pl.Series([r.count for r in rows], dtype=pl.UInt64),
            "sum": pl.Series([r.sum for r in rows], dtype=pl.Float64),
            "min": pl.Series([r.min for r in rows], dtype=pl.Float64),
            "max": pl.Series([r.max for r in rows], dtype=pl.Float64),
            "last_ms": pl.Series([r.last_ms for r in rows], dtype=pl.Int64),
            "last": pl.Series([r.last for r in rows], dtype=pl.Float64),
            "hist": pl.Series(
                [[(key + 32_768) << 48 | count for key, count in r.hist.items()] for r in rows],
                dtype=pl.List(pl.UInt64),
            ),
            "topic": ["sg.eu.rollups.v1"] * len(rows),
            "partition": pl.Series([0] * len(rows), dtype=pl.UInt16),
            "block_from": pl.Series([10] * len(rows), dtype=pl.UInt64),
            "block_to": pl.Series([20] * len(rows), dtype=pl.UInt64),
            "region": ["eu"] * len(rows),
        }
    )


def settings(token: str) -> dict[str, object]:
    return {**INSERT_SETTINGS, "insert_deduplication_token": token}


def within(found: float, wanted: float) -> bool:
    return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
