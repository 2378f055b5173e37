"""OpenMetrics text: prometheus_client's own."""

# prometheus_client has types for a part of its own; what it has is handed on as it is
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import prometheus_client.openmetrics.exposition as library
from prometheus_client.openmetrics.exposition import (
    ALLOWUTF8,
    CONTENT_TYPE_LATEST,
    DOTS,
    UNDERSCORES,
    VALUES,
    escape_label_name,
    escape_metric_name,
    generate_latest,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "ALLOWUTF8",
    "CONTENT_TYPE_LATEST",
    "DOTS",
    "UNDERSCORES",
    "VALUES",
    "escape_label_name",
    "escape_metric_name",
    "generate_latest",
]
