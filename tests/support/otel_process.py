"""A program whose OpenTelemetry metrics leave through streamgauge, with processes that fork. Run as a script:

    python -m tests.support.otel_process SCENARIO OUTPUT TEMPORALITY

Every process appends what its producer delivered to OUTPUT, one `metric sum` a line.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader

from streamgauge.producers.bridges.opentelemetry import StreamgaugeMetricExporter
from streamgauge.producers.default import set_default
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.testing import Captured, CapturedTransport
from streamgauge.producers.transport import Report


class Appending(CapturedTransport):
    """Keeps nothing: writes what it is given to a file that several processes share."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def send(self, topic: str, key: bytes, value: bytes, report: Report) -> None:
        """Write the sums of one message down."""
        super().send(topic, key, value, report)
        one = CapturedTransport()
        one.delivered = [Captured(topic, key, value)]
        lines = "".join(f"{name} {amount}\n" for name, amount in one.sums().items())
        with self._path.open("ab", buffering=0) as file:
            file.write(lines.encode())


def provider_of(exporter: StreamgaugeMetricExporter, interval_ms: float) -> MeterProvider:
    """The global meter provider of this process."""
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=interval_ms)])
    metrics.set_meter_provider(provider)
    return provider


def add(amount: int) -> None:
    """Count, and record as often."""
    meter = metrics.get_meter("m")
    meter.create_counter("requests").add(amount, {"a": "x"})
    seconds = meter.create_histogram("seconds")
    for _ in range(amount):
        seconds.record(1.0)


def plain_fork(provider: MeterProvider) -> None:
    """A fork while much is not exported yet; the child ends hard after a flush."""
    add(5)
    provider.force_flush()
    add(7)
    for _ in range(2):
        if not os.fork():
            add(11)
            provider.shutdown()
            os._exit(0)
    add(13)
    for _ in range(2):
        os.wait()


def nested_fork(provider: MeterProvider) -> None:
    """A child that forks as well."""
    add(5)
    if not os.fork():
        add(7)
        if not os.fork():
            add(11)
            provider.shutdown()
            os._exit(0)
        os.wait()
        provider.shutdown()
        os._exit(0)
    os.wait()


def worker() -> None:
    """Work of a child of multiprocessing, which ends without any call."""
    add(11)


def pool(_: MeterProvider) -> None:
    """Children of multiprocessing."""
    add(7)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=worker) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()


def spawned(output: str, temporality: str) -> None:
    """Work of a child that makes everything anew."""
    set_up(output, temporality)
    add(11)


def spawn(_: MeterProvider) -> None:
    """Children of multiprocessing that inherit nothing."""
    add(7)
    child = multiprocessing.get_context("spawn").Process(target=spawned, args=(sys.argv[2], sys.argv[3]))
    child.start()
    child.join()


def shut_down_before(provider: MeterProvider) -> None:
    """The SDK's reader comes to life again in a child of a process that has shut it down."""
    add(7)
    provider.shutdown()
    if not os.fork():
        time.sleep(0.3)
        os._exit(0)
    os.wait()


def fork_in_callback(provider: MeterProvider) -> None:
    """A callback that forks while the SDK collects."""
    forked: list[int] = []

    def call(_: CallbackOptions) -> Iterable[Observation]:
        if not forked:
            forked.append(1)
            if not os.fork():
                os._exit(0)
            os.wait()
        return [Observation(1)]

    metrics.get_meter("m").create_observable_gauge("forks", [call])
    add(7)
    provider.force_flush()


SCENARIOS: Mapping[str, Callable[[MeterProvider], None]] = {
    one.__name__: one for one in (plain_fork, nested_fork, pool, spawn, shut_down_before, fork_in_callback)
}


def set_up(output: str, temporality: str, guarded: bool = True, interval_ms: float = 60_000) -> MeterProvider:
    """The default producer and the global meter provider of this process."""
    set_default(Producer(ProducerSettings(flush_interval=60_000), Appending(Path(output))))
    chosen = AggregationTemporality[temporality]
    preferred: dict[type, AggregationTemporality] = {Counter: chosen, Histogram: chosen}
    exporter = StreamgaugeMetricExporter(preferred_temporality=preferred, flush_before_fork=guarded)
    return provider_of(exporter, interval_ms)


def main(scenario: str, output: str, temporality: str, guarded: str = "guarded") -> None:
    """Run one scenario."""
    # Python 3.12 and later warn of forks beside threads: these are what is tested
    warnings.simplefilter("ignore", DeprecationWarning)
    interval_ms = 100 if scenario == "shut_down_before" else 60_000
    SCENARIOS[scenario](set_up(output, temporality, guarded == "guarded", interval_ms))


if __name__ == "__main__":
    main(*sys.argv[1:])
