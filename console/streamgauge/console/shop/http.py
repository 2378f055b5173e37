"""HTTP: a client for the shop's own services: JSON over connections that are kept open. Loopback only, no redirects."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import orjson

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Requests to one address. A connection serves one request at a time; as many are open as were needed at once."""

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []

    async def request(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON answer. Raises OSError or TimeoutError when there is none."""
        content = orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        async with asyncio.timeout(self._timeout_s):
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
            try:
                writer.write(head.encode() + content)
                status, keep, answer = await _answer(reader)
            except (asyncio.IncompleteReadError, ValueError, IndexError) as error:
                writer.close()
                raise ConnectionError("the service closed the connection") from error
            except BaseException:
                writer.close()
                raise
        if keep:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return status, orjson.loads(answer)

    async def close(self) -> None:
        """Close what is open."""
        idle, self._idle = self._idle, []
        for _, writer in idle:
            writer.close()
        for _, writer in idle:
            with suppress(OSError):
                await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status_line, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    answer = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(status_line.split()[1]), headers.get("connection") != "close", answer
