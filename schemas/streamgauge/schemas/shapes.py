"""Shapes: how a value looks, without what it says. `jane.doe@example.com` is `a+.a+@a+.a+`, `+49 30 12` is `+9{2} 9{2} 9{2}`.

Values that differ in nothing but which letters and which digits they have share one shape, and it is never long.
"""

from __future__ import annotations

from itertools import groupby

MAX_CHARS = 40
SHOWN = frozenset("@._-+/:;,=%()[]{}#&?*!~|<> ")
"""Characters that may stand for themselves: they part what a value is made of."""


def shape(text: str) -> str:
    """The shape of a text: letters are `a`, digits `9` with how many there are in a row, what is no common sign is `?`."""
    parts: list[str] = []
    length = 0
    for kind, run in groupby(text[: 4 * MAX_CHARS], _kind):
        count = sum(1 for _ in run)
        part = f"9{{{count}}}" if kind == "9" and count > 1 else f"{kind}+" if kind in "a?" and count > 1 else kind
        part = part if kind in "a9?" else kind * min(count, 3)
        length += len(part)
        if length > MAX_CHARS:
            return "".join(parts) + "…"
        parts.append(part)
    return "".join(parts) + ("…" if len(text) > 4 * MAX_CHARS else "")


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "9"
    if letter.isalpha():
        return "a"
    return letter if letter in SHOWN else "?"
