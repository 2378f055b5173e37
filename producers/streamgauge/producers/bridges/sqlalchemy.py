"""SQLAlchemy: time of statements, and state of the connection pool. `instrument(engine)`; of an async one `.sync_engine`.

| metric | OpenTelemetry | unit | labels |
|---|---|---|---|
| `db_client_operation_duration` (histogram) | same, with dots | s | see `db_client` |
| `db_client_connection_count` | same, with dots | {connection} | `pool`, `state`: used, idle |
| `db_client_connection_max` | same, with dots (overflow included) | {connection} | `pool` |
| `db_client_connection_overflow` | none (connections beyond the pool's size) | {connection} | `pool` |
| `db_client_connection_pending_requests` | same, with dots | {request} | `pool` |
| `db_client_connection_wait_time` (histogram) | same, with dots | s | `pool`, `error_type`: TimeoutError |

The pool's state is looked at on an interval; a pool without limits (NullPool, StaticPool) has none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from streamgauge.producers.bridges.db_client import DatabaseMetrics, statement_kind
from streamgauge.producers.bridges.requirements import need
from streamgauge.producers.collector import DEFAULT_INTERVAL, Collector, Observation, default_collector
from streamgauge.producers.metrics import Gauge, Histogram
from streamgauge.producers.operations import error_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from streamgauge.producers.producer import Producer

need("sqlalchemy", "sqlalchemy")
EXECUTE = ("do_execute", "do_executemany", "do_execute_no_params")
"""A dialect's methods that hand a statement to the driver."""


class EngineBridge:
    """Times an engine's statements and looks at its pool, until `close()`."""

    def __init__(self, engine: Engine, name: str, producer: Producer | None) -> None:
        self._engine: Any = engine
        self._name = name
        self._system = str(engine.dialect.name)
        self._calls = DatabaseMetrics(producer)

        def gauge(short: str, documentation: str, *labels: str, unit: str = "{connection}") -> Gauge:
            full = f"db_client_connection_{short}"
            return Gauge(full, documentation, ("pool", *labels), unit=unit, producer=producer)

        self._count = gauge("count", "Connections of a pool", "state")
        self._max = gauge("max", "Connections that a pool may open")
        self._overflow = gauge("overflow", "Connections beyond a pool's size")
        self._pending = gauge("pending_requests", "Those who wait for a connection", unit="{request}")
        self._wait = Histogram(
            "db_client_connection_wait_time",
            "Time to get a connection from a pool",
            ["pool", "error_type"],
            unit="s",
            producer=producer,
        )
        self.observation: Observation | None = None
        self._pool: Any = None
        self._wrap_dialect()
        self._wrap_pool()
        self._wrap_dispose()

    def close(self) -> None:
        """Measure and look no more."""
        for owner, names in ((self._engine.dialect, EXECUTE), (self._pool, ("connect",)), (self._engine, ("dispose",))):
            for name in names:
                vars(owner).pop(name, None)
        if self.observation is not None:
            self.observation.stop()

    def _wrap_dialect(self) -> None:
        """Time what hands statements to the driver: to listen to any event of an engine costs 10 us a statement."""
        dialect = self._engine.dialect
        for name in EXECUTE:
            setattr(dialect, name, self._timed(getattr(dialect, name)))

    def _timed(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def timed(cursor: Any, statement: str, *rest: Any, **named: Any) -> Any:
            started, error = perf_counter(), ""
            try:
                return execute(cursor, statement, *rest, **named)
            except BaseException as raised:
                error = error_name(raised)
                raise
            finally:
                self._calls.record(self._system, statement_kind(statement), error, perf_counter() - started)

        return timed

    def _wrap_pool(self) -> None:
        """Time the pool's own `connect`: no event tells when somebody begins to wait."""
        pool = self._pool = self._engine.pool
        connect = pool.connect

        def waiting() -> Any:
            started, error = perf_counter(), ""
            pending = self._pending.labels(self._name)
            pending.inc()
            try:
                return connect()
            except Exception as raised:
                error = error_name(raised)
                raise
            finally:
                pending.dec()
                self._wait.labels(self._name, error).observe(perf_counter() - started)

        pool.connect = waiting

    def _wrap_dispose(self) -> None:
        """Follow the engine to the pool that it makes when it is disposed of."""
        dispose = self._engine.dispose

        def disposing(*args: Any, **named: Any) -> None:
            vars(self._pool).pop("connect", None)
            dispose(*args, **named)
            self._wrap_pool()

        self._engine.dispose = disposing

    def look(self) -> None:
        """Record the pool's state now."""
        pool = self._engine.pool
        with suppress(AttributeError, NotImplementedError):  # pools without limits do not say
            used, beyond = pool.checkedout(), max(0, pool.overflow())
            self._count.labels(self._name, "used").set(used)
            self._count.labels(self._name, "idle").set(pool.checkedin())
            self._overflow.labels(self._name).set(beyond)
            if pool._max_overflow >= 0:
                self._max.labels(self._name).set(pool.size() + pool._max_overflow)


def instrument(
    engine: Engine,
    *,
    name: str = "default",
    interval: float = DEFAULT_INTERVAL,
    producer: Producer | None = None,
    collector: Collector | None = None,
) -> EngineBridge:
    """Measure an engine until the returned bridge is closed. `name` tells its pool from others."""
    bridge = EngineBridge(engine, name, producer)
    bridge.observation = (collector or default_collector()).observe_every(interval, bridge.look)
    return bridge
