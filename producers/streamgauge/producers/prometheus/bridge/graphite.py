"""Graphite: prometheus_client's own bridge."""

from __future__ import annotations

from typing import Any

import prometheus_client.bridge.graphite as library
from prometheus_client.bridge.graphite import (
    GraphiteBridge,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "GraphiteBridge",
]
