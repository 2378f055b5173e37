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


class BlockTimer(_Decorating):
    """Calls `record` with the seconds that a block or a call took, also when it raises.

    `duration` holds them afterwards; `labels(...)` inside the block chooses the series. It is made for every block, hence
    without a constructor: whoever makes one sets `record`.
    """

    __slots__ = ("_duration", "_start", "record")
    record: Callable[[float], None]

    @property
    def duration(self) -> float | None:
        """Seconds that the block took; None until it ended."""
        seconds: float | None = getattr(self, "_duration", None)
        return seconds

    def _block(self) -> BlockTimer:
        # one of its own for every call: calls overlap
        timer = BlockTimer()
        timer.record = self.record
        return timer

    def __enter__(self) -> BlockTimer:
        self._start = default_timer()
        return self

    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        duration = default_timer() - self._start
        self._duration = duration
        self.record(duration)

    def labels(self, *args: object, **kw: object) -> None:
        """Record in the series of these label values."""
        method: Any = self.record
        self.record = getattr(method.__self__.labels(*args, **kw), method.__name__)


class Timer(BlockTimer):
    """The same with prometheus_client's constructor."""

    __slots__ = ()

    def __init__(self, metric: Any, callback_name: str) -> None:
        self.record = getattr(metric, callback_name)
