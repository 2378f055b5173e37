"""Producer: takes metric calls and events from an application and sends them to Kafka in batches.

Nothing an application calls here blocks on the broker, and in production nothing raises. One thread of its own flushes;
it starts with the first record. Memory is bounded whether or not a broker answers, and every point stays on the books.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

from streamgauge.producers import lifecycle
from streamgauge.producers.accounts import Accounts, FlushReport, Stats
from streamgauge.producers.aggregate import Aggregate, Family, MakeSeries, Series, Taken
from streamgauge.producers.batching import Batch, Batcher, Limits
from streamgauge.producers.clock import Clock, SystemClock
from streamgauge.producers.event_buffer import EventBuffer
from streamgauge.producers.event_rows import EventRows, EventValueError
from streamgauge.producers.open_families import OpenFamilies
from streamgauge.producers.outbox import Outbox, OutboxPolicy, Outcome
from streamgauge.producers.settings import MAX_INSTANCE, ProducerSettings, producer_settings
from streamgauge.producers.transport import KafkaTransport, Transport, kafka_config
from streamgauge.schemas import topics
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.errors import DeclarationError
from streamgauge.schemas.events import Event, contract_of

log = logging.getLogger(__name__)

S_co = TypeVar("S_co", bound=Series, covariant=True)
POLL_S = 0.05
"""How long the flusher waits for reports before it looks around again."""


def new_instance(given: str) -> str:
    """An id that no other process has: `given` with a random suffix, since workers of one host share their settings."""
    return f"{given[:MAX_INSTANCE]}-{os.urandom(4).hex()}" if given else os.urandom(16).hex()


class Producer:
    """One sender: its settings, metrics, waiting events and batches, and its connection.

    Without `background` nothing is sent until `step()` or `flush()` is called. `instance` fixes the id, for tests.
    Raises SettingsError when `settings` is not given and the environment's cannot be used.
    """

    def __init__(
        self,
        settings: ProducerSettings | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
        *,
        background: bool = True,
        instance: str = "",
    ) -> None:
        self.settings = producer_settings() if settings is None else settings
        self._clock: Clock = clock or SystemClock()
        self._transport = transport or KafkaTransport(kafka_config(self.settings))
        self._background = background
        self._metrics_topic = topics.METRICS.name(self.settings.region)
        self._events_topic = topics.EVENTS.name(self.settings.region)
        self._contracts_topic = topics.CONTRACTS.name(self.settings.region)
        self._kinds: dict[type, EventRows] = {}
        self._aggregate = Aggregate(
            self._clock, Accounts(), self._on_record, self.settings.series_budget, self.settings.raises
        )
        self._closed = False
        self.open_families = OpenFamilies(
            self._clock, self.settings.series_budget, self._declared, lambda: self._closed, self._on_record
        )
        self._begin(instance or new_instance(self.settings.instance))
        lifecycle.watch(self)

    def __repr__(self) -> str:
        return f"Producer(service={self.settings.service!r}, instance={self.instance!r})"

    def _begin(self, instance: str) -> None:
        """State of one process: everything that a forked child must not share."""
        settings, now = self.settings, self._clock.monotonic()
        self.instance = instance
        self.epoch = self._clock.wall_ns() // 1_000_000
        self._accounts = Accounts()
        self._aggregate.restart(self._accounts)
        self.open_families.restart(self._accounts)
        self._buffer = EventBuffer(settings.event_buffer, settings.event_buffer_bytes)
        limits = Limits(settings.max_batch, settings.max_batch_bytes)
        self._batcher = Batcher(settings.context(instance), instance, self.epoch, limits, self._give_up)
        self._outbox = Outbox(OutboxPolicy(settings.outbox_bytes))
        self._reports: deque[tuple[Batch, Outcome]] = deque()
        self._working = threading.Lock()
        # put() of a simple queue may be interrupted by itself, which an Event's set() may not
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._starting = threading.Lock()
        self._flusher: threading.Thread | None = None
        self._sent = self._acknowledged = 0
        self._published: set[str] = set()
        self._full = False
        self._metrics_due = now + settings.flush_interval / 1_000
        self._events_due: float | None = None

    # what applications call

    def emit(self, event: Event, *, at_ms: int | None = None) -> None:
        """Send an event that happened now, or at `at_ms` (ms since the epoch, UTC).

        A value that its declaration does not allow raises EventValueError where programming errors raise, and drops
        the event elsewhere.
        """
        name = "not_an_event"
        try:
            kind = self._kinds.get(event.__class__) or self._kind_of(event)
            name = kind.name
            row, size = kind.row(event.__dict__, self._clock.wall_ns() // 1_000_000 if at_ms is None else at_ms)
            if size > self.settings.max_batch_bytes:
                raise EventValueError("too_large", f"event {name!r} holds more than a batch may; declare fewer texts")
            waiting = self._buffer.add(kind, row, size)
            if waiting == 1 or (waiting >= self.settings.max_batch and not self._full):
                self._full = self._full or waiting > 1
                self._on_record()
                self._wake.put(None)
            elif not waiting:
                self._refuse(name, "closed" if self._closed else "buffer_full", kind.points_of(row))
        except (EventValueError, DeclarationError) as error:
            self._refuse(name, error.reason if isinstance(error, EventValueError) else "wrong_type")
            if self.settings.raises:
                raise
        except Exception:  # a telemetry call never takes the application down
            self._refuse(name, "internal_error")

    def _kind_of(self, event: Event) -> EventRows:
        if not isinstance(event, Event):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller is checked
            raise DeclarationError(f"emit takes an event, not a {type(event).__name__}; declare a subclass of Event")
        return self._kinds.setdefault(type(event), EventRows(contract_of(type(event))))

    def _refuse(self, name: str, reason: str, points: int = 1) -> None:
        if self._accounts.refused(name, reason, points):
            log.warning("event %s: some are not sent (%s)", name, reason)

    def family(self, head: MetricHead, make: MakeSeries[S_co], budget: int | None = None) -> Family[S_co]:
        """The series of a metric. Raises DeclarationError when this producer knows its name with another declaration."""
        if family := self._aggregate.family(head, make, budget):
            return family
        known = self._aggregate.families[head.name].head
        raise DeclarationError(
            f"metric {head.name!r} is declared twice: as {known.type} with labels {known.labels}, unit {known.unit!r} "
            f"and as {head.type} with labels {head.labels}, unit {head.unit!r}. Share one declaration, or rename one."
        )

    def _declared(self, name: str) -> MetricHead | None:
        family = self._aggregate.families.get(name)
        return family.head if family else None

    def flush(self, timeout: float | None = None) -> FlushReport:
        """Send everything and wait for the acknowledgements, at most `timeout` seconds (default: the exit timeout)."""
        deadline = time.monotonic() + (self.settings.exit_timeout / 1_000 if timeout is None else timeout)
        delivered, dropped = self._accounts.totals()
        everything, left = True, self._not_taken().total()
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            if self._working.acquire(timeout=remaining):
                try:
                    self._work(everything)
                    everything, left = False, self._waiting().total()
                    done, in_flight = not len(self._outbox), self._outbox.in_flight()
                finally:
                    self._working.release()
                if done:
                    break
                if in_flight:
                    self._transport.poll(min(remaining, POLL_S), hurry=True)
                else:
                    time.sleep(min(remaining, POLL_S / 10))
            if not remaining:
                break
        delivered_now, dropped_now = self._accounts.totals()
        return FlushReport(delivered_now - delivered, dropped_now - dropped, left)

    def close(self, timeout: float | None = None) -> FlushReport:
        """Take nothing any more, flush, and count what is left as dropped. Ends within `timeout` seconds or little more."""
        if self._closed:
            return FlushReport(0, 0, 0)
        deadline = time.monotonic() + (self.settings.exit_timeout / 1_000 if timeout is None else timeout)
        delivered, dropped = self._accounts.totals()
        self._closed = True
        self._aggregate.closed = "closed"
        self._buffer.close()
        self._wake.put(None)
        self.flush(max(0.0, deadline - time.monotonic()))
        if self._flusher is not None and self._flusher is not threading.current_thread():
            self._flusher.join(max(4 * POLL_S, deadline - time.monotonic()))
        self._transport.close(max(0.0, deadline - time.monotonic()))
        with self._working:
            self._settle(self._clock.monotonic())
            for batch in self._outbox.everything():
                self._accounts.dropped(batch.points, "closed")
            self._outbox = Outbox(OutboxPolicy(self.settings.outbox_bytes))
            left = self._waiting().total()
        delivered_now, dropped_now = self._accounts.totals()
        report = FlushReport(delivered_now - delivered, dropped_now - dropped, left)
        if report.dropped:
            log.warning("%d points were not delivered when the producer closed", report.dropped)
        return report

    def stats(self) -> Stats:
        """Where every point is, as of now."""
        with self._working:
            self._settle(self._clock.monotonic())
            waiting = self._waiting()
            emitted, acknowledged, dropped = self._accounts.books()
            # points on their way to a batch are on the books when they leave their series or the buffer
            emitted += self._not_taken()
            overflowed = Counter(self.open_families.overflow_points())
            overflowed.update({name: one.overflow_points() for name, one in list(self._aggregate.families.items())})
            return Stats(
                emitted=emitted,
                acknowledged=acknowledged,
                waiting=waiting,
                dropped=dropped,
                overflowed={name: points for name, points in overflowed.items() if points},
                batches_sent=self._sent,
                batches_acknowledged=self._acknowledged,
                batches_waiting=len(self._outbox),
                bytes_waiting=self._outbox.bytes,
            )

    def _not_taken(self) -> Counter[str]:
        return self._aggregate.points() + self.open_families.points() + self._buffer.points()

    def _waiting(self) -> Counter[str]:
        points = self._not_taken()
        for batch in self._outbox.everything():
            points.update(batch.points)
        return points

    # what the flusher does

    def tick(self) -> None:
        """Set aside what finished windows hold. The flusher does so by itself."""
        with self._working:
            self._aggregate.tick()

    def step(self) -> float:
        """Do what is due now, without waiting; returns the seconds until something is due again."""
        with self._working:
            return self._work()

    def _work(self, everything: bool = False) -> float:
        now = self._clock.monotonic()
        self._settle(now)
        window_ends = now + self._aggregate.tick()
        if everything or now >= self._metrics_due:
            self._metrics_due = now + self.settings.flush_interval / 1_000
            self._enqueue(self._batcher.metrics(self._metrics_topic, self._take()))
        if self._events_due is None and len(self._buffer):
            self._events_due = now + self.settings.flush_events_interval / 1_000
        if everything or self._full or (self._events_due is not None and now >= self._events_due):
            self._events_due, self._full = None, False
            for kind, rows in self._buffer.take().items():
                if self.settings.publish_contracts and kind.name not in self._published:
                    self._published.add(kind.name)
                    self._enqueue(iter([self._batcher.contract(self._contracts_topic, kind.contract)]))
                self._accounts.emitted(kind.name, kind.points(rows))
                self._enqueue(self._batcher.events(self._events_topic, kind, rows))
        for batch in self._outbox.ready(now):
            self._sent += 1
            self._transport.send(batch.topic, batch.key, batch.value, partial(self._report, batch))
        dues = (self._metrics_due, window_ends, self._events_due, self._outbox.next_retry())
        return max(0.0, min(due for due in dues if due is not None) - now)

    def _take(self) -> list[Taken]:
        return self._aggregate.take() + self.open_families.take()

    def _enqueue(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            for given_up in self._outbox.add(batch):
                self._give_up(given_up.points, "outbox_full")

    def _give_up(self, points: Mapping[str, int], reason: str) -> None:
        if self._accounts.dropped(points, reason):
            log.warning("dropped points of %s (%s)", ", ".join(points), reason)

    def _report(self, batch: Batch, outcome: Outcome) -> None:
        # called by whichever thread polls; the books are kept by the one that works
        self._reports.append((batch, outcome))

    def _settle(self, now: float) -> None:
        while self._reports:
            batch, outcome = self._reports.popleft()
            if not self._outbox.settle(batch, outcome, now):
                continue
            if outcome is Outcome.ACKNOWLEDGED:
                self._acknowledged += 1
                self._accounts.acknowledged(batch.points)
            elif outcome is Outcome.REFUSED:
                self._give_up(batch.points, "refused_by_broker")

    def _on_record(self) -> None:
        if self._flusher is None and self._background and self._starting.acquire(blocking=False):
            try:
                flusher = threading.Thread(target=self._run, name="streamgauge-flusher", daemon=True)
                flusher.start()
                self._flusher = flusher
            except RuntimeError:  # no thread can start while the interpreter ends; closing flushes without one
                self._background = False
            finally:
                self._starting.release()

    def _run(self) -> None:
        while not self._closed:
            try:
                pause = self.step()
                if self._outbox.in_flight():
                    # nothing is due that a report would not bring about: a full window has no due time of its own
                    self._transport.poll(min(pause or POLL_S, POLL_S))
                else:
                    self._wait(pause)
            except Exception:  # the flusher outlives whatever goes wrong in one round
                log.exception("a flush failed; the next one follows")
                time.sleep(1)

    def _wait(self, pause: float) -> None:
        try:
            self._wake.get(timeout=pause)
        except Empty:
            return

    def after_fork(self) -> None:
        """Start anew in a forked child: nothing recorded, another instance and epoch, no connection, no thread."""
        self._transport.after_fork()
        self._begin(new_instance(self.settings.instance))
