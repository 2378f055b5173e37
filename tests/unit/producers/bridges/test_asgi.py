"""ASGI: what real Starlette and FastAPI applications do behind the middleware is recorded by route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from streamgauge.producers.bridges.asgi import App, Message, MetricsMiddleware, Scope
from tests.unit.producers.bridges.recorded import Recorded

DURATION, ACTIVE = "http_server_request_duration", "http_server_active_requests"


async def call(app: App, method: str, path: str, body: bytes = b"") -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.request(method, path, content=body)


async def hello(request: Request) -> Response:
    body = await request.body()
    return PlainTextResponse("hello " * 2 + body.decode())


async def fail(request: Request) -> Response:
    raise KeyError("no such thing")


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"0123456789"

    return StreamingResponse(parts())


async def unavailable(request: Request) -> Response:
    return Response(status_code=503)


def starlette() -> Starlette:
    inner = Starlette(routes=[Route("/items/{item}", hello)])
    return Starlette(
        routes=[
            Route("/users/{id:int}", hello, methods=["GET", "POST"]),
            Route("/fail", fail),
            Route("/stream", stream),
            Route("/unavailable", unavailable),
            Mount("/v1", app=inner),
            Mount("/tenants/{tenant}", routes=[Route("/bills/{bill}", hello)]),
        ]
    )


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/users/17", ("GET", "/users/{id:int}", "200", "")),
        ("POST", "/users/17", ("POST", "/users/{id:int}", "200", "")),
        ("DELETE", "/users/17", ("DELETE", "/users/{id:int}", "405", "")),
        ("BREW", "/users/17", ("_OTHER", "/users/{id:int}", "405", "")),
        ("GET", "/users/joe", ("GET", "unmatched", "404", "")),
        ("GET", "/wp-admin.php", ("GET", "unmatched", "404", "")),
        ("GET", "/fail", ("GET", "/fail", "500", "KeyError")),
        ("GET", "/unavailable", ("GET", "/unavailable", "503", "503")),
        ("GET", "/v1/items/3", ("GET", "/v1/items/{item}", "200", "")),
        ("GET", "/tenants/acme/bills/9", ("GET", "/tenants/{tenant}/bills/{bill}", "200", "")),
    ],
)
async def test_a_request_is_recorded_by_its_route_and_never_by_its_path(
    method: str, path: str, labels: tuple[str, ...]
) -> None:
    recorded = Recorded()
    app = starlette()
    app.add_middleware(MetricsMiddleware, producer=recorded.producer)

    await call(app, method, path)

    assert recorded.counts(DURATION) == {labels: 1}
    assert recorded.last(ACTIVE) == {(labels[0],): 0.0}


async def test_around_an_application_as_well_as_inside_of_it() -> None:
    recorded = Recorded()

    await call(MetricsMiddleware(starlette(), producer=recorded.producer), "GET", "/v1/items/3")

    assert recorded.counts(DURATION) == {("GET", "/v1/items/{item}", "200", ""): 1}


async def test_sizes_are_those_of_bodies_streamed_ones_too() -> None:
    recorded = Recorded()
    app = MetricsMiddleware(starlette(), producer=recorded.producer)

    await call(app, "POST", "/users/1", b"x" * 1_000)
    await call(app, "GET", "/stream")

    assert recorded.sums("http_server_request_body_size") == {("POST", "/users/{id:int}", "200", ""): 1_000.0}
    assert recorded.sums("http_server_response_body_size") == {
        ("POST", "/users/{id:int}", "200", ""): 1_012.0,
        ("GET", "/stream", "200", ""): 30.0,
    }


async def test_without_sizes_there_are_durations_and_active_requests_only() -> None:
    recorded = Recorded()

    await call(MetricsMiddleware(starlette(), producer=recorded.producer, sizes=False), "POST", "/users/1", b"x")

    assert {key[0] for key in recorded.found()} == {DURATION, ACTIVE}


async def test_fastapi_routes_have_the_prefixes_of_included_routers_and_mounted_applications() -> None:
    recorded = Recorded()
    app, inner, shop, orders = FastAPI(), FastAPI(), APIRouter(prefix="/shop"), APIRouter(prefix="/orders")

    @orders.get("/{order}")
    async def order(order: int) -> dict[str, int]:
        return {"order": order}

    @inner.get("/reports/{name}")
    def report(name: str) -> str:
        return name

    shop.include_router(orders)
    app.include_router(shop, prefix="/api")
    app.mount("/inner", inner)
    app.add_middleware(MetricsMiddleware, producer=recorded.producer)

    assert (await call(app, "GET", "/api/shop/orders/5")).json() == {"order": 5}
    assert (await call(app, "GET", "/api/shop/orders/five")).status_code == 422
    assert (await call(app, "GET", "/inner/reports/may")).json() == "may"
    assert (await call(app, "GET", "/nowhere")).status_code == 404

    assert recorded.counts(DURATION) == {
        ("GET", "/api/shop/orders/{order}", "200", ""): 1,
        ("GET", "/api/shop/orders/{order}", "422", ""): 1,
        ("GET", "/inner/reports/{name}", "200", ""): 1,
        ("GET", "unmatched", "404", ""): 1,
    }


async def test_a_background_task_is_no_part_of_its_request_and_its_failure_neither() -> None:
    recorded = Recorded()
    seen: list[int] = []

    async def late() -> None:
        seen.append(sum(recorded.counts(DURATION).values()))
        raise RuntimeError("after all was said")

    async def quick(request: Request) -> Response:
        return Response(background=BackgroundTask(late))

    await call(MetricsMiddleware(Starlette(routes=[Route("/", quick)]), producer=recorded.producer), "GET", "/")

    assert seen == [1]
    assert recorded.counts(DURATION) == {("GET", "/", "200", ""): 1}


def http_scope(**more: Any) -> Scope:
    return {"type": "http", "method": "GET", "path": "/", "headers": [], **more}


async def nothing(message: Message) -> None:
    pass


@pytest.mark.parametrize("how", ["told", "cancelled", "send fails"])
async def test_a_client_that_leaves_is_an_error_of_its_own(how: str) -> None:
    recorded = Recorded()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        scope["streamgauge.route"] = "/slow"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if how != "send fails":
            assert (await receive())["type"] == "http.disconnect"
        if how == "cancelled":
            raise asyncio.CancelledError
        await send({"type": "http.response.body", "body": b"part", "more_body": True})

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if how == "send fails" and message["type"] == "http.response.body":
            raise BrokenPipeError

    try:
        await MetricsMiddleware(app, producer=recorded.producer)(http_scope(), gone, send)
    except (asyncio.CancelledError, BrokenPipeError):
        assert how != "told"

    assert recorded.counts(DURATION) == {("GET", "/slow", "200", "client_disconnect"): 1}
    assert recorded.last(ACTIVE) == {("GET",): 0.0}


async def test_a_file_that_the_server_sends_by_itself_ends_the_exchange() -> None:
    recorded, over = Recorded(), list[int]()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": "/file"})
        over.append(sum(recorded.counts(DURATION).values()))

    async def asked() -> Message:
        return {"type": "http.request"}

    await MetricsMiddleware(app, producer=recorded.producer)(http_scope(), asked, nothing)

    assert over == [1]
    assert recorded.counts(DURATION) == {("GET", "unmatched", "200", ""): 1}


async def test_a_client_that_leaves_after_the_answer_is_no_error() -> None:
    recorded = Recorded()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        await receive()

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    await MetricsMiddleware(app, producer=recorded.producer)(http_scope(), gone, nothing)

    assert recorded.counts(DURATION) == {("GET", "unmatched", "204", ""): 1}


async def test_an_application_that_answers_nothing_is_counted_as_the_500_that_the_server_makes_of_it() -> None:
    recorded = Recorded()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        pass

    async def asked() -> Message:
        return {"type": "http.request"}

    await MetricsMiddleware(app, producer=recorded.producer)(http_scope(), asked, nothing)

    assert recorded.counts(DURATION) == {("GET", "unmatched", "500", "500"): 1}


async def test_websockets_and_lifespan_pass_through_untouched() -> None:
    recorded, said = Recorded(), list[str]()

    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    app = MetricsMiddleware(Starlette(routes=[WebSocketRoute("/chat", chat)]), producer=recorded.producer)
    coming = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect"}])
    living = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def send(message: Message) -> None:
        said.append(message["type"])

    async def next_of_socket() -> Message:
        return next(coming)

    async def next_of_life() -> Message:
        return next(living)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, next_of_life, send)
    await app({"type": "websocket", "path": "/chat", "headers": [], "subprotocols": []}, next_of_socket, send)

    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.accept", "websocket.close"]
    assert recorded.found() == {}


async def test_a_route_finder_that_fails_costs_the_route_and_nothing_else() -> None:
    recorded = Recorded()

    def finder(scope: Any, root: str) -> str:
        raise ValueError("not here")

    app = MetricsMiddleware(starlette(), producer=recorded.producer, route=finder)

    assert (await call(app, "GET", "/users/1")).status_code == 200
    assert recorded.counts(DURATION) == {("GET", "unmatched", "200", ""): 1}
