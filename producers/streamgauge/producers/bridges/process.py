"""Process: what the operating system says of this process, by psutil. `pip install 'streamgauge[process]'`.

    observe_process()

| metric | OpenTelemetry | unit | labels |
|---|---|---|---|
| `process_cpu_time` (counter) | `process.cpu.time` | s | `mode`: user, system |
| `process_memory_usage` (resident), `process_memory_virtual` | same, with dots | By | |
| `process_open_file_descriptor_count`, `process_thread_count` | same, with dots | {count}, {thread} | |
| `process_context_switches` (counter) | `process.context_switches` | {count} | `mode`: voluntary, involuntary |
| `process_disk_io` (counter) | `process.disk.io` | By | `direction`: read, write |
| `process_uptime` | `process.uptime` | s | |

Counters count from the start of the process; a forked child is a process of its own. What a system does not tell, or
not to this user, is left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from streamgauge.producers.bridges.readings import Readings
from streamgauge.producers.bridges.requirements import need
from streamgauge.producers.collector import DEFAULT_INTERVAL, Collector, Observation, default_collector
from streamgauge.producers.metrics import Counter, Gauge

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

_psutil: Any = need("psutil", "streamgauge[process]")
_UNKNOWN = (AttributeError, NotImplementedError, OSError, _psutil.Error)
"""What psutil raises where a system does not tell."""


class ProcessMetrics:
    """Records the process's numbers at every call."""

    def __init__(self, producer: Producer | None = None) -> None:
        def gauge(name: str, documentation: str, unit: str) -> Gauge:
            return Gauge(name, documentation, unit=unit, producer=producer)

        def counter(name: str, documentation: str, unit: str, label: str) -> Counter:
            return Counter(name, documentation, [label], unit=unit, producer=producer)

        self._gauges = {
            "rss": gauge("process_memory_usage", "Resident memory", "By"),
            "vms": gauge("process_memory_virtual", "Virtual memory", "By"),
            "fds": gauge("process_open_file_descriptor_count", "Open files, sockets and pipes", "{count}"),
            "threads": gauge("process_thread_count", "Threads of the operating system", "{thread}"),
            "uptime": gauge("process_uptime", "Time since the process began", "s"),
        }
        self._cpu = counter("process_cpu_time", "CPU time", "s", "mode")
        self._switches = counter("process_context_switches", "Context switches", "{count}", "mode")
        self._io = counter("process_disk_io", "Bytes from and to storage", "By", "direction")
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._process: Any = _psutil.Process()
        self._readings = Readings(from_zero=True)

    def __call__(self) -> None:
        """Record what is so now, and what was added since the last call."""
        if self._pid != os.getpid():
            self._begin()
        with self._process.oneshot():
            for key, read in self._levels():
                with suppress(*_UNKNOWN):
                    self._gauges[key].set(read())
            with suppress(*_UNKNOWN):
                times = self._process.cpu_times()
                self._readings.add(self._cpu, ("user",), times.user)
                self._readings.add(self._cpu, ("system",), times.system)
            with suppress(*_UNKNOWN):
                switches = self._process.num_ctx_switches()
                self._readings.add(self._switches, ("voluntary",), switches.voluntary)
                self._readings.add(self._switches, ("involuntary",), switches.involuntary)
            with suppress(*_UNKNOWN):
                io = self._process.io_counters()
                self._readings.add(self._io, ("read",), io.read_bytes)
                self._readings.add(self._io, ("write",), io.write_bytes)

    def _levels(self) -> Iterator[tuple[str, Callable[[], float]]]:
        process = self._process
        yield "rss", lambda: process.memory_info().rss
        yield "vms", lambda: process.memory_info().vms
        yield "fds", lambda: process.num_fds()
        yield "threads", lambda: process.num_threads()
        yield "uptime", lambda: max(0.0, time.time() - process.create_time())


def observe_process(
    interval: float = DEFAULT_INTERVAL, *, producer: Producer | None = None, collector: Collector | None = None
) -> Observation:
    """Record this process's numbers every `interval` seconds. Call it once a process; forked children go on with it."""
    return (collector or default_collector()).observe_every(interval, ProcessMetrics(producer), last=True)
