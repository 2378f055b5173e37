"""Delivery: everything between what was taken and what was acknowledged: numbers, outbox, backlog of metrics, spool.

While nobody takes batches, metrics wait unnumbered in the backlog, events on disk, or unnumbered in their buffer where
there is no disk: what is given up before it got a number leaves no hole in its stream. Not thread-safe.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING

from streamgauge.producers.accounts import Accounts
from streamgauge.producers.aggregate import Taken, points_by_name
from streamgauge.producers.backlog import Backlog, slices
from streamgauge.producers.batching import Batch, Batcher, Limits
from streamgauge.producers.clock import Clock
from streamgauge.producers.event_buffer import EventBuffer
from streamgauge.producers.event_rows import EventRows, Row
from streamgauge.producers.outbox import Outbox, OutboxPolicy, Outcome
from streamgauge.producers.own_metrics import OwnMetrics
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.transport import Transport
from streamgauge.schemas import topics
from streamgauge.schemas.windows import TIERS, window_start

if TYPE_CHECKING:
    from streamgauge.producers.spool import Spool

log = logging.getLogger(__name__)

METRICS_SHARE = 8
"""A share of 1 / this of the outbox is for metrics; beyond it they wait unnumbered, where they can still be merged."""


def open_spool(settings: ProducerSettings, instance: str, accounts: Accounts, clock: Clock) -> Spool | None:
    """The spool that these settings ask for; it touches the disk when it has something to do there."""
    if not settings.spool:
        return None
    try:
        from streamgauge.producers.spool import Spool, SpoolPolicy, home_of
    except ImportError:  # only Unix has the locks
        log.warning("there is no spool on this system; what no broker takes waits in memory")
        return None
    home = home_of(settings.spool, settings.region, settings.environment, settings.service)
    return Spool(home, instance, SpoolPolicy(settings.spool_bytes, settings.spool_pace), accounts, clock)


class Delivery:
    """The way of one instance and epoch. `chance` draws from [0, 1): processes must not all come back at once."""

    def __init__(
        self,
        settings: ProducerSettings,
        instance: str,
        transport: Transport,
        accounts: Accounts,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        self.epoch = clock.wall_ns() // 1_000_000
        self._settings = settings
        self._transport = transport
        self._accounts = accounts
        self._clock = clock
        self._metrics_topic = topics.METRICS.name(settings.region)
        self._events_topic = topics.EVENTS.name(settings.region)
        self._contracts_topic = topics.CONTRACTS.name(settings.region)
        self._published: set[str] = set()
        self._rows = settings.max_batch
        limits = Limits(settings.max_batch, settings.max_batch_bytes)
        self._batcher = Batcher(settings.context(instance), instance, self.epoch, limits, self._give_up)
        self._outbox = Outbox(OutboxPolicy(settings.outbox_bytes), chance)
        self._backlog = Backlog(settings.backlog_bytes)
        self._own = OwnMetrics()
        self._spool = open_spool(settings, instance, accounts, clock)
        self._young: deque[tuple[float, Batch]] = deque()
        self._reports: deque[tuple[Batch, Outcome]] = deque()
        self.sent = self.acknowledged = 0

    # what is taken

    def metrics(self, taken: Sequence[Taken]) -> None:
        """Take what series gained, and what there is to tell of the producer itself."""
        own = self._own.taken(self._accounts.take_untold(), self._window_ms())
        for one in own:
            self._accounts.emitted(one.head.name, one.delta.count)
        taken = [*taken, *own] if own else taken
        if len(self._backlog):
            self._wait(taken)
        else:
            for part in slices(taken, self._rows):
                if self._metrics_fit():
                    self._number(part)
                else:
                    self._wait(part)
        self._catch_up()

    def _window_ms(self) -> int:
        return window_start(self._clock.wall_ns() // 1_000_000, TIERS[0].width_ms)

    def _metrics_fit(self) -> bool:
        share = self._settings.outbox_bytes // METRICS_SHARE
        return self._outbox.bytes_of(self._metrics_topic) < share and self._outbox.room() > 0

    def _wait(self, taken: Sequence[Taken]) -> None:
        for reason, points in self._backlog.add(taken).items():
            self._give_up(points, reason)

    def _number(self, taken: Sequence[Taken]) -> None:
        for batch in self._batcher.metrics(self._metrics_topic, taken):
            self._outbox.add(batch)

    def _catch_up(self) -> None:
        while len(self._backlog) and self._metrics_fit():
            self._number(self._backlog.take(self._rows))

    def events(self, buffer: EventBuffer) -> bool:
        """Take events that wait now as far as there is room; True when some have to go on waiting."""
        left = len(buffer)  # what is emitted meanwhile must not keep us here
        while left > 0 and len(buffer):
            if self._outbox.room() >= buffer.bytes:
                found = buffer.take()
            elif self._outbox.room() > 0 or self._has_disk():
                found = buffer.take(self._rows, max(self._settings.max_batch_bytes, self._outbox.room()))
            else:
                return True
            for kind, rows in found.items():
                left -= len(rows)
                self._events(kind, rows, self._take)
        return False

    def _has_disk(self) -> bool:
        return self._spool is not None and self._spool.usable

    def _events(self, kind: EventRows, rows: Sequence[Row], to: Callable[[Batch], object]) -> None:
        self._accounts.emitted(kind.name, kind.points(rows))
        if self._settings.publish_contracts and kind.name not in self._published:
            self._published.add(kind.name)
            to(self._batcher.contract(self._contracts_topic, kind.contract))
        for batch in self._batcher.events(self._events_topic, kind, rows):
            to(batch)

    def _take(self, batch: Batch) -> None:
        if self._spool is None:
            self._outbox.add(batch)
        elif self._outbox.room() >= len(batch.value) or not self._spool.park(batch):
            self._outbox.add(batch)
            self._young.append((self._clock.monotonic(), batch))

    # what is sent

    def work(self) -> None:
        """Settle what was reported, hand over what is due, copy to disk what has waited too long."""
        self.settle()
        self._catch_up()
        now = self._clock.monotonic()
        if self._spool is not None:
            self._copy_late(self._spool, now)
            for batch in self._spool.work(self._outbox.room()):
                self._outbox.add(batch)
        for batch in self._outbox.ready(now):
            self.sent += 1
            self._transport.send(batch.topic, batch.key, batch.value, partial(self._report, batch))

    def _copy_late(self, spool: Spool, now: float) -> None:
        while self._young:
            since, batch = self._young[0]
            if self._outbox.holds(batch):
                if now - since < spool.patience or not spool.usable:
                    return
                spool.copy(batch)
                if not spool.usable:  # it was not taken: this one is the first of the next attempt
                    return
            self._young.popleft()

    def _report(self, batch: Batch, outcome: Outcome) -> None:
        # called by whichever thread polls; the books are kept by the one that works
        self._reports.append((batch, outcome))

    def settle(self) -> None:
        """Enter what was reported into the books."""
        while self._reports:
            batch, outcome = self._reports.popleft()
            if not self._outbox.settle(batch, outcome, self._clock.monotonic()):
                continue
            if outcome is Outcome.UNKNOWN:
                continue
            if self._spool is not None:
                self._spool.settled(batch, outcome is Outcome.ACKNOWLEDGED)
            if outcome is Outcome.ACKNOWLEDGED:
                self.acknowledged += 1
                self._accounts.acknowledged(batch.points)
            else:
                self._give_up(batch.points, "refused_by_broker")

    def next_due(self) -> float | None:
        """When `work` has something to do again, as monotonic seconds; None: when a report comes."""
        dues = [self._outbox.next_retry()]
        if self._spool is not None:
            dues.append(self._spool.next_due())
            if self._young and self._spool.usable:
                dues.append(self._young[0][0] + self._spool.patience)
        return min((due for due in dues if due is not None), default=None)

    # where everything is

    def in_flight(self) -> int:
        """Batches in the transport's hands."""
        return self._outbox.in_flight()

    def batches(self) -> int:
        """Batches that wait in memory."""
        return len(self._outbox)

    def bytes(self) -> int:
        """Size of the batches that wait in memory."""
        return self._outbox.bytes

    def empty(self) -> bool:
        """Whether everything that this process took was acknowledged or given up."""
        if len(self._backlog) or len(self._outbox) > len(self._lent()):
            return False
        return self._spool is None or not self._spool.holds_own()

    def waiting(self) -> Counter[str]:
        """Points in memory, by name, but for those that another process left on disk."""
        points, lent = Counter(self._backlog.points()), self._lent()
        for batch in self._outbox.everything():
            if batch not in lent:
                points.update(batch.points)
        return points

    def spooled(self) -> Counter[str]:
        """Points on disk, by name, but for those of this process that are in memory too."""
        points = self._spool.points() if self._spool is not None else Counter[str]()
        for batch in self._lent():
            points.update(batch.points)
        return points

    def _lent(self) -> Set[Batch]:
        return self._spool.lent() if self._spool is not None else frozenset()

    # the end

    def ending(self) -> None:
        """The process ends: what others left is left to others again."""
        if self._spool is not None:
            self._spool.ending()

    def end(self, taken: Sequence[Taken], buffer: EventBuffer) -> Counter[str]:
        """Leave what is not acknowledged on disk, for a later process, or give it up where there is no disk.

        Returns the points that are on disk only; nothing must be asked of it afterwards but where everything is.
        """
        self.settle()
        self._wait(taken)
        for batch in sorted(self._outbox.everything()):
            self._leave(batch)
        while len(self._backlog):
            self._end_metrics(self._backlog.take(self._rows))
        for kind, rows in buffer.take().items():
            if self._has_disk():
                self._events(kind, rows, self._leave)
            else:
                self._accounts.emitted(kind.name, kind.points(rows))
                self._give_up({kind.name: kind.points(rows)}, "closed")
        if self._spool is not None:
            # what is lost here is told by whoever finds the rest
            own = self._own.taken(self._accounts.take_untold(), self._window_ms())
            for one in own:
                self._accounts.emitted(one.head.name, one.delta.count)
            self._end_metrics(own)
            self._spool.close()
        self._outbox = Outbox(OutboxPolicy(self._settings.outbox_bytes), lambda: 0.0)
        return self.spooled()

    def _end_metrics(self, taken: Sequence[Taken]) -> None:
        if not self._has_disk():
            self._give_up(points_by_name(taken), "closed")
            return
        for batch in self._batcher.metrics(self._metrics_topic, taken):
            self._leave(batch)

    def _leave(self, batch: Batch) -> None:
        if self._spool is None or not self._spool.park(batch):
            self._give_up(batch.points, "closed")

    def _give_up(self, points: Mapping[str, int], reason: str) -> None:
        if self._accounts.dropped(points, reason):
            log.warning("dropped points of %s (%s)", ", ".join(points), reason)

    def after_fork(self) -> None:
        """In a forked child: let go of what is the parent's."""
        if self._spool is not None:
            self._spool.after_fork()
