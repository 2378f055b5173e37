"""Ledger feed: what the workers' transactions added, read from the ledger topic while it happens.

It knows nothing of the store: this is one side of the account, the store's tables are the other.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from streamgauge.console.page_ledger import LedgerBook, LedgerCount
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import decode_ledger
from streamgauge.schemas.topics import LEDGER


class LedgerFeed:
    """Follows the topic from its beginning, in a thread of its own. `count()` is safe from any thread."""

    def __init__(self, config: Mapping[str, Any], region: str) -> None:
        self._topic = LEDGER.name(region)
        self._config = {
            **config,
            "group.id": f"sg-{region}-ledger-feed",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        self._book = LedgerBook()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="streamgauge-ledger", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def count(self) -> LedgerCount:
        """What the ledger says so far."""
        with self._lock:
            return self._book.count()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(3)

    def _follow(self) -> None:
        consumer = Consumer(self._config)
        try:
            consumer.assign([TopicPartition(self._topic, 0, 0)])
            while not self._stop.is_set():
                for message in consumer.consume(100, 0.1):
                    value = message.value()
                    if message.error() is None and isinstance(value, bytes):
                        self._add(value)
        finally:
            consumer.close()

    def _add(self, value: bytes) -> None:
        try:
            entry = decode_ledger(value)
        except Refused:
            return  # a record of another kind is no part of the account; the sink lists it as dead
        with self._lock:
            self._book.add(entry)
