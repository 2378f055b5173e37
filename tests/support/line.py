"""Line: stands between Kafka clients and their broker, and can refuse, cut, hold back, or be slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.kafka import HOST, KafkaBroker, free_ports

T = TypeVar("T")
PIECE = 4096
"""Connections take turns with pieces so large: a heartbeat waits for few of them."""


class Line:
    """Passes connections on to `target`, in a thread of its own, in `with`. Its methods are for one other thread."""

    def __init__(self) -> None:
        self.port: int = free_ports(1)[0]
        self.target = 0
        self.passed = 0
        self._rates: dict[str, float] = {}
        self._free_at: dict[str, float] = {}
        self._delay_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)

    @property
    def address(self) -> str:
        """For `bootstrap.servers`, where the broker advertises it."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._refuse())
        self._do(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def refuse(self) -> None:
        """Nobody gets a new connection; those that are there stay."""
        self._do(self._refuse())

    def cut(self) -> int:
        """Every connection breaks (RST); how many."""
        return self._do(self._cut())

    def hold(self) -> None:
        """Connections stand, and nothing gets through until `mend`: what was sent meanwhile arrives then."""
        self._do(self._hold())

    def slow(self, up: float = 0.0, down: float = 0.0, delay_s: float = 0.0) -> None:
        """So many bytes a second to the broker and from it, all connections together (0: no limit); each message is delayed."""
        self._rates, self._delay_s = {"up": up, "down": down}, delay_s

    def mend(self) -> None:
        """All is well again."""
        self.slow()
        self._do(self._mend())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(20)

    async def _mend(self) -> None:
        self._open.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port, backlog=256)

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _hold(self) -> None:
        self._open.clear()

    async def _cut(self) -> int:
        ends = list(self._ends)
        for one in ends:
            _reset(one)
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
        return len(ends) // 2

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._ends.add(writer)
        try:
            await self._open.wait()
            onward_reader, onward = await asyncio.open_connection(HOST, self.target)
            self._ends.add(onward)
            try:
                up = asyncio.ensure_future(self._pass(reader, onward, "up"))
                down = asyncio.ensure_future(self._pass(onward_reader, writer, "down"))
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
            finally:
                self._ends.discard(onward)
                onward.transport.abort()
        except OSError:  # the broker is away: so is the line
            pass
        finally:
            self._ends.discard(writer)
            writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, way: str) -> None:
        under_way = False
        with contextlib.suppress(OSError):
            while data := await source.read(PIECE):
                await self._open.wait()
                await self._take_time(len(data), way)
                if self._delay_s and not under_way:
                    await asyncio.sleep(self._delay_s)
                under_way = len(data) == PIECE
                self.passed += len(data)
                to.write(data)
                await to.drain()

    async def _take_time(self, size: int, way: str) -> None:
        if rate := self._rates.get(way, 0.0):
            now = self._loop.time()
            start = max(now, self._free_at.get(way, 0.0))
            self._free_at[way] = start + size / rate
            await asyncio.sleep(self._free_at[way] - now)


def _reset(end: asyncio.StreamWriter) -> None:
    """End a connection so that the other side gets an error, not an end of file."""
    its: socket.socket | None = end.get_extra_info("socket")
    if its is not None:
        with contextlib.suppress(OSError):
            its.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()


class LinedBroker(KafkaBroker):
    """A broker with two addresses: `bootstrap`, and that of a line, over which it sends whoever comes by it."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line

    def properties(self, directory: Path, client_port: int, controller_port: int) -> dict[str, str]:
        """A single node's, with one more listener, behind the line."""
        (self.line.target,) = free_ports(1)
        given = super().properties(directory, client_port, controller_port)
        return given | {
            "listeners": f"{given['listeners']},LINE://{HOST}:{self.line.target}",
            "advertised.listeners": f"{given['advertised.listeners']},LINE://{self.line.address}",
            "listener.security.protocol.map": f"{given['listener.security.protocol.map']},LINE:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }
