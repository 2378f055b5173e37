"""Registry bridge: lets what a prometheus_client registry holds travel: custom collectors, process metrics, other libraries'.

    from streamgauge.producers.prometheus.registry_bridge import send_registry

    send_registry()

An unmodified prometheus_client program needs no other line. Instruments of `streamgauge.producers.prometheus` are left out: they
travel already, with more than a registry can say. A reading happens every `interval` seconds in a thread of its own, once more at
the end of the process, and before a fork, so that a forked child sends what it counted itself and nothing else.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client.registry import REGISTRY, Collector

from streamgauge.producers import default
from streamgauge.producers.prometheus.names import wire_head
from streamgauge.producers.prometheus.readings import Gain, Readings
from streamgauge.producers.prometheus.source import source_of
from streamgauge.producers.prometheus.wrapper import OwnMetric
from streamgauge.schemas.errors import SettingsError

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

log = logging.getLogger(__name__)

INTERVAL_S = 10.0
"""The width of the finest window: more readings would not show more."""


class RegistryBridge:
    """Reads one registry for one producer (default: the default one). `read()` may be called by hand instead of `start()`."""

    def __init__(
        self, registry: Collector = REGISTRY, producer: Producer | None = None, interval: float = INTERVAL_S
    ) -> None:
        self._registry = registry
        self._producer = producer
        self._interval = interval
        self._readings = Readings()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def read(self) -> int:
        """Record what the registry gained since the last reading; the number of series that did.

        A collector that fails costs this reading, which the next one makes up for; the failure is logged.
        """
        with self._lock:
            try:
                families = [one for one in self._registry.collect() if not isinstance(one, OwnMetric)]
                gains = self._readings.read(families)
                self._send(gains)
                if self._readings.unreadable:
                    log.error("cannot read what collectors show as %s", ", ".join(self._readings.unreadable))
            except SettingsError:
                raise
            except Exception:  # a collector of the application's must not end the thread
                log.exception("the registry could not be read; the next reading makes up for it")
                return 0
            return len(gains)

    def _send(self, gains: Iterable[Gain]) -> None:
        for gain in gains:
            names = [name for name, _ in gain.labels]
            head = wire_head(gain.name, gain.kind, names, gain.unit)
            source = source_of(gain.name, head, self._producer)
            now_ns = source.aggregate.clock.wall_ns()
            window_ms = source.aggregate.window() // 1_000_000
            labels = tuple(value for _, value in gain.labels)
            delta = replace(
                gain.delta, window_ms=window_ms, last_ms=0 if gain.kind == "counter" else now_ns // 1_000_000
            )
            source.add(head, labels, delta)

    def start(self) -> RegistryBridge:
        """Read now, and from now on until `close()` or the end of the process."""
        self.read()
        # a producer hooks first, so it closes after the last reading, and is new in a child before that goes on
        _ = self._producer or default.get_default()
        _process.watch(self)
        self._run_thread()
        return self

    def _run_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="streamgauge-registry", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.read()

    def close(self) -> None:
        """Read once more and stop."""
        self._stop.set()
        _process.watched.discard(self)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._interval)
        self.read()

    def after_fork(self) -> None:
        """Go on in a forked child, from the reading before the fork."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._run_thread()


class _Process:
    """The bridges that run in this process, and whether its hooks are set."""

    def __init__(self) -> None:
        self.watched: set[RegistryBridge] = set()
        self.hooked = False

    def watch(self, bridge: RegistryBridge) -> None:
        """Read it before forks and at the end."""
        self.watched.add(bridge)
        if not self.hooked:
            self.hooked = True
            atexit.register(self._each_reads)
            os.register_at_fork(before=self._each_reads, after_in_child=self._each_goes_on)

    def _each_reads(self) -> None:
        for bridge in list(self.watched):
            bridge.read()

    def _each_goes_on(self) -> None:
        for bridge in list(self.watched):
            bridge.after_fork()


_process = _Process()


def close_all() -> None:
    """Close every bridge of this process: for tests."""
    for bridge in list(_process.watched):
        bridge.close()


def send_registry(
    registry: Collector = REGISTRY, producer: Producer | None = None, interval: float = INTERVAL_S
) -> RegistryBridge:
    """Let a registry's metrics travel from now on. The bridge that is returned need not be kept; `close()` ends it."""
    return RegistryBridge(registry, producer, interval).start()


__all__ = ["INTERVAL_S", "RegistryBridge", "close_all", "send_registry"]
