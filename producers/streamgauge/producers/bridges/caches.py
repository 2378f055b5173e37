"""Caches: hits and misses. Needs no library.

    @count_lookups("sessions")            # a lookup that returns None when it finds nothing
    def session_of(key): ...

    observe_lru_cache(prices, "prices")   # a function under functools.lru_cache: no cost a call

| metric | unit | labels |
|---|---|---|
| `cache_lookups` (counter) | {lookup} | `cache`, `result`: hit, miss |
| `cache_size` (gauge), of an lru_cache | {entry} | `cache` |

The hit ratio is a question: `sumIf(value, result = 'hit') / sum(value)`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from streamgauge.producers.bridges.readings import Readings
from streamgauge.producers.collector import DEFAULT_INTERVAL, Collector, Observation, default_collector
from streamgauge.producers.metrics import Counter, Gauge

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

F = TypeVar("F", bound=Callable[..., Any])


class LruCache(Protocol):
    """A function under `functools.lru_cache`."""

    def cache_info(self) -> Any:
        """Its hits, misses and size."""
        ...


def _lookups(producer: Producer | None) -> Counter:
    return Counter("cache_lookups", "Lookups in a cache", ["cache", "result"], unit="{lookup}", producer=producer)


def count_lookups(cache: str, *, missing: object = None, producer: Producer | None = None) -> Callable[[F], F]:
    """Count the calls of a lookup, plain or async: a miss when it returns `missing`, nothing when it raises."""
    lookups = _lookups(producer)

    def counted(found: Any) -> Any:
        lookups.labels(cache, "miss" if found is missing else "hit").inc()
        return found

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaiting(*args: Any, **named: Any) -> Any:
                return counted(await function(*args, **named))

            return cast("F", awaiting)

        @functools.wraps(function)
        def calling(*args: Any, **named: Any) -> Any:
            return counted(function(*args, **named))

        return cast("F", calling)

    return decorate


def observe_lru_cache(
    function: LruCache,
    cache: str,
    *,
    interval: float = DEFAULT_INTERVAL,
    producer: Producer | None = None,
    collector: Collector | None = None,
) -> Observation:
    """Record what an lru_cache says of itself, every `interval` seconds."""
    lookups = _lookups(producer)
    size = Gauge("cache_size", "Entries of a cache", ["cache"], unit="{entry}", producer=producer)
    readings = Readings()

    def look() -> None:
        info = function.cache_info()
        readings.add(lookups, (cache, "hit"), info.hits)
        readings.add(lookups, (cache, "miss"), info.misses)
        size.labels(cache).set(info.currsize)

    return (collector or default_collector()).observe_every(interval, look, last=True)
