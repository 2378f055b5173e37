"""Ledger feed: what the workers' transactions added, read from the ledger and dead topics while it happens.

It knows nothing of the store: this is one side of the account, the store's tables are the other.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import decode_ledger
from streamgauge.schemas.topics import DEAD, LEDGER


@dataclass(slots=True)
class LedgerTotals:
    """Sums over all transactions seen. `overlaps` counts offsets that two transactions claim: points counted twice."""

    points: int = 0
    batches: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    scrubbed: Counter[str] = field(default_factory=Counter[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    dead: int = 0
    gaps: int = 0
    overlaps: int = 0


class LedgerFeed:
    """Follows the topics in a thread of its own. `totals()` is safe from any thread."""

    def __init__(self, config: Mapping[str, Any], region: str) -> None:
        self._ledger, self._dead = LEDGER.name(region), DEAD.name(region)
        self._config = {
            **config,
            "group.id": f"sg-{region}-ledger-feed",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        self._totals = LedgerTotals()
        self._reached: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="streamgauge-ledger", daemon=True)

    def start(self) -> None:
        """Begin to follow, from the beginning of the topics."""
        self._thread.start()

    def totals(self) -> LedgerTotals:
        """A copy of the sums so far."""
        with self._lock:
            t = self._totals
            return LedgerTotals(
                t.points,
                t.batches,
                Counter(t.refused),
                Counter(t.scrubbed),
                Counter(t.skipped),
                t.dead,
                t.gaps,
                t.overlaps,
            )

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(3)

    def _follow(self) -> None:
        consumer = Consumer(self._config)
        try:
            consumer.assign([TopicPartition(self._ledger, 0, 0), TopicPartition(self._dead, 0, 0)])
            while not self._stop.is_set():
                for message in consumer.consume(100, 0.2):
                    value = message.value()
                    if message.error() is None and isinstance(value, bytes):
                        self._count(message.topic() == self._dead, value)
        finally:
            consumer.close()

    def _count(self, dead: bool, value: bytes) -> None:
        if dead:
            with self._lock:
                self._totals.dead += 1
            return
        try:
            entry = decode_ledger(value)
        except Refused:
            return  # a record of another kind is not part of the account; the sink counts it as dead
        key = (entry.topic, entry.partition)
        with self._lock:
            reached = self._reached.get(key, entry.start)
            self._totals.gaps += max(0, entry.start - reached)
            self._totals.overlaps += max(0, min(reached, entry.end) - entry.start)
            self._reached[key] = max(reached, entry.end)
            self._totals.points += entry.total
            self._totals.batches += entry.batches
            self._totals.refused.update(entry.refused)
            self._totals.scrubbed.update(entry.scrubbed)
            self._totals.skipped.update(entry.skipped)
