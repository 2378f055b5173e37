"""Native: the system's own threads, locks and queues, also where gevent has put its own in their place.

The flusher waits inside librdkafka, where a greenlet would stop all the others, so it is a thread in every program; and
what it shares with the application is real too. gevent is asked when something is made: it may patch before or after
this package is imported.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import Any, Protocol


class Lock(AbstractContextManager[object, None], Protocol):
    """What locks of every kind can do."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Whether it was taken, within `timeout` seconds unless that is negative."""
        ...

    def release(self) -> None:
        """Let somebody else have it."""
        ...


def patched() -> bool:
    """Whether gevent has replaced threads in this process."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _original(module: str, name: str) -> Any:
    monkey: Any = sys.modules.get("gevent.monkey")
    return getattr(sys.modules[module], name) if monkey is None else monkey.get_original(module, name)


def lock() -> Lock:
    """A lock."""
    made: Lock = _original("_thread", "allocate_lock")()
    return made


def rlock() -> Lock:
    """A lock that its holder may take again."""
    made: Lock = _original("_thread", "RLock")()
    return made


def queue() -> SimpleQueue[None]:
    """A queue whose `put` may interrupt itself."""
    made: SimpleQueue[None] = _original("queue", "SimpleQueue")()
    return made


def ident() -> int:
    """Who runs this: a number of the thread, whatever greenlet is in it."""
    return int(_original("_thread", "get_ident")())


def sleep(seconds: float) -> None:
    """Wait, in a thread."""
    _original("time", "sleep")(seconds)


def acquire(one: Lock, seconds: float) -> bool:
    """Take a real lock within so many seconds. Other greenlets run meanwhile."""
    if not patched():
        return one.acquire(timeout=seconds)
    deadline = time.monotonic() + seconds
    while not one.acquire(blocking=False):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.001)  # gevent's, which lets others run
    return True


class Thread:
    """A daemon thread that runs `work`, from now on. Raises RuntimeError when no thread can start any more."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work = work
        self._ended = lock()
        self._ended.acquire()
        self._ident = 0
        self._thread: threading.Thread | None = None
        if patched():
            _original("_thread", "start_new_thread")(self._run, ())
        else:
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        self._ident = ident()
        try:
            self._work()
        finally:
            self._ended.release()

    def is_current(self) -> bool:
        """Whether the caller is this thread."""
        return self._ident == ident()

    def join(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        if self._thread is not None:
            self._thread.join(seconds)
            return not self._thread.is_alive()
        ended = acquire(self._ended, seconds)
        if ended:
            self._ended.release()
        return ended
