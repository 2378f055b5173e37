"""Outputs: the messages of one transaction, from what an accumulator holds. Pure; `transactions` sends them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import orjson

from streamgauge.processors.accumulator import Accumulator
from streamgauge.processors.event_table import TableRollup
from streamgauge.processors.grouping import edges
from streamgauge.processors.sequences import NOTHING_FOUND, Findings
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.columns import Array, saturated
from streamgauge.schemas.decoding import INTEGER_LIMIT
from streamgauge.schemas.ledger import LedgerEntry
from streamgauge.schemas.rollups import (
    DistinctRows,
    RawRange,
    RollupMessage,
    RollupRows,
    SeriesLabels,
    concat_distinct,
    concat_rows,
    encode,
    part_keys,
    split_rows,
)
from streamgauge.schemas.topics import DEAD, DISTINCT, LEDGER, ROLLUPS, SCRUBBED

ROW_BYTES = 70
ENTRY_BYTES = 8
DISTINCT_BYTES = 30
METRIC_BYTES = 80
LABEL_BYTES = 15
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Output:
    """One message for one partition of one topic. `anchor`: a reader who restores state begins here.

    With a key and without a value it removes what a compacted topic has under this key.
    """

    topic: str
    partition: int
    value: bytes
    key: bytes | None = None
    anchor: bool = False


@dataclass(frozen=True, slots=True)
class OutputPolicy:
    """`max_parts` bounds the store's partitions (days or months) that one message touches, and so its parts per insert."""

    materialization_version: int = 1
    rollup_partitions: int = ROLLUPS.partitions
    distinct_partitions: int = DISTINCT.partitions
    event_partitions: int = SCRUBBED.partitions
    max_bytes: int = 512 << 10
    max_parts: int = 32


def outputs(
    accumulator: Accumulator,
    start: int,
    end: int,
    index: SeriesIndex,
    policy: OutputPolicy,
    now_ms: int,
    findings: Findings = NOTHING_FOUND,
) -> tuple[list[Output], LedgerEntry]:
    """All messages for the offsets [start, end), dead letters and ledger entry included."""
    place = accumulator.place
    raw = RawRange(place.topic, place.partition, start, end)
    found: list[Output] = []
    points: Counter[tuple[int, int]] = Counter()
    sums: dict[tuple[int, int], tuple[float, float]] = {}
    windows: list[int] = []
    for metrics, distinct_metrics, rollup in accumulator.roll_up(index):
        rows = concat_rows(rollup.rows)
        for day, (count, *both) in _by_day(rows).items():
            points[day] += count
            before = sums.get(day, (0.0, 0.0))
            total, magnitude = saturated(np.array([before[0] + both[0], before[1] + both[1]])).tolist()
            sums[day] = total, magnitude
        windows += [int(rows.window.min()), int(rows.window.max())]
        frame = RollupMessage(place.region, policy.materialization_version, raw, tuple(metrics), rows, ())
        for partition, message in _messages(frame, rows, rollup, index, policy.rollup_partitions, policy, now_ms):
            found.append(Output(ROLLUPS.name(place.region), partition, encode(message)))
        if rollup.distinct:
            distinct = concat_distinct(rollup.distinct)
            frame = replace(frame, metrics=tuple(distinct_metrics), rows=distinct)
            for partition, message in _messages(
                frame, distinct, None, index, policy.distinct_partitions, policy, now_ms
            ):
                found.append(Output(DISTINCT.name(place.region), partition, encode(message)))
    for single in accumulator.single.values():
        found += [
            Output(SCRUBBED.name(place.region), place.partition % policy.event_partitions, value)
            for value in single.messages(
                place.region, raw, policy.materialization_version, policy.max_bytes, policy.max_parts
            )
        ]
    found += [Output(DEAD.name(place.region), 0, letter.encode()) for letter in accumulator.dead]
    entry = LedgerEntry(
        region=place.region,
        topic=place.topic,
        partition=place.partition,
        start=start,
        end=end,
        messages=accumulator.messages,
        batches=accumulator.batches,
        points=points,
        committed_ms=now_ms,
        refused=accumulator.refused,
        scrubbed=accumulator.scrubbed,
        skipped=accumulator.skipped,
        min_window=min(windows, default=0),
        max_window=max(windows, default=0),
        sequence_gaps=min(findings.missing, INTEGER_LIMIT - 1),
        sequence_repeats=findings.repeats + accumulator.repeats,
        sums=sums,
        incarnation=place.incarnation,
        policies=tuple(sorted(accumulator.policies)),
        events=sum(single.rows for single in accumulator.single.values()),
    )
    found.append(Output(LEDGER.name(place.region), 0, entry.encode()))
    return found, entry


