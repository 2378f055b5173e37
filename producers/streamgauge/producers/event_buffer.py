"""Event buffer: rows that wait to be batched, bounded in number and bytes. When full, the newest is dropped.

Dropping the newest keeps what a burst began with, which the application may already have acted upon.
"""

from __future__ import annotations

from threading import RLock

from streamgauge.producers.event_rows import EventRows, Row


class EventBuffer:
    """Rows by event type. Every method may be called from any thread."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lock = RLock()
        self._rows: dict[EventRows, list[Row]] = {}
        self._events = 0
        self._bytes = 0
        self._points: dict[str, int] = {}
        self.closed = False

    def add(self, kind: EventRows, row: Row, size: int) -> int:
        """How many rows of this kind wait now, this one included; 0 when there is no room for it."""
        points = kind.points_of(row)
        with self._lock:
            if self._events >= self._max_events or self._bytes + size > self._max_bytes or self.closed:
                return 0
            rows = self._rows.get(kind)
            if rows is None:
                rows = self._rows[kind] = []
            rows.append(row)
            self._events += 1
            self._bytes += size
            self._points[kind.name] = self._points.get(kind.name, 0) + points
            return len(rows)

    def take(self) -> dict[EventRows, list[Row]]:
        """Everything that waits; the buffer is empty afterwards."""
        with self._lock:
            rows, self._rows = self._rows, {}
            self._events = self._bytes = 0
            self._points = {}
            return rows

    def close(self) -> None:
        """Take nothing any more."""
        with self._lock:
            self.closed = True

    def points(self) -> dict[str, int]:
        """Points that wait, by event name."""
        with self._lock:
            return dict(self._points)

    def __len__(self) -> int:
        return self._events
