"""Outlet: batches of all senders on their way to Kafka, over one outbox and one connection. Bounded, and on the books.

With a spool, events that no broker takes go to disk, and what is left at the end waits there for the next gateway.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from streamgauge.console.gateway_senders import Sender
from streamgauge.console.gateway_watch import Watch, Watches
from streamgauge.producers.accounts import Accounts
from streamgauge.producers.aggregate import Taken
from streamgauge.producers.batching import Batch, Batcher, Limits
from streamgauge.producers.clock import Clock
from streamgauge.producers.event_rows import EventRows, Row
from streamgauge.producers.outbox import Outbox, OutboxPolicy, Outcome
from streamgauge.producers.transport import Transport
from streamgauge.schemas import topics
from streamgauge.schemas.batches import Context
from streamgauge.schemas.contracts import Contract

if TYPE_CHECKING:
    from streamgauge.producers.spool import Spool

log = logging.getLogger("streamgauge.gateway")

POLL_S = 0.05
OpenSpool = Callable[[Accounts], "Spool | None"]
"""Opens the spool that the settings ask for, if they do."""


class Outlet:
    """Takes points and rows, sends batches. `step` never waits; one thread only."""

    def __init__(
        self, transport: Transport, region: str, instance: str, clock: Clock, max_bytes: int, open_spool: OpenSpool
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._metrics_topic = topics.METRICS.name(region)
        self._events_topic = topics.EVENTS.name(region)
        self._contracts_topic = topics.CONTRACTS.name(region)
        self._epoch = clock.wall_ns() // 1_000_000
        self._max_bytes = max_bytes
        self._outbox = Outbox(OutboxPolicy(max_bytes), random.random)
        self._watches = Watches()
        self._reports: list[tuple[Batch, Outcome]] = []
        self._contracts = self.batcher({"instance": instance}, instance)
        self.accounts = Accounts()
        self._spool = open_spool(self.accounts)
        self._parked: set[Batch] = set()
        self._young: deque[tuple[float, Batch]] = deque()
        self.sent = self.acknowledged = 0

    def batcher(self, context: Context, stream: str) -> Batcher:
        """The batcher of one sender."""
        return Batcher(dict(context), stream, self._epoch, Limits(), self._give_up)

    def metrics(self, sender: Sender, taken: Sequence[Taken]) -> None:
        """Send rows of metrics."""
        for one in taken:
            self.accounts.emitted(one.head.name, one.delta.count)
        for batch in sender.metrics.metrics(self._metrics_topic, taken):
            self._outbox.add(batch)

    def events(self, sender: Sender, kind: EventRows, rows: Sequence[Row]) -> list[Batch]:
        """Send events; returns their batches."""
        self.accounts.emitted(kind.name, kind.points(rows))
        batches = list(sender.events.events(self._events_topic, kind, rows))
        for batch in batches:
            self._take(batch)
        return batches

    def _take(self, batch: Batch) -> None:
        if self._spool is None:
            self._outbox.add(batch)
        elif self._outbox.room() >= len(batch.value) or not self._spool.park(batch):
            self._outbox.add(batch)
            self._young.append((self._clock.monotonic(), batch))
        else:
            self._parked.add(batch)

    def watch(self, batches: Sequence[Batch], more: bool) -> Watch:
        """Watch what becomes of batches that were just handed over; `more`: something of them still has to be."""
        on_disk, self._parked = self._parked, set()
        return self._watches.add([one for one in batches if one not in on_disk], more or bool(on_disk))

    def contract(self, contract: Contract) -> None:
        """Make a contract known."""
        self._take(self._contracts.contract(self._contracts_topic, contract))

    @property
    def crowded(self) -> bool:
        """Whether half of the outbox is taken. Nothing more should be sent then: what has no number yet leaves no hole where
        it is given up, and sums that wait are smaller than the batches they would become."""
        return self._outbox.bytes > self._max_bytes // 2

    @property
    def has_disk(self) -> bool:
        """Whether events may come though there is no room for them in memory."""
        return self._spool is not None and self._spool.usable

    def _lose(self, batch: Batch, reason: str) -> None:
        self._watches.settled(batch, False)
        self._give_up(batch.points, reason)

    def _give_up(self, points: Mapping[str, int], reason: str) -> None:
        if self.accounts.dropped(points, reason):
            log.warning("dropped points of %s (%s)", ", ".join(points), reason)

    def step(self) -> None:
        """Hand over what is due and note what became of the rest."""
        now = self._clock.monotonic()
        self._transport.poll(0.0)
        self._settle(now)
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
        self._reports.append((batch, outcome))

    def _settle(self, now: float) -> None:
        reports, self._reports = self._reports, []
        for batch, outcome in reports:
            if not self._outbox.settle(batch, outcome, now) or outcome is Outcome.UNKNOWN:
                continue
            if self._spool is not None:
                self._spool.settled(batch, outcome is Outcome.ACKNOWLEDGED)
            if outcome is Outcome.ACKNOWLEDGED:
                self.acknowledged += 1
                self._watches.settled(batch, True)
                self.accounts.acknowledged(batch.points)
            else:
                self._lose(batch, "refused_by_broker")

    def close(self, seconds: float) -> None:
        """Send everything, wait so long at most; leave the rest on disk, or give it up where there is none."""
        if self._spool is not None:
            self._spool.ending()
        deadline = time.monotonic() + seconds
        while True:
            self.step()
            left = deadline - time.monotonic()
            if not len(self._outbox) or left <= 0:
                break
            if self._outbox.in_flight():
                self._transport.poll(min(left, POLL_S), hurry=True)
            else:
                time.sleep(min(left, POLL_S / 10))
        self._transport.close(max(0.0, deadline - time.monotonic()))
        self._settle(self._clock.monotonic())
        for batch in sorted(self._outbox.everything()):
            if self._spool is None or not self._spool.park(batch):
                self._lose(batch, "closed")
        if self._spool is not None:
            self._spool.close()
        self._outbox = Outbox(OutboxPolicy(self._max_bytes), random.random)

    def spooled(self) -> int:
        """Points that are on disk only."""
        return self._spool.points().total() if self._spool is not None else 0

    def dropped(self) -> int:
        """Points that were given up so far."""
        return self.accounts.books()[2].total()

    def json(self) -> dict[str, int]:
        """Batches and points as a JSON object."""
        emitted, acknowledged, dropped = self.accounts.books()
        return {
            "points": emitted.total(),
            "acknowledged": acknowledged.total(),
            "dropped": dropped.total(),
            "waiting": emitted.total() - acknowledged.total() - dropped.total() - self.spooled(),
            "spooled": self.spooled(),
            "batches_sent": self.sent,
            "batches_acknowledged": self.acknowledged,
            "bytes_waiting": self._outbox.bytes,
        }
