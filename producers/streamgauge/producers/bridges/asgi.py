"""ASGI: middleware that measures every HTTP exchange of an application. Pure ASGI; needs no library.

    app.add_middleware(MetricsMiddleware)      # FastAPI, Starlette
    application = MetricsMiddleware(get_asgi_application())   # any other; Django with RouteMiddleware (bridges.django)

Durations end with the last byte that was handed to the server: background tasks do not count. Websockets and lifespan
pass through untouched. What it measures: `http_server`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from streamgauge.producers.bridges.asgi_routes import route_of
from streamgauge.producers.bridges.http_server import (
    CLIENT_DISCONNECT,
    METHODS,
    OTHER,
    UNMATCHED,
    ServerMetrics,
    outcome,
)
from streamgauge.producers.operations import error_name

if TYPE_CHECKING:
    from streamgauge.producers.handles import GaugeHandle
    from streamgauge.producers.producer import Producer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
RouteOf = Callable[[Scope, str], str | None]
"""Finds the route's template in a scope that was routed; its second argument is `root_path` as it was before."""


class MetricsMiddleware:
    """Measures the HTTP exchanges of `app`. `route` finds the template where Starlette's and ours are not known."""

    def __init__(
        self, app: App, *, producer: Producer | None = None, sizes: bool = True, route: RouteOf = route_of
    ) -> None:
        self.app = app
        self._metrics = ServerMetrics(producer, sizes=sizes)
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; what the application raises goes on to the server."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(self._metrics, self._route, scope, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.end(error_name(error))
            raise
        exchange.end()


class _Exchange:
    """One request and its response, as they pass by."""

    __slots__ = (
        "_active",
        "_begun",
        "_gone",
        "_method",
        "_metrics",
        "_over",
        "_receive",
        "_received",
        "_root",
        "_route",
        "_scope",
        "_send",
        "_sent",
        "_status",
    )

    def __init__(self, metrics: ServerMetrics, route: RouteOf, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics, self._route, self._scope = metrics, route, scope
        self._receive, self._send = receive, send
        self._root: str = scope.get("root_path", "")
        self._method = METHODS.get(scope["method"], OTHER)
        self._status = self._received = self._sent = 0
        self._gone = self._over = False
        self._active: GaugeHandle = metrics.begin(self._method)
        self._begun = perf_counter()

    async def receive(self) -> Message:
        """Pass on what the client sends, and see it leave."""
        message = await self._receive()
        kind = message["type"]
        if kind == "http.request":
            self._received += len(message.get("body") or b"")
        elif kind == "http.disconnect":
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application answers; the exchange is over with the last part of it."""
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
        try:
            await self._send(message)
        except OSError:  # what servers raise when nobody listens any more
            self._gone = True
            raise
        if kind == "http.response.body":
            self._sent += len(message.get("body") or b"")
            if not message.get("more_body", False):
                self.end()
        elif kind == "http.response.pathsend":
            self.end()

    def end(self, error: str = "") -> None:
        """Record it, once."""
        if self._over:
            return
        self._over = True
        seconds = perf_counter() - self._begun
        try:
            route = self._route(self._scope, self._root) or UNMATCHED
        except Exception:  # a telemetry call never takes the application down
            route = UNMATCHED
        status, error = outcome(self._status, CLIENT_DISCONNECT if self._gone else error)
        self._metrics.end(self._active, (self._method, route, status, error), seconds, self._received, self._sent)
