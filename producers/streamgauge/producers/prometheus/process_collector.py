"""Process collector: prometheus_client's own. `registry_bridge` lets it travel."""

from __future__ import annotations

from typing import Any

import prometheus_client.process_collector as library
from prometheus_client.process_collector import (
    PROCESS_COLLECTOR,
    ProcessCollector,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "PROCESS_COLLECTOR",
    "ProcessCollector",
]
