"""Runtime: what CPython says of itself, and how late an asyncio loop is. Needs no library.

    observe_runtime()
    watch_loop()        # in a coroutine

| metric | OpenTelemetry | unit | labels |
|---|---|---|---|
| `cpython_gc_collections` (counter) | `cpython.gc.collections` | {collection} | `generation` |
| `cpython_gc_collected_objects` (counter) | `cpython.gc.collected_objects` | {object} | `generation` |
| `cpython_gc_uncollectable_objects` (counter) | `cpython.gc.uncollectable_objects` | {object} | `generation` |
| `cpython_gc_pause` (histogram) | none | s | `generation` |
| `python_thread_count` | none (threads that Python knows) | {thread} | |
| `python_info` (always 1) | `process.runtime.name`, `.version` | 1 | `implementation`, `runtime_version` |
| `asyncio_loop_lag` (histogram) | none | s | |
"""

from __future__ import annotations

import asyncio
import gc
import platform
import threading
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from streamgauge.producers.collector import DEFAULT_INTERVAL, Collector, Observation, default_collector
from streamgauge.producers.metrics import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

MAX_PAUSES = 10_000
"""Collections remembered between two calls; further ones are not seen."""


class RuntimeMetrics:
    """Records CPython's numbers at every call. `start()` lets it see collections, `stop()` ends that.

    A collection is only noted while it runs, in the midst of anybody's code; it is recorded at the next call.
    """

    def __init__(self, producer: Producer | None = None) -> None:
        def counter(name: str, documentation: str, unit: str) -> Counter:
            return Counter(name, documentation, ["generation"], unit=unit, producer=producer)

        self._collections = counter("cpython_gc_collections", "Garbage collections", "{collection}")
        self._collected = counter("cpython_gc_collected_objects", "Objects they freed", "{object}")
        self._uncollectable = counter("cpython_gc_uncollectable_objects", "Objects they could not free", "{object}")
        self._pause = Histogram(
            "cpython_gc_pause", "Time a garbage collection took", ["generation"], unit="s", producer=producer
        )
        self._threads = Gauge("python_thread_count", "Threads", unit="{thread}", producer=producer)
        self._info = Gauge(
            "python_info", "The interpreter", ["implementation", "runtime_version"], unit="1", producer=producer
        )
        self._began = 0.0
        self._noted: deque[tuple[str, float, int, int]] = deque(maxlen=MAX_PAUSES)

    def start(self) -> None:
        """See collections from now on."""
        if self._note not in gc.callbacks:
            gc.callbacks.append(self._note)

    def stop(self) -> None:
        """See none any more."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = perf_counter()
        elif self._began:
            seconds = perf_counter() - self._began
            self._noted.append((str(info["generation"]), seconds, info["collected"], info["uncollectable"]))

    def __call__(self) -> None:
        """Record what is so now, and the collections since the last call."""
        self._threads.set(threading.active_count())
        self._info.labels(platform.python_implementation(), platform.python_version()).set(1)
        for _ in range(len(self._noted)):
            generation, seconds, collected, uncollectable = self._noted.popleft()
            self._collections.labels(generation).inc()
            self._pause.labels(generation).observe(seconds)
            if collected:
                self._collected.labels(generation).inc(collected)
            if uncollectable:
                self._uncollectable.labels(generation).inc(uncollectable)


class RuntimeObservation:
    """CPython's numbers at intervals, until `stop()`."""

    def __init__(self, metrics: RuntimeMetrics, observation: Observation) -> None:
        self._metrics = metrics
        self._observation = observation

    def stop(self) -> None:
        """Record nothing any more."""
        self._metrics.stop()
        self._observation.stop()


def observe_runtime(
    interval: float = DEFAULT_INTERVAL, *, producer: Producer | None = None, collector: Collector | None = None
) -> RuntimeObservation:
    """Record CPython's numbers every `interval` seconds. Call it once a process; forked children go on with it."""
    metrics = RuntimeMetrics(producer)
    metrics.start()
    return RuntimeObservation(metrics, (collector or default_collector()).observe_every(interval, metrics, last=True))


class LoopWatch:
    """Observes how much later than asked an asyncio loop calls, until `stop()` or the loop's end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float, producer: Producer | None) -> None:
        self._loop = loop
        self._interval = interval
        self._lag = Histogram("asyncio_loop_lag", "Delay of a call by the event loop", unit="s", producer=producer)
        self._due = loop.time() + interval
        self._next = loop.call_at(self._due, self._called)

    def _called(self) -> None:
        now = self._loop.time()
        self._lag.observe(max(0.0, now - self._due))
        self._due = now + self._interval
        self._next = self._loop.call_at(self._due, self._called)

    def stop(self) -> None:
        """Observe nothing any more. To be called in the loop's thread."""
        self._next.cancel()


def watch_loop(interval: float = 0.25, *, producer: Producer | None = None) -> LoopWatch:
    """Watch the running loop: a call every `interval` seconds. Raises RuntimeError outside of a running loop."""
    return LoopWatch(asyncio.get_running_loop(), interval, producer)
