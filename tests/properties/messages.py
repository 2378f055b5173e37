"""Messages: strategies for everything that travels, and what a decoded message holds as plain values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from streamgauge.schemas.batches import MetricHead, Origin, Point, encode_events, encode_metrics
from streamgauge.schemas.columns import Array, Numbers, Strings
from streamgauge.schemas.decoding import MAX_INSTANT_MS, MetricBatch
from streamgauge.schemas.keys import FORMS as KEY_FORMS
from streamgauge.schemas.keys import Keys, KeysMessage
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry, SampleRow
from streamgauge.schemas.packing import Json, pack_optional, pack_strings
from streamgauge.schemas.rollups import (
    METRIC_TYPES,
    DistinctRows,
    Histograms,
    RawRange,
    RollupMessage,
    RollupMetric,
    RollupRows,
    SeriesLabels,
)
from streamgauge.schemas.row_sets import RowSet, row_set
from streamgauge.schemas.scrubbed_events import ScrubbedEvents
from streamgauge.schemas.state import Hole, Replay, StateMessage, StreamState
from streamgauge.schemas.windows import TIER_NAMES, TIERS

MODERATE = settings(max_examples=60)
"""How hard every property is tried."""

texts = st.text(max_size=20)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,11}", fullmatch=True)
naturals = st.integers(0, (1 << 63) - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
keys = st.integers(-32_767, 32_767)
"""Keys of buckets."""


@st.composite
def origins(draw: st.DrawFn) -> Origin:
    """Any identity of a batch."""
    context = draw(st.dictionaries(names, texts, max_size=4))
    return Origin(context, draw(st.text(min_size=1, max_size=128)), draw(naturals), draw(naturals), draw(st.booleans()))


@dataclass(frozen=True, slots=True)
class Events:
    """Rows of one event, as an application has them."""

    origin: Origin
    event: str
    contract: int
    times: list[int]
    fields: dict[str, list[Any]]
    kinds: dict[str, str]
    """`d`, `f8` or `i8` by field."""

    def encode(self) -> bytes:
        """As a message."""
        columns: dict[str, Json] = {
            name: pack_strings(column) if self.kinds[name] == "d" else pack_optional(self.kinds[name], column)
            for name, column in self.fields.items()
        }
        return encode_events(self.origin, self.event, self.contract, self.times, columns)


cells = {
    "d": st.none() | texts,
    "f8": st.none() | finite,
    "i8": st.none() | st.integers(-(1 << 53), 1 << 53),
}


@st.composite
def events(draw: st.DrawFn) -> Events:
    """Any batch of events, with missing values."""
    n = draw(st.integers(1, 30))
    first = draw(st.integers(0, MAX_INSTANT_MS - 1))
    span = min((1 << 32) - 1, MAX_INSTANT_MS - 1 - first)
    times = draw(st.lists(st.integers(first, first + span), min_size=n, max_size=n))
    kinds = draw(st.dictionaries(names, st.sampled_from(list(cells)), max_size=4))
    fields = {name: draw(st.lists(cells[kind], min_size=n, max_size=n)) for name, kind in kinds.items()}
    return Events(draw(origins()), draw(names), draw(naturals), times, fields, kinds)


def column_values(column: Strings | Numbers) -> list[Any]:
    """A decoded column, row by row; None where a value is missing."""
    if isinstance(column, Strings):
        return [column.dictionary[place] for place in column.index]
    missing = set[int]() if column.missing is None else set(column.missing.tolist())
    return [None if row in missing else float(value) for row, value in enumerate(column.values)]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Points of metrics, as an application has them."""

    origin: Origin
    heads: list[MetricHead]
    series: list[tuple[int, *tuple[str, ...]]]
    points: list[Point]

    def encode(self) -> bytes:
        """As a message."""
        return encode_metrics(self.origin, self.heads, self.series, self.points)


heads = st.builds(
    MetricHead,
    names,
    st.sampled_from(["counter", "gauge", "histogram"]),
    texts,
    st.lists(names, max_size=3, unique=True).map(tuple),
    st.sampled_from(TIER_NAMES),
)


