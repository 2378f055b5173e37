"""Registry: prometheus_client's own registries; REGISTRY is the same object, so its other users are shown too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import prometheus_client.registry as library
from prometheus_client.registry import (
    REGISTRY,
    Collector,
    CollectorRegistry,
    RestrictedRegistry,
)

if TYPE_CHECKING:
    from prometheus_client.registry import DuplicateTimeseries
else:
    # until 0.25 a duplicate raised nothing more special
    DuplicateTimeseries = getattr(library, "DuplicateTimeseries", ValueError)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "REGISTRY",
    "Collector",
    "CollectorRegistry",
    "DuplicateTimeseries",
    "RestrictedRegistry",
]
