"""Suggestions: what a person may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest of the `known` words, or nothing when none is near."""
    by_fold = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(word.casefold(), list(by_fold), n=1)
    return f" Did you mean {by_fold[near[0]]!r}?" if near else ""