@st.composite
def metrics(draw: st.DrawFn) -> Metrics:
    """Any batch of points: of counters only, or mixed."""
    declared = draw(st.lists(heads, min_size=1, max_size=4, unique=True))
    series: list[tuple[int, *tuple[str, ...]]] = []
    for _ in range(draw(st.integers(1, 5))):
        which = draw(st.integers(0, len(declared) - 1))
        size = len(declared[which].labels)
        values = tuple(draw(st.lists(texts, min_size=size, max_size=size)))
        series.append((which, *values))
    first = draw(st.integers(1, MAX_INSTANT_MS - (1 << 32)))
    instants = st.integers(first, first + (1 << 32) - 1)
    points: list[Point] = []
    for _ in range(draw(st.integers(1, 12))):
        at = draw(st.integers(0, len(series) - 1))
        kind = declared[series[at][0]].type
        point = Point(at, draw(instants), draw(st.integers(0, 1 << 36)), draw(finite))
        if kind != "counter":
            point = replace(point, min=draw(finite), max=draw(finite), last=draw(finite), last_ms=draw(instants))
        if kind == "histogram":
            point = replace(point, buckets=draw(st.dictionaries(keys, st.integers(0, 1 << 30), max_size=4)))
        points.append(point)
    return Metrics(draw(origins()), declared, series, points)


def points_of(batch: MetricBatch) -> list[Point]:
    """The points of a decoded batch. `last_ms` of a counter is the start of its window."""
    found: list[Point] = []
    per_row, bucket_keys, counts = batch.buckets or (np.zeros(len(batch.windows), int), np.zeros(0), np.zeros(0))
    ends = np.cumsum(per_row.astype(int))
    for row in range(len(batch.windows)):
        part = slice(int(ends[row]) - int(per_row[row]), int(ends[row]))
        found.append(
            Point(
                int(batch.index[row]),
                int(batch.windows[row]),
                int(batch.count[row]),
                float(batch.sum[row]),
                float(batch.min[row]),
                float(batch.max[row]),
                float(batch.last[row]),
                int(batch.last_ms[row]),
                dict(zip(bucket_keys[part].tolist(), counts[part].tolist(), strict=True)),
            )
        )
    return found


rollup_metrics = st.builds(
    RollupMetric,
    names,
    st.sampled_from(METRIC_TYPES),
    names,
    texts,
    st.lists(names, max_size=3).map(tuple),
    st.sampled_from(TIER_NAMES),
)
series_labels = st.builds(SeriesLabels, st.integers(0, (1 << 64) - 1), names, st.dictionaries(names, texts, max_size=3))
raw_ranges = st.builds(RawRange, names, st.integers(0, 65_535), naturals, naturals)


def array(draw: st.DrawFn, values: st.SearchStrategy[Any], n: int, dtype: Any) -> Array:
    """`n` drawn values."""
    return np.array(draw(st.lists(values, min_size=n, max_size=n)), dtype)


@st.composite
def histograms(draw: st.DrawFn, n: int) -> Histograms:
    """Ragged histograms of `n` rows; no key twice in a row."""
    rows = draw(st.lists(st.dictionaries(keys, st.integers(0, 1 << 40), max_size=3), min_size=n, max_size=n))
    return Histograms(
        np.array([len(row) for row in rows], np.uint64),
        np.array([key for row in rows for key in row], np.int16),
        np.array([count for row in rows for count in row.values()], np.uint64),
    )


@st.composite
def rollup_rows(draw: st.DrawFn, few_keys: bool = False, max_rows: int = 12, metrics: int = 3) -> RollupRows:
    """Rows of partials; of `few_keys` many are equal."""
    n = draw(st.integers(0, max_rows))
    width = 2 if few_keys else (1 << 32) - 1
    last_ms = array(draw, st.integers(1, 3 if few_keys else MAX_INSTANT_MS), n, np.int64)
    return RollupRows(
        metric=array(draw, st.integers(0, metrics - 1), n, np.uint32),
        series_id=array(draw, st.integers(0, 2 if few_keys else (1 << 64) - 1), n, np.uint64),
        entry=array(draw, st.integers(0, 1 if few_keys else len(TIERS) - 1), n, np.uint8),
        window=array(draw, st.integers(0, width), n, np.uint32),
        count=array(draw, st.integers(0, 1 << 40), n, np.uint64),
        sum=array(draw, st.floats(-1e15, 1e15), n, np.float64),
        min=array(draw, finite, n, np.float64),
        max=array(draw, finite, n, np.float64),
        last=array(draw, finite, n, np.float64),
        last_ms=last_ms,
        hist=draw(histograms(n)),
    )


