"""Rows: a slice of a data file under a contract, checked as columns, and packed into blocks. No loop over rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streamgauge.console.instants import instants_ms
from streamgauge.schemas.batches import MAX_SPAN_MS
from streamgauge.schemas.columns import pack_array
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.generalise import generalise
from streamgauge.schemas.packing import Json, index_type

MAX_CHARS = 4096
MAX_INTEGER = 1 << 53
"""Measures are read as doubles; a larger integer would change silently."""

SENT_KINDS = ("dimension", "measure", "unique", "idempotency_key", "free_text")
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: `codes[row]` points into `dictionary`; None in it is a missing value."""

    dictionary: tuple[str | None, ...]
    codes: Array

    def take(self, index: Array) -> Texts:
        """The rows at `index`, in its order."""
        return Texts(self.dictionary, self.codes[index])

    def pack(self, part: slice) -> Json:
        """These rows as a packed column, with only the texts that occur in them."""
        used, codes = np.unique(self.codes[part], return_inverse=True)
        words = [self.dictionary[code] for code in cast("list[int]", used.tolist())]
        return {"d": words, "i": pack_array(index_type(len(words)), codes)}


@dataclass(frozen=True, slots=True)
class Amounts:
    """A column of finite numbers, `kind` i8 or f8; where `missing`, the value is 0."""

    kind: str
    values: Array
    missing: Mask

    def take(self, index: Array) -> Amounts:
        """The rows at `index`, in its order."""
        return Amounts(self.kind, self.values[index], self.missing[index])

    def pack(self, part: slice) -> Json:
        """These rows as a packed column."""
        column: Json = {self.kind: pack_array(self.kind, self.values[part])}
        positions = np.flatnonzero(self.missing[part])
        if len(positions):
            column["null"] = pack_array("u4", positions)
        return column


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that can be sent: their times in ms and a column per field."""

    times: Array
    fields: Mapping[str, Texts | Amounts]

    def __len__(self) -> int:
        return len(self.times)

    def take(self, index: Array) -> Rows:
        """The rows at `index`, in its order."""
        return Rows(self.times[index], {name: column.take(index) for name, column in self.fields.items()})

    def points(self, part: slice) -> int:
        """What these rows become: one point each, and one for each measure that is there."""
        there = (np.count_nonzero(~c.missing[part]) for c in self.fields.values() if isinstance(c, Amounts))
        return len(self.times[part]) + int(sum(there))

    def body(self, part: slice) -> Json:
        """These rows as the part of an envelope that follows its head: n, t0, t, fields."""
        times = self.times[part]
        t0 = int(times.min())
        fields = {name: column.pack(part) for name, column in self.fields.items()}
        return {"n": len(times), "t0": t0, "t": pack_array("u4", times - t0), "fields": fields}

    def by_span(self, span_ms: int = MAX_SPAN_MS) -> Iterator[Rows]:
        """The rows in groups whose times lie within `span_ms`; as they are when all do."""
        if len(self) == 0:
            return
        since = self.times - self.times.min()
        if int(since.max()) <= span_ms:
            yield self
            return
        group = since // (span_ms + 1)
        order = np.argsort(group, kind="stable")
        borders = np.flatnonzero(np.diff(group[order])) + 1
        for index in np.split(order, borders):
            yield self.take(index)


@dataclass(frozen=True, slots=True)
class RefusedRows:
    """Rows that are not sent, by position in their slice. It never holds a value."""

    reason: str
    field: str
    positions: Array


class _Sieve:
    """Which rows are still good; each bad one is refused once, for the first thing found."""

    def __init__(self, height: int) -> None:
        self.good: Mask = np.ones(height, dtype=np.bool_)
        self.refused: list[RefusedRows] = []

    def refuse(self, bad: Mask, reason: str, field: str) -> None:
        fresh = bad & self.good
        if fresh.any():
            self.refused.append(RefusedRows(reason, field, np.flatnonzero(fresh)))
            self.good &= ~fresh


def read_rows(frame: pl.DataFrame, contract: Contract, broken: tuple[int, ...] = ()) -> tuple[Rows, list[RefusedRows]]:
    """The rows of `frame` that fit the contract, and the others by reason.

    A declared column that the frame lacks is missing in every row. `broken` are rows refused as unreadable.
    """
    sieve = _Sieve(frame.height)
    unreadable = np.zeros(frame.height, dtype=np.bool_)
    unreadable[list(broken)] = True
    sieve.refuse(unreadable, "unreadable_row", "")
    given = _column(frame, contract.time)
    instants = instants_ms(given, contract.time_format)
    sieve.refuse(_mask(given.is_null()), "missing_value", contract.time)
    sieve.refuse(_mask(instants.is_null()), "bad_time", contract.time)
    columns: dict[str, Texts | Amounts] = {}
    for name, field in contract.fields.items():
        if field.kind in SENT_KINDS:
            read = _amounts if field.kind == "measure" else _texts
            columns[name] = read(_column(frame, contract.column(name)), name, field, sieve)
    rows = Rows(instants.fill_null(0).to_numpy().astype(np.int64), columns)
    return (rows if sieve.good.all() else rows.take(np.flatnonzero(sieve.good))), sieve.refused


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        return pl.Series(name, [None] * frame.height, pl.String)
    column = frame[name]
    return column.cast(pl.String) if isinstance(column.dtype, (pl.Null, pl.Categorical, pl.Enum)) else column


def _mask(flags: pl.Series) -> Mask:
    return flags.fill_null(False).to_numpy().astype(np.bool_, copy=False)


def _nothing(column: pl.Series, dtype: Any) -> pl.Series:
    return pl.Series(column.name, [None] * column.len(), dtype)


def _amounts(column: pl.Series, name: str, field: Field, sieve: _Sieve) -> Amounts:
    missing = _mask(column.is_null())
    if not field.optional:
        sieve.refuse(missing, "missing_value", name)
    numbers = _numbers(column)
    sieve.refuse(_mask(numbers.is_null()) & ~missing, "wrong_type", name)
    values = numbers.fill_null(0.0).to_numpy()
    finite = np.isfinite(values)
    sieve.refuse(~finite, "not_finite", name)
    if field.type == "number":
        return Amounts("f8", values, missing)
    whole = finite & (np.floor(values) == values) & (np.abs(values) < MAX_INTEGER)
    sieve.refuse(~whole, "wrong_type", name)
    return Amounts("i8", np.where(whole, values, 0.0).astype(np.int64), missing)


def _numbers(column: pl.Series) -> pl.Series:
    """Numbers as doubles; null where a value is no number."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64, strict=False)
    if column.dtype != pl.String:
        return _nothing(column, pl.Float64)
    numbers = column.cast(pl.Float64, strict=False)
    if numbers.null_count() > column.null_count():
        numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
    return numbers


