"""Text: strings as they can travel."""

from __future__ import annotations


def unicode(value: str) -> str:
    """`value` with every half surrogate pair (file names and environments can hold them) replaced by `?`."""
    if value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()


def plain(value: object) -> str:
    """A label or dimension as text. A member of a string enumeration is its value, true and false are lower case."""
    if isinstance(value, str):
        return unicode(str.__str__(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return unicode(str(value))
