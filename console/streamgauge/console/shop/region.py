"""Region: the shop of one region: two services that listen, customers that come, and a line about it every second."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import uvicorn

from streamgauge.console.shop.asgi import Service
from streamgauge.console.shop.http import Client
from streamgauge.console.shop.incident import Incident
from streamgauge.console.shop.services import Payments, Storefront
from streamgauge.console.shop.telemetry import Counted, ProcessGauges, Telemetry
from streamgauge.console.shop.traffic import MARKETS, Visit, seeded, visits
from streamgauge.producers import Producer, ProducerSettings, Stats

HOST = "127.0.0.1"
ENVIRONMENT, VERSION = "demo", "1.4.2"
READING = frozenset({"home", "product", "search"})
DRAIN_S, CLOSE_S = 0.6, 1.5


@dataclass(frozen=True, slots=True)
class Opening:
    """What a shop is opened with. `scale` multiplies its load."""

    region: str
    seconds: float
    seed: int = 7
    incident: Incident = field(default_factory=Incident)
    stats_every: float = 1.0
    scale: float = 1.0


def line(
    region: str, elapsed_s: float, stats: list[Stats], counted: Counted, final: bool = False
) -> Mapping[str, object]:
    """One line of the account, over all services of the process; points as their producers count them."""
    dropped: Counter[str] = Counter()
    for one in stats:
        for (_, reason), points in one.dropped.items():
            dropped[reason] += points
    said: dict[str, object] = {
        "region": region,
        "t": round(elapsed_s, 3),
        "emitted": sum(sum(one.emitted.values()) for one in stats),
        "acknowledged": sum(sum(one.acknowledged.values()) for one in stats),
        "dropped": dict(dropped),
        "requests": counted.requests,
        "failures": counted.failures,
        "orders": counted.orders,
        "planted": dict(counted.planted),
    }
    return {**said, "final": True} if final else said


class _Server(uvicorn.Server):
    """A server among others: signals are the process's own affair."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave them alone."""
        yield


class _Listening:
    """A service on a free port of loopback."""

    def __init__(self, service: Service) -> None:
        self._socket = socket.socket()
        self._socket.bind((HOST, 0))
        self.port = int(self._socket.getsockname()[1])
        # connections wait in the socket's queue until the server takes them
        self._socket.listen()
        self._server = _Server(
            uvicorn.Config(
                cast("Any", service),
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=30,
            )
        )

    async def serve(self) -> None:
        """Until it is stopped."""
        await self._server.serve([self._socket])

    def stop(self) -> None:
        """Let `serve` end soon."""
        self._server.should_exit = True


class Shop:
    """One region. `run` opens it, and closes it after its time or when `stop` is set."""

    def __init__(
        self,
        opening: Opening,
        settings: ProducerSettings,
        say: Callable[[Mapping[str, object]], None],
        producer: Callable[[ProducerSettings], Producer] = Producer,
    ) -> None:
        self.opening = opening
        self.counted = Counted()
        self._say = say
        own = replace(settings, cloud_region=opening.region, environment=ENVIRONMENT, version=VERSION)
        self._services = {
            name: Telemetry(producer(replace(own, service=name)), self.counted) for name in ("storefront", "payments")
        }
        self._started = time.monotonic()
        self._going: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Open, serve, close; the last line is said when everything was flushed, or the deadline has passed."""
        self._started = time.monotonic()
        seed, region = self.opening.seed, self.opening.region
        selling, paying = self._services["storefront"], self._services["payments"]
        payments = Payments(paying, seeded(seed, region, "payments"), self.opening.incident, self._elapsed)
        bank = _Listening(Service(payments.routes(), paying))
        to_payments = Client(HOST, bank.port)
        distance = MARKETS[region].distance_ms
        storefront = Storefront(selling, seeded(seed, region, "storefront"), to_payments, distance)
        front = _Listening(Service(storefront.routes(), selling))
        customers = Client(HOST, front.port)
        servers = [asyncio.create_task(one.serve()) for one in (bank, front)]
        speaking = asyncio.create_task(self._speak(stop))
        visiting = asyncio.create_task(self._visit(customers))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({visiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (visiting, stopping, speaking):
                task.cancel()
            await asyncio.gather(visiting, stopping, return_exceptions=True)
            await self._drain()
            bank.stop()
            front.stop()
            await customers.close()
            await to_payments.close()
            await asyncio.gather(*servers, speaking, return_exceptions=True)
            storefront.close()
            await asyncio.gather(*(asyncio.to_thread(one.close, CLOSE_S) for one in self._producers()))
            self._said(self._line(final=True))

    def _producers(self) -> list[Producer]:
        return [one.producer for one in self._services.values()]

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _line(self, final: bool = False) -> Mapping[str, object]:
        stats = [one.stats() for one in self._producers()]
        return line(self.opening.region, self._elapsed(), stats, self.counted, final)

    async def _speak(self, stop: asyncio.Event) -> None:
        gauges, parent = ProcessGauges(self._services["storefront"].producer), os.getppid()
        due = self.opening.stats_every
        while True:
            await asyncio.sleep(max(0.0, due - self._elapsed()))
            due += self.opening.stats_every
            gauges.read()
            # who opened the shop is gone: nobody would ever close it
            if os.getppid() != parent or not self._said(self._line()):
                stop.set()

    def _said(self, words: Mapping[str, object]) -> bool:
        try:
            self._say(words)
        except OSError:
            return False
        return True

    async def _visit(self, client: Client) -> None:
        for visit in visits(self.opening.region, self.opening.seed, self.opening.scale):
            if visit.at_s >= self.opening.seconds:
                break
            await asyncio.sleep(max(0.0, visit.at_s - self._elapsed()))
            task = asyncio.create_task(self._one(client, visit))
            self._going.add(task)
            task.add_done_callback(self._going.discard)
        await asyncio.sleep(max(0.0, self.opening.seconds - self._elapsed()))

    async def _one(self, client: Client, visit: Visit) -> None:
        method = "GET" if visit.action in READING else "POST"
        # a customer whose request fails is gone; the service has counted what it answered
        with suppress(OSError, TimeoutError):
            await client.request(method, f"/{visit.action}", visit.body)

    async def _drain(self) -> None:
        if self._going:
            _, late = await asyncio.wait(self._going, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
