"""Again: the one Kafka header that says that a raw message is a replay of refused data, and of which rows."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from streamgauge.schemas.decoding import need, need_natural, parse
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.packing import Json
from streamgauge.schemas.row_sets import RowSet, read_row_set

AGAIN_HEADER = "streamgauge-again"
MAX_REASON = 64


@dataclass(frozen=True, slots=True)
class Again:
    """A replay of the message at `offset` of the same partition: what was refused there for `reason`.

    `rows` is None for the whole message. `backfill` exempts from limits on age. `copy` is the offset of the replay whose
    refusal is replayed here; 0: the message itself was refused.
    """

    offset: int
    reason: str
    rows: RowSet | None = None
    backfill: bool = False
    copy: int = 0

    @property
    def refusal(self) -> str:
        """With `offset`, the identity of what is replayed: one refusal of one message, whose rows no other one has."""
        return f"{self.reason}@{self.copy}" if self.copy else self.reason

    def encode(self) -> bytes:
        """The header's value."""
        body: Json = {"offset": self.offset, "reason": self.reason}
        body |= {"rows": self.rows and self.rows.json(), "backfill": self.backfill}
        return orjson.dumps(body | {"copy": self.copy} if self.copy else body)


def again_of(letter: DeadLetter, backfill: bool) -> Again:
    """The replay of what a letter says was refused."""
    return Again(letter.offset, letter.reason, letter.which, backfill, letter.again)


def decode_again(value: bytes | None, offset: int) -> Again:
    """Read the header of the message at `offset`. Raises Refused: also when it points at what comes later."""
    body = parse(value)
    origin, reason = need_natural(body, "offset", offset), need(body, "reason", str)
    if not reason.isidentifier() or len(reason) > MAX_REASON:
        raise Refused("bad_name", "reason")
    copy = need_natural(body, "copy", offset) if "copy" in body else 0
    if copy and copy <= origin:
        raise Refused("out_of_range", "copy")
    if "rows" not in body:  # all rows must be said, not forgotten
        raise Refused("missing_key", "rows")
    rows = None if body["rows"] is None else read_row_set(body["rows"])
    return Again(origin, reason, rows, need(body, "backfill", bool), copy)
