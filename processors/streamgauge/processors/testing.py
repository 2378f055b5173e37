"""Testing: what a worker makes of captured telemetry, without a broker: decoded, admitted, scrubbed and rolled up by its
own code, in milliseconds.

producer, transport, clock = streamgauge.producers.testing.captured_producer()
...
producer.flush()
rollup = rolled_up(transport, OrderPlaced)
assert rollup.total("order_placed.amount", country="JP").sum == 42.5
assert rollup.scrubbed == {"email": 1}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, Protocol

import numpy as np

from streamgauge.processors.accumulator import Accumulator, Place, Tools
from streamgauge.processors.event_table import TableRollup
from streamgauge.processors.policy import TimePolicy
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.series import SeriesIndex
from streamgauge.processors.single_events import SingleEvents
from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.contracts import Contract, parse_contract
from streamgauge.schemas.events import Event, contract_of
from streamgauge.schemas.histogram import Buckets, merge, quantile
from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.rollups import RawRange, RollupMetric, RollupRows
from streamgauge.schemas.scrubbed_events import decode_scrubbed
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.topics import CONTRACTS
from streamgauge.schemas.windows import TIERS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_BYTES = 1 << 20
KEY = b"a key that is good for tests only"


class Message(Protocol):
    """What was sent to a topic."""

    @property
    def topic(self) -> str:
        """The topic's name."""
        ...

    @property
    def value(self) -> bytes:
        """Its bytes."""
        ...


class Delivered(Protocol):
    """What captures: `streamgauge.producers.testing.CapturedTransport` does."""

    @property
    def delivered(self) -> Sequence[Message]:
        """What was acknowledged, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One series of one metric in one window, or several of them together.

    `labels` are those that the store keeps: declared ones, and context such as `service`. Counters use `sum` (of
    increments) and `count` (of calls); `last` is a gauge's value; `distinct` counts different values of a unique field.
    """

    metric: str
    type: str
    labels: Mapping[str, str]
    window: datetime
    tier: str
    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    last: float = 0.0
    last_ms: int = 0
    buckets: Buckets = field(default_factory=dict[int, int])
    hashes: frozenset[int] = frozenset()

    @property
    def distinct(self) -> int:
        """How many different values."""
        return len(self.hashes)

    def quantile(self, q: float) -> float:
        """Nearest-rank quantile, within 1.1 %. Raises ValueError where there is no histogram."""
        return quantile(self.buckets, q)


