"""Consents: which rows of a batch may not be used, by what came with them. Producers have asked already; workers ask again."""

from __future__ import annotations

import numpy as np

from streamgauge.schemas.columns import Array
from streamgauge.schemas.consent import NOTHING_GRANTED, denial, is_gated
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import EventBatch


def denied(batch: EventBatch, contract: Contract) -> dict[str, Array]:
    """Masks of the rows that must be dropped, by reason and purpose. Rows without a consent that can be read grant nothing."""
    goals, basis = contract.all_purposes(), contract.legal_basis
    if not is_gated(goals, basis):
        return {}
    if batch.consents is None:
        reasons, index = [denial(goals, basis, NOTHING_GRANTED)], np.zeros(len(batch.times), np.uint8)
    else:
        reasons, index = [denial(goals, basis, one or NOTHING_GRANTED) for one in batch.consents[0]], batch.consents[1]
    masks: dict[str, Array] = {}
    for reason in sorted({*reasons} - {""}):
        mask = np.array([one == reason for one in reasons], bool)[index]
        if mask.any():
            masks[reason] = mask
    return masks


def granted_rows(batch: EventBatch, contract: Contract, rows: Array) -> Array:
    """Those of `rows` that may be shown to anybody."""
    for mask in denied(batch, contract).values():
        rows = rows[~mask[rows]]
    return rows
