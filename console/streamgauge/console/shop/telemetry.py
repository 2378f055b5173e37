"""Telemetry: the producer and the metrics of one service of the shop, and what was counted of it for the account."""

from __future__ import annotations

import resource
import sys
from collections import Counter as Tally
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamgauge.console.shop.texts import PLANTED
from streamgauge.producers import Counter, Event, Gauge, Histogram, Producer

PAGE_BYTES: Final = resource.getpagesize()
STATM: Final = Path("/proc/self/statm")


@dataclass(slots=True)
class Counted:
    """What the shop did itself, counted where it was done: the other side of the books."""

    requests: int = 0
    failures: int = 0
    orders: int = 0
    planted: Tally[str] = field(default_factory=Tally[str])


class Telemetry:
    """Everything that one service measures. `counted` is shared by the services of a process."""

    def __init__(self, producer: Producer, counted: Counted) -> None:
        self.producer = producer
        self.counted = counted
        self.requests = Counter(
            "http_server_requests",
            "Requests answered",
            ["operation", "method", "status"],
            unit="{request}",
            producer=producer,
        )
        self.request_seconds = Histogram(
            "http_server_request_duration_seconds",
            "Time to answer a request",
            ["operation"],
            unit="s",
            producer=producer,
        )
        self.query_seconds = Histogram(
            "db_client_operation_duration_seconds",
            "Time of a query to the catalogue",
            ["operation"],
            unit="s",
            producer=producer,
        )

    def answered(self, operation: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self.counted.requests += 1
        self.counted.failures += status >= 500
        self.requests.labels(operation, method, str(status)).inc()
        self.request_seconds.labels(operation).observe(seconds)

    def emit(self, event: Event, free_text: str | None = None) -> None:
        """Send an event. `free_text` is what it carries of a customer's own words."""
        self.counted.planted.update(PLANTED.get(free_text or "", ()))
        self.producer.emit(event)


class ProcessGauges:
    """CPU time and memory of this process."""

    def __init__(self, producer: Producer) -> None:
        self._cpu = Gauge("process_cpu_seconds", "CPU time used since the start", unit="s", producer=producer)
        self._memory = Gauge("process_resident_memory_bytes", "Resident memory", unit="By", producer=producer)

    def read(self) -> None:
        """Set both to what they are now."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu.set(used.ru_utime + used.ru_stime)
        self._memory.set(_resident_bytes(used.ru_maxrss))


def _resident_bytes(peak: int) -> int:
    try:
        return int(STATM.read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    except OSError:  # not Linux: the peak is the best that is known, in bytes on macOS
        return peak if sys.platform == "darwin" else peak * 1024
