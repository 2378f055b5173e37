"""Partitions: the messages of one stored topic's partition between its committed offset and its next block. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry, decode_dead, decode_ledger
from streamgauge.schemas.rollups import RollupMessage, decode_rollups
from streamgauge.schemas.topics import DEAD, DISTINCT, LEDGER, ROLLUPS
from streamgauge.sinks.blocks import EMPTY_SHAPE, BlockPolicy, Shape, shape_of
from streamgauge.sinks.ranges import Place, Range

Decoded = RollupMessage | LedgerEntry | DeadLetter


def decode_stored(kind: str, place: Place, offset: int, value: bytes) -> Decoded:
    """A message of a stored topic. What is not one becomes a dead letter of its own, the same on every reading."""
    try:
        if kind in {ROLLUPS.kind, DISTINCT.kind}:
            return decode_rollups(value)
        if kind == LEDGER.kind:
            return decode_ledger(value)
        if kind == DEAD.kind:
            return decode_dead(value)
    except Refused as refused:
        return DeadLetter(
            place.region, place.topic, place.partition, offset, refused.reason, 1, 0, detail=refused.detail
        )
    raise ValueError(f"{kind} is no stored topic")


@dataclass(slots=True)
class Buffered:
    """A message that waits for its block."""

    offset: int
    message: Decoded
    shape: Shape


@dataclass(slots=True)
class Partition:
    """Messages in offset order. `start` is the committed offset; `recovering` a range that was begun before a crash."""

    place: Place
    kind: str
    start: int
    recovering: Range | None = None
    since_ms: int = 0
    size: int = 0
    _waiting: list[Buffered] = field(default_factory=list[Buffered])

    def offer(self, offset: int, value: bytes, now_ms: int) -> None:
        """Take a delivered message. Offsets below `start` were stored already and are ignored."""
        if offset < self.start:
            return
        message = decode_stored(self.kind, self.place, offset, value)
        if not self._waiting:
            self.since_ms = now_ms
        self._waiting.append(Buffered(offset, message, shape_of(message, len(value))))
        self.size += len(value)

    def next_block(self, policy: BlockPolicy, now_ms: int, flush: bool = False) -> tuple[Range, list[Decoded]] | None:
        """The next block if it is due: full, or waited for long enough, or `flush`. It stays until `stored` is called."""
        if self.recovering is not None:
            return self._recovered(self.recovering)
        if not self._waiting:
            return None
        shape, count = EMPTY_SHAPE, 0
        for one in self._waiting:
            grown = shape.with_more(one.shape)
            if count and not grown.fits(policy):
                break
            shape, count = grown, count + 1
        full = count < len(self._waiting) or shape.rows >= policy.max_rows or shape.size >= policy.max_bytes
        if not (full or flush or now_ms - self.since_ms >= policy.every_ms):
            return None
        taken = self._waiting[:count]
        return Range(self.place, self.start, taken[-1].offset + 1), [one.message for one in taken]

    def _recovered(self, pending: Range) -> tuple[Range, list[Decoded]] | None:
        """The pending range, once its last message was delivered again: exactly the messages that it had."""
        taken = [one for one in self._waiting if one.offset < pending.end]
        if not taken or taken[-1].offset != pending.end - 1:
            return None
        return pending, [one.message for one in taken]

    def stored(self, done: Range, now_ms: int) -> None:
        """The block of this range is final."""
        self.start = done.end
        self.recovering = None
        left = [one for one in self._waiting if one.offset >= done.end]
        self.size = sum(one.shape.size for one in left)
        self._waiting = left
        self.since_ms = now_ms
