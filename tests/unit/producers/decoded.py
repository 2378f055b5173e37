"""Decoded: what was delivered, read back by the decoder that processors use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from streamgauge.producers.own_metrics import NAMES
from streamgauge.producers.testing import Captured, CapturedTransport
from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode


@dataclass
class Value:
    """What all batches say of one series, over all windows."""

    count: int = 0
    sum: float = 0.0
    min: float = float("inf")
    max: float = float("-inf")
    last: tuple[int, float] = (0, 0.0)
    buckets: dict[int, int] = field(default_factory=dict[int, int])
    windows: dict[int, int] = field(default_factory=dict[int, int])
    """Points by start of window."""


def metric_batches(messages: Iterable[Captured]) -> list[MetricBatch]:
    """Batches of metrics, in the order given."""
    return [batch for one in messages if isinstance(batch := decode(one.value), MetricBatch)]


def event_batches(messages: Iterable[Captured]) -> list[EventBatch]:
    """Batches of events, in the order given."""
    return [batch for one in messages if isinstance(batch := decode(one.value), EventBatch)]


def values(messages: Iterable[Captured]) -> dict[tuple[str, ...], Value]:
    """Merged points by (metric, *label values)."""
    found: dict[tuple[str, ...], Value] = {}
    for batch in metric_batches(messages):
        place = 0
        for row, index in enumerate(batch.index):
            metric, *labels = cast("tuple[int, *tuple[str, ...]]", batch.series[int(index)])
            one = found.setdefault((batch.metrics[metric].name, *labels), Value())
            one.count += int(batch.count[row])
            one.sum += float(batch.sum[row])
            one.min = min(one.min, float(batch.min[row]))
            one.max = max(one.max, float(batch.max[row]))
            # of equal instants the one sent later counts: rows of a series come in order of time
            if int(batch.last_ms[row]) >= one.last[0]:
                one.last = (int(batch.last_ms[row]), float(batch.last[row]))
            window = int(batch.windows[row])
            one.windows[window] = one.windows.get(window, 0) + int(batch.count[row])
            if batch.buckets:
                per_row, keys, counts = batch.buckets
                for _ in range(int(per_row[row])):
                    key = int(keys[place])
                    one.buckets[key] = one.buckets.get(key, 0) + int(counts[place])
                    place += 1
    return found


def rows(messages: Iterable[Captured], event: str) -> list[dict[str, Any]]:
    """Events of one name as field values, with `time`."""
    found: list[dict[str, Any]] = []
    for batch in event_batches(messages):
        if batch.event != event:
            continue
        columns = {name: _column(column) for name, column in batch.fields.items()}
        columns["time"] = [int(time) for time in batch.times]
        found += [{name: column[row] for name, column in columns.items()} for row in range(len(batch.times))]
    return found


def _column(column: Strings | Numbers) -> list[Any]:
    if isinstance(column, Strings):
        return [column.dictionary[place] for place in column.index]
    found: list[Any] = [float(value) for value in column.values]
    if column.missing is not None:
        for place in column.missing:
            found[place] = None
    return found


def told(transport: CapturedTransport) -> dict[str, float]:
    """What was added to each metric of the application: not what the producer says of itself."""
    return {name: amount for name, amount in transport.sums().items() if name not in NAMES}
