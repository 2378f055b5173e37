"""HTTP client: the metric of outgoing requests, the same for every library.

`http_client_request_duration` (OpenTelemetry's `http.client.request.duration`, s) by `method`, `host` (`server.address`),
`status` and `error_type`. A host is a label only where it is named in advance: others are `_OTHER`, and all are left out
when none is named. URLs never become labels. 4xx and 5xx are errors of a client.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from streamgauge.producers.bridges.http_server import METHODS, OTHER
from streamgauge.producers.metrics import Histogram

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer


class ClientMetrics:
    """Declares the metric and takes one exchange at a time. `hosts` are those that get a series of their own."""

    def __init__(self, hosts: Collection[str] = (), producer: Producer | None = None) -> None:
        self._hosts = frozenset((hosts,) if isinstance(hosts, str) else hosts)
        self._duration = Histogram(
            "http_client_request_duration",
            "Time until the head of a response",
            ["method", "host", "status", "error_type"],
            unit="s",
            producer=producer,
        )

    def record(self, method: str, host: str, status: int, error: str, seconds: float) -> None:
        """An exchange is over; `status` is 0 when there was no response."""
        host = (host if host in self._hosts else OTHER) if self._hosts else ""
        code = str(status) if status else ""
        self._duration.labels(
            METHODS.get(method.upper(), OTHER), host, code, error or (code if status >= 400 else "")
        ).observe(seconds)
