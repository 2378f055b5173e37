"""A WSGI application that counts through OpenTelemetry, loaded before gunicorn forks (`--preload`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from streamgauge.producers.bridges.opentelemetry import StreamgaugeMetricExporter
from streamgauge.producers.default import set_default
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import ProducerSettings
from tests.support.otel_process import Appending

set_default(Producer(ProducerSettings(flush_interval=100), Appending(Path(os.environ["DELIVERED"]))))
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(StreamgaugeMetricExporter())]))
REQUESTS = metrics.get_meter("app").create_counter("requests")
REQUESTS.add(1_000)  # of the master, before it forks


def app(_: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
    """Count a request and say which worker did."""
    REQUESTS.add(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
