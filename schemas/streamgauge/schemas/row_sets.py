"""Row sets: some rows of one batch, packed as ranges or as bits, whichever is shorter; so 1,000,000 rows need at most 167 kB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from streamgauge.schemas.columns import Array, pack_array, unpack
from streamgauge.schemas.decoding import MAX_ROWS, need, need_natural
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.packing import Json

RANGES, BITS = "u4", "bits"


@dataclass(frozen=True, slots=True)
class RowSet:
    """At least one of the `of` rows of a batch. `form` says how `data` holds them; make it with `row_set`.

    `u4`: packed pairs [first, one after the last], ascending and apart. `bits`: one bit a row, the lowest bit first.
    """

    of: int
    form: str
    data: str

    def rows(self) -> Array:
        """The rows, ascending."""
        if self.form == BITS:
            return _bits(self.data, self.of)
        ranges = unpack(self.data, "u4", None).astype(np.int64).reshape(-1, 2)
        widths = ranges[:, 1] - ranges[:, 0]
        ends = np.cumsum(widths)
        found: Array = np.arange(int(ends[-1])) + np.repeat(ranges[:, 0] - (ends - widths), widths)
        return found

    def json(self) -> Json:
        """As a JSON object."""
        return {"of": self.of, self.form: self.data}


def row_set(rows: Array, of: int) -> RowSet:
    """These rows (ascending, each once, at least one) of a batch of `of` rows."""
    breaks = np.flatnonzero(np.diff(rows) != 1)
    starts = rows[np.concatenate(([0], breaks + 1))]
    ends = rows[np.concatenate((breaks, [len(rows) - 1]))] + 1
    if 8 * len(starts) <= (of + 7) // 8:
        return RowSet(of, RANGES, pack_array("u4", np.stack([starts, ends], axis=1)))
    chosen = np.zeros(of, bool)
    chosen[rows] = True
    return RowSet(of, BITS, pack_array("u1", np.packbits(chosen, bitorder="little")))


def read_row_set(body: Any) -> RowSet:
    """A row set from its JSON, everything checked. Raises Refused."""
    if type(body) is not dict:
        raise Refused("wrong_type", "a set of rows is not an object")
    packed = cast("Json", body)
    of = need_natural(packed, "of", MAX_ROWS + 1)
    forms = [form for form in (RANGES, BITS) if form in packed]
    if len(forms) != 1:
        raise Refused("missing_key" if not forms else "wrong_type", "a set of rows has one form")
    found = RowSet(of, forms[0], need(packed, forms[0], str))
    if found.form == BITS:
        if not len(_bits(found.data, of)):
            raise Refused("wrong_length", "a set of rows is empty")
        return found
    edges = unpack(found.data, "u4", None)
    if not len(edges) or len(edges) % 2:
        raise Refused("wrong_length", "a set of rows")
    if int(edges[-1]) > of or not (np.diff(edges.astype(np.int64)) > 0).all():
        raise Refused("index_out_of_range", "a set of rows")
    return found


def _bits(data: str, of: int) -> Array:
    found = np.flatnonzero(np.unpackbits(unpack(data, "u1", (of + 7) // 8), bitorder="little"))
    if len(found) and int(found[-1]) >= of:
        raise Refused("index_out_of_range", "a set of rows")
    return found