@dataclass(frozen=True, slots=True)
class SingleEvent:
    """An event that is kept by itself, as a worker passes it on. What it has no value of is not in it."""

    event: str
    at: datetime
    labels: Mapping[str, str]
    measures: Mapping[str, float]
    pseudonyms: Mapping[str, str]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What became of captured messages. `refused` counts points by reason and `letters` say more; `scrubbed` counts values
    that a rule changed or dropped. `events` are those of contracts with `store_events`, by day and then as they came."""

    rows: list[Row]
    refused: Mapping[str, int]
    scrubbed: Mapping[str, int]
    letters: list[DeadLetter]
    events: list[SingleEvent]

    def of(self, metric: str, **labels: str) -> list[Row]:
        """Rows of a metric that have these labels, among others; by window."""
        return [
            row
            for row in self.rows
            if row.metric == metric and all(row.labels.get(name) == value for name, value in labels.items())
        ]

    def total(self, metric: str, **labels: str) -> Row:
        """All of them as one, with the labels they share. Raises LookupError, which says what there is, for none."""
        if found := self.of(metric, **labels):
            return reduce(_together, found)
        same = [dict(row.labels) for row in self.rows if row.metric == metric]
        there = f"its series are {same}" if same else f"there are {sorted({row.metric for row in self.rows})}"
        refused = f"; refused: {dict(self.refused)}" if self.refused else ""
        raise LookupError(f"nothing of {metric!r} with {labels}: {there}{refused}")


def rolled_up(
    source: Delivered | Iterable[Message], *declared: type[Event] | Contract, now_ms: int | None = None
) -> RolledUp:
    """Roll up what `source` delivered, as one worker would. Name the events that were emitted: a worker knows contracts too.

    Points of any age are accepted unless `now_ms` says what time it is for the worker.
    """
    messages = source if isinstance(source, Iterable) else source.delivered
    policy = TimePolicy(FOR_EVER, FOR_EVER) if now_ms is None else TimePolicy()
    tools = Tools(Scrubber(), DistinctHasher(KEY, "test"), policy)
    accumulator = Accumulator(Place("test", "raw", 0), tools)
    contracts = {(one.name, one.version): one for one in map(_contract, declared)}
    for offset, message in enumerate(messages):
        if message.topic.endswith(CONTRACTS.name("")[3:]):  # announced by the producer
            contract = parse_contract(message.value)
            contracts[contract.name, contract.version] = contract
        else:
            accumulator.add(offset, message.value, contracts, now_ms or 0, lambda _: False)
    rows = [
        row
        for metrics, distinct_metrics, rollup in accumulator.roll_up(SeriesIndex())
        for row in (*_rows(metrics, rollup), *_distinct(distinct_metrics, rollup))
    ]
    rows.sort(key=lambda row: (row.metric, row.window, sorted(row.labels.items())))
    # the accounts name what never happened too
    single = [one for table in accumulator.single.values() for one in _single(table)]
    return RolledUp(rows, +accumulator.refused, +accumulator.scrubbed, list(accumulator.dead), single)


def _single(table: SingleEvents) -> Iterator[SingleEvent]:
    for message in table.messages("test", RawRange("raw", 0, 0, 0), 1, MAX_BYTES, 1):
        events = decode_scrubbed(message)
        parts = (events.labels, events.measures, events.pseudonyms, events.texts)
        for row, at in enumerate(events.times.tolist()):
            values = [{name: _value(column, row) for name, column in columns.items()} for columns in parts]
            present: list[dict[str, Any]] = [
                {name: value for name, value in part.items() if value is not None} for part in values
            ]
            yield SingleEvent(events.event, EPOCH + timedelta(milliseconds=at), *present)


def _value(column: Strings | Numbers, row: int) -> str | float | None:
    if isinstance(column, Strings):
        return column.dictionary[int(column.index[row])]
    return None if column.missing is not None and row in column.missing else float(column.values[row])


def _contract(one: type[Event] | Contract) -> Contract:
    return one if isinstance(one, Contract) else contract_of(one)


def _rows(metrics: Sequence[RollupMetric], rollup: TableRollup) -> Iterator[Row]:
    for part in rollup.rows:
        ends = np.cumsum(part.hist.per_row, dtype=np.int64)
        for place in range(len(part)):
            metric = metrics[int(part.metric[place])]
            end = int(ends[place])
            own = slice(end - int(part.hist.per_row[place]), end)
            yield Row(
                metric.name,
                metric.type,
                dict(rollup.series[int(part.series_id[place])][1]),
                EPOCH + timedelta(seconds=int(part.window[place])),
                TIERS[int(part.entry[place])].name,
                *_values(part, place),
                dict(zip(part.hist.keys[own].tolist(), part.hist.counts[own].tolist(), strict=True)),
            )


def _values(part: RollupRows, place: int) -> tuple[int, float, float, float, float, int]:
    low, high, last = float(part.min[place]), float(part.max[place]), float(part.last[place])
    return int(part.count[place]), float(part.sum[place]), low, high, last, int(part.last_ms[place])


def _distinct(metrics: Sequence[RollupMetric], rollup: TableRollup) -> Iterator[Row]:
    found: dict[tuple[int, int, int, int], set[int]] = {}
    for part in rollup.distinct:
        columns = (part.metric, part.series_id, part.entry, part.window, part.hash)
        for metric, series, entry, window, seen in zip(*(column.tolist() for column in columns), strict=True):
            found.setdefault((metric, series, entry, window), set()).add(seen)
    for (metric, series, entry, window), hashes in found.items():
        head, labels = metrics[metric], dict(rollup.series[series][1])
        start = EPOCH + timedelta(seconds=window)
        yield Row(head.name, head.type, labels, start, TIERS[entry].name, hashes=frozenset(hashes))


def _together(first: Row, second: Row) -> Row:
    later = first if first.last_ms > second.last_ms else second
    return Row(
        first.metric,
        first.type,
        {name: value for name, value in first.labels.items() if second.labels.get(name) == value},
        min(first.window, second.window),
        first.tier if first.tier == second.tier else "",
        first.count + second.count,
        first.sum + second.sum,
        min(first.min, second.min),
        max(first.max, second.max),
        later.last,
        later.last_ms,
        merge(first.buckets, second.buckets),
        first.hashes | second.hashes,
    )
