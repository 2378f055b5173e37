"""Types: ClickHouse's column types as far as one can be stored in another unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"(?P<quoted>'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)|(?P<word>\w+)|(?P<open>[(\[])|(?P<close>[)\]])|(?P<other>.)",
    re.DOTALL,
)
_CALL = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
_FIELD = re.compile(r"(?:`(?:[^`\\]|\\.)*`|\w+)\s+(?=\S)(?![=(])", re.DOTALL)


def split(text: str, keywords: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Pieces of SQL between top-level keywords, each with the keyword before it (empty for the first).

    Without keywords, pieces between top-level commas. What stands in brackets or quotes never separates.
    """
    name, start, depth = "", 0, 0
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "open":
            depth += 1
        elif token.lastgroup == "close":
            depth -= 1
        elif depth == 0 and (token[0].upper() in keywords if keywords else token[0] == ","):
            yield name, text[start : token.start()].strip()
            name, start = token[0].upper() if keywords else "", token.end()
    yield name, text[start:].strip()


def squeezed(text: str) -> str:
    """Text without blanks and line ends, in which servers differ."""
    return re.sub(r"\s+", "", text)


def stored_form(text: str) -> str:
    """A type without what does not change the values: aggregate wrappers that hold plain values, names of tuple
    elements, dictionaries, time zones. Two types with one form can be inserted into each other unchanged."""
    text = text.strip()
    found = _CALL.fullmatch(text)
    if found is None:
        return text
    name = found[1]
    inner = [piece for _, piece in split(found[2])]
    if name == "SimpleAggregateFunction":
        return stored_form(inner[-1])
    if name == "LowCardinality":
        return stored_form(inner[0])
    if name == "DateTime":
        return name
    if name == "DateTime64":
        return f"{name}({inner[0]})"
    if name == "Tuple":
        inner = [_FIELD.sub("", piece, count=1) if _FIELD.match(piece) else piece for piece in inner]
    if name in ("Tuple", "Map", "Array", "Nullable", "AggregateFunction"):
        return f"{name}({', '.join(map(stored_form, inner))})"
    return squeezed(text)
