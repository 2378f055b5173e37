"""ASGI: a service as one callable: it finds the handler of a request, measures it and answers JSON."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, cast

import orjson

from streamgauge.console.shop.telemetry import Telemetry

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Body = dict[str, Any]
Handler = Callable[[Body], Awaitable[tuple[int, Body]]]
"""Takes the JSON object of a request; gives the status and the JSON object of the answer."""

LARGEST_BODY = 64 << 10


class Service:
    """An ASGI application of `routes`, by method and path. A handler that raises is answered with 500 and counted."""

    def __init__(self, routes: Mapping[tuple[str, str], Handler], telemetry: Telemetry) -> None:
        self._routes = routes
        self._telemetry = telemetry

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        method, path = str(scope["method"]), str(scope["path"])
        status, answer = await self._answer(self._routes.get((method, path)), receive)
        content = orjson.dumps(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        operation = path if (method, path) in self._routes else "unknown"
        self._telemetry.answered(operation, method, status, time.perf_counter() - started)

    async def _answer(self, handler: Handler | None, receive: Receive) -> tuple[int, Body]:
        if handler is None:
            return 404, {"error": "no such operation"}
        try:
            body = await _body(receive)
        except ValueError:
            return 400, {"error": "expected a JSON object"}
        try:
            return await handler(body)
        except Exception:  # one request that fails is one 500, never the end of the service
            return 500, {"error": "internal error"}


async def _body(receive: Receive) -> Body:
    parts = bytearray()
    while True:
        message = await receive()
        parts += message.get("body", b"")
        if len(parts) > LARGEST_BODY:
            raise ValueError("too large")
        if not message.get("more_body"):
            break
    found: object = orjson.loads(parts) if parts else {}
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return cast("Body", found)
