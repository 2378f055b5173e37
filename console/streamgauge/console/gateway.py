"""The gateway: what its doors let in, and the one way out to Kafka. Sockets are elsewhere (`gateway_doors`)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

from streamgauge.console.gateway_account import Account
from streamgauge.console.gateway_cells import sendable
from streamgauge.console.gateway_door import EventDoor
from streamgauge.console.gateway_events import EventIntake, Known
from streamgauge.console.gateway_metrics import GatewayMetrics
from streamgauge.console.gateway_outlet import Outlet
from streamgauge.console.gateway_rate import Rate
from streamgauge.console.gateway_senders import Senders
from streamgauge.console.gateway_series import Budgets, SeriesIndex
from streamgauge.console.gateway_settings import GatewaySettings
from streamgauge.console.gateway_times import TimeBounds
from streamgauge.console.gateway_watch import Watch
from streamgauge.console.otlp_intake import OtlpIntake
from streamgauge.console.statsd_intake import StatsdIntake
from streamgauge.producers.batching import Batch
from streamgauge.producers.clock import Clock, SystemClock
from streamgauge.producers.cumulative import Cumulative
from streamgauge.producers.gains import Taken
from streamgauge.producers.own_metrics import OwnMetrics
from streamgauge.producers.transport import Transport
from streamgauge.schemas.windows import TIERS

if TYPE_CHECKING:
    pass

log = logging.getLogger("streamgauge.gateway")

EVENTS_S = 0.25
SWEEP_S = 60.0
MAX_CELLS = 200_000
COARSER_MS = tuple(tier.width_ms for tier in TIERS[1:])
CUMULATIVE_AGE_MS = 86_400_000


class Gateway:
    """All parts of one gateway, without sockets: `step` moves things on and never waits. One thread only."""

    def __init__(
        self,
        settings: GatewaySettings,
        transport: Transport,
        contracts: Callable[[], Known],
        clock: Clock | None = None,
        instance: str = "",
    ) -> None:
        settings.check()
        self.settings = settings
        self._clock: Clock = clock or SystemClock()
        now_ms, now = self.now_ms(), self._clock.monotonic()
        self.instance = instance or f"gw-{secrets.token_hex(12)}"
        self.account = Account()
        self.outlet = Outlet(transport, settings.producer(), self.instance, self._clock)
        context = {"service": settings.service, "environment": settings.environment, "region": settings.region}
        self.senders = Senders(
            context, self.instance, settings.gateway_senders, self.outlet.batcher, settings.residency()
        )
        self.index = SeriesIndex(
            Budgets(
                settings.gateway_metrics, settings.gateway_tag_sets, settings.series_budget, settings.gateway_series
            )
        )
        publish = self.outlet.contract if settings.publish_contracts else None
        self.events = EventIntake(self.senders, contracts, publish)
        times = TimeBounds(settings.gateway_max_age)
        lines, events = Rate(settings.statsd_lines), Rate(settings.gateway_events)
        monotonic = self._clock.monotonic
        self.statsd = StatsdIntake(
            self.index,
            self.senders,
            self.events,
            self.account,
            times,
            settings.statsd_signed_gauges,
            (lambda: lines.take(1, monotonic())) if settings.statsd_lines else None,
        )
        cumulative: Cumulative[Any] = Cumulative(settings.gateway_cumulative, now_ms * 1_000_000, CUMULATIVE_AGE_MS)
        self.otlp = OtlpIntake(self.index, self.senders, self.account, times, cumulative)
        self.door = EventDoor(self.events, self.account, times, lambda many: events.take(many, monotonic()))
        self.own = GatewayMetrics(self.index, self.senders, self.account)
        self._told = OwnMetrics()
        self._metrics_due = now + settings.flush_interval / 1000
        self._events_due = now + EVENTS_S
        self._sweep_due = now + SWEEP_S

    def now_ms(self) -> int:
        """Wall time in ms."""
        return self._clock.wall_ns() // 1_000_000

    def packet(self, packet: bytes, source: Hashable = None) -> None:
        """Take StatsD lines."""
        self.statsd.packet(packet, self.now_ms(), False, source)

    def datadog(self, packet: bytes, _: Hashable = None) -> None:
        """Take lines that came where only DogStatsD clients send."""
        self.statsd.packet(packet, self.now_ms(), True)

    def step(self, look: Callable[[], Mapping[str, int]] = dict) -> None:
        """Do what is due now. `look` says what the kernel holds for each socket."""
        now, now_ms = self._clock.monotonic(), self.now_ms()
        if now >= self._metrics_due:
            self._metrics_due = now + self.settings.flush_interval / 1000
            self.own.record(look(), now_ms)
            self._tell(now_ms)
            self._send_metrics(now_ms)
            self._keep_small()
        if now >= self._events_due:
            self._events_due = now + EVENTS_S
            self.send_events()
        if now >= self._sweep_due:
            self._sweep_due = now + SWEEP_S
            self.index.sweep(now_ms, self.senders.forget(now_ms))
            log.info("%s", self.line())
        self.outlet.step()

    def _tell(self, now_ms: int) -> None:
        """Say in band what was lost on the way out, or went to disk, as every producer does."""
        for one in self._told.taken(self.outlet.accounts.take_untold(), now_ms):
            self.own.add(one, now_ms)

    def _keep_small(self) -> None:
        """While nobody takes batches sums lose their resolution before anything is lost."""
        for width in COARSER_MS:
            if self.index.cells() <= MAX_CELLS:
                return
            self.index.coarsen(width)
            self.account.adjust("metric", "coarsened")

    def _send_metrics(self, now_ms: int, everything: bool = False) -> None:
        if self.outlet.crowded and not everything:
            return
        for sender, taken in self.index.take(now_ms):
            good: list[Taken] = []
            for one in taken:
                if reason := sendable(one):
                    self.account.refuse("metric", reason)
                else:
                    good.append(one)
            self.outlet.metrics(sender, good)
            if self.outlet.crowded and not everything:
                return

    def send_events(self) -> Watch:
        """Send the events that wait, without waiting for their turn, as far as there is room; and watch them."""
        batches: list[Batch] = []
        if not self.outlet.crowded or self.outlet.has_disk:
            for sender, kind, rows in self.events.take():
                batches += self.outlet.events(sender, kind, rows)
                if self.outlet.crowded and not self.outlet.has_disk:
                    break
        return self.outlet.watch(batches, bool(len(self.events)))

    def close(self, seconds: float, buffers: Mapping[str, int] | None = None) -> int:
        """Send everything that was taken; returns the points that could not be delivered in time."""
        now_ms = self.now_ms()
        before = self.outlet.dropped()
        self.own.record(buffers or {}, now_ms)
        self._send_metrics(now_ms, everything=True)
        for sender, kind, rows in self.events.take():
            self.outlet.events(sender, kind, rows)
        self.outlet.close(seconds)
        return self.outlet.dropped() - before

    def line(self) -> str:
        """A line about how it goes."""
        received, refused = self.account.received.total(), self.account.refused.total()
        sent = self.outlet.json()
        return (
            f"received {received:,}, refused {refused:,}, {len(self.index):,} series of {len(self.senders)} senders, "
            f"points {sent['points']:,}, acknowledged {sent['acknowledged']:,}, dropped {sent['dropped']:,}"
        )

    def json(self) -> dict[str, Any]:
        """The whole account."""
        sizes = {"series": len(self.index), "senders": len(self.senders)}
        return {"instance": self.instance, **self.account.json(), **sizes, "kafka": self.outlet.json()}

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether batches find their way, and the account."""
        well = not self.outlet.crowded
        return well, {"status": "ok" if well else "the broker does not take batches", **self.json()}
