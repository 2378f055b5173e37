"""The store door: ClickHouse's HTTP interface over one embedded engine, on loopback only.

There is no password: whoever may connect to the address may read and write the tables. Therefore the door listens on
loopback, answers only to loopback names (a page that rebinds its name to 127.0.0.1 is refused), and refuses requests that a
browser sends on behalf of another origin.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from streamgauge.console.engine import Answer, Engine
from streamgauge.console.page_guard import is_loopback as is_loopback
from streamgauge.console.statements import (
    GO_HANDSHAKE,
    NOT_IMPLEMENTED,
    SUPPORTED,
    TOO_LARGE,
    Arguments,
    StatementError,
    arguments,
    chosen_encoding,
    decoded,
    encoded,
    go_handshake,
    insert_header,
    refusal,
)
from streamgauge.schemas.errors import InputError, StreamgaugeError

_LONGEST_LINE = 1 << 20  # an INSERT names its columns in the URL


@dataclass(frozen=True, slots=True)
class DoorPolicy:
    """What the door lets in. `max_body_bytes` holds for a body as sent and as unpacked."""

    max_body_bytes: int = 1 << 30
    shutdown_grace_s: float = 1.0


class Door:
    """A listening door. Close it before its engine, or together with it."""

    def __init__(self, runner: web.AppRunner, workers: ThreadPoolExecutor, host: str, port: int) -> None:
        """Use `start_door`."""
        self._runner = runner
        self._workers = workers
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def close(self) -> None:
        """Take no more requests, let running ones end for the policy's grace, and stop listening."""
        await self._runner.cleanup()
        self._workers.shutdown(wait=False, cancel_futures=True)


async def start_door(engine: Engine, port: int, host: str = "127.0.0.1", policy: DoorPolicy | None = None) -> Door:
    """Open the door on `host`, a loopback address; port 0 takes a free one. Raises `InputError` if that is impossible."""
    policy = policy or DoorPolicy()
    if not is_loopback(host):
        raise InputError(f"{host}: the store has no password and listens on loopback only. Use 127.0.0.1.")
    workers = ThreadPoolExecutor(engine.handles, thread_name_prefix="store-door")
    handler = _Handler(engine, workers, policy)
    app = web.Application(client_max_size=policy.max_body_bytes, middlewares=[_guard])
    app.router.add_route("GET", "/ping", _ping)
    app.router.add_route("GET", "/", handler.handle)
    app.router.add_route("POST", "/", handler.handle)
    app.router.add_route("*", "/{path:.*}", _unsupported)
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # ours reads every frame and stops at the limit
        shutdown_timeout=policy.shutdown_grace_s,
        max_line_size=_LONGEST_LINE,
        max_field_size=1 << 16,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise InputError(f"{host}:{port}: cannot listen here ({error.strerror}). Choose another port, or 0.") from error
    return Door(runner, workers, host, int(runner.addresses[0][1]))


