"""Single events: the rows of one contract that are kept by themselves, as they came, until the next commit.

What comes in is clean already: labels as of series, tokens for unique fields, free texts after the detectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import orjson

from streamgauge.processors.event_table import Codes
from streamgauge.processors.series import SERIES_CONTEXT, Labels
from streamgauge.schemas.columns import Array, Numbers, Strings
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.rollups import RawRange, split_rows
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, encode_scrubbed
from streamgauge.schemas.windows import DAY_MS

ENTRY_BYTES = 150
"""Memory of a string that a column has not held before, beside its characters."""
EXPANSION = 32
"""At most so many times larger than a message are its rows when all their strings are written out, as a reader holds them."""
OVERSHOOT = 5 / 4
"""So much larger than asked for may a message be before it is cut in two: what its parts have in common is not foreseen."""
NOTHING = np.zeros(0, np.int64)


class SingleEvents:
    """Rows of one contract since the last commit. `add` tells what they cost; `messages` ends its life."""

    def __init__(self, contract: Contract, policy: str) -> None:
        self.contract = contract
        self.policy = policy
        self.rows = 0
        self._times: list[Array] = []
        # a declared dimension stands for itself, whatever the context calls by the same name
        context = [name for name in SERIES_CONTEXT if name not in contract.of_kind("dimension")]
        self._labels = {name: Codes() for name in (*context, *contract.of_kind("dimension"))}
        self._tokens = {name: Codes() for name in contract.of_kind("unique")}
        self._texts = {name: Codes() for name in contract.of_kind("free_text")}
        self._measures: dict[str, list[tuple[int, Numbers]]] = {name: [] for name in contract.of_kind("measure")}

    def add(
        self,
        context: Labels,
        times: Array,
        dimensions: Mapping[str, Strings],
        measures: Mapping[str, Numbers],
        tokens: Mapping[str, Strings],
        texts: Mapping[str, Strings],
    ) -> int:
        """Add rows; a column that is not there is missing in all of them. Returns about the bytes that it takes to hold them."""
        n = len(times)
        absent = Strings([None], np.zeros(n, np.uint8))
        labels = {name: Strings([value], absent.index) for name, value in context} | dict(dimensions)
        size = 0
        for columns, given in ((self._labels, labels), (self._tokens, tokens), (self._texts, texts)):
            for name, codes in columns.items():
                column = given.get(name, absent)
                before = len(codes.positions)
                codes.add(column.dictionary, column.index)
                size += 4 * n + (len(codes.positions) - before) * ENTRY_BYTES
        size += sum(len(text or "") for column in texts.values() for text in column.dictionary)
        for name, numbers in measures.items():
            self._measures[name].append((self.rows, numbers))
            size += 9 * n
        self._times.append(times)
        self.rows += n
        return size + 8 * n

    def messages(self, region: str, source: RawRange, version: int, max_bytes: int, max_parts: int) -> Iterator[bytes]:
        """All rows, by day and then as they came, in messages of about `max_bytes` (or one row) and at most `max_parts`
        days."""
        whole = self._whole(region, source, version)
        days = whole.times // DAY_MS
        if (days[1:] < days[:-1]).any():
            order = np.argsort(days, kind="stable")
            whole, days = _rows(whole, order), days[order]
        for first, last in split_rows(_weights(whole), days, max_bytes, max_parts):
            yield from _encoded(_rows(whole, slice(first, last)), int(max_bytes * OVERSHOOT))

    def _whole(self, region: str, source: RawRange, version: int) -> ScrubbedEvents:
        return ScrubbedEvents(
            region,
            source,
            version,
            self.contract.name,
            self.contract.version,
            self.policy,
            np.concatenate(self._times),
            _columns(self._labels),
            {name: self._numbers(parts) for name, parts in self._measures.items() if parts},
            _columns(self._tokens),
            _columns(self._texts),
        )

    def _numbers(self, parts: list[tuple[int, Numbers]]) -> Numbers:
        values, missing = np.zeros(self.rows), np.ones(self.rows, bool)
        for start, part in parts:
            end = start + len(part.values)
            values[start:end] = part.values
            missing[start:end] = False
            if part.missing is not None:
                missing[start + part.missing.astype(np.int64)] = True
        return Numbers(values, np.flatnonzero(missing))


def _columns(columns: Mapping[str, Codes]) -> dict[str, Strings]:
    """Those that have a value in some row."""
    found: dict[str, Strings] = {}
    for name, codes in columns.items():
        values = [value if isinstance(value, str) and value else None for value in codes.values()]
        if any(values):
            found[name] = Strings(values, codes.column()[0])
    return found


def _rows(events: ScrubbedEvents, rows: Array | slice) -> ScrubbedEvents:
    def strings(columns: Mapping[str, Strings]) -> dict[str, Strings]:
        return {name: Strings(column.dictionary, column.index[rows]) for name, column in columns.items()}

    return replace(
        events,
        times=events.times[rows],
        labels=strings(events.labels),
        measures={name: _some(column, rows) for name, column in events.measures.items()},
        pseudonyms=strings(events.pseudonyms),
        texts=strings(events.texts),
    )


def _some(column: Numbers, rows: Array | slice) -> Numbers:
    missing = np.zeros(len(column.values), bool)
    missing[NOTHING if column.missing is None else column.missing] = True
    return Numbers(column.values[rows], np.flatnonzero(missing[rows]))


def _weights(events: ScrubbedEvents) -> Array:
    """About the bytes of each row in a message, where a string counts when it occurs first; or a fraction of what the row has
    when its strings are written out, if that is more."""
    columns = [*events.labels.values(), *events.pseudonyms.values(), *events.texts.values()]
    weights = np.full(len(events), 6 + 11 * len(events.measures), np.int64)
    expanded = np.full(len(events), 8 + 8 * len(events.measures), np.int64)
    for column in columns:
        sizes = np.array([len(orjson.dumps(value)) + 1 for value in column.dictionary], np.int64)
        used, first = np.unique(column.index, return_index=True)
        weights[first] += sizes[used]
        expanded += sizes[column.index]
        weights += 2 if len(column.dictionary) <= 1 << 8 else 3 if len(column.dictionary) <= 1 << 16 else 6
    return np.maximum(weights, expanded // EXPANSION)


def _encoded(events: ScrubbedEvents, most: int) -> Iterator[bytes]:
    value = encode_scrubbed(events)
    if len(value) <= most or len(events) == 1:
        yield value
        return
    middle = len(events) // 2
    yield from _encoded(_rows(events, slice(None, middle)), most)
    yield from _encoded(_rows(events, slice(middle, None)), most)
