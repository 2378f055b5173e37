"""Key notes: that a key was seen, under what name, what became of its values, and how one of them looks. Never a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from streamgauge.schemas.contracts import GENERALISE_RULES
from streamgauge.schemas.errors import Refused

UNDECLARED, DECLARED = "unknown_field", "declared"
"""Rules of keys of events: no contract lets it pass; a contract declares it since. `unknown_field:email` says in addition
what would have been found in its values, or what its name speaks of."""
CALM = frozenset({"", UNDECLARED, DECLARED, "unknown_value", "url_query", "query", *GENERALISE_RULES})
"""Rules that say nothing personal was sent where nothing personal belongs."""
MAX_NOTES, MAX_NOTE_TEXT = 1_000, 200
"""What an entry may hold at most."""


@dataclass(frozen=True, slots=True)
class KeyNote:
    """One key of a family (a metric, or an event). `rule` says what became of it: empty where its values just pass.

    `shape` is as from `shapes.shape`, of one value; empty where there was none.
    """

    family: str
    key: str
    rule: str
    shape: str = ""

    def json(self) -> list[str]:
        """As a JSON list."""
        return [self.family, self.key, self.rule, self.shape]


def read_notes(rows: list[Any]) -> tuple[KeyNote, ...]:
    """The notes of an entry from their JSON. Raises Refused."""
    if len(rows) > MAX_NOTES:
        raise Refused("wrong_length", "noticed")
    for row in rows:
        if type(row) is not list or len(cast("list[Any]", row)) != 4:
            raise Refused("wrong_type", "noticed")
        for text in cast("list[Any]", row):
            if type(text) is not str or len(text) > MAX_NOTE_TEXT:
                raise Refused("wrong_type", "noticed")
    return tuple(KeyNote(*cast("Sequence[str]", row)) for row in rows)
