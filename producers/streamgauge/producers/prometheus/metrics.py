"""Metrics: prometheus_client's six instruments as streamgauge's own. /metrics shows the same, and Kafka gets it too."""

from __future__ import annotations

import os
from typing import Any, cast

from prometheus_client import metrics as library

from streamgauge.producers.prometheus.counter import Counter
from streamgauge.producers.prometheus.distributions import Histogram, Summary
from streamgauge.producers.prometheus.gauge import Gauge
from streamgauge.producers.prometheus.states import Enum, Info
from streamgauge.producers.prometheus.wrapper import MetricWrapperBase


def _get_use_created() -> bool:
    return os.environ.get("PROMETHEUS_DISABLE_CREATED_SERIES", "False").lower() not in ("true", "1", "t")


# under prometheus_client's name: that is where programs and tests reach for it
_use_created = _get_use_created()


def disable_created_metrics() -> None:
    """Show no `_created` series, of these instruments and of prometheus_client's own."""
    global _use_created
    _use_created = False
    cast("Any", library).disable_created_metrics()


def enable_created_metrics() -> None:
    """Show `_created` series again."""
    global _use_created
    _use_created = True
    cast("Any", library).enable_created_metrics()


__all__ = [
    "Counter",
    "Enum",
    "Gauge",
    "Histogram",
    "Info",
    "MetricWrapperBase",
    "Summary",
    "disable_created_metrics",
    "enable_created_metrics",
]
