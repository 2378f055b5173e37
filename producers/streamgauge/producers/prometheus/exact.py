"""Exact: how calls stay exact under threads. With a GIL by where additions stand: no switch can fall between them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class Guard:
    """One lock for all instruments. Re-entrant: a finalizer may record inside a record. A forked child gets a new one."""

    def __init__(self) -> None:
        self.lock = RLock()

    def renew(self) -> None:
        """Whoever held the lock is not in this process."""
        self.lock = RLock()


GUARD = Guard()


def has_gil() -> bool:
    """Whether this interpreter runs one thread at a time."""
    ask = cast("Callable[[], bool] | None", getattr(sys, "_is_gil_enabled", None))
    return ask is None or ask()


def guarded(method: F) -> F:
    """`method` under the one lock of all instruments."""

    @functools.wraps(method)
    def calling(*args: Any, **named: Any) -> Any:
        with GUARD.lock:
            return method(*args, **named)

    return cast("F", calling)


def exact(method: F) -> F:
    """`method` as it is with a GIL, guarded on a free-threaded build."""
    return method if has_gil() else guarded(method)
