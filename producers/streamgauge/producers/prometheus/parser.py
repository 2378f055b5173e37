"""Parser of the classic text: prometheus_client's own."""

from __future__ import annotations

from typing import Any

import prometheus_client.parser as library
from prometheus_client.parser import (
    text_fd_to_metric_families,
    text_string_to_metric_families,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "text_fd_to_metric_families",
    "text_string_to_metric_families",
]
