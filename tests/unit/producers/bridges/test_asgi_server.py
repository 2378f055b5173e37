"""ASGI under a real server: clients that read everything, and clients that leave in the midst of it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from streamgauge.producers.bridges.asgi import MetricsMiddleware
from tests.unit.producers.bridges.recorded import Recorded

DURATION = "http_server_request_duration"


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def endless(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"part\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(parts())


@contextmanager
def served(app: MetricsMiddleware) -> Generator[int]:
    """The port of a server in a thread."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # who connects before the server is there waits for it
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask(port: int, path: str, enough: bytes) -> None:
    """Send a request, read until `enough` has come, and leave."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
        got = b""
        while enough not in got:
            got += client.recv(1_000)


def test_a_client_that_leaves_a_real_server_is_told_from_one_that_stays() -> None:
    recorded = Recorded()
    app = Starlette(routes=[Route("/hello", hello), Route("/endless", endless)])
    with served(MetricsMiddleware(app, producer=recorded.producer)) as port:
        ask(port, "/hello", b"hello")
        ask(port, "/endless", b"part\n")
        until(lambda: sum(recorded.counts(DURATION).values()) == 2)

    assert recorded.counts(DURATION) == {
        ("GET", "/hello", "200", ""): 1,
        ("GET", "/endless", "200", "client_disconnect"): 1,
    }
    assert recorded.last("http_server_active_requests") == {("GET",): 0.0}