def refused_origin(host: str, origin: str, fetch_site: str) -> str:
    """Why a request with these headers (`Host`, `Origin`, `Sec-Fetch-Site`; "" if absent) is refused; "" if it is not."""
    if not is_loopback(_hostname("//" + host)):
        return "This store answers to localhost and 127.0.0.1 only."
    if fetch_site == "cross-site" or (origin and not is_loopback(_hostname(origin))):
        return "This store does not answer pages of other origins."
    return ""


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    headers = request.headers
    why = refused_origin(headers.get("Host", ""), headers.get("Origin", ""), headers.get("Sec-Fetch-Site", ""))
    if why:
        return web.Response(status=403, text=why + "\n")
    response = await handler(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def _unsupported(request: web.Request) -> web.Response:
    return _failed(refusal(NOT_IMPLEMENTED, f"{request.method} {request.path} is not offered. {SUPPORTED}"), {})


class _Handler:
    """Reads a request, has one call run on a worker thread, writes the answer."""

    def __init__(self, engine: Engine, workers: ThreadPoolExecutor, policy: DoorPolicy) -> None:
        self._engine = engine
        self._workers = workers
        self._policy = policy

    async def handle(self, request: web.Request) -> web.Response:
        started = time.perf_counter_ns()
        headers = {"X-ClickHouse-Server-Display-Name": "streamgauge", "X-ClickHouse-Timezone": self._engine.timezone}
        try:
            asked = arguments(request.query, request.headers)
            headers["X-ClickHouse-Query-Id"] = asked.query_id or str(uuid.uuid4())
            if request.content_type == "multipart/form-data":
                raise refusal(NOT_IMPLEMENTED, f"Forms and external tables are not offered. {SUPPORTED}")
            body = await request.read()
            encoding = request.headers.get("Content-Encoding", "")
            accept = chosen_encoding(request.headers.get("Accept-Encoding", "")) if asked.compress else ""
            loop = asyncio.get_running_loop()
            answer, data = await loop.run_in_executor(
                self._workers, self._run, asked, body, encoding, accept, request.method == "GET"
            )
        except StatementError as error:
            return _failed(error, headers)
        except web.HTTPRequestEntityTooLarge:
            text = f"The body has more than {self._policy.max_body_bytes} bytes. Send smaller blocks."
            return _failed(refusal(TOO_LARGE, text), headers)
        headers["X-ClickHouse-Summary"] = _summary(answer, time.perf_counter_ns() - started)
        if answer.returns_rows:
            headers["X-ClickHouse-Format"] = answer.format
        if data and accept:
            headers["Content-Encoding"] = accept
        headers["Content-Type"] = "text/plain; charset=UTF-8"
        return web.Response(body=data, headers=headers)

    def _run(self, asked: Arguments, body: bytes, encoding: str, accept: str, readonly: bool) -> tuple[Answer, bytes]:
        pieces = decoded(body, encoding, self._policy.max_body_bytes)
        text = asked.sql.encode(errors="surrogateescape")
        header = insert_header(text + b"\n") if text else None
        if header is None:
            # the statement, or its end and its rows, are in the body
            text = b"\n".join(part for part in (text, b"".join(pieces)) if part)
            header = insert_header(text)
            pieces = iter(())
        if not text.strip():
            return Answer(b"", "", False, 0, 0, 0, 0, 0), b"Ok.\n"
        if text.strip() == GO_HANDSHAKE and asked.handshake:
            block = go_handshake(self._engine.version, self._engine.timezone)
            return Answer(block, "Native", True, 1, 1, 0, 0, 0), encoded(block, accept)
        if header is not None:
            inline = text[header.offset :]
            answer = self._engine.insert(
                header,
                itertools.chain((inline,) if inline else (), pieces),
                params=asked.params,
                settings=asked.settings,
                database=asked.database,
                readonly=readonly,
            )
        else:
            answer = self._engine.query(
                text.decode(errors="replace"),
                asked.format,
                params=asked.params,
                settings=asked.settings,
                database=asked.database,
                readonly=readonly,
            )
        return answer, encoded(answer.data, accept) if answer.data else b""


def _summary(answer: Answer, elapsed_ns: int) -> str:
    counts = {
        "read_rows": answer.read_rows,
        "read_bytes": answer.read_bytes,
        "written_rows": answer.written_rows,
        "written_bytes": answer.written_bytes,
        "total_rows_to_read": answer.read_rows,
        "result_rows": answer.result_rows,
        "result_bytes": len(answer.data),
        "elapsed_ns": elapsed_ns,
    }
    return json.dumps({name: str(count) for name, count in counts.items()}, separators=(",", ":"))


def _failed(error: StatementError, headers: dict[str, str]) -> web.Response:
    codes = {"X-ClickHouse-Exception-Code": str(error.code)}
    return web.Response(status=error.status, text=error.text.rstrip() + "\n", headers=headers | codes)


async def serve(path: str, port: int, handles: int = 4, policy: DoorPolicy | None = None) -> None:
    """Serve `path` until SIGTERM or SIGINT; the address goes to standard output as one line of JSON."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine = await asyncio.to_thread(Engine.open, path, handles)
    try:
        _leave_working_directory()
        door = await start_door(engine, port, policy=policy)
        ready = {"address": door.address, "host": door.host, "port": door.port, "version": engine.version}
        sys.stdout.write(json.dumps(ready | {"pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        await stop.wait()
        # together: what the engine cancels after its grace is then still answered
        await asyncio.gather(door.close(), asyncio.to_thread(engine.close, 0.6))
    finally:
        await asyncio.to_thread(engine.close, 0.0)


def _leave_working_directory() -> None:
    """Stand in a directory that is gone: the engine's function file(), which no grant covers, then finds no file at all."""
    with tempfile.TemporaryDirectory(prefix="streamgauge-") as gone:
        os.chdir(gone)


def main(argv: list[str] | None = None) -> int:
    """`python -m streamgauge.console.door PATH PORT`: 0 after a clean end, 2 if the arguments cannot be used."""
    words = sys.argv[1:] if argv is None else argv
    if len(words) != 2 or not words[1].isdecimal():
        sys.stderr.write("usage: python -m streamgauge.console.door PATH PORT     (PORT 0 takes a free one)\n")
        return 2
    try:
        asyncio.run(serve(words[0], int(words[1])))
    except StreamgaugeError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
