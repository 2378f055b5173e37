"""Functions: what SQL needs to read histograms, generated from the definition in `schemas.histogram`.

They belong to the server, not to a database, and views hold their text: replacing one changes no view until it is made
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamgauge.schemas.histogram import GROWTH, KEY_OFFSET, PER_DOUBLING

_VALUE = (
    f"if(key = 0, 0., sign(key) * exp2((abs(key) - {KEY_OFFSET}) / {PER_DOUBLING}) * {2 * GROWTH / (1 + GROWTH)!r})"
)
_RANK = "greatest(1, ceil(q * arraySum(mapValues(hist))))"
_SEEN = "arrayCumSum(arraySort((counted, key) -> key, mapValues(hist), mapKeys(hist)))"
# a lambda over one key instead of the key's long expression wherever it is used
_QUANTILE = (
    f"arrayMap(key -> {_VALUE}, [arraySort(mapKeys(hist))[arrayFirstIndex(seen -> seen >= {_RANK}, {_SEEN})]])[1]"
)

FUNCTIONS: Final[Mapping[str, str]] = {
    "sg_quantile": f"(q, hist) -> if(q >= 0 AND q <= 1 AND arraySum(mapValues(hist)) > 0, {_QUANTILE}, NULL)"
}
"""`sg_quantile(q, hist)`: nearest-rank quantile of a histogram, or of the `sumMap` of many; NULL for an empty one."""


def creation(name: str, *, replace: bool = False) -> str:
    """The statement that creates a function."""
    return f"CREATE {'OR REPLACE ' if replace else ''}FUNCTION {name} AS {FUNCTIONS[name]}"
