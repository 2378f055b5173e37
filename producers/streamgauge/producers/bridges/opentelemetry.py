"""OpenTelemetry: a metric exporter that hands the SDK's points to a producer.

`OTEL_METRICS_EXPORTER=streamgauge` finds it. The producer batches, retries and keeps the books: what `export` has taken
is sent until the broker has it, or counted as dropped.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

# the key the SDK's own exporters use; it has no public name
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY as SUPPRESSED  # pyright: ignore[reportPrivateUsage]
from opentelemetry.context import attach, detach, set_value
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, ObservableUpDownCounter, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation

from streamgauge.producers import default
from streamgauge.producers.bridges import opentelemetry_forks as forks
from streamgauge.producers.bridges.opentelemetry_points import PointReader
from streamgauge.producers.producer import Producer
from streamgauge.producers.settings import OTEL_ATTRIBUTES, ProducerSettings
from streamgauge.producers.text import plain
from streamgauge.schemas.errors import place_of
from streamgauge.schemas.histogram import SCALE
from streamgauge.schemas.settings import variable

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

log = logging.getLogger(__name__)

TEMPORALITY: Mapping[type, AggregationTemporality] = {
    Counter: AggregationTemporality.DELTA,
    ObservableCounter: AggregationTemporality.DELTA,
    Histogram: AggregationTemporality.DELTA,
    UpDownCounter: AggregationTemporality.CUMULATIVE,
    ObservableUpDownCounter: AggregationTemporality.CUMULATIVE,
}
"""What is asked of the SDK unless the caller asks for something else."""
BUCKETS = 2_048
"""At our scale these cover 64 doublings, so what an application measures hardly ever needs a coarser scale."""


class StreamgaugeMetricExporter(MetricExporter):
    """Sends metrics through `producer`, or through the default one with what the SDK's resource says of the service.

    Histograms are asked for as exponential ones of our scale. Preferences that are given win, class by class; every
    temporality and aggregation is understood. `flush_before_fork` keeps counts exact in forked processes of the global
    meter provider; see docs/how-to/migrate-from-opentelemetry.
    """

    def __init__(
        self,
        producer: Producer | None = None,
        preferred_temporality: Mapping[type, AggregationTemporality] | None = None,
        preferred_aggregation: Mapping[type, Aggregation] | None = None,
        *,
        flush_before_fork: bool = True,
    ) -> None:
        histogram = ExponentialBucketHistogramAggregation(max_size=BUCKETS, max_scale=SCALE)
        super().__init__(
            preferred_temporality={**TEMPORALITY, **(preferred_temporality or {})},
            preferred_aggregation={Histogram: histogram, **(preferred_aggregation or {})},
        )
        self._given = producer
        self._own: dict[ProducerSettings, Producer] = {}
        self._reader = PointReader()
        self.closed = False
        if producer is None:
            # what ends last at exit is what was made first: the SDK's last export must find it open
            default.get_default()
        if flush_before_fork:
            forks.watch(self)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Hand everything to the producer. Does not wait, and fails only once it is shut down."""
        if self.closed:
            return MetricExportResult.FAILURE
        token = attach(set_value(SUPPRESSED, True))
        try:
            for one in metrics_data.resource_metrics:
                families = self._producer(one.resource).open_families
                for scope in one.scope_metrics:
                    for metric in scope.metrics:
                        self._reader.read(scope.scope.name, metric, families)
        except Exception as error:
            log.error("metrics of OpenTelemetry cannot be exported (%s)", place_of(error))
            return MetricExportResult.FAILURE
        finally:
            detach(token)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Whether the broker has everything within the time. Before a fork nobody waits for that."""
        if forks.handing_over():
            return True
        deadline = time.monotonic() + timeout_millis / 1_000
        left = [one.flush(max(0.0, deadline - time.monotonic())).left for one in self._producers()]
        return not any(left)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Flush, close producers that are not the caller's, and refuse further exports.

        At the interpreter's end it leaves both to the producers, which have one deadline for all.
        """
        if self.closed:
            return
        self.closed = True
        if at_exit():
            return
        # the periodic reader says `timeout`
        seconds = max(0.0, min(timeout_millis, kwargs.get("timeout", timeout_millis)) / 1_000)
        deadline = time.monotonic() + seconds
        for one in self._producers():
            left = max(0.0, min(deadline - time.monotonic(), one.settings.exit_timeout / 1_000))
            if one in self._own.values():
                one.close(left)
            else:
                one.flush(left)

    def _producers(self) -> list[Producer]:
        shared = self._given or default.get_default()
        return [shared, *self._own.values()]

    def _producer(self, resource: Resource) -> Producer:
        """The producer whose context says what the resource says."""
        if self._given:
            return self._given
        shared = default.get_default()
        settings = described(shared.settings, resource.attributes, os.environ)
        if settings == shared.settings:
            return shared
        if settings not in self._own:
            self._own[settings] = Producer(settings)
        return self._own[settings]


def at_exit() -> bool:
    """Whether the interpreter is ending: threads are waited for before the hooks of its end run."""
    return not threading.main_thread().is_alive()


def described(
    settings: ProducerSettings, attributes: Mapping[str, Any], environ: Mapping[str, str]
) -> ProducerSettings:
    """Settings with what a resource says of the service, where no STREAMGAUGE_* variable does.

    What the SDK makes up (`unknown_service`, a random instance) says nothing.
    """
    found: dict[str, Any] = {}
    for attribute, name in OTEL_ATTRIBUTES.items():
        value = plain(attributes.get(attribute, ""))
        made_up = value.startswith("unknown_service") or (name == "instance" and _random(value))
        if value and not made_up and variable(name) not in environ:
            found.setdefault(name, value)
    return replace(settings, **found)


def _random(value: str) -> bool:
    try:
        return str(UUID(value)) == value.lower()
    except ValueError:
        return False
