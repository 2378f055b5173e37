"""Django: names the route of each request for the WSGI or ASGI middleware that measures it.

    # settings.py
    MIDDLEWARE = ["streamgauge.producers.bridges.django.RouteMiddleware", ...]
    # wsgi.py; asgi.py alike, with bridges.asgi
    application = MetricsMiddleware(get_wsgi_application())

Works with plain and async applications without a change of thread. What is measured: `http_server`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamgauge.producers.bridges.http_server import ROUTE_KEY
from streamgauge.producers.bridges.requirements import need

_sync: Any = need("asgiref.sync", "django")


class RouteMiddleware:
    """Leaves the template of the route that Django resolved where the measuring middleware looks for it."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self._awaited = bool(_sync.iscoroutinefunction(get_response))
        if self._awaited:
            _sync.markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Answer, then name the route."""
        if self._awaited:
            return self._answer(request)
        response = self.get_response(request)
        name_route(request)
        return response

    async def _answer(self, request: Any) -> Any:
        response = await self.get_response(request)
        name_route(request)
        return response


def name_route(request: Any) -> None:
    """Say which route a request was resolved to; nothing when there was none."""
    match = getattr(request, "resolver_match", None)
    if match is None:
        return
    scope: Any = getattr(request, "scope", None)
    (request.META if scope is None else scope)[ROUTE_KEY] = f"/{match.route}"
