"""Collector of garbage collections: prometheus_client's own. `registry_bridge` lets it travel."""

from __future__ import annotations

from typing import Any

import prometheus_client.gc_collector as library
from prometheus_client.gc_collector import (
    GC_COLLECTOR,
    GCCollector,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "GC_COLLECTOR",
    "GCCollector",
]
