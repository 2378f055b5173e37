"""Redis: time and errors of commands by their name, never by their keys. `instrument(client)`, plain or async.

A pipeline is one call, `PIPELINE`. What it measures: `db_client`, with `system` redis.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from streamgauge.producers.bridges.db_client import DatabaseMetrics, command_name
from streamgauge.producers.bridges.requirements import need
from streamgauge.producers.operations import error_name

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

_asyncio: Any = need("redis.asyncio", "redis")
SYSTEM, PIPELINE = "redis", "PIPELINE"
C = TypeVar("C")


def instrument(client: C, *, producer: Producer | None = None) -> C:
    """Measure what a `redis.Redis` or `redis.asyncio.Redis` sends from now on, and return it. Once is enough."""
    target: Any = client
    if "execute_command" in vars(target):
        return client
    metrics = DatabaseMetrics(producer)
    wrap = _awaiting if isinstance(target, _asyncio.Redis) else _calling
    target.execute_command = wrap(target.execute_command, metrics, lambda args: command_name(args[0] if args else ""))
    make = target.pipeline

    @functools.wraps(make)
    def pipeline(*args: Any, **named: Any) -> Any:
        made = make(*args, **named)
        made.execute = wrap(made.execute, metrics, lambda _: PIPELINE)
        return made

    target.pipeline = pipeline
    return client


def _calling(
    function: Callable[..., Any], metrics: DatabaseMetrics, name: Callable[[tuple[Any, ...]], str]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def measured(*args: Any, **named: Any) -> Any:
        started, error = perf_counter(), ""
        try:
            return function(*args, **named)
        except BaseException as raised:
            error = error_name(raised)
            raise
        finally:
            metrics.record(SYSTEM, name(args), error, perf_counter() - started)

    return measured


def _awaiting(
    function: Callable[..., Any], metrics: DatabaseMetrics, name: Callable[[tuple[Any, ...]], str]
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def measured(*args: Any, **named: Any) -> Any:
        started, error = perf_counter(), ""
        try:
            answer = function(*args, **named)
            return await answer if inspect.isawaitable(answer) else answer
        except BaseException as raised:
            error = error_name(raised)
            raise
        finally:
            metrics.record(SYSTEM, name(args), error, perf_counter() - started)

    return measured
