"""Mirror: prometheus_client's multiprocess mode, for as long as a scraper needs it.

Where PROMETHEUS_MULTIPROC_DIR is set when the program starts, what instruments show is also written into prometheus_client's
files in that directory, with every call, and its own MultiProcessCollector adds them up. What travels needs none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamgauge.producers.prometheus import values

ANNOUNCED = 2
"""`wire_idle` of an instrument that is announced and must be called with every record all the same: true, but not True."""


def is_on() -> bool:
    """Whether instruments that are made now have a mirror."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


def file_value(*declaration: object, **options: str) -> Any:
    """A number in this process' file: type, family, series, label names, label values, documentation."""
    made: Any = values.ValueClass
    return made(*declaration, **options)


class Mirror:
    """The numbers of one label set in this process' files."""

    __slots__ = ("_shown", "_values", "_written")

    def __init__(self, in_files: Sequence[Any], shown: Sequence[float]) -> None:
        self._values = in_files
        self._shown = list(shown)
        self._written = [one.get() for one in in_files]

    def write(self, shown: Sequence[float], *, placed: bool = False) -> None:
        """The numbers are now `shown`; `placed`: whatever they were before.

        After a fork the file is another one and begins at zero: then only what came since the last time is written.
        """
        for place, (one, now, before) in enumerate(zip(self._values, shown, self._shown, strict=True)):
            if now == before and not placed:
                continue
            there = one.get()
            same = there == self._written[place] == before
            number = now if placed or same else there + (now - before)
            one.set(number, timestamp=None)
            self._shown[place] = now
            self._written[place] = number

    def stamp(self, shown: Sequence[float], timestamp: float) -> None:
        """The numbers are now `shown`, as of this time: what the most recent modes ask for."""
        for one, now in zip(self._values, shown, strict=True):
            one.set(now, timestamp=timestamp)
        self._shown = list(shown)
        self._written = list(shown)

    def first(self) -> Any:
        """The first number as it is in the file."""
        return self._values[0]
