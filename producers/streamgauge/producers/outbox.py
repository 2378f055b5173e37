"""Outbox: batches between encoding and acknowledgement. It says when it is full; it never drops what has a number.

A batch that failed comes again with its own number, since it may have arrived after all. Only so many bytes are in the
transport's hands at once: what is there can only be awaited.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
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

    def pause(self, attempts: int, chance: float) -> float:
        """Seconds to wait after the given number of attempts failed: all of them for `chance` 1, half of them for 0.

        Processes that lost a broker together do not come back together.
        """
        return float(min(self.longest_pause, self.first_pause * 2 ** min(attempts - 1, 16))) * (0.5 + chance / 2)


class Outbox:
    """Batches by topic, oldest first: a topic that fails does not hold up another. `chance` draws from [0, 1).

    Not thread-safe.
    """

    def __init__(self, policy: OutboxPolicy, chance: Callable[[], float]) -> None:
        self._policy = policy
        self._chance = chance
        self._waiting: dict[str, list[Batch]] = {}
        self._in_flight: set[Batch] = set()
        self._in_flight_bytes = 0
        self._held: set[Batch] = set()
        self._bytes_by_topic: Counter[str] = Counter()
        self.bytes = 0

    def room(self) -> int:
        """Bytes that still fit. Whoever adds looks first; what a batch is too long by, the next one waits for."""
        return self._policy.max_bytes - self.bytes

    def bytes_of(self, topic: str) -> int:
        """Size of the batches of one topic."""
        return self._bytes_by_topic[topic]

    def add(self, batch: Batch) -> None:
        """Take a batch in."""
        heapq.heappush(self._waiting.setdefault(batch.topic, []), batch)
        self._held.add(batch)
        self._count(batch, len(batch.value))

    def _count(self, batch: Batch, size: int) -> None:
        self.bytes += size
        self._bytes_by_topic[batch.topic] += size

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
        # a dead broker's client holds what it has for half a minute: most of a full outbox stays out of its hands
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
            batch.retry_at = now + self._policy.pause(batch.attempts, self._chance())
            heapq.heappush(self._waiting.setdefault(batch.topic, []), batch)
        else:
            self._held.remove(batch)
            self._count(batch, -len(batch.value))
        return True

    def next_retry(self) -> float | None:
        """When the next waiting batch may go, as monotonic seconds; None when none waits."""
        return min((heap[0].retry_at for heap in self._waiting.values() if heap), default=None)

    def holds(self, batch: Batch) -> bool:
        """Whether it is not settled yet."""
        return batch in self._held

    def everything(self) -> Sequence[Batch]:
        """All batches that are not settled, in no order."""
        return list(self._held)

    def in_flight(self) -> int:
        """Batches in the transport's hands."""
        return len(self._in_flight)

    def __len__(self) -> int:
        return len(self._held)
