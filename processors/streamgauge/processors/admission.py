"""Admission: which fields of a batch its contract lets in, cleaned. What is not declared goes no further."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from streamgauge.processors.cleaner import Cleaner
from streamgauge.processors.keys import Halves
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.schemas.columns import Array, Numbers, Strings
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import EventBatch
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.privacy import CLOSED

BAD_VALUE, MISSING_FIELD, WRONG_TYPE = "bad_value", "missing_field", "wrong_type"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The clean columns of a batch: dictionaries hold clean values (hashes for unique fields), one index per row.

    `bad` marks rows with a value outside a closed set, or is None. `keys` are both halves of each row's idempotency key, if
    the contract declares one; the first half is 0 where a row has none. `earlier_keys` are the same under earlier keys of ours.
    """

    dimensions: dict[str, tuple[list[str], Array]]
    measures: dict[str, Numbers]
    uniques: dict[str, tuple[Array, Array]]
    bad: Array | None = None
    scrubbed: Counter[str] = field(default_factory=Counter[str])
    keys: Halves | None = None
    earlier_keys: tuple[Halves, ...] = ()


def admit(batch: EventBatch, contract: Contract, cleaner: Cleaner, hasher: DistinctHasher, tenant: str) -> Admitted:
    """Sort a batch's fields by their declared class and clean them as the contract's policy says. Raises Refused when a
    required field is absent or has another type than declared."""
    n = len(batch.times)
    policy = cleaner.policy(contract)
    admitted = Admitted({}, {}, {})
    bad: Array | None = None
    keys: Halves | None = None
    earlier: tuple[Halves, ...] = ()
    for name, declared in contract.fields.items():
        column = batch.fields.get(name)
        if column is None:
            if declared.kind in {"dimension", "unique", "idempotency_key"}:
                if not declared.optional:
                    raise Refused(MISSING_FIELD, name)
                column = Strings([None], np.zeros(n, np.uint8))
            elif declared.kind == "measure" and not declared.optional:
                raise Refused(MISSING_FIELD, name)
            else:
                continue
        if declared.kind == "dimension":
            column = _strings(column, name)
            action = policy.action(name)
            if action.kind == CLOSED:
                bad = _outside(column, declared.values, declared.optional, bad)
                admitted.dimensions[name] = ([value or "" for value in column.dictionary], column.index)
            else:
                cleaned, changed = cleaner.dictionary(action, column.dictionary, column.index)
                admitted.scrubbed.update(changed)
                admitted.dimensions[name] = (cleaned, column.index)
        elif declared.kind == "unique":
            column = _strings(column, name)
            hashed = hasher.column(f"{contract.name}.{name}", tenant, column, batch.times)
            if len(hashed.hashes) > 1 or hashed.hashes[0]:
                admitted.scrubbed["pseudonym"] += int(np.count_nonzero(hashed.hashes[hashed.index]))
            admitted.scrubbed.update(hashed.lost)
            admitted.uniques[name] = (hashed.hashes, hashed.index)
        elif declared.kind == "idempotency_key":
            column = _strings(column, name)
            if keys is None:  # of several the first: by that one senders choose the stream
                low, high = hasher.keys.hashes(contract.name, tenant, column.dictionary)
                keys = low[column.index], high[column.index]
                others = hasher.keys.earlier(contract.name, tenant, column.dictionary)
                earlier = tuple((one[column.index], other[column.index]) for one, other in others)
        elif declared.kind == "measure":
            if not isinstance(column, Numbers):
                raise Refused(WRONG_TYPE, name)
            admitted.measures[name] = column
        elif declared.kind == "free_text" and not (contract.store_events and isinstance(column, Strings)):
            admitted.scrubbed["free_text"] += _given(column)
        elif declared.kind == "dropped":
            admitted.scrubbed["dropped"] += n
    for name in batch.fields.keys() - contract.fields.keys():
        admitted.scrubbed["unknown_field"] += len(batch.times) if name else 0
    return Admitted(admitted.dimensions, admitted.measures, admitted.uniques, bad, admitted.scrubbed, keys, earlier)


def _given(column: Strings | Numbers) -> int:
    """How many rows have a value."""
    if not isinstance(column, Strings):
        return len(column.values) - (0 if column.missing is None else len(np.unique(column.missing)))
    there = np.array([bool(value) for value in column.dictionary], bool)
    return int(np.count_nonzero(there[column.index]))


def _strings(column: Strings | Numbers, name: str) -> Strings:
    if not isinstance(column, Strings):
        raise Refused(WRONG_TYPE, name)
    return column


def _outside(column: Strings, values: tuple[str, ...], optional: bool, bad: Array | None) -> Array | None:
    allowed: set[str | None] = {*values, None} if optional else {*values}
    wrong = np.array([value not in allowed for value in column.dictionary], bool)
    if not wrong.any():
        return bad
    rows = wrong[column.index]
    return rows if bad is None else bad | rows
