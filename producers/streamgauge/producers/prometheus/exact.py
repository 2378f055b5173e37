"""Exact: how calls stay exact under threads. With the GIL nothing is needed: an instrument's additions stand where no switch can fall."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_GUARD = RLock()


def has_gil() -> bool:
    """Whether this interpreter runs one thread at a time."""
    ask = cast("Callable[[], bool] | None", getattr(sys, "_is_gil_enabled", None))
    return ask is None or ask()


def guarded(method: F) -> F:
    """`method` under one lock for all instruments. Re-entrant: a finalizer may record inside a record."""

    @functools.wraps(method)
    def calling(*args: Any, **named: Any) -> Any:
        with _GUARD:
            return method(*args, **named)

    return cast("F", calling)


def exact(method: F) -> F:
    """`method` as it is with a GIL, guarded on a free-threaded build."""
    return method if has_gil() else guarded(method)