def _by_day(rows: RollupRows) -> dict[tuple[int, int], tuple[int, float, float]]:
    """By entry tier and UTC day: points, sum of all values, and of their magnitudes."""
    keys = rows.entry.astype(np.int64) << 32 | rows.window // DAY_S
    days, which = np.unique(keys, return_inverse=True)
    counts = np.zeros(len(days), np.uint64)
    np.add.at(counts, which, rows.count)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = saturated(np.bincount(which, rows.sum, len(days)))
        magnitudes = saturated(np.bincount(which, np.abs(rows.sum), len(days)))
    return {
        (int(key) >> 32, int(key) & 0xFFFFFFFF): (int(n), total, magnitude)
        for key, n, total, magnitude in zip(days, counts, sums.tolist(), magnitudes.tolist(), strict=True)
    }


def _messages(
    frame: RollupMessage,
    rows: RollupRows | DistinctRows,
    labelled: TableRollup | None,
    index: SeriesIndex,
    partitions: int,
    policy: OutputPolicy,
    now_ms: int,
) -> Iterator[tuple[int, RollupMessage]]:
    """Rows by partition, in order of window, cut by size and days. New labels go with the first row of their series."""
    target = rows.series_id % np.uint64(partitions)
    heads = np.array([METRIC_BYTES + len(orjson.dumps([m.name, m.family, m.unit, m.labels])) for m in frame.metrics])
    for partition in range(partitions):
        mine = np.flatnonzero(target == partition)
        if not len(mine):
            continue
        # by part first, so that a message touches few of them; then by key, which is the order of the store
        parts = part_keys(rows.entry[mine], rows.window[mine].astype(np.int64))
        order = np.lexsort((rows.window[mine], rows.series_id[mine], rows.metric[mine], parts))
        part = rows.take(mine[order])
        weights = _weights(part)
        starts = edges(part.metric)
        weights[starts] += heads[part.metric[starts]]
        labels, at = _news(part, labelled, index, now_ms)
        weights[at] += np.array([_label_bytes(one) for one in labels], np.int64)
        cuts = list(split_rows(weights, parts[order], policy.max_bytes, policy.max_parts))
        owned: Iterator[RollupRows | DistinctRows] = part.split(cuts)
        for cut, own in zip(cuts, owned, strict=True):
            new = labels[slice(*np.searchsorted(at, cut))]
            yield partition, replace(frame, rows=own, labels=tuple(new))


def _news(
    rows: RollupRows | DistinctRows, labelled: TableRollup | None, index: SeriesIndex, now_ms: int
) -> tuple[list[SeriesLabels], Array]:
    """Labels that are due, and the row in which each of their series occurs first, in order of those rows."""
    if labelled is None:
        return [], np.zeros(0, np.int64)
    ids, first = np.unique(rows.series_id, return_index=True)
    order = np.argsort(first)
    row_of = dict(zip(ids[order].tolist(), first[order].tolist(), strict=True))
    labels = index.news({one: labelled.series[one] for one in row_of}, now_ms)
    return labels, np.array([row_of[one.series_id] for one in labels], np.int64)


def _label_bytes(one: SeriesLabels) -> int:
    return LABEL_BYTES + len(orjson.dumps([one.family, one.labels]))


def _weights(rows: RollupRows | DistinctRows) -> Array:
    if isinstance(rows, DistinctRows):
        return np.full(len(rows), DISTINCT_BYTES, np.int64)
    return ROW_BYTES + ENTRY_BYTES * rows.hist.per_row.astype(np.int64)
