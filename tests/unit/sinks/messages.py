"""Messages of the stored topics, short to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streamgauge.schemas.columns import Numbers, Strings
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
from streamgauge.schemas.scrubbed_events import ScrubbedEvents
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


EVENTS_PLACE = Place("eu", "sg.eu.events_scrubbed.v1", "life", 1)
EVENTS_BLOCK = Range(EVENTS_PLACE, 7, 9)
Texts = Mapping[str, Sequence[str | None]]
NO_TEXTS: Texts = {}


def single_events(
    times: Sequence[int],
    labels: Texts = NO_TEXTS,
    measures: Mapping[str, Sequence[float | None]] | None = None,
    pseudonyms: Texts = NO_TEXTS,
    texts: Texts = NO_TEXTS,
    event: str = "order_placed",
    version: int = 1,
) -> ScrubbedEvents:
    """A message of the topic of scrubbed events; times are in ms."""
    return ScrubbedEvents(
        "eu",
        RawRange("raw", 0, 10, 20),
        version,
        event,
        3,
        "p1-00ff",
        np.array(times, np.int64),
        {name: strings(values) for name, values in labels.items()},
        {name: _numbers(values) for name, values in (measures or {}).items()},
        {name: strings(values) for name, values in pseudonyms.items()},
        {name: strings(values) for name, values in texts.items()},
    )


def strings(values: Sequence[str | None]) -> Strings:
    """A column of these texts."""
    distinct = list(dict.fromkeys(values))
    return Strings(distinct, np.array([distinct.index(one) for one in values], np.uint32))


def _numbers(values: Sequence[float | None]) -> Numbers:
    missing = [row for row, value in enumerate(values) if value is None]
    return Numbers(np.array([value or 0.0 for value in values]), np.array(missing, np.uint32) if missing else None)


LETTER = DeadLetter("eu", "raw", 0, 5, "bad_json", 1, 1_796_083_200_000)
ENTRY = LedgerEntry("eu", "raw", 0, 10, 20, 10, 10, {(0, 20_788): 7}, 1_796_083_200_000)
