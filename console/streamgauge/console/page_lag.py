"""Lag: from emit to visible in SQL, measured from outside: an event that carries its instant, and a query that looks for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import ceil
from typing import Any

from streamgauge.producers import Event, Measure, Producer, unit
from streamgauge.sinks.ddl import table

log = logging.getLogger("streamgauge.console")

Query = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Sequence[Any]]]]
"""Rows of a statement with bound parameters."""


class LagProbe(Event, owner="streamgauge", purpose="operations"):
    """Asks how long an event takes to become visible. Carries the instant at which it was emitted."""

    sent: Measure[float, unit("s")]


def nearest_rank(sorted_values: Sequence[float], q: float) -> float | None:
    """The q-quantile of sorted values by nearest rank; None of none."""
    if not sorted_values:
        return None
    return sorted_values[max(0, ceil(q * len(sorted_values)) - 1)]


class LagBook:
    """Which probes are on their way and how long the others took; the last `capacity` count. Times are seconds."""

    def __init__(self, capacity: int = 120) -> None:
        self._waiting: deque[float] = deque(maxlen=capacity)
        self._took: deque[float] = deque(maxlen=capacity)

    def sent(self, instant: float) -> None:
        """A probe left."""
        self._waiting.append(instant)

    def visible(self, newest: float, now: float) -> None:
        """Probes up to the one that was sent at `newest` are visible now. They arrive in the order they were sent."""
        while self._waiting and self._waiting[0] <= newest:
            self._took.append(now - self._waiting.popleft())

    def quantiles(self, now: float) -> tuple[float | None, float | None]:
        """p50 and p99. A probe that waits longer than the others took counts with what it has waited: lags must show
        while they grow, not when they are over."""
        longest = max(self._took, default=0.0)
        overdue = [now - instant for instant in self._waiting if now - instant > longest]
        # before anything has arrived, the age of the first probe is no measurement yet
        values = sorted([*self._took, *overdue]) if self._took else []
        return nearest_rank(values, 0.5), nearest_rank(values, 0.99)


class LagMeter:
    """Sends a probe every `every_s` and looks every `look_s` which ones can be seen."""

    def __init__(
        self, producer: Producer, query: Query, database: str, every_s: float = 0.5, look_s: float = 0.2
    ) -> None:
        self._producer = producer
        self._query = query
        self._every_s = every_s
        self._look_s = look_s
        self.book = LagBook()
        rollups = table(database, "rollups_10s")
        self._sql = (
            f"SELECT max(max) FROM {rollups} WHERE materialization_version = 1 AND metric = 'lag_probe.sent'"  # noqa: S608  # quoted
            " AND window >= now() - 600"
        )

    async def run(self) -> None:
        """Until cancelled. A store that does not answer is a lag that grows, not an error."""
        due = 0.0
        while True:
            now = time.time()
            if now >= due:
                due = now + self._every_s
                self._producer.emit(LagProbe(sent=now))
                self.book.sent(now)
            try:
                rows = await self._query(self._sql, {})
                self.book.visible(float(rows[0][0] or 0.0) if rows else 0.0, time.time())
            except Exception as error:
                log.debug("the lag is not known now: %s", type(error).__name__)
            await asyncio.sleep(self._look_s)

    def quantiles(self) -> tuple[float | None, float | None]:
        """p50 and p99 of what was measured lately."""
        return self.book.quantiles(time.time())
