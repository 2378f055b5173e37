"""Pacing: how far a producer may run ahead of a consumer group, in bytes per partition.

An in-process broker keeps only a few MiB of each partition, so whoever runs ahead further makes others lose data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

LEAD_BYTES = 2 << 20
"""An in-process broker keeps 5 MiB of a partition; other producers write there too."""


@dataclass(slots=True)
class Lead:
    """What was sent and is not yet committed by the group. Bytes in flight count for every partition: they may go to any."""

    limit: int = LEAD_BYTES
    in_flight: int = 0
    _waiting: dict[int, deque[tuple[int, int]]] = field(default_factory=dict[int, deque[tuple[int, int]]])
    _bytes: dict[int, int] = field(default_factory=dict[int, int])

    def sent(self, size: int) -> None:
        """A message was handed to the client."""
        self.in_flight += size

    def landed(self, partition: int, offset: int, size: int) -> None:
        """The broker has it, at this offset."""
        self.in_flight -= size
        self._waiting.setdefault(partition, deque()).append((offset, size))
        self._bytes[partition] = self._bytes.get(partition, 0) + size

    def failed(self, size: int) -> None:
        """It will never land."""
        self.in_flight -= size

    def committed(self, offsets: Mapping[int, int]) -> bool:
        """The group's next offset by partition. Returns whether that is progress on what was sent here."""
        before = sum(self._bytes.values())
        for partition, offset in offsets.items():
            waiting = self._waiting.get(partition, deque())
            while waiting and waiting[0][0] < offset:
                self._bytes[partition] -= waiting.popleft()[1]
        return sum(self._bytes.values()) < before

    @property
    def partitions(self) -> tuple[int, ...]:
        """Partitions that something landed in."""
        return tuple(self._waiting)

    def ahead(self) -> int:
        """The largest number of bytes that some partition may be ahead by."""
        return max(self._bytes.values(), default=0) + self.in_flight

    def room(self, size: int) -> bool:
        """Whether `size` more bytes may be sent. One message is always let through when nothing else is ahead."""
        ahead = self.ahead()
        return ahead == 0 or ahead + size <= self.limit
