"""Answers of the page: statements are asked once for all viewers, a few at a time, and their answers kept for a second."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from streamgauge.console.key_inbox import WEEK_MS, inbox_keys, inbox_params, inbox_sql
from streamgauge.console.page_catalog import Entry, Wish, chart, entries, metrics_sql, views_sql
from streamgauge.console.page_queries import Chart, Look, board
from streamgauge.schemas.errors import InputError, StreamgaugeError

T = TypeVar("T")
Query = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Sequence[Any]]]]
"""Rows of a statement with bound parameters."""

KEPT_S, CATALOG_KEPT_S, INBOX_KEPT_S, MOST_KEPT = 1.0, 3.0, 10.0, 64
READ_LIMITS = "SETTINGS max_execution_time = 5"
AT_ONCE = 2
ANSWER_WITHIN_S = 8.0


class Shared:
    """Values that many ask for: computed once, by whoever asks first, and kept for a while. Failures are not kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_KEPT) -> None:
        self._clock = clock
        self._most = most
        self._kept: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}

    async def get(self, key: Hashable, kept_s: float, make: Callable[[], Awaitable[T]]) -> T:
        """The value of `key`, at most `kept_s` old."""
        now = self._clock()
        kept = self._kept.get(key)
        if kept is None or (kept[1].done() and (now - kept[0] >= kept_s or kept[1].exception() is not None)):
            self._kept.pop(key, None)
            while len(self._kept) >= self._most:
                self._kept.pop(next(iter(self._kept)))
            kept = self._kept[key] = (now, asyncio.ensure_future(make()))
        # one viewer that goes away must not take the answer from the others
        value: T = await asyncio.shield(kept[1])
        return value


class Answers:
    """What the page says, as JSON objects. Errors of single charts are part of the answer."""

    def __init__(
        self,
        query: Query,
        database: str,
        clock: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._query = query
        self._database = database
        self._shared = Shared(clock)
        self._wall_s = wall_s
        self._places = asyncio.Semaphore(AT_ONCE)

    async def board(self, look: Look) -> dict[str, Any]:
        """Every chart of the board with its rows; `store` says what is wrong with the store, if anything is."""
        return await self._shared.get(("board", look), KEPT_S, lambda: self._board(look))

    async def catalog(self) -> dict[str, Any]:
        """Every metric and event that has arrived."""
        try:
            found = await self._entries()
        except Exception as error:
            return {"entries": [], "store": said(error)}
        return {"entries": [one.json() for one in found], "store": ""}

    async def one(self, name: str, wish: Wish, look: Look) -> dict[str, Any]:
        """A chart of one metric or event. Raises InputError for one that there is not."""
        try:
            found = {one.name: one for one in await self._entries()}
        except Exception as error:
            return {"charts": [], "store": said(error)}
        if name not in found:
            raise InputError(f"nothing called {name!r} has arrived")
        drawn = chart(found[name], wish, look, self._database)
        key = ("chart", drawn.sql, tuple(drawn.params.items()))
        return {"charts": [await self._shared.get(key, KEPT_S, lambda: self._filled(drawn))], "store": ""}

    async def inbox(self) -> dict[str, Any]:
        """Keys of the last week that are new or suspicious, and the statement that finds them."""
        return await self._shared.get("inbox", INBOX_KEPT_S, self._inbox)

    async def _inbox(self) -> dict[str, Any]:
        # to the minute, so that the statement is one that a person can ask again
        since_ms = int(self._wall_s() // 60) * 60_000 - WEEK_MS
        sql, params = f"{inbox_sql(self._database)}\n{READ_LIMITS}", inbox_params(since_ms)
        try:
            rows = await self._ask(sql, params)
        except Exception as error:
            return {"keys": [], "sql": sql, "params": params, "store": said(error)}
        return {"keys": [one.json() for one in inbox_keys(rows)], "sql": sql, "params": params, "store": ""}

    async def _board(self, look: Look) -> dict[str, Any]:
        try:
            views = await self._views()
        except Exception as error:
            unasked = [_waiting(one) for one in board(look, self._database)]
            return {"charts": await asyncio.gather(*unasked), "store": said(error), "now": self._wall_s()}
        charts = [self._filled(one) if one.view in views else _waiting(one) for one in board(look, self._database)]
        found = await asyncio.gather(*charts)
        # one chart may have its own trouble; when all that were asked fail it is the store's
        failed = [one["error"] for one in found if one.get("error")]
        asked = [one for one in found if one["view"] in views]
        away = failed[0] if failed and len(failed) == len(asked) else ""
        return {"charts": found, "store": away, "now": self._wall_s()}

    async def _filled(self, one: Chart) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            rows = [[plain(value) for value in row] for row in await self._ask(one.sql, one.params)]
        except Exception as error:
            return {**one.json(), "rows": [], "error": said(error)}
        return {**one.json(), "rows": rows, "took_ms": round((time.perf_counter() - started) * 1_000)}

    async def _views(self) -> frozenset[str]:
        async def ask() -> frozenset[str]:
            return frozenset(str(row[0]) for row in await self._ask(views_sql(), {"database": self._database}))

        return await self._shared.get("views", CATALOG_KEPT_S, ask)

    async def _entries(self) -> list[Entry]:
        async def ask() -> list[Entry]:
            return entries(await self._ask(metrics_sql(self._database), {}), await self._views())

        return await self._shared.get("entries", CATALOG_KEPT_S, ask)

    async def _ask(self, sql: str, params: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        async with self._places, asyncio.timeout(ANSWER_WITHIN_S):
            return await self._query(sql, params)


async def _waiting(one: Chart) -> dict[str, Any]:
    return {**one.json(), "rows": [], "took_ms": 0}


def plain(value: Any) -> Any:
    """A value that JSON can hold; what is not a finite number is null."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def said(error: Exception) -> str:
    """An error in a few words. The text of a foreign error may hold a value, so only its name is shown."""
    if isinstance(error, TimeoutError):
        return "the store did not answer in time"
    return str(error) if isinstance(error, StreamgaugeError) else f"the store does not answer ({type(error).__name__})"
