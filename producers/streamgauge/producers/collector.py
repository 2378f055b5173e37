"""Collector: calls functions at intervals and lets them record: queue lengths, pools, what the operating system counts.

    set_function(QUEUE, queue.qsize)
    observe_every(30, lambda: POOL.labels("main").set(pool.in_use()))

One daemon thread calls them one after the other, without any lock held; it starts with the first one. What they raise is
counted in `streamgauge_collector_errors`, never raised. A forked child goes on with the same functions, in a thread of
its own. At the end of a process only those are called once more that asked for it; `collect()` calls all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from streamgauge.producers import lifecycle
from streamgauge.producers.metrics import Counter
from streamgauge.producers.operations import error_name
from streamgauge.schemas.errors import DeclarationError

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

log = logging.getLogger(__name__)

DEFAULT_INTERVAL = 10.0
"""Seconds: that of a window of the finest tier, so that each has one value."""


class Settable(Protocol):
    """A gauge, or one series of it."""

    def set(self, value: float) -> None:
        """Its value is now `value`."""
        ...


class Observation:
    """A function that is called at intervals, until `stop()`."""

    __slots__ = ("_collector", "callback", "due", "interval", "last", "name")

    def __init__(
        self, collector: Collector, callback: Callable[[], object], interval: float, due: float, last: bool
    ) -> None:
        self._collector = collector
        self.last = last
        self.callback = callback
        self.interval = interval
        self.due = due
        self.name = str(getattr(callback, "__qualname__", type(callback).__qualname__))

    def stop(self) -> None:
        """Never call it again. A call that runs goes on."""
        self._collector.forget(self)


class Collector:
    """Calls what it was given when it is due. Without `background` only `step()` and `collect()` do."""

    def __init__(
        self,
        producer: Producer | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        background: bool = True,
    ) -> None:
        self._clock = clock
        self._background = background
        self._observations: tuple[Observation, ...] = ()
        self._fed = False
        self._errors = Counter(
            "streamgauge_collector_errors",
            "Functions that raised while they were observed",
            ["operation", "error_type"],
            producer=producer,
        )
        self._begin()

    def _begin(self) -> None:
        """State of one process."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def observe_every(self, interval: float, callback: Callable[[], object], *, last: bool = False) -> Observation:
        """Call `callback` now and then every `interval` seconds, in the collector's thread.

        It should take milliseconds: others wait meanwhile. With `last` it is called once more before the producers of the
        process close, by whoever closes them. Raises DeclarationError for an interval that is not positive.
        """
        if not interval > 0:
            raise DeclarationError(f"an interval of {interval!r} s: pass the seconds between two calls, such as 10")
        one = Observation(self, callback, interval, self._clock(), last)
        with self._lock:
            self._observations = (*self._observations, one)
        self._start()
        return one

    def set_function(
        self, gauge: Settable, function: Callable[[], float], interval: float = DEFAULT_INTERVAL
    ) -> Observation:
        """Let a gauge, or a series of it, follow what `function` returns."""

        def setting() -> None:
            gauge.set(function())

        setting.__qualname__ = str(getattr(function, "__qualname__", type(function).__qualname__))
        return self.observe_every(interval, setting)

    def forget(self, one: Observation) -> None:
        """Never call it again."""
        with self._lock:
            self._observations = tuple(other for other in self._observations if other is not one)

    def collect(self) -> None:
        """Call everything now, in this thread."""
        for one in self._observations:
            self._call(one)

    def finish(self) -> None:
        """Call what asked to be called at the end."""
        for one in self._observations:
            if one.last:
                self._call(one)

    def step(self) -> float | None:
        """Call what is due; returns the seconds until something is due again, None when there is nothing."""
        for one in self._observations:
            now = self._clock()
            if now >= one.due:
                # a late call is not made up for
                one.due = one.due + one.interval if one.due + one.interval > now else now + one.interval
                self._call(one)
        dues = [one.due for one in self._observations]
        return max(0.0, min(dues) - self._clock()) if dues else None

    def _call(self, one: Observation) -> None:
        try:
            one.callback()
        except (Exception, SystemExit) as error:
            name = error_name(error)
            log.debug("%s raised %s; it is called again when it is due", one.name, name)
            self._errors.labels(one.name, name).inc()

    def close(self) -> None:
        """Forget everything; the thread ends."""
        with self._lock:
            self._observations = ()
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether it has no thread."""
        return self._thread is None

    def _start(self) -> None:
        self._wake.set()
        if not self._background:
            return
        if not self._fed:
            self._fed = True
            lifecycle.feed_by(self.finish)
            lifecycle.restart(self)
        if not lifecycle.may_start_threads():
            return  # its forks may
        with self._lock:
            if self._thread is not None or not self._observations:
                return
            thread = threading.Thread(target=self._run, args=(self._wake,), name="streamgauge-collector", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends
                return
            self._thread = thread

    def _run(self, wake: threading.Event) -> None:
        while True:
            wake.clear()
            pause = self.step()
            if pause is None:
                with self._lock:
                    if not self._observations:
                        self._thread = None
                        return
            wake.wait(pause)

    def after_fork(self) -> None:
        """Go on in a forked child, one interval from now: producers start anew first."""
        self._begin()
        now = self._clock()
        for one in self._observations:
            one.due = now + one.interval
        self._start()


class _Default:
    """The one collector of a process."""

    def __init__(self) -> None:
        self.collector: Collector | None = None


_default = _Default()


def default_collector() -> Collector:
    """The collector of this process, for the default producer."""
    if _default.collector is None:
        _default.collector = Collector()
    return _default.collector


def observe_every(interval: float, callback: Callable[[], object], *, last: bool = False) -> Observation:
    """Call a function every `interval` seconds in the process's collector; see `Collector.observe_every`."""
    return default_collector().observe_every(interval, callback, last=last)


def set_function(gauge: Settable, function: Callable[[], float], interval: float = DEFAULT_INTERVAL) -> Observation:
    """Let a gauge follow what `function` returns, by the process's collector."""
    return default_collector().set_function(gauge, function, interval)
