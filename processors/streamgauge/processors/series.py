"""Series: canonical labels and their stable ids, the same in every worker, release and language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import orjson

from streamgauge.schemas.names import ALIASES
from streamgauge.schemas.rollups import SeriesLabels

SERIES_CONTEXT = ("service", "environment", "region", "tenant", "country", "operation", "status")
"""Context columns that are labels of every series. `instance` is one for gauges only: theirs are not additive."""

Labels = tuple[tuple[str, str], ...]


def canonical_context(context: Mapping[str, str]) -> dict[str, str]:
    """Context under canonical names; a canonical name that is given wins over its aliases."""
    renamed = {ALIASES[key]: value for key, value in context.items() if key in ALIASES}
    return renamed | {key: value for key, value in context.items() if key not in ALIASES}


def canonical_labels(pairs: Iterable[tuple[str, str]]) -> Labels:
    """Labels sorted by name, without empty ones: a missing label and an empty one are the same."""
    return tuple(sorted(pair for pair in pairs if pair[1]))


def series_id(family: str, labels: Labels) -> int:
    """64 bits of BLAKE2b over the JSON of `[family, [[name, value], …]]`. `family` is an event's or a metric's name."""
    return int.from_bytes(blake2b(orjson.dumps([family, labels]), digest_size=8).digest(), "little")


class SeriesIndex:
    """Series ids by labels, remembered; and which labels a rollup partition has been told lately.

    Labels travel again after `repeat_ms`, so that a reader who starts anew learns them. `forget` is for a transaction
    that failed: what it announced may not have arrived.
    """

    def __init__(self, repeat_ms: int = 60_000, capacity: int = 1_000_000) -> None:
        self._repeat_ms = repeat_ms
        self._capacity = capacity
        self._ids: dict[tuple[str, Labels], int] = {}
        self._announced: dict[int, int] = {}

    def id_of(self, family: str, labels: Labels) -> int:
        """The id of a series."""
        key = (family, labels)
        found = self._ids.get(key)
        if found is None:
            if len(self._ids) >= self._capacity:
                self._ids.clear()
            found = self._ids[key] = series_id(family, labels)
        return found

    def news(self, series: Mapping[int, tuple[str, Labels]], now_ms: int) -> list[SeriesLabels]:
        """Those of `series` (id to family and labels) that are due to be announced; they count as announced now."""
        if len(self._announced) >= self._capacity:
            self._announced.clear()
        due = [one for one in series if now_ms - self._announced.get(one, -self._repeat_ms) >= self._repeat_ms]
        self._announced.update(dict.fromkeys(due, now_ms))
        return [SeriesLabels(one, series[one][0], dict(series[one][1])) for one in due]

    def forget(self) -> None:
        """Announce everything anew."""
        self._announced.clear()
