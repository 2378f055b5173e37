"""Registry: prometheus_client's own registries; REGISTRY is the same object, so its other users are shown too."""

from __future__ import annotations

from typing import Any

import prometheus_client.registry as library
from prometheus_client.registry import (
    REGISTRY,
    Collector,
    CollectorRegistry,
    DuplicateTimeseries,
    RestrictedRegistry,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "REGISTRY",
    "Collector",
    "CollectorRegistry",
    "DuplicateTimeseries",
    "RestrictedRegistry",
]
