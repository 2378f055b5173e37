"""Ranges: the offsets of one block, and the intent to insert it, written down before the insert and read after a crash.

The intent travels as metadata of the group's committed offset (brokers allow 4,096 bytes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamgauge.schemas.errors import PositionLost, StreamgaugeError

BLOCK_FORMAT = 1
"""How messages become a block: their order, their merging, their columns. Another rule is another number."""

KNOWN_FORMATS = (1,)

_METADATA = re.compile(r"(?:pending (\d{1,19})-(\d{1,19}) format (\d{1,9})|stored) topic (\S+)", re.ASCII)


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
    """Offsets [start, end) of one partition: one block, one insert, one token."""

    place: Place
    start: int
    end: int
    block_format: int = BLOCK_FORMAT

    @property
    def token(self) -> str:
        """The store's deduplication token: equal tokens mean equal content."""
        p = self.place
        return f"sg{self.block_format}:{p.region}:{p.topic}:{p.incarnation}:{p.partition}:{self.start}-{self.end}"

    def intent(self) -> str:
        """Metadata of `start`: this range is about to be inserted."""
        return f"pending {self.start}-{self.end} format {self.block_format} topic {self.place.incarnation}"

    def done(self) -> str:
        """Metadata of `end`: nothing is pending in this life of the topic."""
        return f"stored topic {self.place.incarnation}"


class IntentUnknown(StreamgaugeError):
    """Commit metadata that this version does not understand. Nothing was inserted or skipped."""


def parse_intent(place: Place, committed: int, metadata: str | None) -> Range | None:
    """The pending range named by commit metadata; None if nothing is pending, or offsets were set by hand (no metadata).

    Raises IntentUnknown for text of another kind, for a block format this code cannot rebuild, or for a range that does
    not start at the committed offset; PositionLost when the offset was committed in an earlier life of the topic.
    """
    if not metadata:
        return None
    found = _METADATA.fullmatch(metadata)
    if found is None:
        raise IntentUnknown(
            f"the commit metadata of {place} was not written by a sink of this version. If another program commits in this "
            "group, give it a group of its own; then set the offset with kafka-consumer-groups --reset-offsets"
        )
    start, end, block_format, incarnation = found.groups()
    if incarnation != place.incarnation:
        raise PositionLost(
            f"{place} was made anew (its id was {incarnation}, now it is {place.incarnation}), and the group still has the "
            f"offset {committed} of its earlier life. {ANEW}"
        )
    if start is None:
        return None
    pending = Range(place, int(start), int(end), int(block_format))
    if pending.block_format not in KNOWN_FORMATS:
        raise IntentUnknown(
            f"{place} has a pending block of format {pending.block_format}; finish it with the version of streamgauge that "
            "began it, then upgrade"
        )
    if pending.start != committed or pending.end <= pending.start:
        raise IntentUnknown(
            f"the intent of {place} is for offsets {pending.start}-{pending.end}, but the committed offset is {committed}: "
            "the group's offsets were changed by hand. Set them again with kafka-consumer-groups --reset-offsets"
        )
    return pending


ANEW = (
    "Stop the sinks and set the group to the beginning of the topic with kafka-consumer-groups --reset-offsets "
    "--to-earliest; blocks of the new topic cannot be taken for those of the old one"
)
"""What to do when a topic was made anew."""
