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


def attribute_text(value: object) -> str:
    """A value of any kind as a label's: sequences and mappings as JSON, bytes as base64, none as nothing."""
    if isinstance(value, (str, int, float)):
        return plain(value)
    if value is None:
        return ""
    if isinstance(value, bytes):
        return _odd(value)
    import json  # few need it, and everybody pays for imports

    return unicode(json.dumps(value, default=_odd, ensure_ascii=False, separators=(",", ":")))


def _odd(value: object) -> str:
    if isinstance(value, bytes):
        from base64 import b64encode

        return b64encode(value).decode()
    return str(value)
