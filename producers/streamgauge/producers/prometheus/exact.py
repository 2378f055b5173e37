"""Exact: how calls stay exact under threads. With a GIL by where additions stand: no switch can fall between them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from streamgauge.producers import native
from streamgauge.producers.locked_handles import one_thread_at_a_time

F = TypeVar("F", bound=Callable[..., Any])


class Guard:
    """One lock for all instruments. Re-entrant: a finalizer may record inside a record."""

    def __init__(self) -> None:
        self._locks: dict[int, native.Lock] = {}

    @property
    def lock(self) -> native.Lock:
        """This process's lock: in a forked child a thread that is not there any more may hold the inherited one."""
        return self._locks.get(os.getpid()) or self._locks.setdefault(os.getpid(), native.rlock())


GUARD = Guard()


def guarded(method: F) -> F:
    """`method` under the one lock of all instruments."""

    @functools.wraps(method)
    def calling(*args: Any, **named: Any) -> Any:
        with GUARD.lock:
            return method(*args, **named)

    return cast("F", calling)


def exact(method: F) -> F:
    """`method` as it is with a GIL, guarded on a free-threaded build."""
    return method if one_thread_at_a_time() else guarded(method)
