"""What a row costs in the store: CPU from the landing table through four tiers, bytes, queries; and what was not chosen.

Every variant is the shipped script with something else in it, fed with the same blocks, one thread, merges left to run
until the store is quiet. The floor is the insert of the same blocks into one plain MergeTree.
"""

from __future__ import annotations

import importlib
import io
import resource
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.windows import TIER_NAMES
from streamgauge.sinks.ddl import INSERT_SETTINGS, statements
from streamgauge.sinks.functions import FUNCTIONS, creation
from streamgauge.sinks.migrations import shipped
from streamgauge.sinks.views import planned_views
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.report import Figure

DATABASE = "bench"
T0 = 1_796_083_200
BUCKETS = 12
KEY = "materialization_version, metric, series_id, window"
HIST = "hist SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(ZSTD(1))"
APPENDED = "hist SimpleAggregateFunction(groupArrayArray, Array(UInt64)) CODEC(ZSTD(1))"
UNPACKED = (
    "CAST(arrayMap(cell -> (toInt16(toInt32(bitShiftRight(cell, 48)) - 32768), "
    "bitAnd(cell, 281474976710655)), hist), 'Map(Int16, UInt64)') AS hist"
)

Script = list[str]
Change = Callable[[Script], Script]


class Engine:
    """The embedded engine, one thread a query."""

    def __init__(self, path: str) -> None:
        chdb: Any = importlib.import_module("chdb")  # untyped
        self._connection: Any = chdb.connect(path)
        for setting in ("max_threads = 1", "max_insert_threads = 1"):
            self.run(f"SET {setting}")

    def run(self, sql: str) -> str:
        return str(self._connection.query(sql, "TSV")).strip()

    def insert(self, table: str, data: bytes, token: str, **changed: object) -> None:
        given = {**INSERT_SETTINGS, **changed, "insert_deduplication_token": token}
        words = ", ".join(f"{name} = '{value}'" for name, value in given.items())
        insert = self._connection.send_insert(f"INSERT INTO {table} SETTINGS {words}", "ArrowStream")
        insert.append(data)
        insert.finish()

    def rest(self) -> None:
        """Wait until nothing has been merged for two seconds."""
        quiet = 0
        while quiet < 20:
            time.sleep(0.1)
            quiet = quiet + 1 if self.run("SELECT count() FROM system.merges") == "0" else 0

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Block:
    """An encoded block."""

    data: bytes
    rows: int
    points: int


@dataclass(frozen=True)
class Case:
    """One variant of the tables, and how it is fed."""

    name: str
    change: Change = list
    histogram: bool = True
    merged_at_insert: int = 0
    mixed: bool = False
    backfill: bool = False


