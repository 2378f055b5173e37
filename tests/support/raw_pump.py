"""Raw pump: sends batches with a plain producer, in a thread, until told to stop; what was acknowledged is the truth.

A batch whose delivery fails is sent again, the same bytes, until it is acknowledged: as producers do.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka import Producer

from streamgauge.schemas.topics import EVENTS, METRICS
from tests.support.raw_load import Batch
from tests.support.truth import Truth

TOPICS = {"metrics": METRICS, "events": EVENTS}


class RawPump:
    """Sends to a region's raw topics. Only one thread may use it at a time."""

    def __init__(self, bootstrap: str, region: str, truth: Truth) -> None:
        self.region = region
        self.truth = truth
        self.acknowledged = 0
        self.failures = 0
        self._known: set[tuple[str, str, int]] = set()
        self._waiting = 0
        self._again: deque[Batch] = deque()
        config: dict[str, Any] = {
            "bootstrap.servers": bootstrap, "linger.ms": 2, "log_level": 0, "message.max.bytes": 30_000_000,
            "delivery.timeout.ms": 120_000, "reconnect.backoff.max.ms": 1_000,
        }  # fmt: skip
        self._producer = Producer(config)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def send(self, batches: Iterable[Batch]) -> None:
        """Hand over some batches, without waiting."""
        for one in batches:
            self._produce(one)
            self._producer.poll(0)

    def send_bytes(self, kind: str, value: bytes, key: str = "") -> None:
        """Anything at all; counts for nothing."""
        self._waiting += 1
        self._producer.produce(TOPICS[kind].name(self.region), value, key, on_delivery=self._raw_done)
        self._producer.poll(0)

    def _raw_done(self, error: Any, _: Any) -> None:
        self._waiting -= 1
        if error is not None:
            raise RuntimeError(f"it was not taken: {error}")

    def _produce(self, one: Batch) -> None:
        def done(error: Any, _: Any) -> None:
            self._waiting -= 1
            if error is not None:
                self.failures += 1
                self._again.append(one)
                return
            self.acknowledged += 1
            if one.identity not in self._known:
                self._known.add(one.identity)
                self.truth.add(one.rows)

        self._waiting += 1
        self._producer.produce(TOPICS[one.kind].name(self.region), one.value, one.stream, on_delivery=done)

    def flush(self, within: float = 180) -> None:
        """Until everything is acknowledged."""
        deadline = time.monotonic() + within
        while self._waiting or self._again:
            while self._again:
                self._produce(self._again.popleft())
            self._producer.poll(0.1)
            if time.monotonic() > deadline:
                raise AssertionError(f"{self._waiting} batches are not acknowledged after {within} s")

    def start(self, batches: Iterator[Batch], rate: float) -> None:
        """Begin to send in a thread, `rate` batches a second."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._guarded, args=(batches, rate), daemon=True)
        self._thread.start()

    def _guarded(self, batches: Iterator[Batch], rate: float) -> None:
        try:
            self._run(batches, rate)
        except BaseException as error:
            self._error = error

    def _run(self, batches: Iterator[Batch], rate: float) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            if self._waiting < 2_000:
                self._produce(next(batches))
            while self._again:
                self._produce(self._again.popleft())
            due = max(due + 1 / rate, time.monotonic() - 1)
            self._producer.poll(max(0.0, due - time.monotonic()))
            while (left := due - time.monotonic()) > 0 and not self._stop.is_set():
                self._producer.poll(left)

    def stop(self) -> None:
        """End the thread, then wait until everything is acknowledged. Raises what went wrong in the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
            self._thread = None
        if self._error is not None:
            raise self._error
        self.flush()
