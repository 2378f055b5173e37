"""Multiprocess: prometheus_client's own collector of the files that `mirror` writes. streamgauge itself has no need of them.

Every process sends what it counted itself, so sums over all workers are in SQL, without a shared directory, files of dead
workers or a mode for each gauge.
"""

# prometheus_client has types for a part of its own; what it has is handed on as it is
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import prometheus_client.multiprocess as library
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = ["MultiProcessCollector", "mark_process_dead"]
