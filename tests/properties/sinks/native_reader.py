"""Reads blocks of the Native format back: written from its description, not from our encoder."""

from __future__ import annotations

import struct
from typing import Any

NUMBERS = {
    "UInt8": "B",
    "UInt16": "H",
    "UInt32": "I",
    "UInt64": "Q",
    "Int64": "q",
    "Float64": "d",
    "DateTime('UTC')": "I",
    "DateTime64(3, 'UTC')": "q",
}


class Reader:
    """A cursor over bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def varint(self) -> int:
        """Unsigned LEB128."""
        value, shift = 0, 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text(self) -> str:
        """A string with its length."""
        size = self.varint()
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def numbers(self, code: str, count: int) -> list[Any]:
        """Little-endian numbers."""
        found = struct.unpack_from(f"<{count}{code}", self.data, self.at)
        self.at += struct.calcsize(f"<{count}{code}")
        return list(found)

    def column(self, kind: str, rows: int) -> list[Any]:
        """The values of a column."""
        if kind == "LowCardinality(String)":
            assert self.numbers("Q", 1) == [1]
            return self.indexed(rows)
        if kind.startswith("Map(LowCardinality(String), "):
            assert self.numbers("Q", 1) == [1], "the version of the keys stands before the lengths"
            ends = self.numbers("Q", rows)
            total = ends[-1] if rows else 0
            names = self.indexed(total)
            code = NUMBERS.get(kind[28:-1])
            values = [self.text() for _ in range(total)] if code is None else self.numbers(code, total)
            pairs = list(zip(names, values, strict=True))
            assert all(len(dict(pairs[a:b])) == b - a for a, b in zip([0, *ends], ends, strict=False)), "each key once"
            return [dict(pairs[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
        if kind.startswith("Array("):
            ends = self.numbers("Q", rows)
            values = self.numbers(NUMBERS[kind[6:-1]], ends[-1] if rows else 0)
            return [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return self.numbers(NUMBERS[kind], rows)

    def indexed(self, rows: int) -> list[str]:
        """Low-cardinality strings behind their version; where there are none there is nothing."""
        if not rows:
            return []
        (flags, size) = self.numbers("Q", 2)
        assert flags & ~0xFF == 1 << 9, "a shared dictionary with keys of its own"
        keys = [self.text() for _ in range(size)]
        assert self.numbers("Q", 1) == [rows]
        return [keys[index] for index in self.numbers("BHIQ"[flags & 0xFF], rows)]


def read_block(data: bytes) -> dict[str, list[Any]]:
    """Columns by name; everything was read. No bytes are no columns."""
    if not data:
        return {}
    reader = Reader(data)
    columns, rows = reader.varint(), reader.varint()
    found = {reader.text(): reader.column(reader.text(), rows) for _ in range(columns)}
    assert reader.at == len(data)
    return found
