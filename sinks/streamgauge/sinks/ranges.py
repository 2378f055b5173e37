"""Ranges: the offsets of one block, and the intent to insert it, written down before the insert and read after a crash.

The intent travels as metadata of the group's committed offset (brokers allow 4,096 bytes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

BLOCK_FORMAT = 2
"""How messages become a block: their order, their merging, their columns. Another rule is another number, and the rule
of the number before stays: a block of it may be pending. 1: without the life of the topic."""

KNOWN_FORMATS = (1, 2)

ANY_CONTENT = "any"
"""In place of a fingerprint: a person has said that the range is to be inserted again, whatever is there."""

_METADATA = re.compile(
    r"(?:pending (\d{1,19})-(\d{1,19}) format (\d{1,9})(?: content ([0-9a-f]{16}|any) at (\d{1,16}))?|stored) topic (\S+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A partition of a topic, in one life of the topic: a topic that was made anew starts again at offset 0."""

    region: str
    topic: str
    incarnation: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets [start, end) of one partition: one block, one insert, one token.

    `content` is the fingerprint of its messages, `written_ms` the time when it was cut; both are missing from the intents
    of format 1.
    """

    place: Place
    start: int
    end: int
    block_format: int = BLOCK_FORMAT
    content: str = ""
    written_ms: int = 0

    @property
    def token(self) -> str:
        """The store's deduplication token: equal tokens mean equal content."""
        p = self.place
        return f"sg{self.block_format}:{p.region}:{p.topic}:{p.incarnation}:{p.partition}:{self.start}-{self.end}"

    def intent(self) -> str:
        """Metadata of `start`: this range is about to be inserted."""
        content = f" content {self.content} at {self.written_ms}" if self.content else ""
        return f"pending {self.start}-{self.end} format {self.block_format}{content} topic {self.place.incarnation}"

    def done(self) -> str:
        """Metadata of `end`: nothing is pending in this life of the topic."""
        return done_in(self.place)


def done_in(place: Place) -> str:
    """Metadata of an offset before which everything is stored, in this life of the topic."""
    return f"stored topic {place.incarnation}"


class Committed(Enum):
    """What the group's committed offset and its metadata say of a partition."""

    NOTHING = "nothing"
    BY_HAND = "an offset that was set by hand"
    STORED = "stored up to here"
    PENDING = "a range is pending"
    ASKED = "a range that a person wants inserted again"
    MOVED = "a range is pending, and the offset is not its start"
    FOREIGN = "metadata of another program"
    OTHER_LIFE = "an offset of another life of the topic"
    UNKNOWN_FORMAT = "a range of a format that is not known here"


@dataclass(frozen=True, slots=True)
class GroupSays:
    """What is committed, and the range and the life of the topic that it names, if it does."""

    kind: Committed
    offset: int
    pending: Range | None = None
    life: str = ""


def read_commit(place: Place, offset: int, metadata: str | None) -> GroupSays:
    """What a committed offset (negative: none) and its metadata say. Any text is something."""
    if offset < 0:
        return GroupSays(Committed.NOTHING, offset)
    if not metadata:
        return GroupSays(Committed.BY_HAND, offset)
    found = _METADATA.match(metadata)
    if found is None:
        return GroupSays(Committed.FOREIGN, offset)
    start, end, block_format, content, written_ms, life = found.groups()
    # librdkafka copies metadata without its end: what stood in memory may follow
    if life.startswith(place.incarnation):
        life = place.incarnation
    if life != place.incarnation:
        return GroupSays(Committed.OTHER_LIFE, offset, life=life)
    if start is None:
        return GroupSays(Committed.STORED, offset, life=life)
    pending = Range(place, int(start), int(end), int(block_format), content or "", int(written_ms or 0))
    if pending.start != offset or pending.end <= pending.start:
        return GroupSays(Committed.MOVED, offset, pending, life)
    if pending.block_format not in KNOWN_FORMATS:
        return GroupSays(Committed.UNKNOWN_FORMAT, offset, pending, life)
    kind = Committed.ASKED if pending.content == ANY_CONTENT else Committed.PENDING
    return GroupSays(kind, offset, pending, life)
