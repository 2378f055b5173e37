"""Places: where values of a name and its tags go, remembered: telemetry repeats itself. Bounded. One thread only."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from streamgauge.console.gateway_cells import Series

REMEMBERED, REMEMBERED_CHARS = 100_000, 1_000
K = TypeVar("K", bound=Hashable)


class Place(NamedTuple):
    """Where values go, and in which ways that is not what was sent."""

    series: Series
    adjusted: tuple[str, ...]


class Places(Generic[K]):
    """Places by whatever was sent."""

    def __init__(self) -> None:
        self._places: dict[K, Place] = {}

    def find(self, key: K) -> Place | None:
        """The place, if it is known and its series still lives."""
        place = self._places.get(key)
        return place if place is not None and place.series.live else None

    def keep(self, key: K, place: Place, chars: int) -> Place:
        """Remember a place, unless its key has too many characters."""
        if chars <= REMEMBERED_CHARS:
            if len(self._places) >= REMEMBERED:
                self._places.clear()
            self._places[key] = place
        return place
