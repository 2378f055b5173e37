"""Event buffer: rows that wait to be batched, bounded in number and bytes. When full, the newest is dropped.

Dropping the newest keeps what a burst began with, which the application may already have acted upon.
"""

from __future__ import annotations

from collections import Counter, deque

from streamgauge.producers import native
from streamgauge.producers.event_rows import EventRows, Row


class EventBuffer:
    """Rows by event type. Every method may be called from any thread.

    The queue is never exchanged, and its appends and pops are single steps of the interpreter: a row that was appended
    is taken. The bounds are looked at without a lock, so threads may exceed them by a row each.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[EventRows, Row, int]] = deque()
        self._append = self._waiting.append
        self._lock = native.rlock()
        self._bytes_in = self._bytes_out = 0
        self.closed = False

    def add(self, kind: EventRows, row: Row, size: int) -> int:
        """About how many rows wait now, this one included; 0 when there is no room for it.

        1 for every row that came into an empty buffer, or that alone is left in one that is being emptied.
        """
        waiting = len(self._waiting)
        if waiting >= self._max_events or self._bytes_in - self._bytes_out + size > self._max_bytes or self.closed:
            return 0
        self._bytes_in += size
        self._append((kind, row, size))
        return len(self._waiting) or 1 if waiting else 1

    def take(self, most: int | None = None, size: int = 0) -> dict[EventRows, list[Row]]:
        """Everything that waits now, what comes meanwhile may wait on; or the oldest, at most `most` of about `size` bytes."""
        found: dict[EventRows, list[Row]] = {}
        with self._lock:
            until = self._bytes_out + size
            for _ in range(len(self._waiting) if most is None else min(most, len(self._waiting))):
                kind, row, row_size = self._waiting.popleft()
                self._bytes_out += row_size
                found.setdefault(kind, []).append(row)
                if most is not None and self._bytes_out >= until:
                    break
        return found

    def close(self) -> None:
        """Take nothing any more."""
        self.closed = True

    def points(self) -> Counter[str]:
        """Points that wait, by event name."""
        points: Counter[str] = Counter()
        with self._lock:
            for kind, row, _ in self._waiting.copy():
                points[kind.name] += kind.points_of(row)
        return points

    @property
    def bytes(self) -> int:
        """About how many bytes wait."""
        return self._bytes_in - self._bytes_out

    def __len__(self) -> int:
        return len(self._waiting)
