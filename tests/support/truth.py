"""Truth: what the tables must hold, recomputed from a generator's own rows with polars. Nothing of the product is used.

Windows, buckets and merging follow the docs: windows of UTC, bucket i of 32 a doubling holds (2^(i/32), 2^((i+1)/32)].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, cast

import numpy as np
import polars as pl

WIDTHS_S = {"10s": 10, "1m": 60, "1h": 3_600, "1d": 86_400}
BOUNDS = 2.0 ** (np.arange(33) / 32)
TOLERANCE = 1e-9
DISTINCT_TOLERANCE = 0.02
COMPARED = {
    "counter": ("count", "sum"),
    "event": ("count", "sum"),
    "gauge": ("count", "sum", "min", "max", "last"),
    "histogram": ("count", "sum", "min", "max"),
    "measure": ("count", "sum", "min", "max"),
}
"""Columns that say something, by type of metric; buckets are compared of all."""

CELL = ["metric", "labels", "window"]
Numbers = Sequence[float] | np.ndarray[Any, Any]
Ask = Callable[[str], bytes]
"""Answers a query as Parquet."""


def bucket_keys(values: Numbers) -> np.ndarray[Any, Any]:
    """Bucket keys by the documented bounds, found by comparing with them."""
    given = np.asarray(values, np.float64)
    mantissa, exponent = np.frexp(np.abs(given))
    index = (exponent - 1) * 32 + np.searchsorted(BOUNDS, 2 * mantissa, side="left") - 1
    keys = np.clip(index, -16_383, 16_383) + 16_384
    return np.where(given == 0, 0, np.where(given > 0, keys, -keys)).astype(np.int64)


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels of a series as text that can be compared; an empty label is none."""
    return json.dumps(sorted((name, value) for name, value in labels.items() if value))


@dataclass
class Rows:
    """What one batch adds. `points`: series, instant (ms), count, sum, min, max, last, last_ms; `buckets`: series, instant,
    key, n; `distinct`: series, instant, value. `series` names them: metric and labels."""

    series: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    points: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    buckets: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    distinct: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])

    @property
    def count(self) -> int:
        """Points, as accounts count them."""
        return sum(int(row[2]) for row in self.points)


POINT_COLUMNS = {
    "series": pl.Int64, "t": pl.Int64, "count": pl.Int64, "sum": pl.Float64, "min": pl.Float64, "max": pl.Float64,
    "last": pl.Float64, "last_ms": pl.Int64,
}  # fmt: skip
BUCKET_COLUMNS = {"series": pl.Int64, "t": pl.Int64, "key": pl.Int64, "n": pl.Int64}
DISTINCT_COLUMNS = {"series": pl.Int64, "t": pl.Int64, "value": pl.String}


