"""Host: CPU, memory, disk and network of the whole machine, by psutil. `pip install 'streamgauge[process]'`.

    observe_host(paths=["/", "/data"])

Observe a host from one process only: several would each report all of it, and sums over them mean nothing.

| metric | OpenTelemetry | unit | labels |
|---|---|---|---|
| `system_cpu_time` (counter) | `system.cpu.time` | s | `mode`: user, system, idle, iowait … |
| `system_cpu_utilization` | `system.cpu.utilization` | 1 | |
| `system_cpu_load` (the last minute's average) | none | {thread} | |
| `system_memory_usage`, `system_memory_utilization` | same, with dots | By, 1 | `state`: used, available; none |
| `system_filesystem_usage` | `system.filesystem.usage` | By | `mountpoint`, `state`: used, free |
| `system_disk_io` (counter) | `system.disk.io` | By | `direction`: read, write |
| `system_network_io` (counter) | `system.network.io` | By | `direction`: receive, transmit |
| `system_network_errors` (counter) | `system.network.errors` | {error} | `direction` |

Counters begin with the first look. The network's are sums over all interfaces but loopback.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
INCLUDED = frozenset({"guest", "guest_nice"})
"""Modes of CPU time that Linux counts in `user` and `nice` already."""


class HostMetrics:
    """Records the machine's numbers at every call. `paths` are the file systems to look at."""

    def __init__(self, paths: Sequence[str] = ("/",), producer: Producer | None = None) -> None:
        def gauge(name: str, documentation: str, unit: str, *labels: str) -> Gauge:
            return Gauge(name, documentation, labels, unit=unit, producer=producer)

        def counter(name: str, documentation: str, unit: str, label: str) -> Counter:
            return Counter(name, documentation, [label], unit=unit, producer=producer)

        self._paths = tuple(paths)
        self._cpu = counter("system_cpu_time", "CPU time of all processors", "s", "mode")
        self._busy = gauge("system_cpu_utilization", "Share of CPU time that was not idle", "1")
        self._load = gauge("system_cpu_load", "Average number of threads that want a CPU", "{thread}")
        self._memory = gauge("system_memory_usage", "Memory", "By", "state")
        self._memory_share = gauge("system_memory_utilization", "Share of memory in use", "1")
        self._files = gauge("system_filesystem_usage", "Space of a file system", "By", "mountpoint", "state")
        self._disk = counter("system_disk_io", "Bytes from and to disks", "By", "direction")
        self._network = counter("system_network_io", "Bytes from and to networks", "By", "direction")
        self._network_errors = counter("system_network_errors", "Packets in error", "{error}", "direction")
        self._readings = Readings()
        self._times: tuple[float, float] | None = None

    def __call__(self) -> None:
        """Record what is so now, and what was added since the last call."""
        for look in (self._look_at_cpu, self._look_at_memory, self._look_at_files, self._look_at_io):
            with suppress(*_UNKNOWN):
                look()

    def _look_at_cpu(self) -> None:
        times: dict[str, float] = _psutil.cpu_times()._asdict()
        times = {mode: seconds for mode, seconds in times.items() if mode not in INCLUDED}
        for mode, seconds in times.items():
            self._readings.add(self._cpu, (mode,), seconds)
        total, idle = sum(times.values()), times.get("idle", 0.0) + times.get("iowait", 0.0)
        if self._times is not None and total > self._times[0]:
            share = 1 - (idle - self._times[1]) / (total - self._times[0])
            self._busy.set(min(1.0, max(0.0, share)))
        self._times = (total, idle)
        self._load.set(os.getloadavg()[0])

    def _look_at_memory(self) -> None:
        memory = _psutil.virtual_memory()
        self._memory.labels("used").set(memory.total - memory.available)
        self._memory.labels("available").set(memory.available)
        self._memory_share.set(1 - memory.available / memory.total)

    def _look_at_files(self) -> None:
        for path in self._paths:
            with suppress(*_UNKNOWN):
                space = _psutil.disk_usage(path)
                self._files.labels(path, "used").set(space.used)
                self._files.labels(path, "free").set(space.free)

    def _look_at_io(self) -> None:
        if (disk := _psutil.disk_io_counters()) is not None:  # None on a host without disks
            self._readings.add(self._disk, ("read",), disk.read_bytes)
            self._readings.add(self._disk, ("write",), disk.write_bytes)
        cards = [one for name, one in _psutil.net_io_counters(pernic=True).items() if not name.startswith("lo")]
        for direction, io, errors in (
            ("receive", sum(one.bytes_recv for one in cards), sum(one.errin for one in cards)),
            ("transmit", sum(one.bytes_sent for one in cards), sum(one.errout for one in cards)),
        ):
            self._readings.add(self._network, (direction,), io)
            self._readings.add(self._network_errors, (direction,), errors)


def observe_host(
    interval: float = DEFAULT_INTERVAL,
    *,
    paths: Sequence[str] = ("/",),
    producer: Producer | None = None,
    collector: Collector | None = None,
) -> Observation:
    """Record this machine's numbers every `interval` seconds. Call it in one process of a host."""
    return (collector or default_collector()).observe_every(interval, HostMetrics(paths, producer), last=True)
