"""OpenTelemetry: what tests of the exporter share."""

from __future__ import annotations

import math
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricsData,
    NumberDataPoint,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.export import Metric as SdkMetric
from opentelemetry.sdk.metrics.export import Sum as SdkSum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from streamgauge.producers.bridges.opentelemetry import StreamgaugeMetricExporter


def provider_of(exporter: StreamgaugeMetricExporter, **more: Any) -> MeterProvider:
    """The SDK with the periodic reader that applications use, but no period: it collects when it is told to."""
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    return MeterProvider([reader], shutdown_on_exit=False, **more)


def numbers(*values: tuple[int, int, float], attributes: Any = None) -> MetricsData:
    """One cumulative counter as another SDK could have left it: start, time, value."""
    found = [NumberDataPoint(attributes or {}, start, time, value) for start, time, value in values]
    data = SdkSum(found, AggregationTemporality.CUMULATIVE, True)
    scope = ScopeMetrics(InstrumentationScope("s"), [SdkMetric("requests", "", "", data)], "")
    return MetricsData([ResourceMetrics(Resource({}), [scope], "")])
