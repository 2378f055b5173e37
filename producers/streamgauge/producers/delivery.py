"""Delivery: everything between what was taken and what was acknowledged: numbers, backlog of metrics, shipping.

While nobody takes batches, metrics wait unnumbered in the backlog, events on disk, or unnumbered in their buffer where
there is no disk: what is given up before it got a number leaves no hole in its stream. Not thread-safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from streamgauge.producers.accounts import Accounts
from streamgauge.producers.backlog import Backlog
from streamgauge.producers.batching import Batch, Batcher, Limits
from streamgauge.producers.clock import Clock
from streamgauge.producers.event_buffer import EventBuffer
from streamgauge.producers.event_rows import EventRows, Row
from streamgauge.producers.gains import Gains, gains_of, points_by_name, rows_of, slices
from streamgauge.producers.own_metrics import OwnMetrics
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.shipping import Shipping
from streamgauge.schemas import topics
from streamgauge.schemas.windows import TIERS, window_start

METRICS_SHARE = 8
"""A share of 1 / this of the outbox is for metrics; beyond it they wait unnumbered, where they can still be merged."""


class Delivery:
    """The way of one instance and epoch: from what was taken to `shipping`, which the caller may ask where things are."""

    def __init__(
        self, settings: ProducerSettings, instance: str, shipping: Shipping, accounts: Accounts, clock: Clock
    ) -> None:
        self.epoch = clock.wall_ns() // 1_000_000
        self._settings = settings
        self._accounts = accounts
        self._clock = clock
        self._metrics_topic = topics.METRICS.name(settings.region)
        self._events_topic = topics.EVENTS.name(settings.region)
        self._contracts_topic = topics.CONTRACTS.name(settings.region)
        self._published: set[str] = set()
        self._rows = settings.max_batch
        self._shipping = shipping
        limits = Limits(settings.max_batch, settings.max_batch_bytes)
        self._batcher = Batcher(settings.context(instance), instance, self.epoch, limits, shipping.give_up)
        self._backlog = Backlog(settings.backlog_bytes)
        self._own = OwnMetrics()

    # what is taken

    def metrics(self, gains: Sequence[Gains]) -> None:
        """Take what series gained, and what there is to tell of the producer itself."""
        own = self._told()
        gains = [*gains, *own] if own else gains
        if len(self._backlog):
            self._wait(gains)
        else:
            for part in slices(gains, self._rows):
                if self._metrics_fit():
                    self._number(part)
                else:
                    self._wait(part)
        self._catch_up()

    def _told(self) -> Sequence[Gains]:
        now = window_start(self._clock.wall_ns() // 1_000_000, TIERS[0].width_ms)
        own = gains_of(self._own.taken(self._accounts.take_untold(), now))
        for one in own:
            self._accounts.emitted(one.head.name, one.points())
        return own

    def _metrics_fit(self) -> bool:
        share = self._settings.outbox_bytes // METRICS_SHARE
        return self._shipping.outbox.bytes_of(self._metrics_topic) < share and self._shipping.outbox.room() > 0

    def _wait(self, gains: Sequence[Gains]) -> None:
        for reason, points in self._backlog.add(rows_of(gains)).items():
            self._shipping.give_up(points, reason)

    def _number(self, gains: Sequence[Gains]) -> None:
        for batch in self._batcher.metrics(self._metrics_topic, gains):
            self._shipping.outbox.add(batch)

    def _catch_up(self) -> None:
        while len(self._backlog) and self._metrics_fit():
            self._number(gains_of(self._backlog.take(self._rows)))

    def events(self, buffer: EventBuffer) -> bool:
        """Take events that wait now as far as there is room; True when some have to go on waiting."""
        left = len(buffer)  # what is emitted meanwhile must not keep us here
        while left > 0 and len(buffer):
            if self._shipping.outbox.room() >= buffer.bytes:
                found = buffer.take()
            elif self._shipping.outbox.room() > 0 or self._shipping.has_disk:
                found = buffer.take(self._rows, max(self._settings.max_batch_bytes, self._shipping.outbox.room()))
            else:
                return True
            for kind, rows in found.items():
                left -= len(rows)
                self._events(kind, rows, self._shipping.take)
        return False

    def _events(self, kind: EventRows, rows: Sequence[Row], to: Callable[[Batch], object]) -> None:
        self._accounts.emitted(kind.name, kind.points(rows))
        if self._settings.publish_contracts and kind.name not in self._published:
            self._published.add(kind.name)
            to(self._batcher.contract(self._contracts_topic, kind.contract))
        for batch in self._batcher.events(self._events_topic, kind, rows):
            to(batch)

    # what is sent

    def work(self) -> None:
        """Settle what was reported, hand over what is due, copy to disk what has waited too long."""
        self._shipping.settle()
        self._catch_up()
        self._shipping.hand_over()

    # where everything is

    def empty(self) -> bool:
        """Whether everything that this process took was acknowledged or given up."""
        return not len(self._backlog) and self._shipping.empty()

    def waiting(self) -> Counter[str]:
        """Points in memory, by name, but for those that another process left on disk."""
        points = self._shipping.waiting()
        points.update(self._backlog.points())
        return points

    # the end

    def end(self, gains: Sequence[Gains], buffer: EventBuffer) -> Counter[str]:
        """Leave what is not acknowledged on disk, for a later process, or give it up where there is no disk.

        Returns the points that are on disk only; nothing must be asked of it afterwards but where everything is.
        """
        self._wait(gains)
        self._shipping.leave_everything()
        while len(self._backlog):
            self._end_metrics(gains_of(self._backlog.take(self._rows)))
        for kind, rows in buffer.take().items():
            if self._shipping.has_disk:
                self._events(kind, rows, self._shipping.leave)
            else:
                self._accounts.emitted(kind.name, kind.points(rows))
                self._shipping.give_up({kind.name: kind.points(rows)}, "closed")
        if self._shipping.has_disk:
            # what is lost here is told by whoever finds the rest
            self._end_metrics(self._told())
        self._shipping.close()
        return self._shipping.spooled()

    def _end_metrics(self, gains: Sequence[Gains]) -> None:
        if not self._shipping.has_disk:
            self._shipping.give_up(points_by_name(gains), "closed")
            return
        for batch in self._batcher.metrics(self._metrics_topic, gains):
            self._shipping.leave(batch)
