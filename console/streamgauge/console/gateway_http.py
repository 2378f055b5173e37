"""The gateway's HTTP side: who may come in, bodies, status codes. What is in a body others decide.

POST /v1/metrics is OTLP, POST /v1/events the event door, GET /health says how it goes. Every POST shows the token.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import logging
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from types import ModuleType
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from streamgauge.console import otlp_json
from streamgauge.console.gateway_account import Account, Refusal
from streamgauge.console.gateway_body import unpacked
from streamgauge.console.gateway_door import EventDoor
from streamgauge.console.gateway_rate import Rate
from streamgauge.console.gateway_repeats import Repeats
from streamgauge.console.gateway_watch import Watch
from streamgauge.console.otlp_intake import OTLP, OtlpIntake
from streamgauge.console.otlp_model import PayloadError
from streamgauge.console.page_guard import refusal
from streamgauge.schemas.settings import Secret, duration_ms

log = logging.getLogger("streamgauge.gateway")

JSON, PROTOBUF = "application/json", "application/x-protobuf"
HTTP = "http"
STATUS = {
    "too_large": 413,
    "too_many_events": 413,
    "unknown_encoding": 415,
    "rate_limited": 429,
    "buffer_full": 503,
    "busy": 503,
    "too_slow": 408,
    "internal_error": 500,
    "unauthorized": 401,
    "foreign_page": 403,
    "unknown_type": 415,
    "no_protobuf": 501,
}
"""Status codes of refusals of whole requests; others are 400."""
MAX_READING, READ_S = 64, 30.0
"""Bodies that are read at the same time, and how long one may take."""
MAX_WAIT_S = 30.0


class GatewayHttp:
    """Handlers. `health` says what GET /health answers; the first of its pair is whether all is well."""

    def __init__(
        self,
        otlp: OtlpIntake,
        door: EventDoor,
        account: Account,
        token: Secret,
        max_body: int,
        requests: Rate,
        now_ms: Callable[[], int],
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
        send_events: Callable[[], Watch],
    ) -> None:
        self._otlp = otlp
        self._door = door
        self._account = account
        self._token = token
        self._max_body = max_body
        self._requests = requests
        self._now_ms = now_ms
        self._health = health
        self._send_events = send_events
        self._repeats = Repeats()
        self._reading = 0

    def application(self) -> web.Application:
        """The routes."""
        # packed bodies are unpacked by us, within the bound
        app = web.Application(client_max_size=self._max_body, middlewares=[self._guard])
        app.router.add_post("/v1/metrics", self.metrics)
        app.router.add_post("/v1/events", self.events)
        app.router.add_get("/health", self.health)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        kind = request.content_type
        try:
            if request.method == "POST":
                self._admit(request)
            response = await handler(request)
        except Refusal as refused:
            self._account.refuse(HTTP, refused.reason)
            response = _refused(refused, kind)
        except web.HTTPRequestEntityTooLarge:
            self._account.refuse(HTTP, "too_large")
            response = _refused(Refusal("too_large", f"the body has more than {self._max_body} bytes"), kind)
        except web.HTTPException:
            raise
        except Exception as error:  # its text may hold a value, so only its name is said
            log.error("a request was not answered: internal error %s", type(error).__name__)
            self._account.refuse(HTTP, "internal_error")
            response = _refused(Refusal("internal_error"), kind)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _admit(self, request: web.Request) -> None:
        if self._token:
            word, _, shown = request.headers.get("Authorization", "").partition(" ")
            if word.lower() != "bearer" or not hmac.compare_digest(
                shown.strip().encode("utf-8", "replace"), self._token.reveal().encode()
            ):
                raise Refusal("unauthorized", "show the token: Authorization: Bearer …")
        elif why := refusal(request.headers.get("Host", ""), request.headers.get("Sec-Fetch-Site", "")):
            # without a token, a page of somewhere else must not write here through its visitor's browser
            raise Refusal("foreign_page", why)
        if not self._requests.take(1, time.monotonic()):
            raise Refusal("rate_limited", "more requests a second than are allowed here; try again")

    async def _body(self, request: web.Request) -> bytes:
        if self._reading >= MAX_READING:
            raise Refusal("busy", "too many requests at the same time; try again")
        self._reading += 1
        try:
            async with asyncio.timeout(READ_S):
                body = await request.read()
        except TimeoutError:
            raise Refusal("too_slow", f"the body did not come within {READ_S:g} s") from None
        finally:
            self._reading -= 1
        return unpacked(body, request.headers.get("Content-Encoding", ""), self._max_body)

    async def metrics(self, request: web.Request) -> web.Response:
        """OTLP."""
        kind = request.content_type
        if kind not in (JSON, PROTOBUF):
            raise Refusal("unknown_type", f"send {PROTOBUF} or {JSON}")
        body = await self._body(request)
        digest, now = blake2b(body, digest_size=16).digest(), time.monotonic()
        coding: Any = otlp_json if kind == JSON else _protobuf()
        if self._repeats.seen(digest, now):
            self._account.adjust(OTLP, "repeated_request")
            return web.Response(body=coding.response(0, ""), content_type=kind)
        try:
            metrics = coding.read(body)
        except PayloadError as error:
            raise Refusal("bad_request", str(error)) from None
        taken = self._otlp.take(metrics, self._now_ms())
        if taken.timed:
            self._repeats.add(digest, now)
        return web.Response(body=coding.response(taken.rejected.total(), taken.message()), content_type=kind)

    async def events(self, request: web.Request) -> web.Response:
        """The event door; with `?wait=5s` the answer comes when the broker has the events, or after so long."""
        wait_s = waiting(request.query.get("wait", ""))
        answer = self._door.take(await self._body(request), self._now_ms())
        if wait_s and answer.accepted:
            # nothing else runs between taking and sending: these batches hold all that was accepted here
            answer.delivered = await self._send_events().wait(wait_s)
        headers = {"Retry-After": "1"} if answer.status in (429, 503) else {}
        return web.Response(status=answer.status, body=answer.json(), content_type=JSON, headers=headers)

    async def health(self, _: web.Request) -> web.Response:
        """How it goes. Counts only, so no token is asked for."""
        well, body = self._health()
        return web.Response(status=200 if well else 503, body=orjson.dumps(body), content_type=JSON)


def waiting(text: str) -> float:
    """How many seconds a sender wants to wait for the broker, not too many. Raises Refusal `bad_wait`."""
    if not text:
        return 0.0
    try:
        span = duration_ms(text)
    except ValueError:
        span = -1
    if span <= 0:
        raise Refusal("bad_wait", "wait is a time, such as 5s")
    return min(span / 1000, MAX_WAIT_S)


def _protobuf() -> ModuleType:
    try:
        return importlib.import_module("streamgauge.console.otlp_protobuf")
    except ModuleNotFoundError as error:
        raise Refusal(
            "no_protobuf", f"protobuf needs {error.name}: pip install 'streamgauge[gateway]', or send {JSON}"
        ) from error


def _refused(refused: Refusal, kind: str) -> web.Response:
    status = STATUS.get(refused.reason, 400)
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if kind == PROTOBUF:
        return web.Response(status=status, body=status_message(str(refused)), content_type=PROTOBUF, headers=headers)
    body = orjson.dumps({"error": refused.reason, "message": str(refused)})
    return web.Response(status=status, body=body, content_type=JSON, headers=headers)


def status_message(text: str) -> bytes:
    """A google.rpc.Status with code 3 (invalid argument), which OTLP asks for: two fields, not worth a dependency."""
    words = text.encode()[:4096]
    size = bytearray()
    rest = len(words)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    size.append(rest)
    return b"\x08\x03\x12" + bytes(size) + words
