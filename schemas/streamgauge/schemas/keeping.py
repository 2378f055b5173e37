"""Keeping: how long a contract's rows may be kept, tier by tier, as its `retention` and `retention_tiers` say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from streamgauge.schemas.settings import FOR_EVER, duration_ms
from streamgauge.schemas.windows import TIER_NAMES

if TYPE_CHECKING:
    from streamgauge.schemas.contracts import Contract

SINGLE_EVENTS: Final = "events"
"""What single scrubbed events are called where tiers are named."""
KEPT_PLACES: Final = (*TIER_NAMES, SINGLE_EVENTS)


def keeping_problems(retention: str, tiers: Mapping[str, str], granularity: str) -> Iterator[str]:
    """Everything that is wrong with how long something is kept."""
    whole = FOR_EVER
    if retention:
        try:
            whole = _span(retention)
        except ValueError as error:
            yield f"retention: {error}"
    for tier, text in tiers.items():
        place = f"retention_tiers.{tier}"
        if tier not in KEPT_PLACES:
            yield f"{place}: there is no such tier; there are {', '.join(KEPT_PLACES)}"
            continue
        if tier in TIER_NAMES and granularity in TIER_NAMES and TIER_NAMES.index(tier) < TIER_NAMES.index(granularity):
            yield f"{place}: nothing is kept in windows finer than the granularity {granularity}"
        try:
            kept = _span(text)
        except ValueError as error:
            yield f"{place}: {error}"
            continue
        if shorter(kept, whole) != kept:
            yield f"{place}: {text} is longer than the retention {retention}; lengthen that, or shorten this"


def _span(text: str) -> int:
    span = duration_ms(text)
    if span != FOR_EVER and span <= 0:
        raise ValueError("must be longer than nothing")
    return span


def shorter(one: int, other: int) -> int:
    """The shorter of two times in milliseconds, each of which may be FOR_EVER."""
    if FOR_EVER in (one, other):
        return max(one, other)
    return min(one, other)


def kept_ms(contract: Contract, tier: str = "") -> int:
    """How long a contract lets a tier (one of KEPT_PLACES) keep its rows; without a tier, anything at all.

    FOR_EVER where it says nothing, or something that cannot be read.
    """
    spans = [contract.retention, contract.retention_tiers.get(tier, "")]
    found = FOR_EVER
    for text in spans:
        try:
            found = shorter(found, _span(text) if text else FOR_EVER)
        except ValueError:
            continue
    return found


def newest(contracts: Iterable[Contract]) -> dict[str, Contract]:
    """The newest version of every contract, by name."""
    found: dict[str, Contract] = {}
    for one in contracts:
        if one.name not in found or one.version > found[one.name].version:
            found[one.name] = one
    return found


def metrics_of(versions: Iterable[Contract]) -> tuple[str, ...]:
    """Every metric that versions of one event have rows in: its own, those of its measures, and its distinct counts."""
    names = {one.name for one in versions}
    fields = {f"{one.name}.{name}" for one in versions for kind in ("measure", "unique") for name in one.of_kind(kind)}
    return tuple(sorted(names | fields))
