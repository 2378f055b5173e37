"""Sink: rows a second from the rollups topic into four tiers, beside bare inserts of the very same blocks.

Every row is what the worker makes of a histogram with twelve buckets, entering at 10 s, all in one partition of the topic.
Three bare inserts stand beside it, each over the same door with the same client: into a table that keeps nothing, into one
plain MergeTree table, and into the landing table with its four tiers.

Two rates: until the last insert is acknowledged, and until the store has also merged what was inserted. Only the second one
can be kept up; a bare insert leaves most merges for later, and a sink that shares two cores with broker and store does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from streamgauge.processors.accumulator import Accumulator, Place, Tools
from streamgauge.processors.outputs import OutputPolicy, outputs
from streamgauge.processors.policy import TimePolicy
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.batches import MetricHead, Origin, Point, encode_metrics
from streamgauge.schemas.histogram import Buckets, histogram_of
from streamgauge.schemas.rollups import RollupMessage, decode_rollups, encode
from streamgauge.schemas.settings import Secret
from streamgauge.schemas.topics import METRICS, ROLLUPS
from streamgauge.schemas.windows import TIER_NAMES
from streamgauge.sinks.blocks import BlockPolicy, Insert, rollup_insert
from streamgauge.sinks.ranges import Place as StoredPlace
from streamgauge.sinks.ranges import Range
from streamgauge.sinks.store import Store, StoreAddress
from tests.benchmarks.backlog import Record, produce, wait_for_commits
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.processes import MIB, held_still, settle, settled, usage
from tests.benchmarks.regions import PATIENT, command, region
from tests.benchmarks.report import Figure
from tests.benchmarks.spy import spied
from tests.support.deployment import DATABASE, Deployment
from tests.support.kafka import KafkaBroker

REGION = "sink"
BARE = "bare"
SERIES = 1_000
OBSERVATIONS = 24
WINDOWS_A_COMMIT = 10
COMMITS = 10
HEAD = MetricHead("latency_seconds", "histogram", "s", ("endpoint", "status"))
STRIDE = 1_009
KINDS = 9_973
"""Different distributions; a prime, so that neighbours in time and in series differ."""
TARGETS = {"nothing": "Null table", "plain": "MergeTree table", "rollups_landing": "landing, four tiers"}


@dataclass(frozen=True, slots=True)
class Rollups:
    """Messages of the rollups topic, what they hold, and how many rows the store will get."""

    records: list[Record]
    rows: int
    points: int


@dataclass(frozen=True, slots=True)
class Inserted:
    """What it took to get rows into the store; `merged_s` and the store's CPU until its merges had ended, too."""

    seconds: float
    merged_s: float
    client_cpu_s: float
    store_cpu_s: float


def distributions() -> list[tuple[Buckets, float, float, float]]:
    """Some sets of observations as histogram, sum, least and greatest: twelve buckets each, more or less."""
    random = np.random.default_rng(1)
    made: list[tuple[Buckets, float, float, float]] = []
    for _ in range(KINDS):
        values = [float(value) for value in random.lognormal(random.uniform(-4, 0), 0.09, OBSERVATIONS)]
        made.append((histogram_of(values), sum(values), min(values), max(values)))
    return made


def flush(kinds: Sequence[tuple[Buckets, float, float, float]], window_ms: int, number: int) -> bytes:
    """One point of every series in one window."""
    points: list[Point] = []
    for one in range(SERIES):
        buckets, total, low, high = kinds[(one * 31 + number) % KINDS]
        points.append(Point(one, window_ms, OBSERVATIONS, total, low, high, high, window_ms + 9_000, buckets))
    series = [(0, f"/endpoint/{s // 4}", str(200 + s % 4)) for s in range(SERIES)]
    context = {"service": "shop", "environment": "production", "instance": "benchmark"}
    return encode_metrics(Origin(context, "benchmark", 1, number), [HEAD], series, points)


def rollups(commits: int, start_ms: int, first: int = 0) -> Rollups:
    """What a worker sends in `commits` transactions, each of all series in some windows."""
    tools = Tools(Scrubber(), DistinctHasher(b"benchmark" * 4, REGION), TimePolicy())
    index = SeriesIndex()
    now_ms = time.time_ns() // 1_000_000
    kinds = distributions()
    records: list[Record] = []
    for commit in range(first, first + commits):
        accumulator = Accumulator(Place(REGION, METRICS.name(REGION), 0), tools)
        begin = commit * WINDOWS_A_COMMIT
        for offset in range(begin, begin + WINDOWS_A_COMMIT):
            accumulator.add(offset, flush(kinds, start_ms + offset * 10_000, offset), {}, now_ms, hold=lambda _: False)
        if accumulator.refused:
            raise BenchmarkFailed(f"the worker refuses what it should count: {dict(accumulator.refused)}")
        made, _ = outputs(accumulator, begin, begin + WINDOWS_A_COMMIT, index, OutputPolicy(), now_ms)
        topic = ROLLUPS.name(REGION)
        records += [Record(b"", one.value, one.partition) for one in made if one.topic == topic]
    rows = commits * WINDOWS_A_COMMIT * SERIES
    return Rollups(records, rows, rows * OBSERVATIONS)