@st.composite
def distinct_rows(draw: st.DrawFn, few_keys: bool = False, max_rows: int = 12, metrics: int = 3) -> DistinctRows:
    """Hashes that were seen."""
    n = draw(st.integers(0, max_rows))
    return DistinctRows(
        metric=array(draw, st.integers(0, metrics - 1), n, np.uint32),
        series_id=array(draw, st.integers(0, 2 if few_keys else (1 << 64) - 1), n, np.uint64),
        entry=array(draw, st.integers(0, 1 if few_keys else len(TIERS) - 1), n, np.uint8),
        window=array(draw, st.integers(0, 2 if few_keys else (1 << 32) - 1), n, np.uint32),
        hash=array(draw, st.integers(0, 3 if few_keys else (1 << 64) - 1), n, np.uint64),
    )


@st.composite
def rollup_messages(draw: st.DrawFn) -> RollupMessage:
    """Any message of the rollups or of the distinct topic."""
    declared = draw(st.lists(rollup_metrics, min_size=3, max_size=3, unique=True))
    rows: RollupRows | DistinctRows = draw(st.one_of(rollup_rows(), distinct_rows()))
    labels = draw(st.lists(series_labels, max_size=3))
    return RollupMessage(
        draw(names), draw(st.integers(0, 65_535)), draw(raw_ranges), tuple(declared), rows, tuple(labels)
    )


def row_values(rows: RollupRows | DistinctRows, metrics: tuple[RollupMetric, ...]) -> list[tuple[Any, ...]]:
    """Rows as plain values, with their metric instead of its index, and the histogram as a dictionary."""
    which = [metrics[int(index)] for index in rows.metric]
    columns = [rows.series_id, rows.entry, rows.window]
    if isinstance(rows, DistinctRows):
        return list(zip(which, *(one.tolist() for one in (*columns, rows.hash)), strict=True))
    columns += [rows.count, rows.sum, rows.min, rows.max, rows.last, rows.last_ms]
    return list(zip(which, *(one.tolist() for one in columns), histogram_values(rows.hist), strict=True))


def histogram_values(hist: Histograms) -> list[dict[int, int]]:
    """One dictionary per row."""
    bounds = np.cumsum(np.concatenate([[0], hist.per_row.astype(int)])).tolist()
    pairs = list(zip(hist.keys.tolist(), hist.counts.tolist(), strict=True))
    return [dict(pairs[first:last]) for first, last in pairwise(bounds)]


seconds = st.integers(0, (1 << 32) - 1)
counts = st.dictionaries(texts, naturals, max_size=3)
finite_sums = st.floats(allow_nan=False, allow_infinity=False)
ledger_entries = st.builds(
    LedgerEntry,
    region=names,
    topic=names,
    partition=st.integers(0, 65_535),
    start=naturals,
    end=naturals,
    messages=naturals,
    batches=naturals,
    points=st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 49_710)), naturals, max_size=3),
    committed_ms=st.integers(0, MAX_INSTANT_MS - 1),
    refused=counts,
    scrubbed=counts,
    skipped=counts,
    min_window=seconds,
    max_window=seconds,
    sequence_gaps=naturals,
    sequence_repeats=naturals,
    sums=st.dictionaries(
        st.tuples(st.integers(0, 3), st.integers(0, 49_710)), st.tuples(finite_sums, finite_sums), max_size=3
    ),
    policies=st.lists(st.text(min_size=1, max_size=64), max_size=3).map(tuple),
    events=naturals,
)


@st.composite
def string_columns(draw: st.DrawFn, n: int) -> Strings:
    """A column of strings, some of them missing; its dictionary may hold what no row points at, and one value twice."""
    dictionary = draw(st.lists(st.none() | texts, min_size=1, max_size=5))
    return Strings(dictionary, array(draw, st.integers(0, len(dictionary) - 1), n, np.uint8))


