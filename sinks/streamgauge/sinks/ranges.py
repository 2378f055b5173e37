"""Ranges: the offsets of one block, and the intent to insert it, written down before the insert and read after a crash.

The intent travels as metadata of the group's committed offset (brokers allow 4,096 bytes).
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_FORMAT = 1
"""How messages become a block: their order, their merging, their columns. Another rule is another number."""

KNOWN_FORMATS = (1,)


@dataclass(frozen=True, slots=True)
class Place:
    """A partition of a topic, in one life of the topic: a topic that was made anew starts again at offset 0."""

    region: str
    topic: str
    incarnation: str
    partition: int


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

    def metadata(self) -> str:
        """The intent: commit `start` with this."""
        return f"pending {self.start}-{self.end} format {self.block_format} topic {self.place.incarnation}"


class IntentUnknown(ValueError):
    """Commit metadata that this version does not understand."""


def parse_intent(place: Place, committed: int, metadata: str | None) -> Range | None:
    """The pending range named by commit metadata; None if nothing is pending.

    Raises IntentUnknown for text of another kind, for a block format this code cannot rebuild, or for a range that does
    not start at the committed offset. An intent of an earlier life of the topic is not pending: its offsets are gone.
    """
    if not metadata:
        return None
    words = metadata.split(" ")
    if len(words) != 6 or words[0] != "pending" or words[2] != "format" or words[4] != "topic":
        raise IntentUnknown(f"commit metadata of {place.topic}/{place.partition} is not an intent of this version")
    start, _, end = words[1].partition("-")
    if not (start.isdecimal() and end.isdecimal() and words[3].isdecimal()):
        raise IntentUnknown(f"commit metadata of {place.topic}/{place.partition} holds no range")
    pending = Range(place, int(start), int(end), int(words[3]))
    if pending.block_format not in KNOWN_FORMATS:
        raise IntentUnknown(
            f"{place.topic}/{place.partition} has a pending block of format {pending.block_format}; finish it with the "
            "version of streamgauge that began it, then upgrade"
        )
    if words[5] != place.incarnation:
        return None
    if pending.start != committed or pending.end <= pending.start:
        raise IntentUnknown(
            f"the intent of {place.topic}/{place.partition} does not start at the committed offset {committed}"
        )
    return pending
