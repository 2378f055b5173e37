"""Packed columns: numbers as little-endian arrays in base64, strings as a dictionary and packed indexes into it.

This half needs the standard library only, so that applications can encode; `columns` is the reading half.
"""

from __future__ import annotations

import struct
import sys
from array import array
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

Json = dict[str, Any]
"""A JSON object."""

TYPECODES = {"u1": "B", "u2": "H", "u4": "I", "u8": "Q", "i2": "h", "i8": "q", "f8": "d"}
"""Names of packed types, with the array module's code of the same width."""


def packed(buffer: bytes | bytearray | memoryview | array[Any]) -> str:
    """Base64 of bytes that already are little-endian."""
    return b64encode(buffer).decode("ascii")


def pack(kind: str, values: Iterable[int] | Iterable[float]) -> str:
    """Numbers as a packed column of type `kind` (see `TYPECODES`). Raises OverflowError for one that does not fit."""
    if kind == "f8":
        floats = tuple(values)
        with suppress(struct.error):  # of what is no float the slower way below says what it is
            return packed(struct.pack(f"<{len(floats)}d", *floats))
        values = floats
    numbers: array[Any] = array(TYPECODES[kind], values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return packed(numbers)


def index_type(size: int) -> str:
    """The narrowest packed type that can index a dictionary of `size` entries."""
    return "u1" if size <= 1 << 8 else "u2" if size <= 1 << 16 else "u4"


def pack_strings(values: Iterable[str | None]) -> Json:
    """Strings (None: missing) as `{"d": distinct values, "i": packed indexes}`, in order of first appearance."""
    positions: dict[str | None, int] = {}
    indexes = [positions.setdefault(value, len(positions)) for value in values]
    return {"d": list(positions), "i": pack(index_type(len(positions)), indexes)}


def pack_optional(kind: str, values: Sequence[float | None]) -> Json:
    """Numbers as `{kind: packed, "null": packed u4 positions of missing ones}`, without `null` if none is missing."""
    missing = [position for position, value in enumerate(values) if value is None]
    column: Json = {kind: pack(kind, [0 if value is None else value for value in values])}
    if missing:
        column["null"] = pack("u4", missing)
    return column
