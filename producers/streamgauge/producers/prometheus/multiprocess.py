"""Multiprocess: prometheus_client's calls for its multiprocess mode, which streamgauge has no need of.

Every process sends what it counted itself, so sums over all workers are in SQL, without a shared directory, files of dead
workers or a mode for each gauge. What /metrics shows here is the process that answers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import prometheus_client.multiprocess as library
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from streamgauge.producers.prometheus.wrapper import OwnMetric

log = logging.getLogger(__name__)


class MultiProcessCollector(Collector):
    """Collects the instruments of the process that it is asked in. `path` is not used."""

    def __init__(self, registry: CollectorRegistry | None, path: str | None = None) -> None:
        log.warning(
            "/metrics shows one worker; sums over all of them are in SQL, and PROMETHEUS_MULTIPROC_DIR is not needed any more"
        )
        self._shows = registry is not REGISTRY
        if registry:
            registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """What this process' default registry holds of our instruments."""
        return [one for one in REGISTRY.collect() if isinstance(one, OwnMetric)] if self._shows else []


def mark_process_dead(pid: int, path: str | None = None) -> None:
    """Nothing: a process that ended has left no file behind."""


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = ["MultiProcessCollector", "mark_process_dead"]
