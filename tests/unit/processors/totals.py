"""Totals: what the messages of transactions add up to, read back by the decoders that sinks use."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from streamgauge.processors.outputs import Output
from streamgauge.processors.series import Labels
from streamgauge.schemas.keys import KeysMessage, decode_keys
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry, decode_dead, decode_ledger
from streamgauge.schemas.rollups import DistinctRows, RollupMessage, RollupRows, decode_rollups
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, decode_scrubbed
from streamgauge.schemas.state import StateMessage, decode_state
from streamgauge.schemas.topics import DEAD, LEDGER, SCRUBBED, STATE
from tests.properties.messages import column_values

CellKey = tuple[str, Labels, int, int]
"""Metric, labels, entry tier, window (s)."""


@dataclass
class Cell:
    """One series in one window. `last` is (instant, value)."""

    count: int = 0
    sum: float = 0.0
    min: float = math.inf
    max: float = -math.inf
    last: tuple[int, float] = (0, 0.0)
    hist: Counter[int] = field(default_factory=Counter[int])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Cell)
            and (self.count, self.min, self.max, self.last) == (other.count, other.min, other.max, other.last)
            and +self.hist == +other.hist
            and math.isclose(self.sum, other.sum, rel_tol=1e-9, abs_tol=1e-6)
        )


@dataclass
class Totals:
    """Everything of some transactions. Reading fails when labels of a series come after its first row."""

    cells: dict[CellKey, Cell] = field(default_factory=dict[CellKey, Cell])
    distinct: dict[CellKey, set[int]] = field(default_factory=dict[CellKey, set[int]])
    ledger: list[LedgerEntry] = field(default_factory=list[LedgerEntry])
    dead: list[DeadLetter] = field(default_factory=list[DeadLetter])
    state: list[StateMessage] = field(default_factory=list[StateMessage])
    keys: list[KeysMessage] = field(default_factory=list[KeysMessage])
    messages: list[tuple[Output, RollupMessage]] = field(default_factory=list[tuple[Output, RollupMessage]])
    single: list[tuple[Output, ScrubbedEvents]] = field(default_factory=list[tuple[Output, ScrubbedEvents]])
    labels: dict[int, Labels] = field(default_factory=dict[int, Labels])
    types: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def points(self) -> int:
        """Points that the ledger says were added."""
        return sum(entry.total for entry in self.ledger)

    @property
    def refused(self) -> Counter[str]:
        """Points refused, by reason."""
        found: Counter[str] = Counter()
        for entry in self.ledger:
            found.update(entry.refused)
        return found

    def read(self, outputs: Iterable[Output]) -> Totals:
        """Add the messages of one transaction, in the order in which they are sent."""
        for output in outputs:
            kind = output.topic.split(".")[2]
            if kind == LEDGER.kind:
                self.ledger.append(decode_ledger(output.value))
            elif kind == DEAD.kind:
                self.dead.append(decode_dead(output.value))
            elif kind == STATE.kind and (output.key or b"").startswith(b"keys/"):
                self.keys += [decode_keys(output.value)] if output.value else []
            elif kind == STATE.kind:
                self.state.append(decode_state(output.value))
            elif kind == SCRUBBED.kind:
                self.single.append((output, decode_scrubbed(output.value)))
            else:
                self._read(output, decode_rollups(output.value))
        return self

    def rows(self, part: str) -> list[dict[str, Any]]:
        """Single events, in the order of their messages: `labels`, `measures`, `pseudonyms` or `texts` that each has."""
        found: list[dict[str, Any]] = []
        for _, message in self.single:
            columns = {name: column_values(column) for name, column in getattr(message, part).items()}
            for row in range(len(message)):
                values = {name: column[row] for name, column in columns.items()}
                found.append({name: value for name, value in values.items() if value not in {None, ""}})
        return found

    def _read(self, output: Output, message: RollupMessage) -> None:
        self.messages.append((output, message))
        for one in message.labels:
            self.labels[one.series_id] = tuple(sorted(one.labels.items()))
        if isinstance(message.rows, RollupRows):
            self._rows(message, message.rows)
        else:
            self._hashes(message, message.rows)

    def _key(self, message: RollupMessage, rows: RollupRows | DistinctRows, row: int) -> CellKey:
        metric = message.metrics[int(rows.metric[row])]
        self.types[metric.name] = metric.type
        return metric.name, self.labels[int(rows.series_id[row])], int(rows.entry[row]), int(rows.window[row])

    def _rows(self, message: RollupMessage, rows: RollupRows) -> None:
        entry = 0
        for row in range(len(rows)):
            cell = self.cells.setdefault(self._key(message, rows, row), Cell())
            cell.count += int(rows.count[row])
            cell.sum += float(rows.sum[row])
            cell.min = min(cell.min, float(rows.min[row]))
            cell.max = max(cell.max, float(rows.max[row]))
            cell.last = max(cell.last, (int(rows.last_ms[row]), float(rows.last[row])))
            for _ in range(int(rows.hist.per_row[row])):
                cell.hist[int(rows.hist.keys[entry])] += int(rows.hist.counts[entry])
                entry += 1

    def _hashes(self, message: RollupMessage, rows: DistinctRows) -> None:
        for row in range(len(rows)):
            self.distinct.setdefault(self._key(message, rows, row), set()).add(int(rows.hash[row]))
