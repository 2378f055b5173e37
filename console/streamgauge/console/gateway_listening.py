"""Listening: the HTTP side on an address."""

from __future__ import annotations

from aiohttp import web

from streamgauge.console.gateway_settings import Address
from streamgauge.console.page_guard import is_loopback
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.settings import Secret

GRACE_S = 1.0
MAX_HEADERS = 8 << 10


class Listening:
    """A running HTTP side."""

    def __init__(self, runner: web.AppRunner, address: Address) -> None:
        self._runner = runner
        self.address = address

    async def close(self) -> None:
        """Take no more requests; running ones get a short grace."""
        await self._runner.cleanup()


async def listen(app: web.Application, address: Address, token: Secret) -> Listening:
    """Serve. Raises InputError when it cannot listen there, or when anybody could come in."""
    if not token and not is_loopback(address.host):
        raise InputError(f"{address}: without a token only this machine may send. Use 127.0.0.1, or set a token.")
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, shutdown_timeout=GRACE_S, max_field_size=MAX_HEADERS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except OSError as error:
        await runner.cleanup()
        raise InputError(f"{address}: cannot listen here ({error.strerror}). Choose another port, or 0.") from error
    return Listening(runner, Address(address.host, int(runner.addresses[0][1])))