def _texts(column: pl.Series, name: str, field: Field, sieve: _Sieve) -> Texts:
    if not field.optional:
        sieve.refuse(_mask(column.is_null()), "missing_value", name)
    if column.dtype.is_nested() or isinstance(column.dtype, (pl.Binary, pl.Object)):
        sieve.refuse(_mask(column.is_not_null()), "wrong_type", name)
        return Texts((None,), np.zeros(column.len(), dtype=np.int64))
    if column.dtype.is_float():
        column = column.cast(pl.String)
    # texts repeat, so everything is checked on the distinct ones
    values, codes = distinct(column)
    words = canonical(values, field.type)
    checks = [
        (words.is_null() & values.is_not_null(), "wrong_type"),
        (words.str.len_chars() > MAX_CHARS, "too_long"),
    ]
    if field.values:
        checks.append((words.is_not_null() & ~words.is_in(list(field.values)), "bad_value"))
    for bad, reason in checks:
        if bad.any():
            sieve.refuse(_mask(bad)[codes], reason, name)
    texts = cast("list[str | None]", words.to_list())
    if field.generalise:
        # as applications do: what is precise stays here
        texts = [None if text is None else generalise(field.generalise, text) for text in texts]
    return Texts(tuple(texts), codes)


def distinct(column: pl.Series) -> tuple[pl.Series, Array]:
    """The distinct values of a column, in order of first appearance, and which of them stands in each row."""
    values = column.unique(maintain_order=True)
    pairs = pl.DataFrame({"value": values, "code": np.arange(values.len(), dtype=np.int64)})
    joined = column.to_frame("value").join(pairs, on="value", how="left", nulls_equal=True, maintain_order="left")
    return values, joined["code"].to_numpy()


def canonical(values: pl.Series, kind: str) -> pl.Series:
    """Values as the texts they travel as: 5, 0.5, true. Null where a value is none of type `kind`."""
    dtype = values.dtype
    if kind == "string":
        return values.cast(pl.String)
    texts = values.str.strip_chars() if dtype == pl.String else values
    if kind == "boolean":
        if not isinstance(dtype, (pl.String, pl.Boolean)):
            return _nothing(values, pl.String)
        words = dict.fromkeys(TRUE, "true") | dict.fromkeys(FALSE, "false")
        return texts.cast(pl.String).replace_strict(words, default=None, return_dtype=pl.String)
    if dtype != pl.String and not dtype.is_numeric():
        return _nothing(values, pl.String)
    numbers = texts.cast(pl.Float64, strict=False)
    numbers = numbers.set(~numbers.is_finite(), None)
    if kind == "number":
        return numbers.cast(pl.String)
    fits = (numbers == numbers.floor()) & (numbers.abs() < MAX_INTEGER)
    integral = numbers.zip_with(fits, _nothing(values, pl.Float64)).cast(pl.Int64)
    # beyond 2**53 only what is written as an integer is exact
    whole = texts.cast(pl.Int64, strict=False) if dtype == pl.String or dtype.is_integer() else integral
    return whole.zip_with(whole.is_not_null(), integral).cast(pl.String)
