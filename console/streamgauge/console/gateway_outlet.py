"""Outlet: batches of all senders on their way to Kafka, over one outbox and one connection. Bounded, and on the books.

With a spool, events that no broker takes go to disk, and what is left at the end waits there for the next gateway.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from streamgauge.console.gateway_senders import Sender
from streamgauge.console.gateway_watch import Watch, Watches
from streamgauge.producers.accounts import Accounts
from streamgauge.producers.batching import Batch, Batcher, Limits
from streamgauge.producers.clock import Clock
from streamgauge.producers.event_rows import EventRows, Row
from streamgauge.producers.gains import Taken, gains_of
from streamgauge.producers.settings import ProducerSettings
from streamgauge.producers.shipping import Shipping, open_spool
from streamgauge.producers.transport import Transport
from streamgauge.schemas import topics
from streamgauge.schemas.batches import Context
from streamgauge.schemas.contracts import Contract

POLL_S = 0.05


class Outlet:
    """Takes points and rows, sends batches. `step` never waits; one thread only."""

    def __init__(self, transport: Transport, settings: ProducerSettings, instance: str, clock: Clock) -> None:
        self._transport = transport
        self._metrics_topic = topics.METRICS.name(settings.region)
        self._events_topic = topics.EVENTS.name(settings.region)
        self._contracts_topic = topics.CONTRACTS.name(settings.region)
        self._epoch = clock.wall_ns() // 1_000_000
        self._max_bytes = settings.outbox_bytes
        self._watches = Watches()
        self._parked: set[Batch] = set()
        self.accounts = Accounts()
        spool = open_spool(settings, instance, self.accounts, clock)
        self._shipping = Shipping(
            transport, self.accounts, clock, spool, self._max_bytes, random.random, self._watches.settled
        )
        self._contracts = self.batcher({"instance": instance}, instance)

    def batcher(self, context: Context, stream: str) -> Batcher:
        """The batcher of one sender."""
        return Batcher(dict(context), stream, self._epoch, Limits(), self._shipping.give_up)

    def metrics(self, sender: Sender, taken: Sequence[Taken]) -> None:
        """Send rows of metrics."""
        for one in taken:
            self.accounts.emitted(one.head.name, one.delta.count)
        for batch in sender.metrics.metrics(self._metrics_topic, gains_of(taken)):
            self._shipping.outbox.add(batch)

    def events(self, sender: Sender, kind: EventRows, rows: Sequence[Row]) -> list[Batch]:
        """Send events; returns their batches."""
        self.accounts.emitted(kind.name, kind.points(rows))
        batches = list(sender.events.events(self._events_topic, kind, rows))
        self._parked.update(batch for batch in batches if not self._shipping.take(batch))
        return batches

    def watch(self, batches: Sequence[Batch], more: bool) -> Watch:
        """Watch what becomes of batches that were just handed over; `more`: something of them still has to be."""
        on_disk, self._parked = self._parked, set()
        return self._watches.add([one for one in batches if one not in on_disk], more or bool(on_disk))

    def contract(self, contract: Contract) -> None:
        """Make a contract known."""
        self._shipping.take(self._contracts.contract(self._contracts_topic, contract))

    @property
    def crowded(self) -> bool:
        """Whether half of the outbox is taken. Nothing more should be sent then: what has no number yet leaves no hole where
        it is given up, and sums that wait are smaller than the batches they would become."""
        return self._shipping.outbox.bytes > self._max_bytes // 2

    @property
    def has_disk(self) -> bool:
        """Whether events may come though there is no room for them in memory."""
        return self._shipping.has_disk

    def step(self) -> None:
        """Hand over what is due and note what became of the rest."""
        self._transport.poll(0.0)
        self._shipping.settle()
        self._shipping.hand_over()

    def close(self, seconds: float) -> None:
        """Send everything, wait so long at most; leave the rest on disk, or give it up where there is none."""
        self._shipping.ending()
        deadline = time.monotonic() + seconds
        while True:
            self.step()
            left = deadline - time.monotonic()
            if not len(self._shipping.outbox) or left <= 0:
                break
            if self._shipping.outbox.in_flight():
                self._transport.poll(min(left, POLL_S), hurry=True)
            else:
                time.sleep(min(left, POLL_S / 10))
        self._transport.close(max(0.0, deadline - time.monotonic()))
        self._shipping.leave_everything()
        self._shipping.close()

    def dropped(self) -> int:
        """Points that were given up so far."""
        return self.accounts.books()[2].total()

    def json(self) -> dict[str, int]:
        """Batches and points as a JSON object."""
        emitted, acknowledged, dropped = self.accounts.books()
        spooled = self._shipping.parked().total()
        return {
            "points": emitted.total(),
            "acknowledged": acknowledged.total(),
            "dropped": dropped.total(),
            "waiting": emitted.total() - acknowledged.total() - dropped.total() - spooled,
            "spooled": spooled,
            "batches_sent": self._shipping.sent,
            "batches_acknowledged": self._shipping.acknowledged,
            "bytes_waiting": self._shipping.outbox.bytes,
        }
