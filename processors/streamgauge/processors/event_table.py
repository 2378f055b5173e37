"""Event tables: what was read of one event since the last commit, as arrays of codes, and its rollup by one sort a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamgauge.processors.grouping import combine, counted, summarise
from streamgauge.processors.series import Labels, SeriesIndex, canonical_labels
from streamgauge.schemas.columns import Array, Numbers
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.rollups import DistinctRows, RollupMetric, RollupRows, no_histograms
from streamgauge.schemas.windows import TIERS


class Codes:
    """Values of one column as small integers, in order of first appearance, over all batches since the last commit."""

    def __init__(self) -> None:
        self.positions: dict[object, int] = {}
        self._parts: list[Array] = []

    def add(self, dictionary: Sequence[object], index: Array) -> None:
        """A batch's column: `dictionary[index[row]]` is the value of a row. Equal entries may occur twice."""
        positions = self.positions
        try:
            translation = np.fromiter(map(positions.__getitem__, dictionary), np.uint32, len(dictionary))
        except KeyError:
            translation = np.array([positions.setdefault(value, len(positions)) for value in dictionary], np.uint32)
        self._parts.append(translation[index])

    def column(self) -> tuple[Array, int]:
        """All codes, and how many different ones there are."""
        return np.concatenate(self._parts), len(self.positions)

    def values(self) -> list[object]:
        """Value of each code."""
        return list(self.positions)


def event_metrics(contract: Contract) -> tuple[list[RollupMetric], list[RollupMetric]]:
    """The metrics an event becomes: itself and its measures; and its distinct counts."""
    name, dimensions, granularity = contract.name, contract.of_kind("dimension"), contract.granularity

    def metric(field: str, kind: str, unit: str) -> RollupMetric:
        return RollupMetric(f"{name}.{field}" if field else name, kind, name, unit, dimensions, granularity)

    measures = [metric(field, "measure", contract.fields[field].unit) for field in contract.of_kind("measure")]
    return [metric("", "event", "{event}"), *measures], [
        metric(field, "distinct", "") for field in contract.of_kind("unique")
    ]


@dataclass(frozen=True, slots=True)
class TableRollup:
    """A table's rows; their `metric` indexes the lists of `event_metrics`. `series` has the labels behind the ids."""

    rows: list[RollupRows]
    distinct: list[DistinctRows]
    series: dict[int, tuple[str, Labels]]


