"""Lifecycle: the moments a process gives to all its producers: its end, and its fork. Hooks are set with the first one."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol
from weakref import WeakSet

from streamgauge.producers import hosts, native
from streamgauge.producers.accounts import FlushReport
from streamgauge.producers.settings import ProducerSettings
from streamgauge.schemas.errors import place_of

log = logging.getLogger(__name__)

FORK_WAITS_S = 5.0
"""How long a fork waits at most for what must not be torn in two: usually some milliseconds, once in a process."""


class Watched(Protocol):
    """What ends and forks with its process."""

    @property
    def settings(self) -> ProducerSettings:
        """Its exit timeout counts."""
        ...

    def flush(self, timeout: float | None = None) -> FlushReport:
        """Called by `flush_all`."""
        ...

    def close(self, timeout: float | None = None) -> FlushReport:
        """Called at exit."""
        ...

    def after_fork(self) -> None:
        """Called in a forked child."""
        ...


class Restarted(Protocol):
    """What begins anew in a forked child, when its producers have."""

    def after_fork(self) -> None:
        """Called in a forked child."""
        ...


class Lifecycle:
    """The producers of this process, and whether its hooks are set."""

    def __init__(self) -> None:
        self.watched: WeakSet[Watched] = WeakSet()
        self.restarted: WeakSet[Restarted] = WeakSet()
        self.feeding: list[Callable[[], None]] = []
        self.hooked = False
        self.pid = os.getpid()
        self.forked = False
        self._closing = native.rlock()
        self._undivided = native.rlock()
        self._forking: dict[int, None] = {}

    def feed(self) -> None:
        """Let others hand over what they hold."""
        for hand_over in list(self.feeding):
            try:
                hand_over()
            except Exception as error:
                log.error("what a bridge holds cannot be handed over (%s)", place_of(error))

    @contextmanager
    def undivided(self) -> Generator[None]:
        """A fork in another thread waits until this is over."""
        with self._undivided:
            yield

    def _each(self, ask: Callable[[Watched, float], FlushReport], timeout: float | None = None) -> list[FlushReport]:
        """Ask every producer before one common deadline: `timeout` seconds, or the longest of their exit timeouts."""
        self.feed()
        producers = list(self.watched)
        if timeout is None:
            timeout = max((one.settings.exit_timeout for one in producers), default=0) / 1_000
        deadline = time.monotonic() + timeout
        return [
            ask(producer, max(0.0, deadline - time.monotonic()) / (len(producers) - place))
            for place, producer in enumerate(producers)
        ]

    def flush_all(self, timeout: float | None = None) -> list[FlushReport]:
        """Flush every producer."""
        return self._each(lambda one, seconds: one.flush(seconds), timeout)

    def close_all(self, timeout: float | None = None) -> list[FlushReport]:
        """Close every producer. Who comes second waits until the first has done it."""
        with self._closing:
            return self._each(lambda one, seconds: one.close(seconds), timeout)

    def end(self) -> None:
        """The process ends."""
        if self.pid != os.getpid():
            log.warning(
                "this process was forked without Python's hooks: what it recorded is not sent. %s", hosts.ADVICE
            )
            self.after_fork()
        self.close_all()

    def hook(self) -> None:
        """Let this process tell of its end and its forks."""
        self.hooked, self.pid = True, os.getpid()
        atexit.register(self.end)
        os.register_at_fork(
            before=self.before_fork, after_in_parent=self.after_fork_in_parent, after_in_child=self.after_fork
        )
        hosts.attach(self)

    def before_fork(self) -> None:
        """A child would find a half-loaded librdkafka, or locks in it that nobody ever opens."""
        if self._undivided.acquire(timeout=FORK_WAITS_S):
            self._forking[native.ident()] = None

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._forking.pop(native.ident(), False) is None:
            self._undivided.release()

    def after_fork(self) -> None:
        """Start every producer anew in a forked child."""
        self.pid, self.forked = os.getpid(), True
        self._closing = native.rlock()
        self._undivided = native.rlock()
        self._forking = {}
        for one in (*list(self.watched), *list(self.restarted)):
            one.after_fork()
        hosts.attach_forked(self)

    def after_silent_fork(self) -> None:
        """The same, where a server forks without telling Python, and says so afterwards."""
        if self.pid != os.getpid():
            self.after_fork()


_process = Lifecycle()


def feed_by(hand_over: Callable[[], None]) -> None:
    """Call this before the producers close: for what still holds points of theirs."""
    _process.feeding.append(hand_over)


def watch(producer: Watched) -> None:
    """Close it when the process ends, start it anew in forked children."""
    _process.watched.add(producer)
    if not _process.hooked:
        _process.hook()


def restart(one: Restarted) -> None:
    """Start it anew in forked children, after the producers."""
    _process.restarted.add(one)
    if not _process.hooked:
        _process.hook()


def may_start_threads() -> bool:
    """False where this process only exists to be forked, and its children would not survive a thread in it."""
    return _process.forked or not hosts.is_uwsgi_master()


def undivided() -> AbstractContextManager[None]:
    """While this is held, a fork in another thread waits."""
    return _process.undivided()


def flush_all(timeout: float | None = None) -> list[FlushReport]:
    """Flush every producer of this process before one common deadline: `timeout` seconds, or the exit timeout.

    For a process that ends without telling Python, by `os._exit` for instance. One report for each producer.
    """
    return _process.flush_all(timeout)


def close_all(timeout: float | None = None) -> list[FlushReport]:
    """Close every producer of this process: what `atexit` does, for hooks of servers. A second call does nothing."""
    return _process.close_all(timeout)


def within(seconds: float, work: Callable[[], object]) -> bool:
    """Let `work` be done before a fork; whether it ended in time. In a thread: whoever forks may hold a lock it needs."""
    try:
        doing = threading.Thread(target=work, daemon=True)
        doing.start()
    except RuntimeError:  # no thread can start while the interpreter ends
        return True
    doing.join(seconds)
    return not doing.is_alive()
