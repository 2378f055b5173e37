"""Producer: takes metric calls and events from an application and sends them to Kafka in batches.

Nothing an application calls here blocks on the broker, and in production nothing raises. One thread of its own flushes;
it starts with the first record. Memory is bounded whether or not a broker answers, and every point stays on the books.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from queue import Empty
from typing import TypeVar

from streamgauge.producers import lifecycle, native
from streamgauge.producers.accounts import Accounts, FlushReport, Stats
from streamgauge.producers.aggregate import Aggregate, Family, MakeSeries, Series
from streamgauge.producers.clock import Clock, SystemClock
from streamgauge.producers.delivery import Delivery
from streamgauge.producers.event_buffer import EventBuffer
from streamgauge.producers.event_rows import EventRows, EventValueError
from streamgauge.producers.gains import Gains
from streamgauge.producers.granted import current_consent
from streamgauge.producers.open_families import OpenFamilies
from streamgauge.producers.own_metrics import NAMES
from streamgauge.producers.settings import MAX_INSTANCE, ProducerSettings, producer_settings
from streamgauge.producers.shipping import Shipping, open_spool
from streamgauge.producers.transport import KafkaTransport, Transport, kafka_config
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.consent import Consent
from streamgauge.schemas.errors import DeclarationError, place_of
from streamgauge.schemas.events import Event, contract_of, resolvers_of

log = logging.getLogger(__name__)

S_co = TypeVar("S_co", bound=Series, covariant=True)
POLL_S = 0.05
"""How long the flusher waits for reports before it looks around again."""


def new_instance(given: str) -> str:
    """An id that no other process has: `given` with a random suffix, since workers of one host share their settings."""
    return f"{given[:MAX_INSTANCE]}-{os.urandom(4).hex()}" if given else os.urandom(16).hex()


def chance() -> float:
    """A number from [0, 1), another one in every process."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def _total(points: Counter[str]) -> int:
    """All points but those of the producer's own metrics."""
    return sum(count for name, count in points.items() if name not in NAMES)


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
        self._accounts = Accounts()
        spool = open_spool(settings, instance, self._accounts, self._clock)
        self._shipping = Shipping(self._transport, self._accounts, self._clock, spool, settings.outbox_bytes, chance)
        self._delivery = Delivery(settings, instance, self._shipping, self._accounts, self._clock)
        self.epoch = self._delivery.epoch
        self._aggregate.restart(self._accounts)
        self.open_families.restart(self._accounts)
        self._buffer = EventBuffer(settings.event_buffer, settings.event_buffer_bytes)
        self._working = native.lock()
        # put() of a simple queue may be interrupted by itself, which an Event's set() may not
        self._wake = native.queue()
        self._starting = native.lock()
        self._flusher: native.Thread | None = None
        self._full = self._held = False
        self._metrics_due = now + settings.flush_interval / 1_000
        self._events_due: float | None = None

    # what applications call

    def emit(self, event: Event, *, at_ms: int | None = None, consent: Consent | None = None) -> None:
        """Send an event that happened now, or at `at_ms` (ms since the epoch, UTC).

        `consent`, or that of the `granted` block around the call, is what the person has granted. An event whose contract
        depends on it is dropped and counted, by reason and purpose, unless all its purposes are granted.

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
            if kind.gated:
                consent = consent or current_consent()
                if reason := kind.denied(consent):
                    self._accounts.refused(name, reason, kind.points_of(row))
                    self._on_record()
                    return
                row = (*row, consent)
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
        return self._kinds.setdefault(type(event), EventRows(contract_of(type(event)), resolvers_of(type(event))))

    def _refuse(self, name: str, reason: str, points: int = 1) -> None:
        self._on_record()  # a loss is told by the flusher, which may have had nothing to do so far
        if self._accounts.refused(name, reason, points):
            log.warning("event %s: some are not sent (%s)", name, reason)

    def family(self, head: MetricHead, make: MakeSeries[S_co], budget: int | None = None) -> Family[S_co]:
        """The series of a metric. Raises DeclarationError when this producer knows its name with another declaration."""
        if head.name in NAMES:
            raise DeclarationError(f"metric {head.name!r} is what producers say of themselves; choose another name")
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

    def adopt(self, name: str, make: Callable[[Aggregate], Family[Series]]) -> Family[Series]:
        """The series of the metric `name`, made by `make` if it is new: for those that keep numbers of their own."""
        return self._aggregate.families.get(name) or self._aggregate.families.setdefault(name, make(self._aggregate))

    def flush(self, timeout: float | None = None) -> FlushReport:
        """Send everything and wait for the acknowledgements, at most `timeout` seconds (default: the exit timeout)."""
        deadline = time.monotonic() + (self.settings.exit_timeout / 1_000 if timeout is None else timeout)
        before = self._accounts.acknowledged_and_reasons(NAMES)
        everything, left, spooled = True, -1, 0
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            if native.acquire(self._working, remaining):
                try:
                    self._work(everything)
                    everything, left, spooled = False, _total(self._waiting()), _total(self._shipping.spooled())
                    done, in_flight = self._delivery.empty() and not self._held, self._shipping.outbox.in_flight()
                finally:
                    self._working.release()
                if done:
                    break
                if in_flight:
                    self._transport.poll(0 if native.patched() else min(remaining, POLL_S), hurry=True)
                if not in_flight or native.patched():
                    time.sleep(min(remaining, POLL_S / 10))
            if not remaining:
                break
        # counting what is in every series costs as much as sending it
        return self._report(before, left if left >= 0 else _total(self._not_taken()), spooled)

    def _report(self, before: tuple[int, Counter[str]], left: int, spooled: int) -> FlushReport:
        acknowledged, reasons = self._accounts.acknowledged_and_reasons(NAMES)
        reasons.subtract(before[1])
        return FlushReport(acknowledged - before[0], reasons.total(), left, spooled, +reasons)

    def close(self, timeout: float | None = None) -> FlushReport:
        """Take nothing any more and flush; what is left goes to the spool, or counts as dropped where there is none.

        Ends within `timeout` seconds or little more.
        """
        if self._closed:
            return FlushReport(0, 0, 0)
        deadline = time.monotonic() + (self.settings.exit_timeout / 1_000 if timeout is None else timeout)
        before = self._accounts.acknowledged_and_reasons(NAMES)
        self._closed = True
        self._aggregate.closed = "closed"
        self._buffer.close()
        self._shipping.ending()
        self._wake.put(None)
        self.flush(max(0.0, deadline - time.monotonic()))
        if self._flusher is not None and not self._flusher.is_current():
            self._flusher.join(max(4 * POLL_S, deadline - time.monotonic()))
        self._transport.close(max(0.0, deadline - time.monotonic()))
        # a disk that hangs holds up the flusher, but not the end of the process
        if native.acquire(self._working, max(1.0, deadline - time.monotonic())):
            try:
                spooled = self._delivery.end(self._take(), self._buffer)
            finally:
                self._working.release()
        else:
            spooled = self._shipping.spooled()
        left = _total(self._waiting())
        report = self._report(before, left, _total(spooled))
        if report.dropped:
            log.warning("%d points were not delivered when the producer closed", report.dropped)
        if report.spooled:
            log.warning("%d points wait in %s for a later process to send them", report.spooled, self.settings.spool)
        return report

    def stats(self) -> Stats:
        """Where every point is, as of now."""
        with self._working:
            self._shipping.settle()
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
                batches_sent=self._shipping.sent,
                batches_acknowledged=self._shipping.acknowledged,
                batches_waiting=len(self._shipping.outbox),
                bytes_waiting=self._shipping.outbox.bytes,
                spooled=self._shipping.spooled(),
            )

    def _not_taken(self) -> Counter[str]:
        points = self._aggregate.points()
        for more in (self.open_families.points(), self._buffer.points()):
            if more:  # mostly not, and adding nothing costs as much as adding something
                points.update(more)
        return points

    def _waiting(self) -> Counter[str]:
        points = self._delivery.waiting()
        points.update(self._not_taken())
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
        self._shipping.settle()
        window_ends = now + self._aggregate.tick()
        if everything or now >= self._metrics_due:
            self._metrics_due = now + self.settings.flush_interval / 1_000
            self._delivery.metrics(self._take())
        if self._events_due is None and len(self._buffer):
            self._events_due = now + self.settings.flush_events_interval / 1_000
        if everything or self._full or self._held or (self._events_due is not None and now >= self._events_due):
            self._events_due, self._full = None, False
            self._held = self._delivery.events(self._buffer)
        self._delivery.work()
        dues = (self._metrics_due, window_ends, self._events_due, self._shipping.next_due())
        return max(0.0, min(due for due in dues if due is not None) - now)

    def _take(self) -> list[Gains]:
        return self._aggregate.take() + self.open_families.take()

    def _on_record(self) -> None:
        if self._flusher is None and self._background and not self._closed and self._starting.acquire(blocking=False):
            try:
                if not lifecycle.may_start_threads():
                    return
                self._flusher = native.Thread("streamgauge-flusher", self._run)
            except RuntimeError:  # no thread can start while the interpreter ends; closing flushes without one
                self._background = False
            finally:
                self._starting.release()

    def _run(self) -> None:
        while not self._closed:
            try:
                pause = self.step()
                if self._shipping.outbox.in_flight():
                    # nothing is due that a report would not bring about: a full window has no due time of its own
                    self._transport.poll(min(pause or POLL_S, POLL_S))
                else:
                    self._wait(pause)
            except Exception as error:  # the flusher outlives whatever goes wrong in one round
                log.error("a flush failed (%s); the next one follows", place_of(error))
                native.sleep(1)

    def _wait(self, pause: float) -> None:
        try:
            self._wake.get(timeout=pause)
        except Empty:
            return

    def after_fork(self) -> None:
        """Start anew in a forked child: nothing recorded, another instance and epoch, no connection, no thread."""
        self._transport.after_fork()
        self._shipping.after_fork()
        self._begin(new_instance(self.settings.instance))
        if self._closed:
            self._buffer.close()
