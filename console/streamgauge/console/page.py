"""The page: a small web server over the store. It reads only, keeps nothing, and loads nothing from elsewhere."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Collection, Mapping
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from streamgauge.console.page_answers import Answers, Query, said
from streamgauge.console.page_catalog import Wish
from streamgauge.console.page_guard import HEADERS, refusal
from streamgauge.console.page_queries import Look
from streamgauge.schemas.errors import InputError

State = Callable[[], Mapping[str, Any]]
"""What the page shows beside the store's answers. All keys are optional: `mode` ("demo" or "dev"), `elapsed_s`, `run_s`,
`accounts` (see `page_accounts.balance_json`), `checked` (see `verify_text.watch_line`), `addresses` (name to text), `shop`
(a sentence), `incident` ({"region", "from_s", "to_s"}, seconds of the run)."""

GRACE_S = 0.5


class Page:
    """A listening page."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        """Use `start_page`."""
        self._runner = runner
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def close(self) -> None:
        """Stop listening; running requests get a short grace."""
        await self._runner.cleanup()


async def start_page(
    query: Query,
    state: State,
    port: int = 0,
    host: str = "127.0.0.1",
    *,
    database: str = "streamgauge",
    names: Collection[str] = (),
) -> Page:
    """Serve the page; port 0 takes a free one. `names` are host names that it answers to beside localhost and addresses.

    Raises InputError when it cannot listen there.
    """
    site = _Site(Answers(query, database), state)
    app = web.Application(middlewares=[_guard(frozenset(names))], client_max_size=1 << 10)
    app.router.add_get("/", site.index)
    app.router.add_get("/static/{path:[a-z0-9./A-Z_-]+}", site.static)
    app.router.add_get("/api/state", site.state)
    app.router.add_get("/api/board", site.board)
    app.router.add_get("/api/catalog", site.catalog)
    app.router.add_get("/api/chart", site.chart)
    app.router.add_get("/api/inbox", site.inbox)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise InputError(
            f"{host}:{port}: the page cannot listen here ({error.strerror}). Choose another port, or 0."
        ) from error
    return Page(runner, host, int(runner.addresses[0][1]))


def asset(path: str) -> tuple[bytes, str] | None:
    """Content and type of a file of the page; None when there is none of this name."""
    place = files("streamgauge.console") / "static"
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            return None
        place = place / part
    if not place.is_file():
        return None
    return place.read_bytes(), mimetypes.guess_type(path)[0] or "text/plain"


def _guard(names: frozenset[str]) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        why = refusal(request.headers.get("Host", ""), request.headers.get("Sec-Fetch-Site", ""), names)
        try:
            response = web.Response(status=403, text=f"{why}\n") if why else await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        response.headers.update(HEADERS)
        return response

    return guard


class _Site:
    """Requests in, answers out."""

    def __init__(self, answers: Answers, state: State) -> None:
        self._answers = answers
        self._state = state

    async def index(self, _: web.Request) -> web.Response:
        return _file("index.html")

    async def static(self, request: web.Request) -> web.Response:
        return _file(request.match_info["path"])

    async def state(self, _: web.Request) -> web.Response:
        return _json(dict(self._state()))

    async def board(self, request: web.Request) -> web.Response:
        try:
            return _json(await self._answers.board(_look(request)))
        except InputError as error:
            return _json({"error": said(error)}, 400)

    async def catalog(self, _: web.Request) -> web.Response:
        return _json(await self._answers.catalog())

    async def inbox(self, _: web.Request) -> web.Response:
        return _json(await self._answers.inbox())

    async def chart(self, request: web.Request) -> web.Response:
        asked = request.query
        wish = Wish(asked.get("value", ""), asked.get("group", "region"), asked.get("tier", ""))
        try:
            return _json(await self._answers.one(asked.get("name", ""), wish, _look(request)))
        except InputError as error:
            return _json({"error": said(error)}, 400)


def _look(request: web.Request) -> Look:
    span = request.query.get("span", "300")
    # longer digits than any span would only make Python count
    return Look(int(span) if span.isdecimal() and len(span) < 10 else 0, request.query.get("region", ""))


def _file(path: str) -> web.Response:
    found = asset(path)
    if found is None:
        raise web.HTTPNotFound(text="There is nothing here.\n")
    content, kind = found
    charset = "utf-8" if kind.startswith("text/") or kind.endswith(("javascript", "json")) else None
    return web.Response(body=content, content_type=kind, charset=charset, headers={"Cache-Control": "no-cache"})


def _json(body: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body, default=str),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
