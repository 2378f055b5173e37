"""Small cells: which cells of a window may be shown, so that nothing that can be computed from them is about few people.

A cell is a series in a window. What is hidden goes into one remainder, which stands for enough people itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, cast

from streamgauge.schemas.packing import Json
from streamgauge.schemas.settings import FOR_EVER, duration_ms
from streamgauge.schemas.windows import TIER_NAMES, TIERS, tier_index

MIN_K, MAX_K = 2, 1_000
"""The store's sketches are exact up to 4,096 values (measured), so a threshold of this size is compared exactly."""


@dataclass(frozen=True, slots=True)
class SmallCells:
    """What a contract asks for: cells with fewer than `k` distinct values of the unique field `contributors` are not shown.

    Decided once for each window of `tier`, when it has been over for `after`.
    """

    k: int
    contributors: str
    tier: str = "1d"
    after: str = "2d"

    @property
    def width_ms(self) -> int:
        """How long a window is."""
        return TIERS[tier_index(self.tier)].width_ms

    @property
    def after_ms(self) -> int:
        """How long after its end a window is decided."""
        return duration_ms(self.after)

    def problems(self, unique: Collection[str], granularity: str) -> Iterator[str]:
        """Everything that is wrong with it for an event with these unique fields, whose finest tier is `granularity`."""
        if not MIN_K <= self.k <= MAX_K:
            yield f"small_cells.k: must be {MIN_K} to {MAX_K}; 5 is a usual number within an organisation, 20 for the public"
        if self.contributors not in unique:
            declared = f"one of {', '.join(unique)}" if unique else "declare one that tells people apart"
            yield f"small_cells.contributors: {self.contributors!r} is no unique field; {declared}"
        if self.tier not in TIER_NAMES:
            yield f"small_cells.tier: {self.tier!r} is none of {', '.join(TIER_NAMES)}"
        elif granularity in TIER_NAMES and tier_index(self.tier) < tier_index(granularity):
            yield f"small_cells.tier: the event has no windows of {self.tier}; its finest are of {granularity}"
        try:
            if self.after_ms == FOR_EVER:
                yield "small_cells.after: a window must be decided some day, such as 2d after its end"
        except ValueError as error:
            yield f"small_cells.after: {error}"

    def json(self) -> Json:
        """As a JSON object, with everything said."""
        return {"k": self.k, "contributors": self.contributors, "tier": self.tier, "after": self.after}


_TYPES: Final[Mapping[str, tuple[type[Any], str]]] = {
    "k": (int, "an integer"),
    "contributors": (str, "a text"),
    "tier": (str, "a text"),
    "after": (str, "a text"),
}


def read_small_cells(given: Any, problems: list[str]) -> SmallCells | None:
    """From a contract's JSON; None, with `problems` named, where its shape is wrong."""
    if type(given) is not dict:
        problems.append("small_cells: must be an object")
        return None
    body = cast("Json", given)
    found = [f"small_cells.{key}: there is no such key" for key in sorted(body.keys() - _TYPES.keys())]
    for key, (kind, word) in _TYPES.items():
        if key in body and type(body[key]) is not kind:
            found.append(f"small_cells.{key}: must be {word}")
        elif key not in body and key in {"k", "contributors"}:
            found.append(f"small_cells.{key}: is missing")
    problems += found
    return None if found else SmallCells(**body)


@dataclass(frozen=True, slots=True)
class Cell:
    """A series of a window. `union`: distinct contributors of it and of all cells before it, in the order of `decide`."""

    series_id: int
    contributors: int
    union: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided of a window: the series that are `shown`, how many are `hidden`, or that all of it is `withheld`."""

    shown: tuple[int, ...]
    hidden: int = 0
    withheld: bool = False


def decide(cells: Sequence[Cell], k: int) -> Verdict:
    """What of a window may be shown. `cells` are all of it, by (contributors, series_id); raises ValueError otherwise.

    Hidden are all cells with fewer than `k` contributors, and after them the smallest that it takes for the hidden ones to
    have `k` different contributors together, so that what is left when everything shown is taken from the total is no
    small group either. Where all cells together have fewer, nothing is shown.
    """
    places = [(cell.contributors, cell.series_id) for cell in cells]
    if any(one >= other for one, other in pairwise(places)):
        raise ValueError("cells come by (contributors, series_id), each once")
    small = sum(cell.contributors < k for cell in cells)
    if not small:
        return Verdict(tuple(cell.series_id for cell in cells))
    for hidden in range(small, len(cells) + 1):
        if cells[hidden - 1].union >= k:
            return Verdict(tuple(cell.series_id for cell in cells[hidden:]), hidden)
    return Verdict((), withheld=True)
