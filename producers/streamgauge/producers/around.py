"""Around: context managers that time, count or track a block, and decorate plain and async functions alike."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class Around(ABC):
    """`with` a block, or decorate a function: every call of it gets an instance of its own."""

    __slots__ = ()

    @abstractmethod
    def again(self) -> Around:
        """A fresh one for the next call of a decorated function."""

    @abstractmethod
    def __enter__(self) -> Any: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __call__(self, function: F) -> F:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaiting(*args: Any, **named: Any) -> Any:
                with self.again():
                    return await function(*args, **named)

            return cast("F", awaiting)

        @functools.wraps(function)
        def calling(*args: Any, **named: Any) -> Any:
            with self.again():
                return function(*args, **named)

        return cast("F", calling)


class Timer(Around):
    """Hands the seconds that a block took to `record`, also when it raises. `duration` holds them afterwards.

    It has no `__init__`, which would cost a fifth of an empty block: `of` makes one.
    """

    __slots__ = ("_started", "duration", "record")

    record: Callable[[float], None]
    duration: float
    _started: float

    @classmethod
    def of(cls, record: Callable[[float], None]) -> Timer:
        """One that hands its seconds to `record`."""
        timer = cls()
        timer.record = record
        return timer

    def again(self) -> Timer:
        """Another timer of the same kind."""
        return Timer.of(self.record)

    def __enter__(self) -> Timer:
        self._started = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.duration = duration = perf_counter() - self._started
        self.record(duration)


class ExceptionCount(Around):
    """Calls `count` when a block ends by one of `kinds`; the exception goes on."""

    __slots__ = ("_count", "_kinds")

    def __init__(
        self, count: Callable[[], None], kinds: type[BaseException] | tuple[type[BaseException], ...] = Exception
    ) -> None:
        self._count = count
        self._kinds = kinds

    def again(self) -> ExceptionCount:
        """Itself: it holds nothing between enter and exit."""
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, self._kinds):
            self._count()


class InProgress(Around):
    """Calls `up` when a block begins and `down` when it ends."""

    __slots__ = ("_down", "_up")

    def __init__(self, up: Callable[[], None], down: Callable[[], None]) -> None:
        self._up = up
        self._down = down

    def again(self) -> InProgress:
        """Itself: it holds nothing between enter and exit."""
        return self

    def __enter__(self) -> None:
        self._up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._down()
