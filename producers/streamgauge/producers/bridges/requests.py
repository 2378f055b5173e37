"""Requests: measures a session's outgoing requests in its adapters, so each hop of a redirect counts.

    session = instrument(requests.Session(), hosts=["api.example.com"])

Mount adapters of your own before it. What it measures: `http_client`.
"""

from __future__ import annotations

from collections.abc import Collection
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from streamgauge.producers.bridges.http_client import ClientMetrics
from streamgauge.producers.bridges.requirements import need
from streamgauge.producers.operations import error_name

if TYPE_CHECKING:
    import requests
    from requests.adapters import BaseAdapter

    from streamgauge.producers.producer import Producer
else:
    BaseAdapter: Any = need("requests.adapters", "requests").BaseAdapter


class MeteredAdapter(BaseAdapter):
    """Another adapter, measured."""

    def __init__(self, inner: BaseAdapter, metrics: ClientMetrics) -> None:
        super().__init__()
        self._inner = inner
        self._metrics = metrics

    def send(self, request: requests.PreparedRequest, *args: Any, **named: Any) -> requests.Response:
        """Send one request; what the inner adapter raises goes on."""
        started, status, error = perf_counter(), 0, ""
        try:
            response = self._inner.send(request, *args, **named)
            status = response.status_code
        except BaseException as raised:
            error = error_name(raised)
            raise
        finally:
            host = urlsplit(request.url or "").hostname or ""
            self._metrics.record(str(request.method), str(host), status, error, perf_counter() - started)
        return response

    def close(self) -> None:
        """Close the inner adapter."""
        self._inner.close()


def instrument(
    session: requests.Session, *, hosts: Collection[str] = (), producer: Producer | None = None
) -> requests.Session:
    """Measure what a session sends from now on, and return it. A second call changes nothing."""
    metrics = ClientMetrics(hosts, producer)
    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, MeteredAdapter):
            session.mount(prefix, MeteredAdapter(adapter, metrics))
    return session
