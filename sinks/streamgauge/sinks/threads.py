"""Threads: a few workers that nobody has to wait for, unlike those of concurrent.futures, which hold up the end of a process.

An insert into a store that hangs must not do that: the next start repeats it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """`count` daemon threads that take work in order."""

    def __init__(self, count: int, name: str) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for one in self._threads:
            one.start()

    def submit(self, work: Callable[[], T], /) -> Future[T]:
        """Have `work` done. After `close` the future is never done."""
        future: Future[T] = Future()

        def run() -> None:
            if self._closed:
                return
            try:
                result = work()
            except BaseException as error:  # it is the caller's, who asks for the result
                future.set_exception(error)
            else:
                future.set_result(result)

        self._queue.put(run)
        return future

    def close(self) -> None:
        """Begin nothing more. What runs is left to itself."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)

    def _work(self) -> None:
        while (run := self._queue.get()) is not None:
            run()
