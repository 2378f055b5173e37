"""Operations: calls, errors by type and durations of what an application does, in one metric.

    @operation("charge_card")
    def charge(order): ...

    with operation("charge_card", provider="stripe"):
        ...

Operations without labels share the histogram `operation_duration` (s), by `operation` and `error_type`; one with labels
has a histogram of its own, `charge_card_duration`, with these columns too. Its count is the number of calls; those that
failed have an `error_type`, the name of the exception's class.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from streamgauge.producers.around import Around, F
from streamgauge.producers.metrics import Histogram
from streamgauge.producers.text import plain

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

_SHARED = ("operation_duration",)


def error_name(error: BaseException) -> str:
    """What `error_type` says of an exception: the name of its class."""
    return type(error).__qualname__


class Operation(Around):
    """Measures one block after the other, or every call of a function it decorates.

    Plain and async functions are measured until they return. A generator, also an async one, is measured from its first
    value until it is exhausted or closed, the time between values included; closing it early is no error. Take a new one
    for each block that may run beside another: it remembers when it was entered.
    """

    __slots__ = ("_duration", "_good", "_started")

    def __init__(self, duration: Histogram, good: tuple[str, ...]) -> None:
        self._duration = duration
        self._good = good
        self._started: list[float] = []

    def again(self) -> Operation:
        """Another one of the same operation."""
        return Operation(self._duration, self._good)

    def __enter__(self) -> Operation:
        self._started.append(perf_counter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = perf_counter() - self._started.pop()
        labels = self._good
        if kind is not None and kind is not GeneratorExit:
            labels = (labels[0], kind.__qualname__, *labels[2:])
        self._duration.labels(*labels).observe(seconds)

    def __call__(self, function: F) -> F:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def yielding(*args: Any, **named: Any) -> Generator[Any, Any, Any]:
                with self.again():
                    return (yield from cast("Generator[Any, Any, Any]", function(*args, **named)))

            return cast("F", yielding)
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def awaiting(*args: Any, **named: Any) -> AsyncGenerator[Any, None]:
                with self.again():
                    async with aclosing(function(*args, **named)) as values:
                        async for value in values:
                            yield value

            return cast("F", awaiting)
        return super().__call__(function)


_default: dict[tuple[str, ...], Histogram] = {}
"""Histograms that follow the default producer, by name and labels: finding one must cost less than declaring it."""


def operation(name: str, /, *, producer: Producer | None = None, **labels: object) -> Operation:
    """Measure a block or a function's calls as the operation `name`. Values of labels become text.

    Raises DeclarationError for a label that cannot be declared, and when the name was used with other labels.
    """
    if not labels:
        duration = _default.get(_SHARED) if producer is None else None
        return Operation(duration or _histogram(_SHARED, producer), (name, ""))
    names = tuple(sorted(labels))
    return Operation(
        _histogram((f"{name}_duration", *names), producer), (name, "", *(plain(labels[key]) for key in names))
    )


def _histogram(key: tuple[str, ...], producer: Producer | None) -> Histogram:
    found = _default.get(key) if producer is None else None
    if found is None:
        found = Histogram(
            key[0],
            "Calls, errors and durations of operations",
            ("operation", "error_type", *key[1:]),
            unit="s",
            producer=producer,
        )
        if producer is None:
            _default[key] = found
    return found
