"""StatsD streams: frames or lines over Unix stream sockets and TCP. They hand over bytes and decide nothing."""

from __future__ import annotations

import asyncio
import os
import socket

from streamgauge.console.gateway_settings import Address
from streamgauge.console.statsd_sockets import FOR_ALL, Refuse, Take, cannot, clear, remove

MAX_FRAME = 1 << 20
MAX_LINE = 64 << 10
MAX_CONNECTIONS = 1_000


async def read_stream(reader: asyncio.StreamReader, take: Take, take_frame: Take, refuse: Refuse) -> None:
    """Hand over what comes until the stream ends. A length below 16 MiB ends with a zero byte, and no text has one: so the
    first four bytes tell frames from lines."""
    try:
        head = await reader.readexactly(4)
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            take(error.partial)
        return
    if head[3] == 0:
        await _frames(head, reader, take_frame, refuse)
    else:
        await _lines(head, reader, take, refuse)


async def _frames(head: bytes, reader: asyncio.StreamReader, take: Take, refuse: Refuse) -> None:
    while True:
        size = int.from_bytes(head, "little")
        if size > MAX_FRAME:
            refuse("frame_too_large")
            return
        try:
            take(await reader.readexactly(size))
        except asyncio.IncompleteReadError:
            refuse("torn_frame")
            return
        try:
            head = await reader.readexactly(4)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                refuse("torn_frame")
            return


async def _lines(begun: bytes, reader: asyncio.StreamReader, take: Take, refuse: Refuse) -> None:
    try:
        while True:
            if b"\n" in begun:
                whole, _, begun = begun.rpartition(b"\n")
                take(whole)
            take(begun + await reader.readuntil(b"\n"))
            begun = b""
    except asyncio.IncompleteReadError as error:
        if (begun + error.partial).strip():
            take(begun + error.partial)
    except asyncio.LimitOverrunError:
        refuse("line_too_long")


class Streams:
    """A listening stream socket. DogStatsD's frames have a length before them, others send lines: the first bytes tell."""

    def __init__(self, take: Take, take_frame: Take, refuse: Refuse) -> None:
        self._take = take
        self._take_frame = take_frame
        self._refuse = refuse
        self._server: asyncio.Server | None = None
        self._path = ""
        self._open: set[asyncio.Task[None]] = set()

    async def listen_unix(self, path: str) -> None:
        """Listen on a path. Raises InputError."""
        clear(path, socket.SOCK_STREAM)
        try:
            self._server = await asyncio.start_unix_server(self._connected, path, limit=MAX_LINE)
        except OSError as error:
            raise cannot(path, error) from error
        self._path = path
        os.chmod(path, FOR_ALL)

    async def listen_tcp(self, address: Address) -> Address:
        """Listen on an address; returns the one that was taken. Raises InputError."""
        try:
            self._server = await asyncio.start_server(self._connected, address.host, address.port, limit=MAX_LINE)
        except OSError as error:
            raise cannot(str(address), error) from error
        return Address(address.host, int(self._server.sockets[0].getsockname()[1]))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= MAX_CONNECTIONS:
            self._refuse("too_many_connections")
            writer.close()
            return
        self._open.add(task)
        try:
            await read_stream(reader, self._take, self._take_frame, self._refuse)
        except (ConnectionError, asyncio.CancelledError):
            pass  # whole frames and lines were taken; half of one means nothing
        finally:
            self._open.discard(task)
            writer.close()

    async def close(self) -> None:
        """Stop listening, and end connections."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        remove(self._path)
