"""Event blocks: the single events of one range as the store's columns: the same bytes from the same messages.

Nothing is merged: rows stay in the order of their messages. A column of many events is one of maps, whose keys are sorted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from streamgauge.schemas.columns import Array, Numbers, Strings
from streamgauge.schemas.scrubbed_events import ScrubbedEvents
from streamgauge.schemas.windows import DAY_MS
from streamgauge.sinks import native
from streamgauge.sinks.blocks import Insert, Shape, landing_insert
from streamgauge.sinks.ddl import EVENTS_LANDING
from streamgauge.sinks.ranges import Range

BYTES_OF_A_ROW = 24
"""What a row takes in a block beside its maps, about."""

TextColumns = Mapping[str, Strings]


def shape_of_events(message: ScrubbedEvents, size: int) -> Shape:
    """The shape of a block of one message of `size` bytes. It counts as it will be, with every row's texts written out."""
    days = frozenset(np.unique(message.times // DAY_MS).tolist())
    texts = chain(message.labels.values(), message.pseudonyms.values(), message.texts.values())
    written = sum(map(_written, texts)) + len(message) * (BYTES_OF_A_ROW + 9 * len(message.measures))
    return Shape(len(message), max(size, written), days, frozenset([message.version]))


def _written(column: Strings) -> int:
    """Bytes of a column's texts, as many times as rows have them."""
    sizes = np.array([4 + len(entry) if entry else 0 for entry in column.dictionary], np.int64)
    return int(np.bincount(column.index, minlength=len(sizes)) @ sizes)


def event_insert(messages: Sequence[ScrubbedEvents], pending: Range) -> Insert:
    """The landing table's block of a range, from all messages in it. Raises ValueError for messages that cannot share one."""
    if len({one.version for one in messages}) != 1:
        raise ValueError("one block holds rows of one materialization version")
    rows = np.array([len(one) for one in messages], np.int64)
    total = int(rows.sum())
    columns = [
        native.constant("materialization_version", "UInt16", messages[0].version, total),
        _repeated("event", [one.event for one in messages], rows),
        native.numbers("contract", "UInt32", np.repeat(np.array([one.contract for one in messages], np.uint32), rows)),
        _repeated("policy", [one.policy for one in messages], rows),
        native.numbers("at", "DateTime64(3, 'UTC')", np.concatenate([one.times for one in messages])),
        _texts("labels", [one.labels for one in messages], rows),
        _numbers("measures", [one.measures for one in messages], rows),
        _texts("pseudonyms", [one.pseudonyms for one in messages], rows),
        _texts("texts", [one.texts for one in messages], rows),
    ]
    return landing_insert(EVENTS_LANDING, columns, total, pending)


def _repeated(name: str, values: Sequence[str], rows: Array) -> native.Column:
    """A text of each message, in each of its rows."""
    keys = sorted(set(values))
    codes = {key: code for code, key in enumerate(keys)}
    return native.dictionary(name, keys, np.repeat(np.array([codes[one] for one in values], np.uint32), rows))


def _texts(name: str, columns: Sequence[TextColumns], rows: Array) -> native.Column:
    keys = sorted(set(chain.from_iterable(columns)))
    pool: list[bytes] = []
    parts: list[native.Entries] = []
    for of, n in zip(columns, rows.tolist(), strict=True):
        names = sorted(of)
        places = np.empty((n, len(names)), np.int64)
        for at, key in enumerate(names):
            column = of[key]
            # a missing text has no place
            own = np.array([len(pool) + i if entry else -1 for i, entry in enumerate(column.dictionary)], np.int64)
            pool += [native.text(entry or "") for entry in column.dictionary]
            places[:, at] = own[column.index]
        parts.append(_entries(keys, names, places, places >= 0))
    return native.text_maps(name, keys, _joined(parts), pool)


def _numbers(name: str, columns: Sequence[Mapping[str, Numbers]], rows: Array) -> native.Column:
    keys = sorted(set(chain.from_iterable(columns)))
    parts: list[native.Entries] = []
    for of, n in zip(columns, rows.tolist(), strict=True):
        names = sorted(of)
        values, given = np.empty((n, len(names))), np.ones((n, len(names)), np.bool_)
        for at, key in enumerate(names):
            values[:, at] = of[key].values
            if (missing := of[key].missing) is not None:
                given[missing, at] = False
        parts.append(_entries(keys, names, values, given))
    return native.number_maps(name, keys, _joined(parts))


def _entries(keys: Sequence[str], names: Sequence[str], values: Array, given: Array) -> native.Entries:
    """Entries of a message that has the columns `names` of all the `keys`, where they are `given`."""
    codes = {key: code for code, key in enumerate(keys)}
    own = np.broadcast_to(np.array([codes[name] for name in names], np.uint32), values.shape)
    return native.Entries(given.sum(axis=1), own[given], values[given])


def _joined(parts: Sequence[native.Entries]) -> native.Entries:
    return native.Entries(
        np.concatenate([one.lengths for one in parts]),
        np.concatenate([one.keys for one in parts]),
        np.concatenate([one.values for one in parts]),
    )
