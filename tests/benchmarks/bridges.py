"""Bridges: what middleware costs a request, beside none and beside OpenTelemetry's, and what the other bridges cost.

The application does nothing but answer, so the floor is the least that a request through ASGI or WSGI can cost.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator
from timeit import Timer
from types import SimpleNamespace
from typing import Any

import httpx
import sqlalchemy

from streamgauge.producers import Collector, Producer, operation, set_default
from streamgauge.producers.bridges import asgi, celery, redis, wsgi
from streamgauge.producers.bridges import sqlalchemy as sqlalchemy_bridge
from streamgauge.producers.bridges.caches import count_lookups
from streamgauge.producers.bridges.host import HostMetrics
from streamgauge.producers.bridges.httpx import MeteredTransport
from streamgauge.producers.bridges.logs import MetricsHandler
from streamgauge.producers.bridges.process import ProcessMetrics
from streamgauge.producers.bridges.runtime import RuntimeMetrics
from tests.benchmarks.options import Options
from tests.benchmarks.producer_calls import new_producer
from tests.benchmarks.report import Figure

ROUNDS = 7
ROUTE = SimpleNamespace(path="/orders/{id}")
START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"hello"}
ASKED = {"type": "http.request", "body": b"", "more_body": False}


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer as a router's endpoint does."""
    scope["endpoint"], scope["route"] = answer, ROUTE
    await receive()
    await send(START)
    await send(BODY)


async def receive() -> Any:
    """A request without a body."""
    return ASKED


async def send(message: Any) -> None:
    """To nobody."""


def asgi_call(app: Callable[..., Any]) -> Callable[[], None]:
    """One request to `app`, without an event loop: nothing in it waits."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/orders/17",
        "raw_path": b"/orders/17",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"shop")],
        "server": ("shop", 80),
        "client": ("127.0.0.1", 5000),
    }

    def call() -> None:
        try:
            app(dict(scope), receive, send).send(None)
        except StopIteration:
            return

    return call


def wsgi_answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer as a framework does."""
    environ["streamgauge.route"] = "/orders/{id}"
    start_response("200 OK", [])
    return [b"hello"]


def wsgi_call(app: Callable[..., Any]) -> Callable[[], None]:
    """One request to `app`."""

    def start_response(status: str, headers: Any, *rest: Any) -> None:
        return None

    def call() -> None:
        parts = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/orders/17"}, start_response)
        for _ in parts:
            pass
        if hasattr(parts, "close"):
            parts.close()

    return call


def nanoseconds(call: Callable[[], object], calls: int) -> float:
    """CPU time of one call: the best of several rounds."""
    timer = Timer(call, timer=time.process_time_ns)
    return min(timer.timeit(calls) for _ in range(ROUNDS)) / calls