def later(load: Rollups, turn: int) -> Rollups:
    """The same rows in windows that follow, with each other's values: the store must not find the same row twice."""
    shift_s = turn * load.rows // SERIES * 10
    records: list[Record] = []
    for one in load.records:
        message = decode_rollups(one.value)
        rows = message.rows
        values = rows.take(np.roll(np.arange(len(rows)), turn * STRIDE))
        window = rows.window + np.uint32(shift_s)
        moved = replace(values, metric=rows.metric, series_id=rows.series_id, entry=rows.entry, window=window)
        records.append(replace(one, value=encode(replace(message, rows=moved))))
    return replace(load, records=records)


def together(loads: Sequence[Rollups]) -> Rollups:
    """One after another."""
    records = [one for load in loads for one in load.records]
    return Rollups(records, sum(one.rows for one in loads), sum(one.points for one in loads))


def in_one(load: Rollups) -> Rollups:
    """All in the first partition: what is compared is one stream of blocks."""
    return replace(load, records=[replace(one, partition=0) for one in load.records])


def by_partition(records: Sequence[Record]) -> list[list[Record]]:
    """The messages of each partition of the rollups topic that has any."""
    found = [[one for one in records if one.partition == p] for p in range(ROLLUPS.partitions)]
    return [messages for messages in found if messages]


def blocks(records: Sequence[Record], number: int) -> list[Insert]:
    """One partition's messages as the blocks that the sink would make if it made them as large as it may."""
    place = StoredPlace(REGION, ROLLUPS.name(REGION), "benchmark", number)
    policy = BlockPolicy()
    made: list[Insert] = []
    start = rows = size = 0
    messages: list[RollupMessage] = []
    for offset, one in enumerate(records):
        message = decode_rollups(one.value)
        if messages and (rows + len(message.rows) > policy.max_rows or size + len(one.value) > policy.max_bytes):
            made.append(rollup_insert(messages, Range(place, start, offset)))
            messages, start, rows, size = [], offset, 0, 0
        messages.append(message)
        rows, size = rows + len(message.rows), size + len(one.value)
    made.append(rollup_insert(messages, Range(place, start, len(records))))
    return made


def insert_bare(store: Store, parts: Sequence[Sequence[Insert]], table: str, pid: int) -> Inserted:
    """Insert the blocks of each partition in a thread of its own."""

    def insert(number: int) -> None:
        for position, one in enumerate(parts[number]):
            store.insert_block(replace(one, table=table), f"bare-{table}-{number}-{position}-{time.time_ns()}")

    before, cpu, started = settle(pid).cpu_s, time.process_time(), time.monotonic()
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(insert, range(len(parts))))
    seconds, client = time.monotonic() - started, time.process_time() - cpu
    after, quiet = settled(pid)
    return Inserted(seconds, max(seconds, quiet - started), client, after.cpu_s - before)


def bare_store(parts: Deployment) -> Store:
    """A database like the product's, with two simpler tables beside."""
    command(parts, "migrate", "--database", BARE)
    store = Store(StoreAddress(f"http://127.0.0.1:{parts.port}", "default", Secret(""), BARE))
    store.command(f"CREATE TABLE {BARE}.nothing AS {BARE}.rollups_landing ENGINE = Null")
    store.command(
        f"CREATE TABLE {BARE}.plain AS {BARE}.rollups_landing "
        "ENGINE = MergeTree ORDER BY (materialization_version, metric, series_id, window)"
    )
    return store


