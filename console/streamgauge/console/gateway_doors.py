"""Doors: the sockets of a gateway, and its life from the first one opened to the last point delivered."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping

from streamgauge.console.gateway import Gateway
from streamgauge.console.gateway_http import GatewayHttp
from streamgauge.console.gateway_listening import Listening, listen
from streamgauge.console.gateway_rate import Rate
from streamgauge.console.socket_drops import read_drops
from streamgauge.console.statsd_intake import METRICS
from streamgauge.console.statsd_sockets import Datagrams, open_udp, open_unix
from streamgauge.console.statsd_streams import Streams
from streamgauge.schemas.errors import place_of

log = logging.getLogger("streamgauge.gateway")

TURN_S = 0.05


class Doors:
    """The sockets of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._datagrams: dict[str, Datagrams] = {}
        self._streams: list[Streams] = []
        self._http: Listening | None = None
        self.addresses: dict[str, str] = {}

    async def open(self) -> None:
        """Listen everywhere. Raises InputError, with nothing left open, where that is impossible."""
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> None:
        settings, account = self._gateway.settings, self._gateway.account

        def refuse(reason: str) -> None:
            account.refuse(METRICS, reason)

        if settings.statsd_udp:
            own = open_udp(settings.statsd_udp, settings.statsd_buffer)
            self._datagrams["udp"] = Datagrams(own, self._gateway.packet, refuse)
            name = own.getsockname()
            self.addresses["udp"] = f"{name[0]}:{name[1]}"
        if settings.statsd_unix:
            own = open_unix(settings.statsd_unix, settings.statsd_buffer)
            self._datagrams["unix"] = Datagrams(own, self._gateway.datadog, refuse)
            self.addresses["unix"] = settings.statsd_unix
        for one in self._datagrams.values():
            one.start()
        if settings.statsd_stream:
            self._streams.append(Streams(self._gateway.packet, self._gateway.datadog, refuse))
            await self._streams[-1].listen_unix(settings.statsd_stream)
            self.addresses["stream"] = settings.statsd_stream
        if settings.statsd_tcp:
            self._streams.append(Streams(self._gateway.packet, self._gateway.datadog, refuse))
            self.addresses["tcp"] = str(await self._streams[-1].listen_tcp(settings.statsd_tcp))
        if settings.gateway_http:
            gateway = self._gateway
            http = GatewayHttp(
                gateway.otlp,
                gateway.door,
                account,
                settings.gateway_token,
                settings.gateway_body,
                Rate(settings.gateway_requests),
                gateway.now_ms,
                gateway.health,
                gateway.send_events,
            )
            self._http = await listen(http.application(), settings.gateway_http, settings.gateway_token)
            self.addresses["http"] = f"http://{self._http.address}"

    def look(self) -> dict[str, int]:
        """Note what the kernel dropped; returns what it holds for each socket at most."""
        for name, one in self._datagrams.items():
            if name == "udp" and (drops := read_drops(one.socket)):
                self._gateway.account.drops[name] = drops
        return {name: one.buffer for name, one in self._datagrams.items()}

    async def close(self) -> None:
        """Take what has arrived, then stop listening."""
        if self._http is not None:
            await self._http.close()
        for streams in self._streams:
            await streams.close()
        for one in self._datagrams.values():
            one.close()


async def serve(gateway: Gateway, ready: Callable[[Mapping[str, str]], None], stop: asyncio.Event) -> int:
    """Listen until `stop` is set, then send what is left; returns the points that could not be delivered."""
    doors = Doors(gateway)
    await doors.open()
    for name, buffer in doors.look().items():
        if buffer < gateway.settings.statsd_buffer:
            log.warning("%s: the kernel holds %d bytes only; raise net.core.rmem_max for more", name, buffer)
    ready(doors.addresses)
    while not stop.is_set():
        try:
            gateway.step(doors.look)
        except Exception as error:  # the service outlives whatever goes wrong in one turn
            log.error("a turn failed (%s); the next one follows", place_of(error))
        try:
            await asyncio.wait_for(stop.wait(), TURN_S)
        except TimeoutError:
            continue
    buffers = doors.look()
    began = time.monotonic()
    await doors.close()
    left = gateway.settings.exit_timeout / 1000 - (time.monotonic() - began)
    return await asyncio.to_thread(gateway.close, max(0.5, left), buffers)


async def run(gateway: Gateway, ready: Callable[[Mapping[str, str]], None]) -> int:
    """`serve` until SIGTERM or Ctrl-C; a second one ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    return await serve(gateway, ready, stop)
