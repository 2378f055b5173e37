"""Scrub report: what a worker would do with the values of a data file, by column and rule. It never holds a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import polars as pl

from streamgauge.console.rows import distinct
from streamgauge.processors.cleaner import Cleaner
from streamgauge.schemas.columns import Array, Strings
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.packing import Json
from streamgauge.schemas.privacy import CLOSED, DROP, NUMBER, PSEUDONYM, UNDECLARED, Action, label_action
from streamgauge.schemas.shapes import shape
from streamgauge.schemas.stock_classes import SCAN

OUTSIDE = "bad_value"
MAX_SHAPES = 5
"""Shapes of changed values that are told of a column, the most frequent ones."""
TIME = Action("time", why="the time of the event")


@dataclass(slots=True)
class ColumnReport:
    """What becomes of one column. `rows` have a value; `changed` counts those that become something else, by rule;
    `shapes` says how changed values look, where detectors found them.
    """

    column: str
    action: Action
    rows: int = 0
    changed: Counter[str] = field(default_factory=Counter[str])
    shapes: Counter[str] = field(default_factory=Counter[str])

    @property
    def suspicious(self) -> bool:
        """Whether detectors found personal data where nothing but its look gives it away."""
        return self.action.kind == SCAN and bool(self.changed)

    def json(self) -> Json:
        """As a JSON object."""
        body: Json = {"column": self.column, **self.action.json(), "rows": self.rows}
        if self.changed:
            body["changed"] = dict(self.changed.most_common())
        if self.shapes:
            body["shapes"] = dict(self.shapes.most_common(MAX_SHAPES))
        return body


class ScrubReport:
    """Takes slices of a file. With a contract its fields are meant, else every column is taken for a metric's label."""

    def __init__(self, cleaner: Cleaner, columns: Sequence[str], contract: Contract | None = None) -> None:
        self._cleaner = cleaner
        self.rows = 0
        self.version = cleaner.policy(contract).version if contract else ""
        self._closed: dict[str, frozenset[str]] = {}
        self._free: set[str] = set()
        self._columns = {name: ColumnReport(cleaner.name(name), self._action(name, contract)) for name in columns}

    def _action(self, column: str, contract: Contract | None) -> Action:
        if contract is None:
            return label_action(column)
        if column == contract.time:
            return TIME
        for name, declared in contract.fields.items():
            if contract.column(name) == column:
                if declared.values:
                    self._closed[column] = frozenset(declared.values)
                if declared.kind == "free_text":
                    self._free.add(column)
                return self._cleaner.policy(contract).action(name)
        return UNDECLARED

    def add(self, frame: pl.DataFrame) -> None:
        """Count a slice."""
        self.rows += frame.height
        for name, report in self._columns.items():
            if name in frame.columns:
                self._add(name, report, frame[name])

    def _add(self, name: str, report: ColumnReport, column: pl.Series) -> None:
        rows = column.len() - column.null_count()
        report.rows += rows
        action = report.action
        if action.kind == DROP:
            report.changed[action.rule] += rows
        elif action.kind == PSEUDONYM:
            report.changed["pseudonym"] += rows
        elif action.kind not in {NUMBER, TIME.kind} and rows:
            values, index = texts(column)
            if action.kind == CLOSED:
                allowed = self._closed[name]
                wrong = np.array([value is not None and value not in allowed for value in values], bool)
                if outside := int(np.count_nonzero(wrong[index])):
                    report.changed[OUTSIDE] += outside
                return
            if name in self._free:
                kept, changed = self._cleaner.texts(action, Strings(values, index))
                cleaned = [clean or "" for clean in kept.dictionary]
            else:
                cleaned, changed = self._cleaner.dictionary(action, values, index)
            report.changed.update(changed)
            if action.kind == SCAN and changed:
                counts = np.bincount(index, minlength=len(values)).tolist()
                for value, clean, count in zip(values, cleaned, counts, strict=True):
                    if value and value != clean:
                        report.shapes[shape(value)] += count

    def columns(self) -> Iterator[ColumnReport]:
        """The columns, in the order of the file."""
        yield from self._columns.values()

    def suspicious(self) -> list[str]:
        """Columns in which detectors found something."""
        return [one.column for one in self.columns() if one.suspicious]

    def json(self) -> Mapping[str, Any]:
        """As a JSON object."""
        body: Json = {"rows": self.rows, "columns": [one.json() for one in self.columns()]}
        if self.version:
            body["policy"] = self.version
        return body


def texts(column: pl.Series) -> tuple[list[str | None], Array]:
    """The distinct values of a column as texts, and which of them stands in each row."""
    values, index = distinct(column.cast(pl.String, strict=False))
    return cast("list[str | None]", values.to_list()), index
