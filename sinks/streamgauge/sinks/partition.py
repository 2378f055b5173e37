"""Partitions: the messages of one stored topic's partition between its committed offset and its next block. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from streamgauge.schemas.batches import MAX_INSTANT_MS
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry, decode_dead, decode_ledger
from streamgauge.schemas.rollups import DistinctRows, RollupMessage, decode_rollups
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, decode_scrubbed
from streamgauge.schemas.topics import DEAD, DISTINCT, LEDGER, ROLLUPS, SCRUBBED
from streamgauge.sinks.blocks import EMPTY_SHAPE, BlockPolicy, Shape, shape_of
from streamgauge.sinks.decisions import Read
from streamgauge.sinks.event_blocks import shape_of_events
from streamgauge.sinks.ranges import ANY_CONTENT, Place, Range

Decoded = RollupMessage | ScrubbedEvents | LedgerEntry | DeadLetter

OBJECTS_OF_A_MESSAGE = 3_000
"""Bytes that a decoded message takes beside its columns (measured)."""

MEMORY_OF_EVENTS = 4
"""Bytes that decoded events take for each byte of their message: dictionaries of texts become objects."""


@dataclass(frozen=True, slots=True)
class Buffered:
    """A message that waits for its block."""

    offset: int
    message: Decoded
    shape: Shape
    memory: int
    """About how many bytes it holds while it waits."""
    digest: bytes
    """Of its offset and value."""


class Cut(NamedTuple):
    """A block that is due: its range, its messages, and what they are to a range that was begun before."""

    block: Range
    messages: list[Decoded]
    read: Read


def decode_stored(kind: str, place: Place, offset: int, value: bytes, instant_ms: int) -> Buffered:
    """A message of a stored topic. What is not one becomes a dead letter of its own, the same on every reading.

    `instant_ms` is the broker's time of the message: a dead letter without one would be forgotten at once.
    """
    try:
        message = _decode(kind, value)
        shape = _shape(message, len(value))
        shape.refuse_unstorable()
    except Refused as refused:
        at_ms = min(max(instant_ms, 0), MAX_INSTANT_MS - 1)
        message = DeadLetter(
            place.region, place.topic, place.partition, offset, refused.reason, 1, at_ms, detail=refused.detail
        )
        shape = shape_of(message, len(value))
    each = MEMORY_OF_EVENTS if isinstance(message, ScrubbedEvents) else 2
    columns = message.rows.nbytes if isinstance(message, RollupMessage) else each * len(value)
    digest = blake2b(value, digest_size=8, salt=offset.to_bytes(8, "big")).digest()
    return Buffered(offset, message, shape, columns + OBJECTS_OF_A_MESSAGE, digest)


def content_of(messages: Iterable[Buffered]) -> str:
    """The fingerprint of a block: of the values and offsets of its messages, in their order."""
    return blake2b(b"".join(one.digest for one in messages), digest_size=8).hexdigest()


def _shape(message: Decoded, size: int) -> Shape:
    return shape_of_events(message, size) if isinstance(message, ScrubbedEvents) else shape_of(message, size)


def _decode(kind: str, value: bytes) -> Decoded:
    if kind == LEDGER.kind:
        return decode_ledger(value)
    if kind == DEAD.kind:
        return decode_dead(value)
    if kind == SCRUBBED.kind:
        return decode_scrubbed(value)
    if kind not in {ROLLUPS.kind, DISTINCT.kind}:
        raise ValueError(f"{kind} is no stored topic")
    message = decode_rollups(value)
    if isinstance(message.rows, DistinctRows) != (kind == DISTINCT.kind):
        raise Refused("unknown_kind")
    return message


@dataclass(slots=True)
class Partition:
    """Messages in offset order. `start` is the committed offset; `recovering` a range that was begun before; `unread` says
    that its messages are not to be had, or not needed: then they are not waited for."""

    place: Place
    kind: str
    start: int
    recovering: Range | None = None
    unread: bool = False
    since_ms: int = 0
    memory: int = 0
    _waiting: list[Buffered] = field(default_factory=list[Buffered])
    # blocks that were taken and are not stored, each with how many of the waiting messages are its
    _taken: list[tuple[Range, int]] = field(default_factory=list[tuple[Range, int]])
    # the messages behind them that fit into one block: kept, so that asking costs nothing while nothing comes
    _shape: Shape = EMPTY_SHAPE
    _count: int = 0
    _full: bool = False

    @property
    def starving(self) -> bool:
        """Whether a begun range still needs messages, however much is here already."""
        if self.recovering is None or self.unread:
            return False
        return not self._waiting or self._waiting[-1].offset < self.recovering.end - 1

    def offer(self, offset: int, value: bytes, instant_ms: int, now_ms: int) -> None:
        """Take a delivered message. Offsets that were stored, or delivered already, are ignored."""
        if offset < self.start or (self._waiting and offset <= self._waiting[-1].offset):
            return
        one = self.decoded(offset, value, instant_ms)
        if not self._waiting:
            self.since_ms = now_ms
        self._waiting.append(one)
        self.memory += one.memory

    def decoded(self, offset: int, value: bytes, instant_ms: int) -> Buffered:
        """A delivered message; see `decode_stored`."""
        return decode_stored(self.kind, self.place, offset, value, instant_ms)

    def take(self, policy: BlockPolicy, now_ms: int, flush: bool = False, written_ms: int = 0) -> Cut | None:
        """The next block if it is due: full, or waited for long enough, or `flush`. Behind another that is taken and not
        stored: if it is full. Then come `stored`, in the order of taking, or `again`.

        A new block is written down as of `written_ms`, the time of the day.
        """
        if not self._waiting and not self.unread:
            return None
        if self.recovering is not None:
            return None if self._taken or self.starving else self._recovered(self.recovering)
        first = self._first()
        while not self._full and first + self._count < len(self._waiting):
            grown = self._shape.with_more(self._waiting[first + self._count].shape)
            if self._count and not grown.fits(policy):
                self._full = True
            else:
                self._shape, self._count = grown, self._count + 1
        full = self._full or self._shape.rows >= policy.max_rows or self._shape.size >= policy.max_bytes
        due = not self._taken and (flush or now_ms - self.since_ms >= policy.every_ms)
        if not self._count or not (full or due):
            return None
        found = self._waiting[first : first + self._count]
        start = self._taken[-1][0].end if self._taken else self.start
        block = Range(self.place, start, found[-1].offset + 1, content=content_of(found), written_ms=written_ms)
        return self._take(block, found, Read.NEW)

    def _first(self) -> int:
        return sum([count for _, count in self._taken]) if self._taken else 0

    def _take(self, block: Range, found: list[Buffered], read: Read) -> Cut:
        self._taken.append((block, len(found)))
        self._shape, self._count, self._full = EMPTY_SHAPE, 0, False
        return Cut(block, [one.message for one in found], read)

    def _recovered(self, pending: Range) -> Cut:
        """The pending range, whose last message was delivered again: exactly the messages that it had, if they are there."""
        found = [one for one in self._waiting if one.offset < pending.end]
        return self._take(pending, found, self._read(pending, found))

    def _read(self, pending: Range, found: list[Buffered]) -> Read:
        if self.unread:
            return Read.GONE
        if not found or found[-1].offset != pending.end - 1:
            return Read.GAP
        if pending.content == ANY_CONTENT:
            return Read.ASKED
        if pending.content and pending.content != content_of(found):
            return Read.OTHER
        return Read.CONTAINS if len(found) < len(self._waiting) else Read.SAME

    def stored(self, now_ms: int) -> None:
        """The first of the taken blocks is final."""
        done, count = self._taken.pop(0)
        self.start = done.end
        self.recovering, self.unread = None, False
        self.memory -= sum(one.memory for one in self._waiting[:count])
        del self._waiting[:count]
        self.since_ms = now_ms

    def again(self) -> None:
        """The first of the taken blocks was begun, and did not end: it comes again, as it was. Those behind it are forgotten."""
        self.recovering = self._taken[0][0]
        self._taken.clear()
        self._shape, self._count, self._full = EMPTY_SHAPE, 0, False
