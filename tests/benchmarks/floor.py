"""Floor: the least that counts flights from Kafka. One JSON message an event, a bare consumer, orjson and a dict: no state
on disk, no transactions, no scrubbing, no histogram, no output.

A process of its own, so that its CPU time is its own:  python -m tests.benchmarks.floor BOOTSTRAP TOPIC EVENTS WIDTH_MS
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import orjson
from confluent_kafka import Consumer

from tests.benchmarks.backlog import Record, produce
from tests.benchmarks.options import BenchmarkFailed
from tests.support.kafka import ROOT, create_topic


@dataclass(frozen=True, slots=True)
class FloorRun:
    """What the floor needed an event."""

    cpu_us: float
    events_s: float
    windows: int


def count(bootstrap: str, topic: str, events: int, width_ms: int) -> FloorRun:
    """Read `events` messages from the start of the topic and aggregate them in a dict."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"floor-{time.time_ns()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": True,
            "auto.commit.interval.ms": 1000,
            "log_level": 3,
        }
    )
    # from here on: the client fetches ahead before the first message is handed out, and that is part of the price
    cpu = time.process_time()
    consumer.subscribe([topic])
    windows: dict[tuple[bytes, int], list[float]] = {}
    seen, started = 0, 0.0
    while seen < events:
        messages = consumer.consume(10_000, 0.1)
        if messages and not seen:
            started = time.monotonic()
        for one in messages:
            event = orjson.loads(cast("bytes", one.value()))
            at = (cast("bytes", one.key()), event["ts"] // width_ms)
            delay = event["dep_delay"]
            if delay is None:
                delay = 0
            window = windows.get(at)
            if window is None:
                windows[at] = [1, delay, delay, delay]
            else:
                window[0] += 1
                window[1] += delay
                if delay < window[2]:
                    window[2] = delay
                if delay > window[3]:
                    window[3] = delay
        seen += len(messages)
    used, took = time.process_time() - cpu, time.monotonic() - started
    consumer.close()
    return FloorRun(used / seen * 1e6, seen / took, len(windows))


def run_floor(bootstrap: str, topic: str, events: Iterator[tuple[bytes, bytes]], width_ms: int) -> FloorRun:
    """Put the events into a topic of their own and count them in another process."""
    create_topic(bootstrap, topic, partitions=4)
    records = [Record(key, value) for key, value in events]
    produce(bootstrap, topic, records)
    command = [sys.executable, "-m", "tests.benchmarks.floor", bootstrap, topic, str(len(records)), str(width_ms)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=False)
    if done.returncode:
        raise BenchmarkFailed(f"the floor ended with code {done.returncode}: {done.stderr.decode()[-1000:]}")
    return FloorRun(**orjson.loads(done.stdout))


if __name__ == "__main__":
    where, name, how_many, width = sys.argv[1:]
    sys.stdout.buffer.write(orjson.dumps(count(where, name, int(how_many), int(width))))
