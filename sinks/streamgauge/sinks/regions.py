"""Regions: which part of the world a region belongs to, as a table of prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamgauge.sinks.ddl import literal

REGION_GROUPS: Final[Mapping[str, str]] = {
    "us": "AMER",
    "ca": "AMER",
    "sa": "AMER",
    "eu": "EMEA",
    "me": "EMEA",
    "af": "EMEA",
    "ap": "APAC",
}
"""Group by prefix: `eu` holds for `eu` and for `eu-central-1`, not for `europe`. The longest prefix wins."""


def group_of(region: str, groups: Mapping[str, str] = REGION_GROUPS) -> str:
    """The group of a region; empty when no prefix fits."""
    for prefix in _longest_first(groups):
        if f"{region}-".startswith(f"{prefix}-"):
            return groups[prefix]
    return ""


def group_expression(region: str, groups: Mapping[str, str] = REGION_GROUPS) -> str:
    """The same in SQL, for a column or an expression that holds a region."""
    if not groups:
        return "''"
    cases = [
        f"startsWith(concat({region}, '-'), {literal(f'{prefix}-')}), {literal(groups[prefix])}"
        for prefix in _longest_first(groups)
    ]
    return f"multiIf({', '.join(cases)}, '')"


def _longest_first(groups: Mapping[str, str]) -> list[str]:
    return sorted(groups, key=lambda prefix: (-len(prefix), prefix))
