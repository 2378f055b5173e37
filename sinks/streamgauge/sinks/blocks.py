"""Blocks: the messages of one range as the store's columns: the same bytes from the same messages, whoever builds them.

Rows of equal keys are merged and sorted by key; sums of floats add in offset order. How rows were spread over messages
decides nothing. One block has one materialization version and touches a bounded number of the store's partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType

import numpy as np

from streamgauge.schemas.columns import Array
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry
from streamgauge.schemas.merging import merge_distinct, merge_rows, run_starts
from streamgauge.schemas.rollups import (
    DistinctRows,
    Histograms,
    RollupMessage,
    RollupMetric,
    RollupRows,
    SeriesLabels,
    concat_distinct,
    concat_rows,
    part_keys,
    united,
)
from streamgauge.sinks import native
from streamgauge.sinks.ddl import DISTINCT_LANDING, INSERT_SETTINGS, MAX_DAYS_PER_BLOCK, ROLLUPS_LANDING
from streamgauge.sinks.ranges import Range

COUNT_LIMIT = (1 << 48) - 1
"""What one histogram cell can count; a greater count is spread over several cells of the same key, which add up."""

MAX_BYTES_OF_A_MESSAGE = 64 << 20
"""As it is, with the cells that its great counts need."""

MAX_PARTS_OF_A_MESSAGE = int(INSERT_SETTINGS["max_partitions_per_insert_block"])


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

    def refuse_unstorable(self) -> None:
        """Raises Refused when the store could never take a message of this shape: no later try would heal that."""
        if len(self.parts) > MAX_PARTS_OF_A_MESSAGE:
            raise Refused("too_large", "windows of too many days")
        if self.size > MAX_BYTES_OF_A_MESSAGE:
            raise Refused("too_large", "counts of buckets")

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
    """The shape of a block of one message of `size` bytes."""
    if not isinstance(message, RollupMessage):
        return Shape(1, size, frozenset(), frozenset())
    rows = message.rows
    days = run_starts(rows.entry, rows.window // 86_400) if len(rows) else slice(0)  # sorted rows have few runs
    parts = frozenset(part_keys(rows.entry[days], rows.window[days]).tolist())
    return Shape(len(message.rows), size + 8 * _spread_cells(message), parts, frozenset([message.version]))


def _spread_cells(message: RollupMessage) -> int:
    """Cells that great counts need beside one for each bucket."""
    if isinstance(message.rows, DistinctRows) or not _great(message.rows.hist.counts):
        return 0
    return int((_cells_of(message.rows.hist.counts) - 1).sum())


def _great(counts: Array) -> bool:
    return len(counts) > 0 and int(counts.max()) > COUNT_LIMIT


def _cells_of(counts: Array) -> Array:
    """How many cells hold each count."""
    counts = counts.astype(np.uint64)
    cells: Array = counts // COUNT_LIMIT + (counts % COUNT_LIMIT != 0)
    return np.maximum(cells, 1).astype(np.int64)


def rollup_insert(messages: Sequence[RollupMessage], pending: Range) -> Insert:
    """The landing table's block of a range, from all messages in it: of the rollups or of the distinct topic, not of both.

    Raises ValueError for messages that cannot share a block.
    """
    if len({(type(one.rows), one.version) for one in messages}) != 1:
        raise ValueError("one block holds rows of one kind and one materialization version")
    names = sorted(set(chain.from_iterable(map(_used_names, messages))))
    codes = {name: code for code, name in enumerate(names)}
    version = messages[0].version
    distinct = [replace(m.rows, metric=_codes(m, codes)) for m in messages if isinstance(m.rows, DistinctRows)]
    if distinct:
        hashes = merge_distinct(concat_distinct(distinct))
        columns = [*_keys(hashes, names, version), native.numbers("hash", "UInt64", hashes.hash)]
        return landing_insert(DISTINCT_LANDING, columns, len(hashes), pending)
    rows = merge_rows(
        concat_rows([replace(m.rows, metric=_codes(m, codes)) for m in messages if isinstance(m.rows, RollupRows)])
    )
    columns = [
        *_keys(rows, names, version),
        native.numbers("count", "UInt64", rows.count),
        native.numbers("sum", "Float64", rows.sum),
        native.numbers("min", "Float64", rows.min),
        native.numbers("max", "Float64", rows.max),
        native.numbers("last_ms", "Int64", rows.last_ms),
        native.numbers("last", "Float64", rows.last),
        _histogram(rows.hist),
    ]
    return landing_insert(ROLLUPS_LANDING, columns, len(rows), pending)


def _used_names(message: RollupMessage) -> list[str]:
    used = np.flatnonzero(np.bincount(message.rows.metric, minlength=len(message.metrics)))
    return [message.metrics[index].name for index in used.tolist()]


def _codes(message: RollupMessage, codes: dict[str, int]) -> Array:
    of_metric = np.array([codes.get(one.name, 0) for one in message.metrics], np.uint32)
    return of_metric[message.rows.metric]


def _keys(rows: RollupRows | DistinctRows, names: list[str], version: int) -> list[native.Column]:
    return [
        native.constant("materialization_version", "UInt16", version, len(rows)),
        native.dictionary("metric", names, rows.metric),
        native.numbers("series_id", "UInt64", rows.series_id),
        native.numbers("entry", "UInt8", rows.entry),
        native.numbers("window", "DateTime('UTC')", rows.window),
    ]


def _histogram(hist: Histograms) -> native.Column:
    """Cells of `(key + 32768) << 48 | count`."""
    if _great(hist.counts):
        hist = _spread(hist)
    cells = hist.counts.astype("<u8")
    cells.view("<u2")[3::4] = hist.keys.view(np.uint16) ^ np.uint16(
        1 << 15
    )  # the highest 16 bits of each; fewest copies
    return native.arrays("hist", "UInt64", hist.per_row, cells)


def _spread(hist: Histograms) -> Histograms:
    """The same histograms without a count above the limit: full cells first, then one with what is left."""
    cells = _cells_of(hist.counts)
    before = np.concatenate([[0], np.cumsum(cells)])
    ends = np.cumsum(hist.per_row.astype(np.int64))
    counts = np.full(before[-1], COUNT_LIMIT, np.uint64)
    counts[before[1:] - 1] = hist.counts.astype(np.uint64) - (cells - 1).astype(np.uint64) * np.uint64(COUNT_LIMIT)
    per_row = before[ends] - before[ends - hist.per_row.astype(np.int64)]
    return Histograms(per_row.astype(np.uint64), np.repeat(hist.keys, cells), counts)


def landing_insert(table: str, columns: list[native.Column], rows: int, pending: Range) -> Insert:
    """Columns of a landing table as its part of a block, with where the block comes from."""
    columns = columns + ORIGIN[pending.block_format](pending, rows)
    return Insert(table, tuple(column.name for column in columns), native.block(columns, rows), rows)


def _origin_1(pending: Range, rows: int) -> list[native.Column]:
    place = pending.place
    none = np.zeros(rows, np.uint8)
    return [
        native.dictionary("topic", [place.topic], none),
        native.constant("partition", "UInt16", place.partition, rows),
        native.constant("block_from", "UInt64", pending.start, rows),
        native.constant("block_to", "UInt64", pending.end, rows),
        native.dictionary("region", [place.region], none),
    ]


def _origin_2(pending: Range, rows: int) -> list[native.Column]:
    life = native.dictionary("incarnation", [pending.place.incarnation], np.zeros(rows, np.uint8))
    return [*_origin_1(pending, rows), life]


ORIGIN: Mapping[int, Callable[[Range, int], list[native.Column]]] = MappingProxyType({1: _origin_1, 2: _origin_2})
"""What a block says of where it comes from, by block format: all that differs between the formats that are known."""


def labels_of(messages: Sequence[RollupMessage]) -> dict[int, SeriesLabels]:
    """Labels that the messages announce, by series id."""
    return {one.series_id: one for message in messages for one in message.labels}


def metrics_of(messages: Sequence[RollupMessage]) -> dict[str, RollupMetric]:
    """Metrics that the messages name. Points of one metric may have different labels: it has them all."""
    found: dict[str, RollupMetric] = {}
    for message in messages:
        for one in message.metrics:
            found[one.name] = united(found.get(one.name), one)
    return found
