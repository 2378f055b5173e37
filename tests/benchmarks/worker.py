"""Worker: CPU time an event of `streamgauge process` on a real broker, beside what decoding and rolling up alone take.

Flights in batches of 2,000: admission, scrubbing, histograms and a transaction a second and partition. The floor is a bare
consumer that counts single JSON messages in a dict, measured on the same broker right before.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from streamgauge.console.sender import Batch
from streamgauge.processors.accumulator import Accumulator, Place, Tools
from streamgauge.processors.outputs import OutputPolicy, outputs
from streamgauge.processors.policy import TimePolicy
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import decode
from streamgauge.schemas.topics import EVENTS
from tests.benchmarks.drain import Drained, drain
from tests.benchmarks.flight_batches import Case, batches, records, single_events
from tests.benchmarks.floor import FloorRun, run_floor
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.processes import MIB
from tests.benchmarks.report import Figure
from tests.support.flights import ROWS
from tests.support.kafka import KafkaBroker

CASES = (
    Case(("carrier", "origin"), "1d"),
    Case(("carrier", "origin"), "1h"),
    Case(("carrier", "origin"), "1h", unique=True),
    Case(("carrier", "origin"), "1h", unique=True, single=True),
    Case(("origin", "dest"), "1h"),
)
BUDGETS = {"carrier_origin_1h": "<= 1.0", "origin_dest_1h": "<= 3.0"}
FLOOR_EVENTS = 300_000
TOP = 15


@dataclass(frozen=True, slots=True)
class Pure:
    """CPU seconds of the parts that need no broker."""

    decode: float
    add: float
    outputs: float


def by_partition(values: Sequence[Batch], partitions: int) -> list[list[bytes]]:
    """The messages of each partition, as the broker would place their keys."""
    parts: list[list[bytes]] = [[] for _ in range(partitions)]
    for one in values:
        parts[zlib.crc32(one.stream.encode()) % partitions].append(one.value)
    return parts


def commits(
    parts: Sequence[Sequence[bytes]], contract: Contract | None, each: int, clock: Callable[[], float]
) -> Iterator[tuple[Accumulator, SeriesIndex, int, int, float]]:
    """Accumulators that are ready to commit after `each` messages of a partition, with their offsets and the seconds (of
    `clock`) that filling them took."""
    shared = Tools(Scrubber(), DistinctHasher(b"benchmark" * 4, "bench"), TimePolicy())
    contracts = {} if contract is None else {(contract.name, contract.version): contract}
    now_ms = time.time_ns() // 1_000_000
    for partition, messages in enumerate(parts):
        index = SeriesIndex()
        for start in range(0, len(messages), each):
            part = messages[start : start + each]
            accumulator = Accumulator(Place("bench", EVENTS.name("bench"), partition), shared)
            began = clock()
            for offset, value in enumerate(part, start):
                accumulator.add(offset, value, contracts, now_ms, hold=lambda _: False)
            yield accumulator, index, start, start + len(part), clock() - began


def pure(parts: Sequence[Sequence[bytes]], contract: Contract | None, each: int) -> Pure:
    """What decoding, adding (which decodes too) and making the outputs take in this process, `each` messages a commit."""
    began = time.process_time()
    for part in parts:
        for value in part:
            decode(value)
    decoding = time.process_time() - began
    adding = making = 0.0
    now_ms = time.time_ns() // 1_000_000
    for accumulator, index, start, end, took in commits(parts, contract, each, time.process_time):
        adding += took
        began = time.process_time()
        outputs(accumulator, start, end, index, OutputPolicy(), now_ms)
        making += time.process_time() - began
        if accumulator.refused:
            raise BenchmarkFailed(f"the worker refuses what it should count: {dict(accumulator.refused)}")
    return Pure(decoding, adding, making)


def hot_spots(parts: Sequence[Sequence[bytes]], contract: Contract | None, each: int) -> str:
    """Where adding and making outputs spend their time, functions by own time."""
    profile = cProfile.Profile()
    now_ms = time.time_ns() // 1_000_000
    profile.enable()
    for accumulator, index, start, end, _ in commits(parts, contract, each, time.process_time):
        outputs(accumulator, start, end, index, OutputPolicy(), now_ms)
    profile.disable()
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(TOP)
    return text.getvalue()


def figures(case: Case, events: int, drained: Drained, alone: Pure, floor: FloorRun) -> Iterator[Figure]:
    """The figures of one case."""
    us = 1e6 / events
    cpu = drained.cpu_s * us
    yield Figure(
        case.name, "CPU an event", cpu, "us", floor.cpu_us, "bare consumer, JSON, dict", BUDGETS.get(case.name, "")
    )
    yield Figure(case.name, "CPU an event, over decoding", cpu, "us", alone.decode * us, "decode alone")
    yield Figure(case.name, "  decode, admit, scrub, add", alone.add * us, "us", alone.decode * us, "decode alone")
    yield Figure(case.name, "  roll up, encode outputs", alone.outputs * us, "us")
    yield Figure(case.name, "  Kafka, stream library, commits", cpu - (alone.add + alone.outputs) * us, "us")
    yield Figure(case.name, "events a second", events / drained.seconds, "1/s", floor.events_s, "bare consumer")
    yield Figure(case.name, "events a series-window", ROWS / case.cells(), "")
    yield Figure(case.name, "transactions", drained.commits, "")
    yield Figure(case.name, "peak memory", drained.peak_bytes / MIB, "MiB")


def run(options: Options) -> Iterator[Figure]:
    """All cases, each in a region of its own on one broker."""
    years = options.sized(8, 1)
    with KafkaBroker() as broker:
        for case in (CASES[0], CASES[-1]) if options.quick else CASES:
            topic = f"floor-{case.name}"
            events = options.sized(FLOOR_EVENTS, FLOOR_EVENTS // 5)
            floor = run_floor(broker.bootstrap, topic, single_events(case, events), case.width_ms)
            yield from one_case(case, years, floor, broker.bootstrap, options)


def one_case(case: Case, years: int, floor: FloorRun, bootstrap: str, options: Options) -> Iterator[Figure]:
    """A year of flights to warm up, then the others."""
    contract = case.contract()
    warm = list(batches(case, 1))
    load = list(batches(case, years, first=1))
    region = f"worker-{case.name}"
    drained = drain(
        bootstrap,
        region,
        EVENTS.name(region),
        contract,
        records(warm),
        records(load),
        options.profile,
    )
    points = sum(one.points for one in load)
    if drained.points != points or drained.refused:
        raise BenchmarkFailed(f"{case.name}: {drained.points:,} points committed, {points:,} sent")
    parts = by_partition(load, EVENTS.partitions)
    yield from figures(case, sum(one.rows for one in load), drained, pure(parts, contract, drained.per_commit), floor)
    if options.profile:
        alone = hot_spots(parts, contract, drained.per_commit)
        print(f"{case.name}: the worker\n{drained.profile}\n\nadding and outputs alone\n{alone}")
