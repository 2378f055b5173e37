"""Native blocks: numpy columns as a block of ClickHouse's Native format (revision 0), without a loop over rows.

Format: docs "Native" of ClickHouse; low-cardinality columns as in its SerializationLowCardinality: a version, then index
type with the has-additional-keys bit, the keys, the indexes. Maps are arrays of pairs: lengths, all keys, all values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamgauge.schemas.columns import Array

NUMBERS = {
    "UInt8": "<u1", "UInt16": "<u2", "UInt32": "<u4", "UInt64": "<u8", "Int64": "<i8", "Float64": "<f8", "DateTime('UTC')": "<u4",
    "DateTime64(3, 'UTC')": "<i8", "Date": "<u2",
}  # fmt: skip
_LOW_CARDINALITY = (1).to_bytes(8, "little")
"""The version of low-cardinality columns. In a column of maps it stands before everything else."""
_HAS_ADDITIONAL_KEYS = 1 << 9
_INDEX_TYPES = ("<u1", "<u2", "<u4", "<u8")


Buffer = bytes | memoryview
"""What can be joined into a block."""


@dataclass(frozen=True, slots=True)
class Column:
    """Name, ClickHouse type and encoded data of one column: pieces that follow one another, not joined twice."""

    name: str
    type: str
    data: tuple[Buffer, ...]


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of a column of maps, row after row: how many each row has, and the key's place and the value of each."""

    lengths: Array
    keys: Array
    values: Array


def varint(number: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(value: str) -> bytes:
    """A string with its length."""
    data = value.encode()
    return varint(len(data)) + data


def numbers(name: str, kind: str, values: Array) -> Column:
    """A column of numbers, one per row."""
    return Column(name, kind, (_raw(values, NUMBERS[kind]),))


def constant(name: str, kind: str, value: int, rows: int) -> Column:
    """The same number in every row."""
    return numbers(name, kind, np.full(rows, value, NUMBERS[kind]))


def strings(name: str, values: Sequence[str]) -> Column:
    """A column of strings, one per row: for few rows."""
    return Column(name, "String", tuple(map(text, values)))


def dictionary(name: str, keys: Sequence[str], index: Array) -> Column:
    """A LowCardinality(String) column: `keys[index[row]]`."""
    return Column(name, "LowCardinality(String)", (_LOW_CARDINALITY, *_indexed(keys, index)))


def _indexed(keys: Sequence[str], index: Array) -> tuple[Buffer, ...]:
    """Keys and indexes of a low-cardinality column, behind its version."""
    kind = 0 if len(keys) <= 1 << 8 else 1 if len(keys) <= 1 << 16 else 2
    head = np.array([kind | _HAS_ADDITIONAL_KEYS, len(keys)], "<u8").tobytes()
    length = np.array([len(index)], "<u8").tobytes()
    return head, *map(text, keys), length, _raw(index, _INDEX_TYPES[kind])


def arrays(name: str, kind: str, lengths: Array, values: Array) -> Column:
    """A column of arrays of numbers: `lengths` per row, the values one after another."""
    offsets = _raw(np.cumsum(lengths, dtype=np.uint64), "<u8")
    return Column(name, f"Array({kind})", (offsets, _raw(values, NUMBERS[kind])))


def text_maps(name: str, keys: Sequence[str], entries: Entries, pool: Sequence[bytes]) -> Column:
    """A column of maps from `keys` to texts; an entry's value is its place in `pool`, which holds texts as `text` does."""
    data = b"".join(map(pool.__getitem__, entries.values.tolist()))
    return _maps(name, "String", keys, entries, data)


def number_maps(name: str, keys: Sequence[str], entries: Entries) -> Column:
    """A column of maps from `keys` to doubles."""
    return _maps(name, "Float64", keys, entries, _raw(entries.values, "<f8"))


def _maps(name: str, kind: str, keys: Sequence[str], entries: Entries, values: Buffer) -> Column:
    offsets = _raw(np.cumsum(entries.lengths, dtype=np.uint64), "<u8")
    # where no row has an entry nothing follows, no dictionary either
    held = (*_indexed(keys, entries.keys), values) if len(entries.keys) else ()
    return Column(name, f"Map(LowCardinality(String), {kind})", (_LOW_CARDINALITY, offsets, *held))


def _raw(values: Array, kind: str) -> memoryview:
    """The bytes of an array, without a copy where it has the wanted type already."""
    return np.ascontiguousarray(values, kind).view(np.uint8).data


def block(columns: Sequence[Column], rows: int) -> bytes:
    """One block. Every column has `rows` rows."""
    if not rows:
        return b""
    parts: list[Buffer] = [varint(len(columns)), varint(rows)]
    for column in columns:
        parts += [text(column.name), text(column.type), *column.data]
    return b"".join(parts)