@st.composite
def number_columns(draw: st.DrawFn, n: int) -> Numbers:
    """A measure, with or without missing values."""
    missing = draw(st.none() | st.sets(st.integers(0, n - 1)))
    return Numbers(
        array(draw, finite, n, np.float64), None if missing is None else np.array(sorted(missing), np.uint32)
    )


@st.composite
def scrubbed_events(draw: st.DrawFn) -> ScrubbedEvents:
    """Any message of scrubbed events."""
    n = draw(st.integers(1, 12))
    first = draw(st.integers(0, MAX_INSTANT_MS - 1))
    times = array(draw, st.integers(first, MAX_INSTANT_MS - 1), n, np.int64)
    keys = st.text(min_size=1, max_size=8)
    strings = st.dictionaries(keys, string_columns(n), max_size=3)
    return ScrubbedEvents(
        draw(names), draw(raw_ranges), draw(st.integers(0, 65_535)), draw(names), draw(st.integers(0, (1 << 32) - 1)),
        draw(st.text(min_size=1, max_size=64)), times, draw(strings),
        draw(st.dictionaries(keys, number_columns(n), max_size=3)), draw(strings), draw(strings),
    )  # fmt: skip


def event_values(events: ScrubbedEvents) -> dict[str, Any]:
    """Every column of a message of scrubbed events, row by row."""
    found: dict[str, Any] = {"at": events.times.tolist()}
    for part in ("labels", "measures", "pseudonyms", "texts"):
        found |= {f"{part}.{name}": column_values(column) for name, column in getattr(events, part).items()}
    return found


@st.composite
def row_sets(draw: st.DrawFn) -> RowSet:
    """Some rows of a batch."""
    of = draw(st.integers(1, 400))
    return row_set(np.array(sorted(draw(st.sets(st.integers(0, of - 1), min_size=1)))), of)


samples = st.builds(
    SampleRow,
    naturals,
    st.integers(0, MAX_INSTANT_MS - 1),
    st.dictionaries(names, st.none() | texts | st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    texts,
)
dead_letters = st.builds(
    DeadLetter,
    names,
    names,
    st.integers(0, 65_535),
    naturals,
    names,
    naturals,
    st.integers(0, MAX_INSTANT_MS - 1),
    texts,
    texts,
    naturals,
    texts,
    naturals,
    texts,
    st.none() | row_sets(),
    st.lists(samples, max_size=3).map(tuple),
    naturals,
)


def _stream(digest: bytes, heard_s: int, bounds: set[int], since: list[int]) -> StreamState:
    edges = sorted(bounds)
    holes = tuple(Hole(a, b, s) for a, b, s in zip(edges[::2], edges[1::2], since, strict=False))
    return StreamState(digest, (holes[-1].end if holes else 0) + 1, heard_s, holes)


seconds = st.integers(0, (1 << 32) - 1)
stream_states = st.builds(
    _stream,
    st.binary(min_size=16, max_size=16),
    seconds,
    st.sets(naturals, max_size=6),
    st.lists(seconds, min_size=3, max_size=3),
)
state_messages = st.builds(
    StateMessage,
    names,
    names,
    st.integers(0, 65_535),
    st.sampled_from(["snapshot", "change"]),
    naturals,
    st.lists(stream_states, max_size=4).map(tuple),
    st.integers(0, 3),
    st.integers(4, 9),
    st.lists(st.builds(Replay, naturals, texts, seconds), max_size=3).map(tuple),
)


@st.composite
def keys_messages(draw: st.DrawFn) -> KeysMessage:
    """Any message about idempotency keys."""
    n, part = draw(st.integers(0, 12)), draw(st.integers(0, 1 << 20))
    halves = st.integers(0, (1 << 64) - 1)
    columns = Keys(
        array(draw, st.integers(1, (1 << 64) - 1), n, np.uint64), array(draw, halves, n, np.uint64),
        array(draw, seconds, n, np.uint32),
    )  # fmt: skip
    return KeysMessage(
        draw(names), draw(names), draw(st.integers(0, 65_535)), draw(st.sampled_from(KEY_FORMS)), draw(naturals),
        draw(seconds), columns, part, part + draw(st.integers(1, 9)),
    )  # fmt: skip
