"""Small instances: CPU time a message where many instances send few points each, which is the dear way to use the worker."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

from streamgauge.schemas.batches import MetricHead, Origin, Point, encode_metrics
from streamgauge.schemas.histogram import histogram_of
from streamgauge.schemas.topics import METRICS
from tests.benchmarks.backlog import Record
from tests.benchmarks.drain import drain
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.processes import MIB
from tests.benchmarks.report import Figure
from tests.benchmarks.worker import hot_spots, pure
from tests.support.kafka import KafkaBroker

FLUSH_MS = 10_000
ENDPOINTS = ("/orders", "/orders/{id}", "/basket", "/health")
HEADS = (
    MetricHead("requests", "counter", "{request}", ("endpoint", "status")),
    MetricHead("latency_seconds", "histogram", "s", ("endpoint",)),
    MetricHead("queue_length", "gauge", "{item}", ("queue",)),
)
OBSERVED = histogram_of([0.011, 0.012, 0.015, 0.02, 0.021, 0.05, 0.09, 0.4])


def flush(instance: int, number: int, start_ms: int) -> Record:
    """What one instance sends at its flush `number`: 12 counters, 4 histograms and 4 gauges, one point each."""
    at = start_ms + number * FLUSH_MS
    series: list[tuple[int, *tuple[str, ...]]] = []
    points: list[Point] = []
    for endpoint in ENDPOINTS:
        for status in ("200", "404", "500"):
            points.append(Point(len(series), at, 12, 12.0))
            series.append((0, endpoint, status))
        points.append(Point(len(series), at, 8, 0.619, 0.011, 0.4, 0.05, at + 9_000, OBSERVED))
        series.append((1, endpoint))
        points.append(Point(len(series), at, 1, float(instance % 7), 0.0, 9.0, float(number), at + 9_500))
        series.append((2, f"q{endpoint}"))
    stream = f"instance-{instance:05d}"
    context = {"service": "shop", "environment": "production", "version": "1.0", "instance": stream}
    return Record(stream.encode(), encode_metrics(Origin(context, stream, start_ms, number), HEADS, series, points))


def fleet(instances: int, flushes: range, start_ms: int) -> list[Record]:
    """Every instance's message of each flush, flush after flush."""
    return [flush(instance, number, start_ms) for number in flushes for instance in range(instances)]


def run(options: Options) -> Iterator[Figure]:
    """2,000 instances of 20 points, five flushes after a first one."""
    instances = options.sized(2_000, 200)
    start_ms = (time.time_ns() // 1_000_000 - 120_000) // FLUSH_MS * FLUSH_MS
    warm, load = fleet(instances, range(1), start_ms), fleet(instances, range(1, 6), start_ms)
    region = "small-instances"
    with KafkaBroker() as broker:
        drained = drain(broker.bootstrap, region, METRICS.name(region), None, warm, load, options.profile)
    if drained.refused:
        raise BenchmarkFailed(f"the worker refused {drained.refused:,} points that it should count")
    parts: list[list[bytes]] = [[] for _ in range(METRICS.partitions)]
    for one in load:
        parts[zlib.crc32(one.key) % METRICS.partitions].append(one.value)
    alone = pure(parts, None, drained.per_commit)
    case, us = f"{instances:,} x 20", 1e6 / len(load)
    cpu = drained.cpu_s * us
    yield Figure(case, "CPU a message", cpu, "us", alone.decode * us, "decode alone")
    yield Figure(case, "  decode, scrub, add", alone.add * us, "us", alone.decode * us, "decode alone")
    yield Figure(case, "  roll up, encode outputs", alone.outputs * us, "us")
    yield Figure(case, "  Kafka, stream library, commits", cpu - (alone.add + alone.outputs) * us, "us")
    yield Figure(case, "messages a second", len(load) / drained.seconds, "1/s")
    yield Figure(case, "bytes a message", drained.bytes / len(load), "B")
    yield Figure(case, "instances a core at a flush each 2 s", 2e6 / cpu, "")
    yield Figure(case, "instances a core at a flush each 10 s", 10e6 / cpu, "")
    yield Figure(case, "peak memory", drained.peak_bytes / MIB, "MiB")
    if options.profile:
        print(
            f"the worker\n{drained.profile}\n\nadding and outputs alone\n{hot_spots(parts, None, drained.per_commit)}"
        )