def theirs() -> Callable[[], None] | None:
    """A request through OpenTelemetry's middleware, metrics only; None where it is not installed."""
    try:
        middleware: Any = importlib.import_module("opentelemetry.instrumentation.asgi").OpenTelemetryMiddleware
    except ModuleNotFoundError:
        return None
    metrics: Any = importlib.import_module("opentelemetry.sdk.metrics")
    reader: Any = importlib.import_module("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    trace: Any = importlib.import_module("opentelemetry.trace")
    return asgi_call(
        middleware(
            answer,
            meter_provider=metrics.MeterProvider(metric_readers=[reader]),
            tracer_provider=trace.NoOpTracerProvider(),
        )
    )


def run(options: Options) -> Iterator[Figure]:
    """Requests, then the cheaper bridges."""
    calls = options.sized(20_000, 2_000)
    producer, _ = new_producer()
    set_default(producer)
    try:
        yield from requests(producer, calls)
        yield from others(producer, calls)
        yield from libraries(producer, calls // 4)
    finally:
        set_default(None)


def requests(producer: Producer, calls: int) -> Iterator[Figure]:
    """What a request costs with and without middleware."""
    bare = nanoseconds(asgi_call(answer), calls)
    whole = nanoseconds(asgi_call(asgi.MetricsMiddleware(answer, producer=producer)), calls)
    less = nanoseconds(asgi_call(asgi.MetricsMiddleware(answer, producer=producer, sizes=False)), calls)
    yield Figure("CPU a request, ASGI", "no middleware", bare, "ns")
    yield Figure("CPU a request, ASGI", "ours", whole, "ns", bare, "no middleware")
    yield Figure("CPU a request, ASGI", "ours, without sizes", less, "ns", bare, "no middleware")
    other = theirs()
    if other is None:
        print("   not beside OpenTelemetry's: pip install opentelemetry-instrumentation-asgi")
    else:
        their = nanoseconds(other, calls)
        yield Figure("CPU a request, ASGI", "OpenTelemetry's", their, "ns", bare, "no middleware")
        yield Figure("CPU a request, ASGI", "ours", whole - bare, "ns added", their - bare, "OpenTelemetry's")
    bare = nanoseconds(wsgi_call(wsgi_answer), calls)
    whole = nanoseconds(wsgi_call(wsgi.MetricsMiddleware(wsgi_answer, producer=producer)), calls)
    yield Figure("CPU a request, WSGI", "ours", whole, "ns", bare, "no middleware")


def nothing(*words: object) -> None:
    """Do nothing."""


def others(producer: Producer, calls: int) -> Iterator[Figure]:
    """What an operation and a record of a log cost."""

    def block() -> None:
        with operation("charge_card"):
            pass

    log = logging.getLogger("benchmark-of-bridges")
    log.propagate = False

    def record() -> None:
        log.warning("import", extra={"rows": 12})

    bare = nanoseconds(nothing, calls)
    yield Figure(
        "CPU a call",
        "decorated as operation",
        nanoseconds(operation("charge")(nothing), calls),
        "ns",
        bare,
        "bare call",
    )
    yield Figure("CPU a call", "with operation(...)", nanoseconds(block, calls), "ns", bare, "bare call")
    quiet, counting = logging.NullHandler(), MetricsHandler(measures={"rows": "{row}"}, producer=producer)
    log.addHandler(quiet)
    floor = nanoseconds(record, calls)
    log.addHandler(counting)
    whole = nanoseconds(record, calls)
    log.handlers.clear()
    yield Figure("CPU a call", "a log record, one measure", whole, "ns", floor, "no handler")


def libraries(producer: Producer, calls: int) -> Iterator[Figure]:
    """What bridges add to calls of the libraries themselves, which cost more than they do."""
    collector = Collector(producer, background=False)
    bare, engine = sqlalchemy.create_engine("sqlite://"), sqlalchemy.create_engine("sqlite://")
    sqlalchemy_bridge.instrument(engine, producer=producer, collector=collector)
    one = sqlalchemy.text("SELECT 1")
    with bare.connect() as plain, engine.connect() as measured:
        floor = nanoseconds(lambda: plain.execute(one).scalar(), calls)
        whole = nanoseconds(lambda: measured.execute(one).scalar(), calls)
    yield Figure("CPU a call", "a statement, SQLAlchemy", whole, "ns", floor, "not instrumented")
    answered = httpx.MockTransport(lambda request: httpx.Response(200))
    request = httpx.Request("GET", "http://shop/")
    transport = MeteredTransport(answered, hosts=["shop"], producer=producer)
    floor = nanoseconds(lambda: answered.handle_request(request), calls)
    whole = nanoseconds(lambda: transport.handle_request(request), calls)
    yield Figure("CPU a call", "a request, HTTPX's transport", whole, "ns", floor, "not instrumented")
    app: Any = importlib.import_module("celery").Celery("benchmark", set_as_current=False)
    task = app.task(name="task", shared=False)(nothing)
    floor = nanoseconds(task.apply, calls // 4)
    bridge = celery.instrument(app, producer=producer)
    yield Figure(
        "CPU a call", "a task, Celery, in place", nanoseconds(task.apply, calls // 4), "ns", floor, "not instrumented"
    )
    bridge.close()
    client: Any = type("Client", (), {"execute_command": nothing, "pipeline": nothing})()
    floor = nanoseconds(lambda: client.execute_command("GET", "a"), calls)
    redis.instrument(client, producer=producer)
    whole = nanoseconds(lambda: client.execute_command("GET", "a"), calls)
    yield Figure("CPU a call", "a command, redis, sent nowhere", whole, "ns", floor, "not instrumented")
    found = count_lookups("benchmark", producer=producer)(str)
    yield Figure(
        "CPU a call", "a counted lookup", nanoseconds(found, calls), "ns", nanoseconds(str, calls), "not counted"
    )
    yield Figure("CPU a look", "process", nanoseconds(ProcessMetrics(producer), 50) / 1_000, "us")
    yield Figure("CPU a look", "host", nanoseconds(HostMetrics(["/"], producer), 50) / 1_000, "us")
    yield Figure("CPU a look", "runtime", nanoseconds(RuntimeMetrics(producer), 50) / 1_000, "us")
