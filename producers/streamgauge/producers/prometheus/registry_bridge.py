"""Registry bridge: lets what a prometheus_client registry holds travel: custom collectors, process metrics, other libraries'.

    from streamgauge.producers.prometheus.registry_bridge import send_registry

    send_registry()

An unmodified prometheus_client program needs no other line. Instruments of `streamgauge.producers.prometheus` are left out: they
travel already, with more than a registry can say. A reading happens every `interval` seconds in a thread of its own, once more at
the end of the process, and before a fork, so that a forked child sends what it counted itself and nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client.registry import REGISTRY, Collector

from streamgauge.producers import default, lifecycle
from streamgauge.producers.clock import Clock, SystemClock
from streamgauge.producers.metrics import head_problems
from streamgauge.producers.prometheus.names import wire_head
from streamgauge.producers.prometheus.readings import Gain, Readings
from streamgauge.producers.prometheus.wrapper import OwnMetric
from streamgauge.producers.text import unicode
from streamgauge.schemas.errors import SettingsError, place_of

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

log = logging.getLogger(__name__)

FORK_WAITS_S = 1.0
INTERVAL_S = 10.0
"""The width of the finest window: more readings would not show more."""


class RegistryBridge:
    """Reads one registry for one producer (default: the default one). `read()` may be called by hand instead of `start()`."""

    def __init__(
        self,
        registry: Collector = REGISTRY,
        producer: Producer | None = None,
        interval: float = INTERVAL_S,
        clock: Clock | None = None,
    ) -> None:
        self._registry = registry
        self._producer = producer
        self._interval = interval
        self._clock: Clock = clock or SystemClock()
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
            except Exception as error:  # a collector of the application's must not end the thread
                log.error("the registry could not be read (%s); the next reading makes up for it", place_of(error))
                return 0
            return len(gains)

    def _send(self, gains: Iterable[Gain]) -> None:
        families = (self._producer or default.get_default()).open_families
        now_ms = self._clock.wall_ns() // 1_000_000
        for gain in gains:
            head = wire_head(gain.name, gain.kind, [name for name, _ in gain.labels], gain.unit)
            if any(head_problems(head)):
                families.refuse(head.name, "not_a_name", gain.delta.count)
                continue
            last_ms = 0 if gain.kind == "counter" else now_ms
            labels = tuple(unicode(value) for _, value in gain.labels)
            families.add(head, labels, replace(gain.delta, window_ms=now_ms, last_ms=last_ms))

    def start(self) -> RegistryBridge:
        """Read now, and from now on until `close()` or the end of the process."""
        # a producer hooks first, so it is new in a forked child before this goes on there
        _ = self._producer or default.get_default()
        self.read()
        _process.watch(self)
        self._run_thread()
        return self

    def _run_thread(self) -> None:
        if lifecycle.may_start_threads():
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
        """Read it before forks, and before the producers close."""
        self.watched.add(bridge)
        if not self.hooked:
            self.hooked = True
            lifecycle.feed_by(self.read)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=self.before_fork, after_in_child=self.after_fork)

    def read(self) -> None:
        """Read every bridge's registry."""
        for bridge in list(self.watched):
            bridge.read()

    def before_fork(self) -> None:
        """Read before a fork. Whoever forks may be inside a collector."""
        if self.watched and not lifecycle.within(FORK_WAITS_S, self.read):
            log.warning("a registry could not be read before a fork: a forked process may count some of it again")

    def after_fork(self) -> None:
        """Go on in a forked child."""
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
