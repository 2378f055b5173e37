"""Context managers: time, count or track a block, and decorate functions with their signature kept.

Calls, names and attributes are prometheus_client's. Coroutine functions are awaited inside the block, so what is timed or counted
is the work and not the making of a coroutine.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from timeit import default_timer
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar, cast

from prometheus_client import decorator

F = TypeVar("F", bound=Callable[..., Any])


class Counting(Protocol):
    """A counter."""

    def inc(self, amount: float = 1) -> None:
        """Add."""
        ...


class Tracking(Protocol):
    """A gauge."""

    def inc(self, amount: float = 1) -> None:
        """Raise."""
        ...

    def dec(self, amount: float = 1) -> None:
        """Lower."""
        ...


class _Decorating(ABC):
    """Something to run a block or a function in."""

    __slots__ = ()

    @abstractmethod
    def _block(self) -> AbstractContextManager[object]:
        """What one call runs in."""

    def __call__(self, f: F) -> F:
        if inspect.iscoroutinefunction(f):

            @functools.wraps(f)
            async def awaiting(*args: Any, **kwargs: Any) -> Any:
                with self._block():
                    return await f(*args, **kwargs)

            return cast("F", awaiting)

        def calling(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            with self._block():
                return func(*args, **kwargs)

        # keeps the signature, also for those who read it without following __wrapped__
        return cast("F", cast("Any", decorator).decorate(f, calling))


class ExceptionCounter(_Decorating):
    """Adds 1 to a counter when a block or a call ends by one of the exceptions, which goes on."""

    def __init__(self, counter: Counting, exception: type[BaseException] | tuple[type[BaseException], ...]) -> None:
        self._counter = counter
        self._exception = exception

    def _block(self) -> ExceptionCounter:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        if isinstance(value, self._exception):
            self._counter.inc()
        return False


class InprogressTracker(_Decorating):
    """Raises a gauge when a block or a call begins and lowers it when it ends."""

    def __init__(self, gauge: Tracking) -> None:
        self._gauge = gauge

    def _block(self) -> InprogressTracker:
        return self

    def __enter__(self) -> None:
        self._gauge.inc()

    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gauge.dec()


class Timer(_Decorating):
    """Calls a metric's method with the seconds that a block or a call took, also when it raises.

    `duration` holds them afterwards; `labels(...)` inside the block chooses the series.
    """

    __slots__ = ("_callback_name", "_metric", "_start", "duration")

    def __init__(self, metric: Any, callback_name: str) -> None:
        self._metric = metric
        self._callback_name = callback_name
        self.duration: float | None = None

    def _block(self) -> Timer:
        # one of its own for every call: calls overlap
        return self.__class__(self._metric, self._callback_name)

    def __enter__(self) -> Timer:
        self._start = default_timer()
        return self

    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        duration = default_timer() - self._start
        self.duration = duration if duration > 0 else 0
        getattr(self._metric, self._callback_name)(self.duration)

    def labels(self, *args: object, **kw: object) -> None:
        """Record in the series of these label values."""
        self._metric = self._metric.labels(*args, **kw)
