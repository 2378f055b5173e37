"""WSGI: what real Flask and Django applications do behind the middleware is recorded by route."""

from __future__ import annotations

import asyncio
import importlib
import io
from collections.abc import Iterator
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest

from streamgauge.producers.bridges import asgi
from streamgauge.producers.bridges.django import RouteMiddleware
from streamgauge.producers.bridges.flask import instrument
from streamgauge.producers.bridges.wsgi import App, MetricsMiddleware
from tests.unit.producers.bridges.recorded import Recorded
from tests.unit.producers.bridges.test_asgi import call as call_asgi

# without types of its own
django: Any = importlib.import_module("django")
http: Any = importlib.import_module("django.http")
urls: Any = importlib.import_module("django.urls")
sync: Any = importlib.import_module("asgiref.sync")
wsgi_handler: Any = importlib.import_module("django.core.handlers.wsgi").WSGIHandler
asgi_handler: Any = importlib.import_module("django.core.handlers.asgi").ASGIHandler

DURATION, ACTIVE = "http_server_request_duration", "http_server_active_requests"


def write_nothing(part: bytes) -> None:
    pass


def start_nothing(status: str, headers: Any, exc_info: Any = None) -> Any:
    return write_nothing


def call(app: App, method: str, path: str, body: bytes = b"", *, parts: int | None = None, **more: Any) -> bytes:
    """What a server gets when it asks for all parts, or gives up after some."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(body), **more}
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    setup_testing_defaults(environ)
    result: Any = app(environ, start_nothing)
    try:
        got = b""
        for number, part in enumerate(result, 1):
            got += part
            if number == parts:
                break
        return got
    finally:
        if hasattr(result, "close"):
            result.close()


def flask_app() -> flask.Flask:
    app = flask.Flask("shop")
    bills = flask.Blueprint("bills", __name__, url_prefix="/bills")

    @app.get("/users/<int:number>")
    def user(number: int) -> str:
        return "hello"

    @app.post("/upload")
    def upload() -> str:
        return str(len(flask.request.data))

    @app.get("/fail")
    def fail() -> str:
        raise KeyError("no such thing")

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(iter([b"0123456789"] * 3))

    @bills.get("/<name>")
    def bill(name: str) -> str:
        return name

    @app.before_request
    def guard() -> tuple[str, int] | None:
        return ("no", 401) if "secret" in flask.request.path else None

    app.register_blueprint(bills)
    return app


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/users/17", ("GET", "/users/<int:number>", "200", "")),
        ("GET", "/users/joe", ("GET", "unmatched", "404", "")),
        ("BREW", "/users/17", ("_OTHER", "unmatched", "405", "")),
        ("GET", "/bills/may", ("GET", "/bills/<name>", "200", "")),
        ("GET", "/bills/secret", ("GET", "/bills/<name>", "401", "")),
        ("GET", "/fail", ("GET", "/fail", "500", "500")),
        ("GET", "/stream", ("GET", "/stream", "200", "")),
    ],
)
def test_a_request_of_flask_is_recorded_by_the_rule_of_its_url(method: str, path: str, labels: tuple[str, ...]) -> None:
    recorded, app = Recorded(), flask_app()
    instrument(app, producer=recorded.producer)
    instrument(app, producer=recorded.producer)

    call(app, method, path)

    assert recorded.counts(DURATION) == {labels: 1}
    assert recorded.last(ACTIVE) == {(labels[0],): 0.0}


def test_sizes_are_those_of_bodies_streamed_ones_too() -> None:
    recorded, app = Recorded(), flask_app()
    instrument(app, producer=recorded.producer)

    assert call(app, "POST", "/upload", b"x" * 1_000) == b"1000"
    call(app, "GET", "/stream")

    assert recorded.sums("http_server_request_body_size") == {("POST", "/upload", "200", ""): 1_000.0}
    assert recorded.sums("http_server_response_body_size") == {
        ("POST", "/upload", "200", ""): 4.0,
        ("GET", "/stream", "200", ""): 30.0,
    }


def test_a_server_that_gives_up_on_a_stream_says_that_the_client_left() -> None:
    recorded, app = Recorded(), flask_app()
    instrument(app, producer=recorded.producer)

    call(app, "GET", "/stream", parts=1)

    assert recorded.counts(DURATION) == {("GET", "/stream", "200", "client_disconnect"): 1}
    assert recorded.last(ACTIVE) == {("GET",): 0.0}


@pytest.mark.parametrize("where", ["call", "part"])
def test_an_exception_is_named_and_goes_on(where: str) -> None:
    recorded = Recorded()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        def parts() -> Iterator[bytes]:
            yield b"one"
            raise OSError("disk")

        if where == "call":
            raise OSError("disk")
        start_response("200 OK", [])
        return parts()

    with pytest.raises(OSError, match="disk"):
        call(MetricsMiddleware(app, producer=recorded.producer), "GET", "/")

    status = {"call": "500", "part": "200"}[where]
    assert recorded.counts(DURATION) == {("GET", "unmatched", status, "OSError"): 1}


def test_a_file_goes_to_the_server_as_the_object_it_made() -> None:
    recorded = Recorded()
    file = FileWrapper(io.BytesIO(b"data"))

    def app(environ: dict[str, Any], start_response: Any) -> FileWrapper:
        start_response("200 OK", [])
        return file

    environ = {"REQUEST_METHOD": "GET", "wsgi.file_wrapper": FileWrapper}

    assert MetricsMiddleware(app, producer=recorded.producer)(environ, lambda *_: None) is file
    assert recorded.counts(DURATION) == {("GET", "unmatched", "200", ""): 1}


def test_the_middleware_keeps_to_the_rules_of_wsgi() -> None:
    recorded = Recorded()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    measured = validator(MetricsMiddleware(validator(app), producer=recorded.producer))

    assert call(measured, "GET", "/", SCRIPT_NAME="", QUERY_STRING="") == b"ok"


def view(request: Any, number: int) -> Any:
    if number == 500:
        raise KeyError("no such thing")
    return http.HttpResponse("hello")


def stream(request: Any) -> Any:
    return http.StreamingHttpResponse([b"0123456789"] * 3)


async def waiting(request: Any, number: int) -> Any:
    await asyncio.sleep(0)
    return http.HttpResponse("hello")


urlpatterns = [
    urls.path("users/<int:number>/", view),
    urls.path("stream", stream),
    urls.path("api/", urls.include([urls.path("orders/<int:number>", waiting)])),
]


@pytest.fixture(scope="module", autouse=True)
def django_site() -> None:
    configure_django()


def configure_django() -> None:
    """Django has one configuration a process: whoever comes first makes it."""
    settings: Any = importlib.import_module("django.conf").settings
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["streamgauge.producers.bridges.django.RouteMiddleware"],
            LOGGING_CONFIG=None,
        )
        django.setup()


def test_django_sees_that_the_middleware_of_an_async_application_is_to_be_awaited() -> None:
    async def awaited(request: Any) -> Any:
        return request

    def called(request: Any) -> Any:
        return request

    assert sync.iscoroutinefunction(RouteMiddleware(awaited))
    assert not sync.iscoroutinefunction(RouteMiddleware(called))


DJANGO = [
    ("/users/17/", ("GET", "/users/<int:number>/", "200", "")),
    ("/users/joe/", ("GET", "unmatched", "404", "")),
    ("/users/500/", ("GET", "/users/<int:number>/", "500", "500")),
    ("/api/orders/3", ("GET", "/api/orders/<int:number>", "200", "")),
    ("/stream", ("GET", "/stream", "200", "")),
]


@pytest.mark.parametrize(("url", "labels"), DJANGO)
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
def test_a_request_of_django_is_recorded_by_its_route(url: str, labels: tuple[str, ...]) -> None:
    recorded = Recorded()

    call(MetricsMiddleware(wsgi_handler(), producer=recorded.producer), "GET", url)

    assert recorded.counts(DURATION) == {labels: 1}


@pytest.mark.parametrize(("url", "labels"), DJANGO[:4])
async def test_a_request_of_async_django_is_recorded_by_its_route(url: str, labels: tuple[str, ...]) -> None:
    recorded = Recorded()

    await call_asgi(asgi.MetricsMiddleware(asgi_handler(), producer=recorded.producer), "GET", url)

    assert recorded.counts(DURATION) == {labels: 1}
