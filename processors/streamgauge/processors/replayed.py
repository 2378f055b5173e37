"""Replayed messages: what the header of one says, and which rows of its batch count again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from streamgauge.schemas.again import AGAIN_HEADER, Again, decode_again
from streamgauge.schemas.columns import Array, Numbers, Strings
from streamgauge.schemas.decoding import Batch, EventBatch, MetricBatch
from streamgauge.schemas.errors import Refused

BAD_AGAIN = "bad_again"
"""The reason of a letter about a header that cannot be followed. Nothing of its message was added."""
REPEAT = "repeat"
"""The reason under which a replay that came before is counted, with no points."""

Headers = Mapping[str, bytes] | Iterable[tuple[str, bytes]] | None


def replay_of(headers: Headers, offset: int) -> Again | Refused | None:
    """What the headers of the message at `offset` say: nothing, a replay, or something that cannot be followed."""
    if not headers:
        return None
    pairs = cast("Iterable[tuple[str, bytes]]", headers.items() if isinstance(headers, Mapping) else headers)
    found = [value for name, value in pairs if name == AGAIN_HEADER]
    if not found:
        return None
    try:
        if len(found) > 1:
            raise Refused("duplicate_key")
        return decode_again(found[0], offset)
    except Refused as refused:
        return Refused(BAD_AGAIN, str(refused))


def as_told(batch: Batch, again: Again) -> Batch:
    """The batch with the rows that count again only. Raises Refused when it has other rows than the header says."""
    if again.backfill:
        batch = replace(batch, origin=replace(batch.origin, backfill=True))
    if again.rows is None:
        return batch
    total = len(batch.windows if isinstance(batch, MetricBatch) else batch.times)
    if again.rows.of != total:
        raise Refused(BAD_AGAIN, "the batch has another number of rows")
    rows = again.rows.rows()
    return _points(batch, rows) if isinstance(batch, MetricBatch) else _events(batch, rows)


def _events(batch: EventBatch, rows: Array) -> EventBatch:
    fields = {name: _column(column, rows) for name, column in batch.fields.items()}
    consents = None if batch.consents is None else (batch.consents[0], batch.consents[1][rows])
    return replace(batch, times=batch.times[rows], fields=fields, consents=consents)


def _column(column: Strings | Numbers, rows: Array) -> Strings | Numbers:
    if isinstance(column, Strings):
        return Strings(column.dictionary, column.index[rows])
    return some_numbers(column, rows)


def some_numbers(numbers: Numbers, rows: Array) -> Numbers:
    """These rows (indexes or a mask) of a column of numbers."""
    if numbers.missing is None:
        return Numbers(numbers.values[rows])
    missing = np.zeros(len(numbers.values), bool)
    missing[numbers.missing] = True
    return Numbers(numbers.values[rows], np.flatnonzero(missing[rows]))


def _points(batch: MetricBatch, rows: Array) -> MetricBatch:
    columns = {name: getattr(batch, name)[rows] for name in _POINT_COLUMNS}
    return replace(batch, **columns, buckets=some_buckets(batch, rows))


_POINT_COLUMNS = ("index", "windows", "count", "sum", "min", "max", "last", "last_ms")


def some_buckets(batch: MetricBatch, rows: Array) -> tuple[Array, Array, Array] | None:
    """The histograms of these rows (ascending)."""
    if batch.buckets is None or len(rows) == len(batch.windows):
        return batch.buckets
    per_row, keys, counts = batch.buckets
    keep = np.zeros(len(per_row), bool)
    keep[rows] = True
    entries = np.repeat(keep, per_row.astype(np.int64))
    return per_row[rows], keys[entries], counts[entries]
