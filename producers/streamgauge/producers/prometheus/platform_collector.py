"""Platform collector: prometheus_client's own. `registry_bridge` lets it travel."""

from __future__ import annotations

from typing import Any

import prometheus_client.platform_collector as library
from prometheus_client.platform_collector import (
    PLATFORM_COLLECTOR,
    PlatformCollector,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "PLATFORM_COLLECTOR",
    "PlatformCollector",
]
