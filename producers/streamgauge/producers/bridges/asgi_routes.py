"""ASGI routes: the template of the route that served a request, from what Starlette and FastAPI leave in the scope.

Mounted applications add their prefix as a template too: a path parameter of a mount never becomes a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from streamgauge.producers.bridges.http_server import ROUTE_KEY


def route_of(scope: Mapping[str, Any], root_path: str) -> str | None:
    """The template of a routed scope; None when no route matched. `root_path` is that from before the routing."""
    if named := scope.get(ROUTE_KEY):
        return str(named)
    endpoint: Any = scope.get("endpoint")
    if endpoint is None:
        return None
    routes: Iterable[Any] = getattr(scope.get("router"), "routes", ())
    prefix = _mounted(routes, str(scope.get("root_path", "")).removeprefix(root_path))
    route: Any = scope.get("route")
    if route is None:  # Starlette before 1.0 names the endpoint only
        route = next((one for one in routes if getattr(one, "endpoint", None) is endpoint), None)
    leaf = _own_template(scope, route)
    return f"{prefix}{leaf}" or None


def _own_template(scope: Mapping[str, Any], route: Any) -> str:
    """The template of a leaf, without mounts; empty for a mount, whose template is its prefix."""
    if route is None or hasattr(route, "routes"):
        return ""
    # an included router's route has its prefix in a context of its own
    own = cast("dict[str, Any]", scope.get("fastapi") or {})
    context: Any = own.get("effective_route_context")
    if context is not None and getattr(context, "original_route", None) is route:
        starlette: Any = getattr(context, "starlette_route", None)
        found = getattr(starlette or context, "path", None) or getattr(context, "path_format", None)
        if found:
            return str(found)
    return str(getattr(route, "path", ""))


def _mounted(routes: Iterable[Any], prefix: str) -> str:
    """The templates of the mounts that matched `prefix`, a part of a path."""
    if not prefix:
        return ""
    for one in routes:
        pattern: Any = getattr(one, "path_regex", None)
        if pattern is None or not hasattr(one, "routes"):
            continue
        found = pattern.match(f"{prefix}/")
        if found is not None:
            inner = found.groupdict().get("path", "").strip("/")
            return str(one.path) + _mounted(one.routes, f"/{inner}" if inner else "")
    return ""
