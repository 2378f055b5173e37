"""Blocks: the messages of one range as the store's columns: the same bytes from the same messages, whoever builds them.

Rows of equal keys are merged and sorted by key; sums of floats add in offset order. One block has one materialization
version and touches a bounded number of the store's partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamgauge.schemas.columns import Array
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry
from streamgauge.schemas.merging import merge_distinct, merge_rows
from streamgauge.schemas.rollups import (
    DistinctRows,
    RollupMessage,
    RollupMetric,
    RollupRows,
    SeriesLabels,
    concat_distinct,
    concat_rows,
    part_keys,
)
from streamgauge.sinks import native
from streamgauge.sinks.ddl import DISTINCT_LANDING, MAX_DAYS_PER_BLOCK, ROLLUPS_LANDING
from streamgauge.sinks.ranges import Range

COUNT_LIMIT = (1 << 48) - 1


@dataclass(frozen=True, slots=True)
class BlockPolicy:
    """When a partition's messages are worth an insert, and what one insert may hold at most."""

    every_ms: int = 500
    max_rows: int = 250_000
    max_bytes: int = 16 << 20
    max_parts: int = MAX_DAYS_PER_BLOCK


@dataclass(frozen=True, slots=True)
class Insert:
    """One table's part of a block, in Native format; an empty one is left out."""

    table: str
    columns: tuple[str, ...]
    data: bytes
    rows: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides whether another message fits into a block."""

    rows: int
    size: int
    parts: frozenset[int]
    versions: frozenset[int]

    def with_more(self, more: Shape) -> Shape:
        """Both together."""
        return Shape(
            self.rows + more.rows, self.size + more.size, self.parts | more.parts, self.versions | more.versions
        )

    def fits(self, policy: BlockPolicy) -> bool:
        """Whether this is within the policy. A single message always is a block, if it must be."""
        return (
            self.rows <= policy.max_rows
            and self.size <= policy.max_bytes
            and len(self.parts) <= policy.max_parts
            and len(self.versions) <= 1
        )


EMPTY_SHAPE = Shape(0, 0, frozenset(), frozenset())


def shape_of(message: RollupMessage | LedgerEntry | DeadLetter, size: int) -> Shape:
    """The shape of a block of one message."""
    if isinstance(message, RollupMessage):
        parts = part_keys(message.rows.entry, message.rows.window.astype(np.int64))
        return Shape(len(message.rows), size, frozenset(map(int, np.unique(parts))), frozenset([message.version]))
    return Shape(1, size, frozenset(), frozenset())


def rollup_insert(messages: Sequence[RollupMessage], pending: Range) -> Insert:
    """The landing table's block of a range, from all messages in it (of the rollups or of the distinct topic)."""
    metrics: dict[str, int] = {}
    if isinstance(messages[0].rows, DistinctRows):
        distinct = merge_distinct(
            concat_distinct(
                [replace(m.rows, metric=_codes(m, metrics)) for m in messages if isinstance(m.rows, DistinctRows)]
            )
        )
        columns = [*_keys(distinct, metrics, messages[0].version), native.numbers("hash", "UInt64", distinct.hash)]
        return _insert(DISTINCT_LANDING, columns, len(distinct), pending)
    rows = merge_rows(
        concat_rows([replace(m.rows, metric=_codes(m, metrics)) for m in messages if isinstance(m.rows, RollupRows)])
    )
    columns = [
        *_keys(rows, metrics, messages[0].version),
        native.numbers("count", "UInt64", rows.count),
        native.numbers("sum", "Float64", rows.sum),
        native.numbers("min", "Float64", rows.min),
        native.numbers("max", "Float64", rows.max),
        native.numbers("last_ms", "Int64", rows.last_ms),
        native.numbers("last", "Float64", rows.last),
        _histogram(rows),
    ]
    return _insert(ROLLUPS_LANDING, columns, len(rows), pending)


def _codes(message: RollupMessage, metrics: dict[str, int]) -> Array:
    codes = np.array([metrics.setdefault(one.name, len(metrics)) for one in message.metrics], np.uint32)
    return codes[message.rows.metric]


def _keys(rows: RollupRows | DistinctRows, metrics: dict[str, int], version: int) -> list[native.Column]:
    return [
        native.constant("materialization_version", "UInt16", version, len(rows)),
        native.dictionary("metric", list(metrics), rows.metric),
        native.numbers("series_id", "UInt64", rows.series_id),
        native.numbers("entry", "UInt8", rows.entry),
        native.numbers("window", "DateTime('UTC')", rows.window),
    ]


def _histogram(rows: RollupRows) -> native.Column:
    """Cells of `(key + 32768) << 48 | count`. No count of one commit comes near 2^48."""
    cells = (rows.hist.keys.astype(np.int64) + (1 << 15)).astype(np.uint64) << np.uint64(48)
    return native.arrays(
        "hist", "UInt64", rows.hist.per_row, cells | np.minimum(rows.hist.counts, COUNT_LIMIT).astype(np.uint64)
    )


def _insert(table: str, columns: list[native.Column], rows: int, pending: Range) -> Insert:
    place = pending.place
    none = np.zeros(rows, np.uint8)
    columns += [
        native.dictionary("topic", [place.topic], none),
        native.constant("partition", "UInt16", place.partition, rows),
        native.constant("block_from", "UInt64", pending.start, rows),
        native.constant("block_to", "UInt64", pending.end, rows),
        native.dictionary("region", [place.region], none),
    ]
    return Insert(table, tuple(column.name for column in columns), native.block(columns, rows), rows)


def labels_of(messages: Sequence[RollupMessage]) -> dict[int, SeriesLabels]:
    """Labels that the messages announce, by series id."""
    return {one.series_id: one for message in messages for one in message.labels}


def metrics_of(messages: Sequence[RollupMessage]) -> dict[str, RollupMetric]:
    """Metrics that the messages name."""
    return {one.name: one for message in messages for one in message.metrics}
