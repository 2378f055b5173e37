"""Outbox: batches between encoding and acknowledgement, bounded in bytes. When full, the oldest that waits is dropped.

A batch that failed comes again with its own number, since it may have arrived after all. Only so many bytes are in the
transport's hands at once: what is there cannot be dropped, only awaited.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from streamgauge.producers.batching import Batch


class Outcome(Enum):
    """What became of a batch that a transport took."""

    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"
    """Failed or timed out; it may have arrived. Send it again."""
    REFUSED = "refused"
    """It can never be delivered as it is."""


@dataclass(frozen=True, slots=True)
class OutboxPolicy:
    """Bounds and pace. The pause before a batch is sent again doubles from `first_pause` to `longest_pause` seconds."""

    max_bytes: int = 32 << 20
    max_in_flight_bytes: int = 8 << 20
    first_pause: float = 0.1
    longest_pause: float = 5.0

    def pause(self, attempts: int) -> float:
        """Seconds to wait after the given number of attempts failed."""
        return float(min(self.longest_pause, self.first_pause * 2 ** min(attempts - 1, 16)))


class Outbox:
    """Batches by topic, oldest first: a topic that fails does not hold up another. Not thread-safe."""

    def __init__(self, policy: OutboxPolicy) -> None:
        self._policy = policy
        self._waiting: dict[str, list[Batch]] = {}
        self._in_flight: set[Batch] = set()
        self._in_flight_bytes = 0
        self.bytes = 0

    def add(self, batch: Batch) -> list[Batch]:
        """Take a batch in; returns the ones dropped to make room, or itself when in-flight ones leave none."""
        dropped: list[Batch] = []
        while self.bytes + len(batch.value) > self._policy.max_bytes:
            oldest = min((heap for heap in self._waiting.values() if heap), key=lambda heap: heap[0], default=None)
            if oldest is None:
                return [*dropped, batch]
            given_up = heapq.heappop(oldest)
            self.bytes -= len(given_up.value)
            dropped.append(given_up)
        heapq.heappush(self._waiting.setdefault(batch.topic, []), batch)
        self.bytes += len(batch.value)
        return dropped

    def ready(self, now: float) -> list[Batch]:
        """Batches to hand over now; each is in flight until it is settled. `now` is monotonic, in seconds."""
        found: list[Batch] = []
        for heap in self._waiting.values():
            while heap and heap[0].retry_at <= now and self._has_room(heap[0]):
                batch = heapq.heappop(heap)
                self._in_flight.add(batch)
                self._in_flight_bytes += len(batch.value)
                found.append(batch)
        return found

    def _has_room(self, batch: Batch) -> bool:
        # most of a full outbox must stay where it can still be dropped
        most = min(self._policy.max_in_flight_bytes, self._policy.max_bytes // 4)
        return not self._in_flight or self._in_flight_bytes + len(batch.value) <= most

    def settle(self, batch: Batch, outcome: Outcome, now: float) -> bool:
        """Note what became of a batch in flight. False when it is not in flight (a report that came twice)."""
        if batch not in self._in_flight:
            return False
        self._in_flight.remove(batch)
        self._in_flight_bytes -= len(batch.value)
        if outcome is Outcome.UNKNOWN:
            batch.attempts += 1
            batch.retry_at = now + self._policy.pause(batch.attempts)
            heapq.heappush(self._waiting.setdefault(batch.topic, []), batch)
        else:
            self.bytes -= len(batch.value)
        return True

    def next_retry(self) -> float | None:
        """When the next waiting batch may go, as monotonic seconds; None when none waits."""
        return min((heap[0].retry_at for heap in self._waiting.values() if heap), default=None)

    def everything(self) -> Sequence[Batch]:
        """All batches that are not settled."""
        return [batch for heap in self._waiting.values() for batch in heap] + list(self._in_flight)

    def in_flight(self) -> int:
        """Batches in the transport's hands."""
        return len(self._in_flight)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._in_flight)
