"""Emitter: an application that emits events at a steady rate, and among them probes whose instants it tells at its end.

A process of its own:  python -m tests.benchmarks.emitter BROKERS REGION EVENTS_PER_SECOND SECONDS
"""

from __future__ import annotations

import sys
import time

import orjson

from streamgauge.producers import Dimension, Event, Measure, Producer, ProducerSettings, unit

STEP_S = 0.01
STEPS_A_PROBE = 5


class Purchase(Event, version=1, owner="benchmark"):
    """The load."""

    country: Dimension[str]
    segment: Dimension[str]
    amount: Measure[float, unit("{USD}")]


class Probe(Event, version=1, owner="benchmark"):
    """One of these is emitted every 50 ms."""

    number: Measure[int, unit("1")]


def emit_all(producer: Producer, rate: int, seconds: float) -> list[int]:
    """Emit for so long; when each probe was emitted (ns since the epoch)."""
    countries = ("AU", "BR", "DE", "IN", "JP", "KE", "NZ", "SE", "US", "ZA")
    segments = ("free", "pro", "enterprise")
    emitted: list[int] = []
    each = round(rate * STEP_S)
    started = time.monotonic()
    for step in range(round(seconds / STEP_S)):
        for number in range(each):
            producer.emit(
                Purchase(country=countries[number % 10], segment=segments[number % 3], amount=1.0 + number % 97)
            )
        if step % STEPS_A_PROBE == 0:
            emitted.append(time.time_ns())
            producer.emit(Probe(number=len(emitted)))
        time.sleep(max(0.0, started + (step + 1) * STEP_S - time.monotonic()))
    return emitted


def main(brokers: str, region: str, rate: int, seconds: float) -> None:
    """Emit, deliver everything, and print an account as JSON."""
    settings = ProducerSettings(brokers=brokers, region=region, service="shop", environment="production")
    producer = Producer(settings)
    began = time.monotonic()
    emitted = emit_all(producer, rate, seconds)
    took = time.monotonic() - began
    report = producer.close(10)
    stats = producer.stats()
    account = {
        "probes_ns": emitted,
        "seconds": took,
        # a purchase counts as two points: itself, and its amount
        "events": stats.emitted.get("purchase", 0) // 2,
        "lost": report.left + sum(stats.dropped.values()),
        "cpu_s": time.process_time(),
    }
    sys.stdout.buffer.write(orjson.dumps(account))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
