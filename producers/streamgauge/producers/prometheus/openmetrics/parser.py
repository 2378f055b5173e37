"""Parser of OpenMetrics text: prometheus_client's own."""

# prometheus_client has types for a part of its own; what it has is handed on as it is
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import prometheus_client.openmetrics.parser as library
from prometheus_client.openmetrics.parser import (
    text_fd_to_metric_families,
    text_string_to_metric_families,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "text_fd_to_metric_families",
    "text_string_to_metric_families",
]
