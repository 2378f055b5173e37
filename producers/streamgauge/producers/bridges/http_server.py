"""HTTP server: the metrics of incoming requests, the same for every framework. OpenTelemetry's conventions, our columns.

| metric | OpenTelemetry | unit |
|---|---|---|
| `http_server_request_duration` | `http.server.request.duration` | s |
| `http_server_active_requests` | `http.server.active_requests` | {request} |
| `http_server_request_body_size` | `http.server.request.body.size` | By |
| `http_server_response_body_size` | `http.server.response.body.size` | By |

Labels are `method` (`http.request.method`), `operation` (`http.route`: the template, never the path), `status`
(`http.response.status_code`, empty when no response was begun) and `error_type` (`error.type`, empty when all is well).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgauge.producers.metrics import Gauge, Histogram

if TYPE_CHECKING:
    from streamgauge.producers.handles import GaugeHandle
    from streamgauge.producers.producer import Producer

METHODS = {
    name: name for name in ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
}
OTHER = "_OTHER"
"""Stands for every method that no standard knows: a client may send any word."""
UNMATCHED = "unmatched"
"""The operation of a request that no route is for."""
ROUTE_KEY = "streamgauge.route"
"""Where a framework's hook leaves the template, in ASGI's scope or WSGI's environ."""
CLIENT_DISCONNECT = "client_disconnect"
LABELS = ("method", "operation", "status", "error_type")


class ServerMetrics:
    """Declares the metrics and takes one exchange at a time. Without `sizes` only durations and active requests."""

    def __init__(self, producer: Producer | None = None, *, sizes: bool = True) -> None:
        self._sizes = sizes
        self._duration = Histogram(
            "http_server_request_duration", "Time to answer a request", LABELS, unit="s", producer=producer
        )
        self._active = Gauge(
            "http_server_active_requests", "Requests being answered", ["method"], unit="{request}", producer=producer
        )
        if sizes:
            self._received = Histogram(
                "http_server_request_body_size", "Bytes of requests", LABELS, unit="By", producer=producer
            )
            self._sent = Histogram(
                "http_server_response_body_size", "Bytes of responses", LABELS, unit="By", producer=producer
            )

    def begin(self, method: str) -> GaugeHandle:
        """One more request is active; hand what is returned to `end`."""
        active = self._active.labels(method)
        active.inc()
        return active

    def end(
        self,
        active: GaugeHandle,
        labels: tuple[str, str, str, str],
        seconds: float,
        received: int,
        sent: int,
    ) -> None:
        """An exchange is over. A size of a request without a body, and that of a response that never began, is none."""
        active.dec()
        self._duration.labels(*labels).observe(seconds)
        if self._sizes:
            if received:
                self._received.labels(*labels).observe(float(received))
            if labels[2]:
                self._sent.labels(*labels).observe(float(sent))


def outcome(status: int, error: str) -> tuple[str, str]:
    """The labels `status` and `error_type` of an exchange: 5xx is an error of the server, 4xx is not.

    An exception before the response began becomes a 500 by the server; a client that left got no status.
    """
    if error == CLIENT_DISCONNECT:
        return (str(status) if status else ""), error
    if not status:
        return "500", error or "500"
    return str(status), error or (str(status) if status >= 500 else "")