def cpu() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def live_block(second: int, series: int, case: Case) -> Block:
    """What a sink inserts a second: every series once, in the current window (or, backfilled, an hour of few series)."""
    draw = np.random.default_rng(second)
    ids = np.sort(np.random.default_rng(0).integers(1, 2**63, series, dtype=np.uint64))
    windows = np.full(series, T0 + second // 10 * 10)
    if case.backfill:
        ids = np.repeat(ids[: series // 360], 360)
        windows = T0 + 3_600 * second + np.tile(np.arange(360) * 10, series // 360)
    rows = len(ids)
    scale = draw.normal(-2.3, 0.2, rows)
    count = draw.poisson(20, rows).astype(np.uint64) + 1
    keys = np.floor(scale * 46).astype(np.int64)[:, None] + draw.integers(0, 3, (rows, 1)) + np.arange(BUCKETS) * 3
    cells = (keys + 16_384 + 32_768).astype(np.uint64) << np.uint64(48) | draw.integers(
        1, 4, (rows, BUCKETS), dtype=np.uint64
    )
    packed = pl.Series(cells, dtype=pl.Array(pl.UInt64, BUCKETS)).cast(pl.List(pl.UInt64))
    frame = pl.DataFrame(
        {
            "materialization_version": np.ones(rows, np.uint16),
            "metric": pl.repeat("checkout_latency_seconds", rows, eager=True),
            "series_id": ids,
            "entry": (np.arange(rows) % 4 if case.mixed else np.zeros(rows)).astype(np.uint8),
            "window": windows.astype(np.uint32),
            "count": count,
            "sum": count * np.exp(scale),
            "min": np.exp(scale - 0.7),
            "max": np.exp(scale + 0.7),
            "last_ms": np.zeros(rows, np.int64),
            "last": np.zeros(rows),
            "hist": packed if case.histogram else packed.list.head(0),
            "topic": pl.repeat("sg.eu.rollups.v1", rows, eager=True),
            "partition": np.zeros(rows, np.uint16),
            "block_from": np.full(rows, second, np.uint64),
            "block_to": np.full(rows, second + 1, np.uint64),
            "region": pl.repeat("eu", rows, eager=True),
        }
    )
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
    return Block(buffer.getvalue(), rows, int(count.sum()))


def replaced(script: Script, old: str, new: str, tiers: Sequence[int] = range(4)) -> Script:
    """The script with another text in the statements of some tiers; it must have been there."""
    out: Script = []
    for statement in script:
        of_tier = any(f"rollups_{TIER_NAMES[tier]}\n" in f"{statement}\n" for tier in tiers) or any(
            f"rollups_{TIER_NAMES[tier]}_feed " in statement for tier in tiers
        )
        out.append(statement.replace(old, new) if of_tier else statement)
    if out == script:
        raise BenchmarkFailed(f"the shipped script has no {old!r} any more: change this benchmark with it")
    return out


def appended(*tiers: int) -> Change:
    """Histograms are appended in some tiers instead of added up."""
    return lambda script: replaced(replaced(script, HIST, APPENDED, tiers), UNPACKED, "hist", tiers)


def chained(script: Script) -> Script:
    """Each tier is fed by the one before it, and by the landing table for rows that enter there."""
    out: Script = []
    for statement in script:
        tier = next((n for n, name in enumerate(TIER_NAMES) if f".rollups_{name}_feed TO" in statement), 0)
        out.append(statement.replace("entry <=", "entry =") if tier else statement)
        if tier:
            before = f"{DATABASE}.rollups_{TIER_NAMES[tier - 1]}"
            links = (
                statement.replace("_feed TO", "_link TO").replace(UNPACKED, "hist").replace("(last_ms, last) AS", "")
            )
            out.append(links.split("FROM ")[0] + f"FROM {before}")
    return out


def grouped(*tiers: int) -> Change:
    """The views of some tiers merge their rows before they insert them."""

    def change(script: Script) -> Script:
        out: Script = []
        for statement in script:
            if any(f".rollups_{TIER_NAMES[tier]}_feed TO" in statement for tier in tiers):
                head, body = statement.split(" AS\nSELECT", 1)
                sums = (
                    "sum(r.count) AS count, sum(r.sum) AS sum, min(r.min) AS min, max(r.max) AS max, "
                    "max(r.last) AS last, sumMap(r.hist) AS hist"
                )
                statement = f"{head} AS\nSELECT {KEY}, {sums} FROM (SELECT{body}) AS r GROUP BY {KEY}"
            out.append(statement)
        return out

    return change


def widened(columns: int, labels: bool = False) -> Change:
    """Rows carry context columns, and a map of labels, through all tiers."""
    names = [f"c{n}" for n in range(columns)]
    kinds = [f"{name} SimpleAggregateFunction(anyLast, LowCardinality(String))" for name in names]
    values = [f"toLowCardinality(concat('v', toString(series_id % {7 + n}))) AS {name}" for n, name in enumerate(names)]
    if labels:
        kinds.append("labels SimpleAggregateFunction(anyLast, Map(String, String))")
        values.append("map('endpoint', concat('/e', toString(series_id % 500)), 'status', '200') AS labels")

    def change(script: Script) -> Script:
        wide = replaced(script, f"    {HIST}", f"    {', '.join(kinds)},\n    {HIST}")
        return replaced(wide, f"    {UNPACKED}", f"    {', '.join(values)},\n    {UNPACKED}")

    return change


CODECS: tuple[tuple[str, Change], ...] = (
    ("LZ4 everywhere", lambda s: replaced(_plain(s), HIST, HIST.removesuffix(" CODEC(ZSTD(1))"))),
    ("as shipped: DoubleDelta window, T64 count, ZSTD(1) hist", list),
    ("and Gorilla for sum, min, max", lambda s: _floats(s, "Gorilla, LZ4")),
    ("and ZSTD(1) for sum, min, max", lambda s: _floats(s, "ZSTD(1)")),
    ("and ZSTD(3) for hist", lambda s: replaced(s, HIST, HIST.replace("ZSTD(1)", "ZSTD(3)"))),
)


def _plain(script: Script) -> Script:
    return replaced(replaced(script, " CODEC(DoubleDelta, LZ4)", ""), " CODEC(T64, LZ4)", "")


def _floats(script: Script, codec: str) -> Script:
    for name in ("sum", "min", "max"):
        column = f"    {name} SimpleAggregateFunction({name}, Float64)"
        script = replaced(script, column, f"{column} CODEC({codec})")
    return script


CASES = (
    Case("as shipped, 12 buckets a row"),
    Case("as shipped, no histogram", histogram=False),
    Case("as shipped, an hour of old windows", backfill=True),
    Case("as shipped, entry tiers mixed", mixed=True),
    Case("tiers fed by one another", chained),
    Case("tiers fed by one another, entry tiers mixed", chained, mixed=True),
    Case("rows merged again at insert", merged_at_insert=1),
    Case("GROUP BY in the views of 1h and 1d", grouped(2, 3)),
    Case("histograms appended in 10s", appended(0)),
    Case("histograms appended in 10s and 1m", appended(0, 1)),
    Case("3 context columns in the rows", widened(3)),
    Case("9 context columns in the rows", widened(9)),
    Case("9 context columns and labels in the rows", widened(9, labels=True)),
)


@contextmanager
def engine() -> Generator[Engine]:
    """An engine in a directory of its own."""
    with tempfile.TemporaryDirectory() as path:
        opened = Engine(path)
        try:
            yield opened
        finally:
            opened.close()


def prepare(store: Engine, change: Change = list) -> None:
    """An empty database with the tables of a variant."""
    store.run(f"DROP DATABASE IF EXISTS {DATABASE}")
    store.run(f"CREATE DATABASE {DATABASE}")
    for statement in change([one.replace(f"`{DATABASE}`", DATABASE) for one in statements(shipped()[0].up, DATABASE)]):
        store.run(statement)


def tiers_of(store: Engine) -> list[tuple[str, int, int, float]]:
    """Table, rows, parts and bytes a row of every tier."""
    rows = store.run(
        "SELECT table, sum(rows), count(), sum(data_compressed_bytes) / sum(rows) FROM system.parts"
        f" WHERE active AND database = '{DATABASE}' AND startsWith(table, 'rollups') GROUP BY table"
        f" ORDER BY indexOf({list(TIER_NAMES)}, splitByChar('_', table)[2])"
    )
    cells = [line.split("\t") for line in rows.splitlines()]
    return [(name, int(count), int(parts), float(size)) for name, count, parts, size in cells]


def feed(store: Engine, case: Case, blocks: Sequence[Block]) -> tuple[float, float, int]:
    """CPU µs a row of the inserts alone and with all merges, and the parts that the inserts wrote."""
    rows = sum(block.rows for block in blocks)
    prepare(store, case.change)
    for tier in TIER_NAMES:
        store.run(f"SYSTEM STOP MERGES {DATABASE}.rollups_{tier}")
    start = cpu()
    for n, block in enumerate(blocks):
        store.insert(f"{DATABASE}.rollups_landing", block.data, str(n), optimize_on_insert=case.merged_at_insert)
    inserted = cpu() - start
    parts = sum(one[2] for one in tiers_of(store))
    points, held = (
        sum(block.points for block in blocks),
        int(store.run(f"SELECT sum(count) FROM {DATABASE}.rollups_1d")),
    )
    if held != points:
        raise BenchmarkFailed(f"{case.name}: {held} of {points} points reached rollups_1d")
    start = cpu()
    for tier in TIER_NAMES:
        store.run(f"SYSTEM START MERGES {DATABASE}.rollups_{tier}")
    store.rest()
    for tier in TIER_NAMES:
        store.run(f"OPTIMIZE TABLE {DATABASE}.rollups_{tier} FINAL")
    return inserted / rows * 1e6, (inserted + cpu() - start) / rows * 1e6, parts


def bare(store: Engine, blocks: Sequence[Block]) -> float:
    """CPU µs a row of the same blocks into one plain table."""
    prepare(store)
    columns = store.run(
        f"SELECT concat(name, ' ', type) FROM system.columns WHERE database = '{DATABASE}'"
        " AND table = 'rollups_landing' FORMAT TSVRaw"
    )
    store.run(f"CREATE TABLE {DATABASE}.plain ({', '.join(columns.splitlines())}) ENGINE = MergeTree ORDER BY ({KEY})")
    store.run(f"SYSTEM STOP MERGES {DATABASE}.plain")
    start = cpu()
    for n, block in enumerate(blocks):
        store.insert(f"{DATABASE}.plain", block.data, str(n))
    return (cpu() - start) / sum(block.rows for block in blocks) * 1e6


def rows_cost(store: Engine, options: Options) -> Iterator[Figure]:
    """CPU a row through four tiers, of every variant."""
    series, seconds = options.sized(50_000, 5_000), options.sized(20, 4)
    for case in CASES:
        blocks = [live_block(second, series, case) for second in range(seconds)]
        floor = min(bare(store, blocks) for _ in range(2))
        inserted, everything, parts = feed(store, case, blocks)
        budget = "≤ 10 µs" if case is CASES[0] else ""
        yield Figure(case.name, "insert", inserted, "µs CPU a row", floor, "one plain table")
        yield Figure(case.name, "insert and all merges", everything, "µs CPU a row", budget=budget)
        yield Figure(case.name, "parts", parts / seconds, "a block")
        if not case.mixed:
            for name, _, _, size in tiers_of(store):
                yield Figure(case.name, name, size, "bytes a row")


def codecs(store: Engine, options: Options) -> Iterator[Figure]:
    """Bytes of a row of a filled tier: many windows a series, as they lie in a month-old part."""
    series, hours = options.sized(200, 20), 4
    case = Case("", backfill=True)
    blocks = [live_block(hour, series * 360, case) for hour in range(hours)]
    for name, change in CODECS:
        _, everything, _ = feed(store, Case(name, change, backfill=True), blocks)
        yield Figure(f"codecs: {name}", "rollups_10s", tiers_of(store)[0][3], "bytes a row")
        yield Figure(f"codecs: {name}", "insert and all merges", everything, "µs CPU a row")
        start = cpu()
        store.run(f"SELECT sumMap(hist) FROM {DATABASE}.rollups_10s")
        yield Figure(
            f"codecs: {name}", "adding up hist", (cpu() - start) / sum(b.rows for b in blocks) * 1e6, "µs CPU a row"
        )


ORDERS = Contract(
    "order_placed",
    1,
    {"country": Field("dimension"), "amount": Field("measure", "number"), "customer_id": Field("unique")},
)
HEADS = (
    MetricHead("checkout_requests", "counter", labels=("endpoint",)),
    MetricHead("checkout_latency_seconds", "histogram", labels=("endpoint",)),
)
QUESTIONS = (
    ("requests by minute", "SELECT window, sum(value) FROM {}.checkout_requests_1m GROUP BY window"),
    (
        "error rate by minute and endpoint in APAC",
        "SELECT window, endpoint, sumIf(value, status >= '500') / sum(value) FROM {}.checkout_requests_1m"
        " WHERE region_group = 'APAC' GROUP BY window, endpoint",
    ),
    ("requests of one endpoint", "SELECT sum(value) FROM {}.checkout_requests_1m WHERE endpoint = '/e7'"),
    (
        "p99 by endpoint",
        "SELECT endpoint, sg_quantile(0.99, sumMap(hist)) FROM {}.checkout_latency_seconds_1m GROUP BY endpoint",
    ),
    ("revenue by country", "SELECT country, sum(amount_sum) FROM {}.order_placed_1m GROUP BY country"),
    (
        "median by country",
        "SELECT country, sg_quantile(0.5, sumMap(amount_hist)) FROM {}.order_placed_1m GROUP BY country",
    ),
    ("customers by country", "SELECT country, uniqCombined64Merge(customers) FROM {}.order_placed_1m GROUP BY country"),
)


def queries(store: Engine, options: Options) -> Iterator[Figure]:
    """Questions over an hour of minutes of 100,000 series, the views as people read them."""
    series, minutes = options.sized(100_000, 2_000), 60
    prepare(store)
    for migration in shipped()[1:]:
        for statement in statements(migration.up, DATABASE):
            store.run(statement)
    for name in FUNCTIONS:
        store.run(creation(name, replace=True))
    for view in planned_views(HEADS, [ORDERS], DATABASE):
        store.run(view.statement(DATABASE))
    cells = ", ".join(f"toInt16(16250 + {2 * n} + number % 50), toUInt64(1)" for n in range(BUCKETS))
    for metric, hist in (
        ("checkout_requests", "map()"),
        ("checkout_latency_seconds", f"map({cells})"),
        ("order_placed", "map()"),
        ("order_placed.amount", f"map({cells})"),
    ):
        for start in range(0, minutes, 10):
            store.run(
                f"INSERT INTO {DATABASE}.rollups_1m SELECT 1, '{metric}', cityHash64(intDiv(number, 10)),"
                f" toDateTime({T0} + 60 * ({start} + number % 10), 'UTC'), 5, 7.5, 1, 3, (0, 0),"
                f" CAST({hist}, 'Map(Int16, UInt64)') FROM numbers({series * 10})"
            )
    store.run(
        f"INSERT INTO {DATABASE}.distinct_1m SELECT 1, 'order_placed.customer_id', cityHash64(number % {series}) AS id,"
        f" toDateTime({T0} + 60 * (number % 60), 'UTC') AS at, uniqCombined64State(cityHash64(number))"
        f" FROM numbers({series * 3}) GROUP BY id, at"
    )
    for family in ("checkout_requests", "checkout_latency_seconds", "order_placed"):
        store.run(
            f"INSERT INTO {DATABASE}.series (family, series_id, labels) SELECT '{family}', cityHash64(number),"
            " map('service', concat('s', toString(number % 20)), 'endpoint', concat('/e', toString(number % 500)),"
            " 'region', ['ap-southeast-2', 'eu-central-1'][number % 2 + 1], 'status', ['200', '503'][number % 3 % 2 + 1],"
            f" 'country', ['JP', 'NZ'][number % 2 + 1]) FROM numbers({series})"
        )
    store.run(f"OPTIMIZE TABLE {DATABASE}.rollups_1m FINAL")
    for name, question in QUESTIONS:
        sql = question.format(DATABASE)
        took: list[tuple[float, float]] = []
        for _ in range(3):
            wall, used = time.perf_counter(), cpu()
            store.run(sql)
            took.append((cpu() - used, time.perf_counter() - wall))
        yield Figure(f"{series:,} series, 60 minutes: {name}", "CPU", min(took)[0] * 1e3, "ms")
        yield Figure(f"{series:,} series, 60 minutes: {name}", "wall, one thread", min(took)[1] * 1e3, "ms")


def run(options: Options) -> Iterator[Figure]:
    """All of it."""
    with engine() as store:
        yield from rows_cost(store, options)
        yield from codecs(store, options)
        yield from queries(store, options)
