"""Instants: times in a data file as milliseconds since the epoch, UTC.

Rule: a time without zone is UTC; a date is its midnight, UTC. A number counts from 1970 in the unit its size tells:
below 1e11 seconds (until the year 5138), below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds.
"""

from __future__ import annotations

import polars as pl

from streamgauge.schemas.decoding import MAX_INSTANT_MS

ISO_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
)
EPOCH_UNITS = ((1e11, 1e3), (1e14, 1.0), (1e17, 1e-3), (float("inf"), 1e-6))
"""Below which size a number is in which unit, as milliseconds of one."""


def instants_ms(column: pl.Series, time_format: str = "") -> pl.Series:
    """Milliseconds (Int64) of each value; null where it is missing, not a time, before 1970 or after 9999.

    Texts are read by `time_format` (strftime's words) when there is one.
    """
    dtype = column.dtype
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        found = column.dt.epoch("ms")
    elif dtype.is_numeric():
        found = _epoch_ms(column)
    elif dtype == pl.String:
        found = _text_ms(column, time_format)
    else:
        return pl.Series(column.name, [None] * column.len(), pl.Int64)
    return found.set((found < 0) | (found >= MAX_INSTANT_MS), None)


def _epoch_ms(column: pl.Series) -> pl.Series:
    if column.dtype.is_integer():
        # integers of nanoseconds do not fit a float
        return pl.select(_by_size(pl.lit(column.cast(pl.Int64, strict=False)), exact=True)).to_series()
    seconds = column.cast(pl.Float64, strict=False)
    seconds = seconds.set(~seconds.is_finite(), None)
    return pl.select(_by_size(pl.lit(seconds), exact=False)).to_series()


def _by_size(value: pl.Expr, exact: bool) -> pl.Expr:
    found = pl.lit(None, pl.Int64)
    for limit, factor in reversed(EPOCH_UNITS):
        if exact:
            scaled = value * int(factor) if factor >= 1 else value // round(1 / factor)
        else:
            scaled = (value * factor).round().cast(pl.Int64, strict=False)
        found = pl.when(value.abs() < limit).then(scaled).otherwise(found)
    return found


def _words(time_format: str) -> tuple[str, ...]:
    """Formats to try. Without an hour polars wants a date format, which it reads as that day's midnight."""
    return (time_format,) if time_format else ISO_FORMATS


def _text_ms(column: pl.Series, time_format: str) -> pl.Series:
    # times repeat within a chunk more often than not, and parsing costs more than looking up
    distinct = column.unique().drop_nulls()
    text = distinct.str.strip_chars()
    found = pl.Series("ms", [None] * text.len(), pl.Int64)
    for form in _words(time_format):
        if not found.null_count():
            break
        parsed = text.str.to_datetime(form, strict=False, time_unit="ms", time_zone="UTC").dt.epoch("ms")
        found = found.zip_with(found.is_not_null(), parsed)
    if found.null_count() and not time_format:
        whole = _epoch_ms(text.cast(pl.Int64, strict=False))
        parts = _epoch_ms(text.cast(pl.Float64, strict=False))
        found = found.zip_with(found.is_not_null(), whole.zip_with(whole.is_not_null(), parts))
    pairs = pl.DataFrame({"text": distinct, "ms": found})
    return column.to_frame("text").join(pairs, on="text", how="left", maintain_order="left")["ms"]
