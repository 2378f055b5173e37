"""HTTPX: measures outgoing requests in the transport, so each hop of a redirect counts.

    client = httpx.Client(transport=MeteredTransport(httpx.HTTPTransport(), hosts=["api.example.com"]))
    client = httpx.AsyncClient(transport=AsyncMeteredTransport(httpx.AsyncHTTPTransport()))

What it measures: `http_client`.
"""

from __future__ import annotations

from collections.abc import Collection
from time import perf_counter
from typing import TYPE_CHECKING, Any

from streamgauge.producers.bridges.http_client import ClientMetrics
from streamgauge.producers.bridges.requirements import need
from streamgauge.producers.operations import error_name

if TYPE_CHECKING:
    import httpx
    from httpx import AsyncBaseTransport, BaseTransport

    from streamgauge.producers.producer import Producer
else:
    _httpx: Any = need("httpx", "httpx")
    BaseTransport, AsyncBaseTransport = _httpx.BaseTransport, _httpx.AsyncBaseTransport


class MeteredTransport(BaseTransport):
    """Another transport, measured."""

    def __init__(
        self, inner: httpx.BaseTransport, *, hosts: Collection[str] = (), producer: Producer | None = None
    ) -> None:
        self._inner = inner
        self._metrics = ClientMetrics(hosts, producer)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; what the inner transport raises goes on."""
        started, status, error = perf_counter(), 0, ""
        try:
            response = self._inner.handle_request(request)
            status = response.status_code
        except BaseException as raised:
            error = error_name(raised)
            raise
        finally:
            self._metrics.record(request.method, request.url.host, status, error, perf_counter() - started)
        return response

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class AsyncMeteredTransport(AsyncBaseTransport):
    """Another async transport, measured."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport, *, hosts: Collection[str] = (), producer: Producer | None = None
    ) -> None:
        self._inner = inner
        self._metrics = ClientMetrics(hosts, producer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; what the inner transport raises goes on."""
        started, status, error = perf_counter(), 0, ""
        try:
            response = await self._inner.handle_async_request(request)
            status = response.status_code
        except BaseException as raised:
            error = error_name(raised)
            raise
        finally:
            self._metrics.record(request.method, request.url.host, status, error, perf_counter() - started)
        return response

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()
