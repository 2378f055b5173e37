"""Metric families for custom collectors: prometheus_client's own. `registry_bridge` lets them travel."""

from __future__ import annotations

from typing import Any

import prometheus_client.metrics_core as library
from prometheus_client.metrics_core import (
    METRIC_TYPES,
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
    SummaryMetricFamily,
    UnknownMetricFamily,
    UntypedMetricFamily,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "METRIC_TYPES",
    "CounterMetricFamily",
    "GaugeHistogramMetricFamily",
    "GaugeMetricFamily",
    "HistogramMetricFamily",
    "InfoMetricFamily",
    "Metric",
    "StateSetMetricFamily",
    "SummaryMetricFamily",
    "UnknownMetricFamily",
    "UntypedMetricFamily",
]