def insert_by_sink(
    parts: Deployment, bootstrap: str, warm: Rollups, load: Rollups, profile: bool
) -> tuple[Inserted, int]:
    """Let a sink, held still until the backlog is there, store it; also its peak memory."""
    topic, part, store_pid = ROLLUPS.name(REGION), parts.start_sink(session_timeout=PATIENT), parts.parts["store"].pid

    def alive() -> bool:
        return part.poll() is None

    def wait(*loads: Rollups) -> None:
        sizes = [len(messages) for messages in by_partition([r for one in loads for r in one.records])]
        wait_for_commits(bootstrap, f"sg-{REGION}-sink", topic, dict(enumerate(sizes)), alive)

    try:
        produce(bootstrap, topic, warm.records)
        wait(warm)
        settle(part.pid)
        settle(store_pid)
        with held_still(part):
            produce(bootstrap, topic, load.records)
            before, store_before, started = usage(part.pid), usage(store_pid), time.monotonic()
        with spied(part.pid, profile) as profiles:
            wait(warm, load)
    except BenchmarkFailed as failure:
        raise BenchmarkFailed(f"{failure}\n{parts.log('sink')[-3000:]}") from failure
    seconds, after = time.monotonic() - started, usage(part.pid)
    store_after, quiet = settled(store_pid)
    took = Inserted(
        seconds,
        max(seconds, quiet - started),
        after.cpu_s - before.cpu_s,
        store_after.cpu_s - store_before.cpu_s,
    )
    print(*profiles, sep="\n", end="\n" if profiles else "")
    return took, after.peak_bytes


def run(options: Options) -> Iterator[Figure]:
    """Bare inserts first, then the sink, on one store."""
    start_ms = (time.time_ns() // 86_400_000_000_000) * 86_400_000 - 86_400_000
    warm, first = in_one(rollups(2, start_ms)), in_one(rollups(COMMITS, start_ms, first=2))
    load = together([later(first, turn) for turn in range(options.sized(30, 2))])
    with KafkaBroker() as broker, region(broker.bootstrap, REGION, store=True) as parts:
        yield from measured(parts, broker.bootstrap, warm, load, options.profile)


def measured(parts: Deployment, bootstrap: str, warm: Rollups, load: Rollups, profile: bool) -> Iterator[Figure]:
    """The figures, best-known floor last."""
    began = time.process_time()
    made = [blocks(records, number) for number, records in enumerate(by_partition(load.records))]
    making_us = (time.process_time() - began) / load.rows * 1e6
    store, pid = bare_store(parts), parts.parts["store"].pid
    insert_bare(store, made, "rollups_landing", pid)  # the first one warms the store up
    bare = {table: insert_bare(store, made, table, pid) for table in TARGETS}
    sunk, peak = insert_by_sink(parts, bootstrap, warm, load, profile)
    if (found := parts.points("1d")) != warm.points + load.points:
        raise BenchmarkFailed(f"the store has {found:,} points of {warm.points + load.points:,}")
    case = f"{load.rows:,} rows"
    for table, took in bare.items():
        floor, rate, kept_up = f"bare, {TARGETS[table]}", load.rows / sunk.seconds, load.rows / sunk.merged_s
        budget = ">= 0.8" if table == "rollups_landing" else ""
        yield Figure(case, "rows a second, inserted", rate, "1/s", load.rows / took.seconds, floor)
        yield Figure(case, "rows a second, merged", kept_up, "1/s", load.rows / took.merged_s, floor, budget)
    us = 1e6 / load.rows
    for table, took in bare.items():
        yield Figure(
            case, "store CPU a row", sunk.store_cpu_s * us, "us", took.store_cpu_s * us, f"bare, {TARGETS[table]}",
            "<= 10" if table == "rollups_landing" else "",
        )  # fmt: skip
    client = bare["rollups_landing"].client_cpu_s * us
    yield Figure(case, "sink CPU a row", sunk.client_cpu_s * us, "us", client, "client of the bare insert")
    yield Figure(case, "  decode, merge, make blocks", making_us, "us")
    inserted = parts.rows("SELECT count() FROM blocks WHERE block_from >= 0")[0][0]
    yield Figure(
        case, "blocks, with the warm-up", float(inserted), "", sum(map(len, made)), "bare insert, as large as allowed"
    )
    buckets = sum(len(one[0]) for one in distributions()) / KINDS
    yield Figure(case, "buckets a row", buckets, "")
    yield Figure(case, "bytes a message row", sum(len(r.value) for r in load.records) / load.rows, "B")
    yield from sizes(parts, warm.rows + load.rows)
    yield Figure(case, "peak memory of the sink", peak / MIB, "MiB")
    yield Figure(case, "peak memory of the store", usage(pid).peak_bytes / MIB, "MiB")


def sizes(parts: Deployment, rows: int) -> Iterator[Figure]:
    """Bytes on disk of each tier."""
    found = parts.rows(
        "SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active AND database = {d:String} GROUP BY table",
        {"d": DATABASE},
    )
    by_table = {str(table): (int(size), int(kept)) for table, size, kept in found}
    for tier in TIER_NAMES:
        size, kept = by_table.get(f"rollups_{tier}", (0, 1))
        yield Figure(f"tier {tier}", "bytes an inserted row", size / rows, "B")
        yield Figure(f"tier {tier}", "rows kept an inserted row", kept / rows, "")
