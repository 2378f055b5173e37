"""Refusals: the dead letter of a message, or of some of its rows. It holds what may be shown, never what was sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamgauge.processors.residency import WRONG_REGION
from streamgauge.processors.samples import ROWS, event_sample, metric_sample
from streamgauge.processors.series import canonical_context
from streamgauge.processors.tools import Place, Tools
from streamgauge.schemas.again import Again
from streamgauge.schemas.columns import Array
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import Batch, EventBatch
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import DeadLetter, SampleRow
from streamgauge.schemas.row_sets import RowSet, row_set

MAX_UNKNOWN_VERSION = 1 << 16


@dataclass(frozen=True, slots=True)
class Arrival:
    """A raw message as it came: where, what, when it is added, and what is replayed with it, if it is a replay."""

    offset: int
    value: bytes | None
    now_ms: int
    again: Again | None = None


def dead_letter(
    place: Place,
    tools: Tools,
    arrival: Arrival,
    refused: Refused,
    points: int,
    batch: Batch | None = None,
    contract: Contract | None = None,
    rows: Array | None = None,
) -> DeadLetter:
    """The letter. `batch` is as far as reading got, cut down to what is replayed; `rows` of it are meant, or all (None)."""
    again, clean = arrival.again, tools.scrubber.value
    total = 0 if batch is None else len(batch.times if isinstance(batch, EventBatch) else batch.windows)
    numbers = None if again is None or again.rows is None else again.rows.rows()
    return DeadLetter(
        place.region,
        place.topic,
        place.partition,
        again.offset if again else arrival.offset,
        refused.reason,
        points,
        arrival.now_ms,
        # an event that no contract declares is called whatever its sender likes
        tools.cleaner.name(batch.event) if isinstance(batch, EventBatch) else "",
        clean(refused.detail)[0],
        _version(batch, contract),
        clean(canonical_context(batch.origin.context).get("service", ""))[0] if batch else "",
        len(arrival.value or b""),
        tools.hasher.fingerprint(arrival.value),
        _which(again, rows, numbers, total),
        ()
        if refused.reason == WRONG_REGION
        else _sample(batch, contract, tools, np.arange(min(ROWS, total)) if rows is None else rows[:ROWS], numbers),
        arrival.offset if again else 0,
        place.incarnation,
    )


def _version(batch: Batch | None, contract: Contract | None) -> int:
    """The contract's version; what is too large for one may be anything, such as the number of a card."""
    if not isinstance(batch, EventBatch):
        return 0
    return batch.contract if contract or batch.contract < MAX_UNKNOWN_VERSION else 0


def _which(again: Again | None, rows: Array | None, numbers: Array | None, total: int) -> RowSet | None:
    """Rows as the sender numbered them, whatever was left out of a replay."""
    if rows is None:
        return again.rows if again else None
    if again is None or again.rows is None or numbers is None:
        return row_set(rows, total)
    return row_set(numbers[rows], again.rows.of)


def _sample(
    batch: Batch | None, contract: Contract | None, tools: Tools, rows: Array, numbers: Array | None
) -> tuple[SampleRow, ...]:
    """Cleaned rows; none of what another region's residency keeps from here."""
    if isinstance(batch, EventBatch):
        return event_sample(batch, contract, tools.cleaner, rows, numbers) if contract else ()
    return metric_sample(batch, tools.cleaner, rows, numbers) if batch else ()
