from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest
from opentelemetry.sdk.metrics.export import (
    MetricExportResult,
)
from opentelemetry.sdk.resources import Resource

from streamgauge.producers import lifecycle
from streamgauge.producers.bridges import opentelemetry as bridge
from streamgauge.producers.bridges import opentelemetry_forks as forks
from streamgauge.producers.bridges.opentelemetry import StreamgaugeMetricExporter, described
from streamgauge.producers.default import set_default
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.testing import CapturedTransport, captured_producer
from tests.unit.producers.bridges.otel import numbers, provider_of


@pytest.fixture
def producer() -> Iterator[Producer]:
    one, _, _ = captured_producer()
    yield one
    one.close()


@pytest.fixture
def transport(producer: Producer) -> CapturedTransport:
    found = producer._transport  # pyright: ignore[reportPrivateUsage]
    assert isinstance(found, CapturedTransport)
    return found


def test_what_was_exported_waits_for_the_broker_and_is_told_by_the_flush() -> None:
    producer, transport, clock = captured_producer()
    transport.outcome = None
    provider = provider_of(exporter := StreamgaugeMetricExporter(producer))
    provider.get_meter("m").create_counter("requests").add(3)
    provider.force_flush(timeout_millis=50)

    assert not exporter.force_flush(timeout_millis=10)
    assert producer.stats().waiting == {"requests": 1}
    transport.outcome = Outcome.ACKNOWLEDGED
    clock.advance(60)
    assert exporter.force_flush(timeout_millis=1_000)
    assert transport.sums() == {"requests": 3.0}


def test_shutting_down_flushes_and_then_refuses(producer: Producer, transport: CapturedTransport) -> None:
    exporter = StreamgaugeMetricExporter(producer)
    provider = provider_of(exporter)
    provider.get_meter("m").create_counter("requests").add(3)
    provider.force_flush()
    exporter.export(numbers((1, 10, 5.0)))
    provider.shutdown()

    assert transport.sums() == {"requests": 8.0}
    assert not transport.closed  # it is the caller's
    assert exporter.export(numbers((1, 20, 9.0))) is MetricExportResult.FAILURE
    assert producer.stats().dropped == {}
    exporter.shutdown()


def test_at_the_end_of_the_interpreter_producers_wait_and_the_exporter_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producer, transport, _ = captured_producer()
    provider = provider_of(exporter := StreamgaugeMetricExporter(producer))
    provider.get_meter("m").create_counter("requests").add(3)
    exporter.export(numbers((1, 10, 5.0)))
    monkeypatch.setattr(bridge, "at_exit", lambda: True)
    exporter.shutdown()

    assert transport.sent == []
    assert exporter.export(numbers((1, 20, 9.0))) is MetricExportResult.FAILURE
    producer.close()
    assert transport.sums() == {"requests": 5.0}


def test_before_a_fork_the_sdk_hands_over_and_nobody_waits_for_a_broker_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producer, transport, _ = captured_producer()
    transport.outcome = None
    provider = provider_of(StreamgaugeMetricExporter(producer, flush_before_fork=False))
    provider.get_meter("m").create_counter("requests").add(3)
    monkeypatch.setattr(forks, "get_meter_provider", lambda: provider)
    process = forks._process  # pyright: ignore[reportPrivateUsage]
    process.hand_over(10)

    assert producer.stats().waiting == {"requests": 1}
    assert producer.stats().batches_sent == 0
    assert not process.handing_over
    transport.outcome = Outcome.ACKNOWLEDGED


