"""Twisted: prometheus_client's own resource."""

from __future__ import annotations

from typing import Any

import prometheus_client.twisted._exposition as library
from prometheus_client.twisted._exposition import (
    MetricsResource,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "MetricsResource",
]