class Truth:
    """Everything that was added, each batch once. `types` says what each metric is."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self.types = types
        self.points = 0
        self._series: dict[tuple[str, str], int] = {}
        self._frames: dict[str, list[pl.DataFrame]] = {"points": [], "buckets": [], "distinct": []}

    def add(self, rows: Rows) -> None:
        """A batch that counts."""
        self.points += rows.count
        numbers = [self._series.setdefault(one, len(self._series)) for one in rows.series]
        schemas: dict[str, dict[str, Any]] = {
            "points": POINT_COLUMNS, "buckets": BUCKET_COLUMNS, "distinct": DISTINCT_COLUMNS
        }  # fmt: skip
        for name, schema in schemas.items():
            given = cast("list[tuple[Any, ...]]", getattr(rows, name))
            if given:
                moved: list[tuple[Any, ...]] = [(numbers[int(row[0])], *row[1:]) for row in given]
                self._frames[name].append(pl.DataFrame(moved, schema=schema, orient="row"))

    def _named(self, frame: pl.DataFrame) -> pl.DataFrame:
        names = pl.DataFrame(
            [(number, metric, labels, self.types[metric]) for (metric, labels), number in self._series.items()],
            schema={"series": pl.Int64, "metric": pl.String, "labels": pl.String, "type": pl.String},
            orient="row",
        )
        return frame.join(names, on="series").drop("series")

    def _windowed(self, name: str, schema: Mapping[str, Any], tier: str) -> pl.DataFrame:
        width = WIDTHS_S[tier]
        frame = pl.concat(self._frames[name]) if self._frames[name] else pl.DataFrame(schema=dict(schema))
        return frame.with_columns(window=(pl.col("t") // (width * 1000)) * width)

    def expected_points(self, tier: str) -> pl.DataFrame:
        """Whole rows of a tier: metric, labels, window (s), count, sum, min, max, last."""
        newest = pl.struct("last_ms", "last").sort().last().struct.field("last")
        found = self._windowed("points", POINT_COLUMNS, tier).group_by("series", "window")
        summed = found.agg(pl.col("count", "sum").sum(), pl.col("min").min(), pl.col("max").max(), last=newest)
        return self._named(summed)

    def expected_buckets(self, tier: str) -> pl.DataFrame:
        """Entries of all histograms of a tier: metric, labels, window (s), key, n."""
        found = self._windowed("buckets", BUCKET_COLUMNS, tier).group_by("series", "window", "key")
        return self._named(found.agg(pl.col("n").sum()))

    def expected_distinct(self, tier: str) -> pl.DataFrame:
        """How many different values there are in each window."""
        found = self._windowed("distinct", DISTINCT_COLUMNS, tier).group_by("series", "window")
        return self._named(found.agg(n=pl.col("value").n_unique()))

    def differences(self, ask: Ask) -> list[str]:
        """Everything in which the tables differ from the truth, in words; empty when all is well."""
        names = parquet(ask("SELECT series_id, toJSONString(any(labels)) AS labels FROM series GROUP BY series_id"))
        texts = [labels_text(json.loads(one)) for one in names["labels"].to_list()]
        names = names.with_columns(labels=pl.Series(texts, dtype=pl.String))
        wrong: list[str] = []
        for tier in WIDTHS_S:
            asked = {
                query: parquet(ask(sql.format(tier=tier))).join(names, on="series_id", how="left").drop("series_id")
                for query, sql in QUERIES.items()
            }
            wrong += [f"{tier}: {one}" for one in self._wrong_points(tier, asked["points"])]
            wrong += [f"{tier} bucket: {one}" for one in self._wrong_buckets(tier, asked["buckets"])]
            wrong += [f"{tier} distinct: {one}" for one in self._wrong_distinct(tier, asked["distinct"])]
        return wrong

    def _wrong_points(self, tier: str, found: pl.DataFrame) -> list[str]:
        both = self.expected_points(tier).join(found, on=CELL, how="full", suffix="_found", coalesce=True)
        scale = pl.col("count") * pl.max_horizontal(pl.col("min").abs(), pl.col("max").abs(), pl.lit(1.0))
        bad = pl.col("count").is_null() | (pl.col("count") != pl.col("count_found")) | pl.col("count_found").is_null()
        for name in ("sum", "min", "max", "last"):
            kinds = [kind for kind, columns in COMPARED.items() if name in columns]
            off = (pl.col(name) - pl.col(f"{name}_found")).abs() > TOLERANCE * (scale if name == "sum" else 1.0)
            bad |= pl.col("type").is_in(kinds) & off
        return said(both.filter(bad.fill_null(value=True)))

    def _wrong_buckets(self, tier: str, found: pl.DataFrame) -> list[str]:
        keys = [*CELL, "key"]
        both = self.expected_buckets(tier).join(found, on=keys, how="full", suffix="_found", coalesce=True)
        return said(both.filter(pl.col("n").ne_missing(pl.col("n_found"))))

    def _wrong_distinct(self, tier: str, found: pl.DataFrame) -> list[str]:
        both = self.expected_distinct(tier).join(found, on=CELL, how="full", suffix="_found", coalesce=True)
        off = (pl.col("n") - pl.col("n_found")).abs() > DISTINCT_TOLERANCE * pl.col("n")
        return said(both.filter(off.fill_null(value=True)))


QUERIES = {
    "points": "SELECT toString(metric) AS metric, series_id, toInt64(toUnixTimestamp(window)) AS window, toInt64(sum(count)) AS"
    " count, sum(sum) AS sum, min(min) AS min, max(max) AS max, tupleElement(max(last), 2) AS last FROM rollups_{tier}"
    " GROUP BY metric, series_id, window",
    "buckets": "SELECT toString(metric) AS metric, series_id, toInt64(toUnixTimestamp(window)) AS window,"
    " toInt64(entry.1) AS key, toInt64(sum(entry.2)) AS n FROM rollups_{tier}"
    " ARRAY JOIN CAST(hist, 'Array(Tuple(Int16, UInt64))') AS entry GROUP BY metric, series_id, window, key",
    "distinct": "SELECT toString(metric) AS metric, series_id, toInt64(toUnixTimestamp(window)) AS window,"
    " toInt64(uniqCombined64Merge(state)) AS n FROM distinct_{tier} GROUP BY metric, series_id, window",
}


def parquet(answer: bytes) -> pl.DataFrame:
    """A table from its bytes; text that came as bytes is text."""
    frame = pl.read_parquet(BytesIO(answer))
    return frame.with_columns(pl.col(pl.Binary).cast(pl.String))


def said(bad: pl.DataFrame, most: int = 5) -> list[str]:
    """The first of these rows, and how many there are."""
    if not bad.height:
        return []
    return [f"{bad.height} rows differ", *(str(row) for row in bad.head(most).iter_rows(named=True))]
