"""Coarse: precise values of a batch made coarse before they leave the process, each different value once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamgauge.schemas.events import Resolver

Coarsen = Callable[[Sequence[str | None]], list[str | None]]


def coarsen_by(rule: str, resolver: Resolver | None = None) -> Coarsen:
    """What makes a column coarse by a contract's rule, with the application's help where it gives some.

    A resolver that raises, or knows nothing, makes the value unknown: the precise one never stands in for it.
    """
    from streamgauge.schemas.generalise import UNKNOWN, generalise  # few events need it, and everybody pays for imports

    def one(value: str) -> str:
        if resolver is None or not value:
            return generalise(rule, value)
        try:
            found = resolver(value)
        except Exception:  # whatever the application's function does not know, its argument must not go on
            return UNKNOWN
        return generalise(rule, found) if isinstance(found, str) and found else UNKNOWN  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller is checked

    def column(values: Sequence[str | None]) -> list[str | None]:
        coarse: dict[str | None, str | None] = {value: None if value is None else one(value) for value in set(values)}
        return [coarse[value] for value in values]

    return column
