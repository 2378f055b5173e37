"""WSGI: middleware that measures every HTTP exchange of an application. Needs no library.

    application = MetricsMiddleware(get_wsgi_application())

Frameworks route inside of it, so a hook tells it the template: `bridges.flask`, `bridges.django`, or your own code with
`environ["streamgauge.route"] = template`. Streamed responses are measured until their last part, or until the server
gives up on them. What it measures: `http_server`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from streamgauge.producers.bridges.http_server import (
    CLIENT_DISCONNECT,
    METHODS,
    OTHER,
    ROUTE_KEY,
    UNMATCHED,
    ServerMetrics,
    outcome,
)
from streamgauge.producers.operations import error_name

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


class MetricsMiddleware:
    """Measures the HTTP exchanges of `app`."""

    def __init__(self, app: App, *, producer: Producer | None = None, sizes: bool = True) -> None:
        self.app = app
        self._metrics = ServerMetrics(producer, sizes=sizes)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; what the application raises goes on to the server."""
        exchange = _Exchange(self._metrics, environ, start_response)
        try:
            parts = self.app(environ, exchange.start_response)
        except BaseException as error:
            exchange.end(error_name(error))
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(parts, wrapper):
            # the server sends the file by itself if it gets the object it made
            exchange.end()
            return parts
        return _Parts(parts, exchange)


class _Exchange:
    """One request and its response, as they pass by."""

    __slots__ = ("_active", "_begun", "_environ", "_method", "_metrics", "_over", "_start", "_status", "sent")

    def __init__(self, metrics: ServerMetrics, environ: Environ, start_response: StartResponse) -> None:
        self._metrics, self._environ, self._start = metrics, environ, start_response
        self._method = METHODS.get(environ.get("REQUEST_METHOD", ""), OTHER)
        self._status = self.sent = 0
        self._over = False
        self._active = metrics.begin(self._method)
        self._begun = perf_counter()

    def start_response(self, status: str, *rest: Any) -> Any:
        """Pass on the status, and remember it. What is returned writes parts, which count too."""
        self._status = int(status[:3]) if status[:3].isdigit() else 0
        write = self._start(status, *rest)

        def counting(part: bytes) -> Any:
            self.sent += len(part)
            return write(part)

        return counting

    def end(self, error: str = "") -> None:
        """Record it, once."""
        if self._over:
            return
        self._over = True
        seconds = perf_counter() - self._begun
        route = str(self._environ.get(ROUTE_KEY) or UNMATCHED)
        status, error = outcome(self._status, error)
        length = str(self._environ.get("CONTENT_LENGTH") or "")
        received = int(length) if length.isascii() and length.isdigit() else 0
        self._metrics.end(self._active, (self._method, route, status, error), seconds, received, self.sent)


class _Parts:
    """The parts of a response, counted on their way to the server."""

    __slots__ = ("_exchange", "_inner", "_iterator")

    def __init__(self, inner: Iterable[bytes], exchange: _Exchange) -> None:
        self._inner, self._exchange = inner, exchange
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = iter(self._inner)
            part = next(self._iterator)
        except StopIteration:
            self._exchange.end()
            raise
        except BaseException as error:
            self._exchange.end(error_name(error))
            raise
        self._exchange.sent += len(part)
        return part

    def close(self) -> None:
        """Called by the server at the end, or before it when the client has left."""
        try:
            if close := getattr(self._inner, "close", None):
                close()
        finally:
            self._exchange.end(CLIENT_DISCONNECT)