def test_a_provider_that_cannot_be_flushed_does_not_keep_a_process_from_forking(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def force_flush(self, timeout_millis: float) -> None:
            raise RuntimeError("no")

    monkeypatch.setattr(forks, "get_meter_provider", Broken)
    forks.Forks().hand_over(1)

    assert "metrics could not be flushed (RuntimeError in force_flush" in caplog.text


def test_producers_close_after_what_feeds_them_even_if_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    producer, transport, _ = captured_producer()
    provider = provider_of(StreamgaugeMetricExporter(producer, flush_before_fork=False))
    provider.get_meter("m").create_counter("requests").add(3)

    def broken() -> None:
        raise RuntimeError("no")

    def feed() -> None:
        provider.force_flush()

    process = lifecycle.Lifecycle()
    process.watched.add(producer)
    process.feeding += [broken, feed]
    process.close_all()

    assert transport.sums() == {"requests": 3.0}
    assert transport.closed
    assert "cannot be handed over" in caplog.text


def test_the_end_of_the_interpreter_is_recognised() -> None:
    code = (
        "import atexit; from streamgauge.producers.bridges.opentelemetry import at_exit;"
        "print(at_exit()); atexit.register(lambda: print(at_exit()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert done.stdout.split() == ["False", "True"]


def test_the_resource_says_who_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, unused, _ = captured_producer()
    made: list[ProducerSettings] = []
    transport = CapturedTransport()

    def make(settings: ProducerSettings) -> Producer:
        made.append(settings)
        return Producer(settings, transport, background=False)

    monkeypatch.setattr(bridge, "Producer", make)
    set_default(shared)
    try:
        resource = Resource.create(
            {"service.name": "checkout", "service.version": "1.4", "deployment.environment.name": "staging"}
        )
        provider = provider_of(StreamgaugeMetricExporter(), resource=resource)
        counter = provider.get_meter("m").create_counter("requests")
        for _ in range(2):
            counter.add(1)
            provider.force_flush()
        provider.shutdown()
    finally:
        set_default(None)

    assert len(made) == 1
    assert transport.sums() == {"requests": 2.0}
    assert unused.delivered == []
    context = transport.delivered[0].json()["context"]
    assert (context["service"], context["version"], context["environment"]) == ("checkout", "1.4", "staging")
    assert transport.closed  # it was the exporter's own


def test_a_resource_that_says_nothing_new_shares_the_default_producer() -> None:
    shared, transport, _ = captured_producer(service="checkout")
    set_default(shared)
    try:
        provider = provider_of(StreamgaugeMetricExporter(), resource=Resource.create({"service.name": "checkout"}))
        provider.get_meter("m").create_counter("requests").add(1)
        provider.force_flush()
    finally:
        set_default(None)

    assert transport.sums() == {"requests": 1.0}


def test_what_the_sdk_makes_up_and_what_the_environment_says_are_left_alone() -> None:
    settings = ProducerSettings(service="from_environment", instance="web")
    attributes = {
        "service.name": "unknown_service:python",
        "service.instance.id": "290d0a36-97ee-4b96-a650-f66d83929c2c",
        "cloud.region": "eu-central-1",
        "tenant.id": "acme",
    }

    found = described(settings, attributes, {"STREAMGAUGE_TENANT": "t"})

    assert (found.service, found.instance, found.cloud_region, found.tenant) == (
        "from_environment",
        "web",
        "eu-central-1",
        "",
    )
    assert described(settings, {"service.instance.id": "pod-7"}, {}).instance == "pod-7"


def test_auto_configuration_finds_it() -> None:
    (found,) = entry_points(group="opentelemetry_metrics_exporter", name="streamgauge")

    assert found.load() is StreamgaugeMetricExporter


PROGRAM = """
from opentelemetry import metrics
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
from streamgauge.producers import default
from streamgauge.producers.producer import Producer
from streamgauge.producers.testing import CapturedTransport

class Printing(CapturedTransport):
    def close(self, seconds):
        super().close(seconds)
        contexts = {one.json()["context"]["service"] for one in self.delivered}
        print(self.sums(), sorted(contexts), flush=True)

default.Producer = lambda settings: Producer(settings, Printing())
_OTelSDKConfigurator().configure(auto_instrumentation_version="1")
metrics.get_meter("m").create_counter("requests").add(3)
"""


def test_a_program_that_is_configured_by_variables_alone_loses_nothing_at_its_end() -> None:
    variables = {
        "OTEL_METRICS_EXPORTER": "streamgauge",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "checkout",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout == "{'requests': 3.0} ['checkout']\n", done.stderr