class EventTable:
    """Rows of one contract that enter the cascade at one tier."""

    def __init__(self, contract: Contract, entry: int) -> None:
        self.contract = contract
        self.entry = entry
        self.points = 0
        self._width_s = TIERS[entry].width_ms // 1000
        self._context = Codes()
        self._dimensions = {name: Codes() for name in contract.of_kind("dimension")}
        self._uniques: dict[str, list[Array]] = {name: [] for name in contract.of_kind("unique")}
        self._windows: list[Array] = []
        self._measures: dict[str, list[tuple[Array, Array | None, int]]] = {
            name: [] for name in contract.of_kind("measure")
        }
        self._rows = 0

    def add(
        self,
        context: Labels,
        times: Array,
        dimensions: Mapping[str, tuple[Sequence[str], Array]],
        measures: Mapping[str, Numbers],
        uniques: Mapping[str, tuple[Array, Array]],
    ) -> int:
        """Add rows; every declared dimension and unique field must be there (missing values as "" and 0). Returns points.

        A measure may be absent altogether. `uniques` hold hashes.
        """
        n = len(times)
        self._context.add([context], np.zeros(n, np.uint8))
        self._windows.append(times // TIERS[self.entry].width_ms)
        for name, (dictionary, index) in dimensions.items():
            self._dimensions[name].add(dictionary, index)
        for name, (hashes, index) in uniques.items():
            self._uniques[name].append(hashes[index])
        points = n
        for name, numbers in measures.items():
            self._measures[name].append((numbers.values, numbers.missing, self._rows))
            points += n - (0 if numbers.missing is None else len(np.unique(numbers.missing)))
        self._rows += n
        self.points += points
        return points

    def roll_up(self, index: SeriesIndex) -> TableRollup:
        """Everything added, rolled up by series and window."""
        windows = np.concatenate(self._windows)
        first = int(windows.min())
        span = int(windows.max()) - first + 1
        columns = [self._context.column(), *(codes.column() for codes in self._dimensions.values())]
        keys, space = combine([*columns, (windows - first, span)])
        cells, counts = counted(keys)
        *label_codes, window_codes = space.columns(cells)
        series_ids, series = self._series(label_codes, index)
        starts = (window_codes + first) * self._width_s
        rows = [self._count_rows(series_ids, starts, counts)]
        for number, name in enumerate(self._measures, 1):
            rows += self._measure_rows(number, name, keys, cells, series_ids, starts)
        distinct = [
            one
            for number, parts in enumerate(self._uniques.values())
            for one in self._distinct_rows(number, np.concatenate(parts), keys, cells, series_ids, starts)
        ]
        return TableRollup(rows, distinct, series)

    def _series(self, label_codes: list[Array], index: SeriesIndex) -> tuple[Array, dict[int, tuple[str, Labels]]]:
        combined, dense = combine(
            [(codes, len(c.positions)) for codes, c in zip(label_codes, self._codes(), strict=True)]
        )
        distinct, which = np.unique(combined, return_inverse=True)
        context_codes, *dimension_codes = dense.columns(distinct)
        contexts: list[object] = self._context.values()
        values = [codes.values() for codes in self._dimensions.values()]
        names = list(self._dimensions)
        ids: list[int] = []
        series: dict[int, tuple[str, Labels]] = {}
        for row, context in enumerate(context_codes):
            own = [(name, str(v[int(c[row])])) for name, v, c in zip(names, values, dimension_codes, strict=True)]
            base: Labels = contexts[int(context)]  # type: ignore[assignment]  # this column holds nothing but contexts
            # a declared dimension stands for itself, whatever the context calls by the same name
            labels = canonical_labels([*(pair for pair in base if pair[0] not in self._dimensions), *own])
            one = index.id_of(self.contract.name, labels)
            ids.append(one)
            series[one] = (self.contract.name, labels)
        return np.array(ids, np.uint64)[which], series

    def _codes(self) -> list[Codes]:
        return [self._context, *self._dimensions.values()]

    def _count_rows(self, series_ids: Array, starts: Array, counts: Array) -> RollupRows:
        n = len(series_ids)
        zeros = np.zeros(n)
        return RollupRows(
            metric=np.zeros(n, np.uint32),
            series_id=series_ids,
            entry=np.full(n, self.entry, np.uint8),
            window=starts,
            count=counts,
            sum=counts.astype(np.float64),
            min=zeros,
            max=zeros,
            last=zeros,
            last_ms=np.zeros(n, np.int64),
            hist=no_histograms(n),
        )

    def _measure_rows(
        self, number: int, name: str, keys: Array, cells: Array, series_ids: Array, starts: Array
    ) -> list[RollupRows]:
        present, values = self._present(name)
        if not len(values):
            return []
        summary = summarise(keys if present is None else keys[present], values)
        at = np.searchsorted(cells, summary.keys)
        n = len(at)
        return [
            RollupRows(
                metric=np.full(n, number, np.uint32),
                series_id=series_ids[at],
                entry=np.full(n, self.entry, np.uint8),
                window=starts[at],
                count=summary.count,
                sum=summary.sum,
                min=summary.min,
                max=summary.max,
                last=np.zeros(n),
                last_ms=np.zeros(n, np.int64),
                hist=summary.hist,
            )
        ]

    def _present(self, name: str) -> tuple[Array | None, Array]:
        """Rows that have the measure (None: all of them) and their values."""
        parts = self._measures[name]
        given = sum(len(values) for values, _, _ in parts)
        if given == self._rows and not any(missing is not None for _, missing, _ in parts):
            return None, np.concatenate([values for values, _, _ in parts])
        present = np.zeros(self._rows, bool)
        everything = np.zeros(self._rows)
        for values, missing, start in parts:
            present[start : start + len(values)] = True
            everything[start : start + len(values)] = values
            if missing is not None:
                present[missing.astype(np.int64) + start] = False
        return present, everything[present]

    def _distinct_rows(
        self, number: int, hashes: Array, keys: Array, cells: Array, series_ids: Array, starts: Array
    ) -> list[DistinctRows]:
        given = np.flatnonzero(hashes)
        if not len(given):
            return []
        keys, hashes = keys[given], hashes[given]
        # as much of the hash as fits beside the key brings equal pairs together; a pair that still occurs twice does no harm
        bits = 64 - int(cells[-1]).bit_length()
        order = np.argsort(keys.astype(np.uint64) << np.uint64(bits) | hashes >> np.uint64(64 - bits))
        keys, hashes = keys[order], hashes[order]
        different = np.append(True, (keys[1:] != keys[:-1]) | (hashes[1:] != hashes[:-1]))
        at, seen = np.searchsorted(cells, keys[different]), hashes[different]
        n = len(at)
        entry = np.full(n, self.entry, np.uint8)
        return [DistinctRows(np.full(n, number, np.uint32), series_ids[at], entry, starts[at], seen)]
