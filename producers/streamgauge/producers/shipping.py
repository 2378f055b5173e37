"""Shipping: the way of a batch that has a number: through memory, or over the disk, to the transport, until it is settled.

What has a number is sent again as it is until it arrives, is refused, or the process ends. Late batches of events are on
disk too. Not thread-safe.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import TYPE_CHECKING

from streamgauge.producers.accounts import Accounts
from streamgauge.producers.batching import Batch
from streamgauge.producers.clock import Clock
from streamgauge.producers.outbox import Outbox, OutboxPolicy, Outcome
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.transport import Transport

if TYPE_CHECKING:
    from streamgauge.producers.spool import Spool

log = logging.getLogger(__name__)


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


class Shipping:
    """Takes batches and keeps the books of them: what is for memory only goes to its `outbox` directly.

    `chance` draws from [0, 1): processes must not all come back at once. `settled` is told of each batch that has arrived
    (True), or was given up though it had been taken.
    """

    def __init__(
        self,
        transport: Transport,
        accounts: Accounts,
        clock: Clock,
        spool: Spool | None,
        max_bytes: int,
        chance: Callable[[], float],
        settled: Callable[[Batch, bool], object] = lambda _batch, _arrived: None,
    ) -> None:
        self._transport = transport
        self._accounts = accounts
        self._clock = clock
        self._spool = spool
        self._settled = settled
        self.outbox = Outbox(OutboxPolicy(max_bytes), chance)
        self._young: deque[tuple[float, Batch]] = deque()
        self._reports: deque[tuple[Batch, Outcome]] = deque()
        self.sent = self.acknowledged = 0

    # what is taken

    @property
    def has_disk(self) -> bool:
        """Whether the disk takes what there is no room for in memory."""
        return self._spool is not None and self._spool.usable

    def take(self, batch: Batch) -> bool:
        """Take a batch into memory, or where it has no room there, on disk. Whether it is in memory."""
        if self._spool is not None:
            if self.outbox.room() < len(batch.value) and self._spool.park(batch):
                return False
            self._young.append((self._clock.monotonic(), batch))
        self.outbox.add(batch)
        return True

    # what is sent

    def hand_over(self) -> None:
        """Give the transport what is due, and copy to disk what has waited too long."""
        now = self._clock.monotonic()
        if self._spool is not None:
            self._copy_late(self._spool, now)
            for batch in self._spool.work(self.outbox.room()):
                self.outbox.add(batch)
        for batch in self.outbox.ready(now):
            self.sent += 1
            self._transport.send(batch.topic, batch.key, batch.value, partial(self._report, batch))

    def _copy_late(self, spool: Spool, now: float) -> None:
        while self._young:
            since, batch = self._young[0]
            if self.outbox.holds(batch):
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
            if not self.outbox.settle(batch, outcome, self._clock.monotonic()) or outcome is Outcome.UNKNOWN:
                continue
            arrived = outcome is Outcome.ACKNOWLEDGED
            if self._spool is not None:
                self._spool.settled(batch, arrived)
            if arrived:
                self.acknowledged += 1
                self._accounts.acknowledged(batch.points)
                self._settled(batch, True)
            else:
                self._lose(batch, "refused_by_broker")

    def next_due(self) -> float | None:
        """When `hand_over` has something to do again, as monotonic seconds; None: when a report comes."""
        dues = [self.outbox.next_retry()]
        if self._spool is not None:
            dues.append(self._spool.next_due())
            if self._young and self._spool.usable:
                dues.append(self._young[0][0] + self._spool.patience)
        return min((due for due in dues if due is not None), default=None)

    # where everything is

    def empty(self) -> bool:
        """Whether everything that this process took was acknowledged or given up."""
        if len(self.outbox) > len(self._lent()):
            return False
        return self._spool is None or not self._spool.holds_own()

    def waiting(self) -> Counter[str]:
        """Points in memory, by name, but for those that another process left on disk."""
        points, lent = Counter[str](), self._lent()
        for batch in self.outbox.everything():
            if batch not in lent:
                points.update(batch.points)
        return points

    def parked(self) -> Counter[str]:
        """Points that are on disk only, by name."""
        return self._spool.points() if self._spool is not None else Counter()

    def spooled(self) -> Counter[str]:
        """Points on disk, by name, but for those of this process that are in memory too."""
        points = self.parked()
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

    def leave_everything(self) -> None:
        """Leave what is not acknowledged on disk for a later process, or give it up where there is none."""
        self.settle()
        for batch in sorted(self.outbox.everything()):
            self.leave(batch)

    def leave(self, batch: Batch) -> None:
        """The same with one batch, which need not have been taken."""
        if self._spool is None or not self._spool.park(batch):
            self._lose(batch, "closed")

    def close(self) -> None:
        """Forget what was left. Nothing must be asked afterwards but where everything is."""
        if self._spool is not None:
            self._spool.close()
        self.outbox = Outbox(OutboxPolicy(), lambda: 0.0)

    def _lose(self, batch: Batch, reason: str) -> None:
        self._settled(batch, False)
        self.give_up(batch.points, reason)

    def give_up(self, points: Mapping[str, int], reason: str) -> None:
        """Count points as dropped; the first of a name and reason are logged."""
        if self._accounts.dropped(points, reason):
            log.warning("dropped points of %s (%s)", ", ".join(points), reason)

    def after_fork(self) -> None:
        """In a forked child: let go of what is the parent's."""
        if self._spool is not None:
            self._spool.after_fork()
