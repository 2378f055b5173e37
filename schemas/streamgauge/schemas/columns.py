"""Columns: packed columns read into numpy arrays, every length and index checked. Hostile input is `Refused` with a reason."""

from __future__ import annotations

from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pybase64
from numpy.typing import NDArray

from streamgauge.schemas.errors import Refused
from streamgauge.schemas.packing import Json, index_type

Array = NDArray[Any]
DTYPES = {"u1": "<u1", "u2": "<u2", "u4": "<u4", "u8": "<u8", "i2": "<i2", "i8": "<i8", "f8": "<f8"}


@dataclass(frozen=True, slots=True)
class Strings:
    """A column of strings: `index[row]` points into `dictionary`, where None stands for a missing value."""

    dictionary: list[str | None]
    index: Array


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of finite numbers; `missing` holds the rows that have none, whatever their value is."""

    values: Array
    missing: Array | None = None


def pack_array(kind: str, values: Array) -> str:
    """A numpy array as a packed column."""
    return pybase64.b64encode_as_string(np.ascontiguousarray(values, dtype=DTYPES[kind]).data)


def unpack(text: Any, kind: str, length: int | None) -> Array:
    """A packed column as a read-only array of `length` items (any number of them when None)."""
    if type(text) is not str:
        raise Refused("wrong_type", "a packed column is not a string")
    try:
        data = pybase64.b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise Refused("bad_base64") from error
    dtype = np.dtype(DTYPES[kind])
    if len(data) % dtype.itemsize or (length is not None and len(data) != length * dtype.itemsize):
        raise Refused("wrong_length", f"a packed {kind} column has {len(data)} bytes")
    return np.frombuffer(data, dtype)


def unpack_finite(text: Any, length: int) -> Array:
    """A packed f8 column without NaN or infinity."""
    values = unpack(text, "f8", length)
    # one pass without a temporary: a sum is finite only if all its terms are (or it overflows, then look closely)
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum()
    if not np.isfinite(total) and not np.isfinite(values).all():
        raise Refused("not_finite")
    return values


def narrow(values: Array) -> Json:
    """Unsigned integers in the narrowest type that holds them all."""
    top = int(values.max()) if len(values) else 0
    kind = "u1" if top < 1 << 8 else "u2" if top < 1 << 16 else "u4" if top < 1 << 32 else "u8"
    return {kind: pack_array(kind, values)}


def unpack_narrow(column: Any, length: int) -> Array:
    """What `narrow` packed."""
    if isinstance(column, dict):
        packed_as = cast("Json", column)
        for kind in ("u1", "u2", "u4", "u8"):
            if kind in packed_as:
                return unpack(packed_as[kind], kind, length)
    raise Refused("wrong_type", "a narrowed column")


def saturated(sums: Array) -> Array:
    """Sums of finite numbers, made finite: one that left the range of doubles stands at its end.

    Readers refuse infinity, and one such sum must not take the rows beside it along.
    """
    return np.nan_to_num(sums)


def unpack_index(text: Any, length: int, size: int) -> Array:
    """Packed indexes into something of `size` entries."""
    index = unpack(text, index_type(size), length)
    if length and int(index.max()) >= size:
        raise Refused("index_out_of_range")
    return index


def unpack_strings(column: Json, length: int, max_chars: int = 4096) -> Strings:
    """A dictionary column."""
    dictionary = column.get("d")
    if type(dictionary) is not list:
        raise Refused("wrong_type", "a dictionary is not a list")
    entries = cast("list[Any]", dictionary)
    for entry in entries:
        if entry is not None and (type(entry) is not str or len(entry) > max_chars):
            raise Refused("wrong_type", "a dictionary holds something else than short strings")
    return Strings(entries, unpack_index(column.get("i"), length, len(entries)))


def unpack_numbers(column: Json, length: int) -> Numbers:
    """A measure: `f8` or `i8`, with the positions of missing values."""
    if "f8" in column:
        values = unpack_finite(column["f8"], length)
    elif "i8" in column:
        values = unpack(column["i8"], "i8", length).astype(np.float64)
    else:
        raise Refused("wrong_type", "a column has no known packed type")
    if "null" not in column:
        return Numbers(values)
    missing = unpack(column["null"], "u4", None)
    if len(missing) and int(missing.max()) >= length:
        raise Refused("index_out_of_range")
    return Numbers(values, missing)
