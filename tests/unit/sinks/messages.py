"""Messages of the stored topics, short to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamgauge.schemas.ledger import DeadLetter, LedgerEntry
from streamgauge.schemas.rollups import (
    DistinctRows,
    Histograms,
    RawRange,
    RollupMessage,
    RollupMetric,
    RollupRows,
    SeriesLabels,
)
from streamgauge.sinks.ranges import Place, Range

T0 = 1_796_083_200  # 2026-12-01 00:00 UTC
DAY = 86_400
PLACE = Place("eu", "sg.eu.rollups.v1", "life", 3)
BLOCK = Range(PLACE, 7, 9)


@dataclass(frozen=True)
class Row:
    """A row of rollups, with the defaults of a counter that was called once."""

    metric: str = "requests"
    series_id: int = 1
    window: int = T0
    count: int = 1
    sum: float = 1.0
    hist: Mapping[int, int] = field(default_factory=dict[int, int])
    entry: int = 0
    last: tuple[int, float] = (0, 0.0)


def message(
    rows: Sequence[Row], version: int = 1, labels: Sequence[SeriesLabels] = (), heads: Sequence[str] = ()
) -> RollupMessage:
    """A message of the rollups topic; its metrics are those of its rows in their order, after `heads`."""
    names = list(dict.fromkeys([*heads, *(row.metric for row in rows)]))
    columns = RollupRows(
        metric=np.array([names.index(row.metric) for row in rows], np.uint8),
        series_id=np.array([row.series_id for row in rows], np.uint64),
        entry=np.array([row.entry for row in rows], np.uint8),
        window=np.array([row.window for row in rows], np.uint32),
        count=np.array([row.count for row in rows], np.uint64),
        sum=np.array([row.sum for row in rows], np.float64),
        min=np.zeros(len(rows)),
        max=np.zeros(len(rows)),
        last=np.array([row.last[1] for row in rows], np.float64),
        last_ms=np.array([row.last[0] for row in rows], np.int64),
        hist=Histograms(
            np.array([len(row.hist) for row in rows], np.uint64),
            np.array([key for row in rows for key in row.hist], np.int16),
            np.array([count for row in rows for count in row.hist.values()], np.uint64),
        ),
    )
    metrics = tuple(RollupMetric(name, "counter", name) for name in names)
    return RollupMessage("eu", version, RawRange("raw", 0, 10, 20), metrics, columns, tuple(labels))


def hashes(rows: Sequence[tuple[int, int]], version: int = 1) -> RollupMessage:
    """A message of the distinct topic: (series, hash)."""
    columns = DistinctRows(
        metric=np.zeros(len(rows), np.uint8),
        series_id=np.array([series for series, _ in rows], np.uint64),
        entry=np.zeros(len(rows), np.uint8),
        window=np.full(len(rows), T0, np.uint32),
        hash=np.array([value for _, value in rows], np.uint64),
    )
    metrics = (RollupMetric("order.customer", "distinct", "order"),)
    return RollupMessage("eu", version, RawRange("raw", 0, 10, 20), metrics, columns, ())


LETTER = DeadLetter("eu", "raw", 0, 5, "bad_json", 1, 1_796_083_200_000)
ENTRY = LedgerEntry("eu", "raw", 0, 10, 20, 10, 10, {(0, 20_788): 7}, 1_796_083_200_000)
