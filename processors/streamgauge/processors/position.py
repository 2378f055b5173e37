"""Positions: which offset of a raw partition comes next. Only that one is added; everything else is skipped or sought."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What to do with a message at an offset."""

    NEXT = "next"
    SEEN = "seen"
    SEEK = "seek"
    WAIT = "wait"


@dataclass(slots=True)
class Position:
    """`next` is the offset to add. After a seek, what was buffered before it still arrives: it is waited out."""

    next: int
    sought: int | None = None

    def verdict(self, offset: int) -> Verdict:
        """SEEK is said once per position; until the sought message arrives, higher ones are only waited for."""
        if offset == self.next:
            return Verdict.NEXT
        if offset < self.next:
            return Verdict.SEEN
        return Verdict.WAIT if self.sought == self.next else Verdict.SEEK

    def advance(self) -> None:
        """The message at `next` was added."""
        self.next += 1
        self.sought = None
