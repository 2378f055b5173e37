"""Values: numbers of an instrument behind prometheus_client's names, for code that reaches for `metric._value.get()`.

Setting one changes what is shown and nothing that travels. What else this module of prometheus_client's holds is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import values as library


class Value:
    """One number of an instrument."""

    __slots__ = ("_attribute", "_exemplar", "_owner")

    def __init__(self, owner: object, attribute: str, exemplar: str = "") -> None:
        self._owner = owner
        self._attribute = attribute
        self._exemplar = exemplar

    def get(self) -> float:
        """The number."""
        number: float = getattr(self._owner, self._attribute)
        return number

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Show this number."""
        setattr(self._owner, self._attribute, value)

    def inc(self, amount: float) -> None:
        """Show a number that is higher by `amount`."""
        self.set(self.get() + amount)

    def get_exemplar(self) -> Any:
        """The exemplar, if there is one."""
        return getattr(self._owner, self._exemplar) if self._exemplar else None


class Bucket:
    """One bucket's count, not cumulative."""

    __slots__ = ("_counts", "_place")

    def __init__(self, counts: list[int], place: int) -> None:
        self._counts = counts
        self._place = place

    def get(self) -> float:
        """The count."""
        return float(self._counts[self._place])


class Buckets:
    """The buckets of a histogram."""

    __slots__ = ("_counts",)

    def __init__(self, counts: list[int]) -> None:
        self._counts = counts

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, place: int) -> Bucket:
        return Bucket(self._counts, range(len(self._counts))[place])

    def __iter__(self) -> Iterator[Bucket]:
        return (self[place] for place in range(len(self)))


# under prometheus_client's name: that is where tests of the multiprocess mode exchange it
ValueClass: Any = library.ValueClass


def __getattr__(name: str) -> Any:
    return getattr(library, name)
