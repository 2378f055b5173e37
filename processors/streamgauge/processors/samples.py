"""Samples: what may be shown of a few rows of a batch: what the contract admits, cleaned, cut short. Nothing else.

Values outside a closed set are told by their length, and what is counted distinct is not told at all unless the caller
brings pseudonyms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import numpy as np

from streamgauge.processors.cleaner import Cleaner
from streamgauge.processors.consents import granted_rows
from streamgauge.schemas.columns import Array, Numbers, Strings
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.decoding import EventBatch, MetricBatch
from streamgauge.schemas.ledger import SampleRow
from streamgauge.schemas.privacy import Action

ROWS, FIELDS, CHARS = 3, 16, 64
UNIQUE = "[unique]"
Pseudonym = Callable[[str, str, int], str]
"""Takes the name of a unique field, a value and its event's time; gives what may be shown for it."""
Value = str | float | None


def event_sample(
    batch: EventBatch,
    contract: Contract,
    cleaner: Cleaner,
    rows: Iterable[int],
    numbers: Array | None = None,
    pseudonym: Pseudonym | None = None,
) -> tuple[SampleRow, ...]:
    """These rows of a batch of events, but for those that no consent covers. `numbers` says what each row is called, where
    it is not its position."""
    policy = cleaner.policy(contract)
    shown = [
        (name, declared, column)
        for name, declared in contract.fields.items()
        if declared.kind in {"dimension", "measure", "unique"}
        and isinstance(column := batch.fields.get(name), Numbers if declared.kind == "measure" else Strings)
    ][:FIELDS]
    return tuple(
        SampleRow(
            row if numbers is None else int(numbers[row]),
            int(batch.times[row]),
            {
                name: _value(
                    name, declared, column, row, int(batch.times[row]), cleaner, policy.action(name), pseudonym
                )
                for name, declared, column in shown
            },
        )
        for row in map(int, granted_rows(batch, contract, np.fromiter(rows, np.int64)))
    )


def _value(
    name: str,
    declared: Field,
    column: Strings | Numbers,
    row: int,
    at_ms: int,
    cleaner: Cleaner,
    action: Action,
    pseudonym: Pseudonym | None,
) -> Value:
    if isinstance(column, Numbers):
        absent = column.missing is not None and row in column.missing
        return None if absent else float(column.values[row])
    text = column.dictionary[int(column.index[row])]
    if text is None:
        return None
    if declared.kind == "unique":
        return pseudonym(name, text, at_ms) if pseudonym else UNIQUE
    if declared.values:
        return text[:CHARS] if text in declared.values else f"[not in the set, {len(text)} characters]"
    return cleaner.value(action, text)[0][:CHARS]


def metric_sample(
    batch: MetricBatch, cleaner: Cleaner, rows: Iterable[int], numbers: Array | None = None
) -> tuple[SampleRow, ...]:
    """These points of a batch of metrics, with `count` and `sum` beside their labels."""
    found: list[SampleRow] = []
    for row in map(int, rows):
        series = batch.series[int(batch.index[row])]
        head, values = batch.metrics[int(series[0])], cast("tuple[str, ...]", series[1:])
        labels = {
            name: cleaner.label(name, text)[0][:CHARS]
            for name, text in zip(head.labels, values, strict=True)
            if not cleaner.personal(name)
        }
        fields: dict[str, Value] = {"count": float(batch.count[row]), "sum": float(batch.sum[row])}
        fields |= dict(list(labels.items())[:FIELDS])
        number = row if numbers is None else int(numbers[row])
        found.append(SampleRow(number, int(batch.windows[row]), fields, cleaner.name(head.name)))
    return tuple(found)
