"""Databases: statements of a real SQLAlchemy engine, commands of a real redis client, lookups of caches."""

from __future__ import annotations

import functools
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.exceptions
import sqlalchemy
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.pool import NullPool, QueuePool

from streamgauge.producers import Collector
from streamgauge.producers.bridges import redis as redis_bridge
from streamgauge.producers.bridges import sqlalchemy as sqlalchemy_bridge
from streamgauge.producers.bridges.caches import count_lookups, observe_lru_cache
from streamgauge.producers.bridges.db_client import command_name, statement_kind
from streamgauge.producers.bridges.sqlalchemy import EngineBridge
from tests.unit.producers.bridges.recorded import Recorded

DURATION = "db_client_operation_duration"


class Database:
    """An engine on a file, with a pool of two and one more."""

    def __init__(self, file: Path) -> None:
        self.recorded = Recorded()
        self.collector = Collector(self.recorded.producer, background=False)
        self.engine = sqlalchemy.create_engine(
            f"sqlite:///{file}", poolclass=QueuePool, pool_size=2, max_overflow=1, pool_timeout=0.05
        )
        self.bridge: EngineBridge = sqlalchemy_bridge.instrument(
            self.engine, name="main", producer=self.recorded.producer, collector=self.collector
        )

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "shop.db")
    yield made
    made.engine.dispose()


def test_statements_are_timed_by_their_kind(database: Database) -> None:
    database.run(
        "CREATE TABLE orders (id INTEGER, note TEXT)",
        "INSERT INTO orders VALUES (1, 'secret')",
        "/* billing */ SELECT * FROM orders",
        "SELECT 1",
    )
    with pytest.raises(OperationalError):
        database.run("SELECT * FROM nothing")

    assert database.recorded.counts(DURATION) == {
        ("sqlite", "CREATE", ""): 1,
        ("sqlite", "INSERT", ""): 1,
        ("sqlite", "SELECT", ""): 2,
        ("sqlite", "SELECT", "OperationalError"): 1,
    }


def test_many_rows_of_a_statement_are_one_call(database: Database) -> None:
    database.run("CREATE TABLE orders (id INTEGER)")
    with database.engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO orders VALUES (:id)"), [{"id": n} for n in range(5)])
        connection.exec_driver_sql("UPDATE orders SET id = 0", execution_options={"no_parameters": True})

    assert database.recorded.counts(DURATION) == {
        ("sqlite", "CREATE", ""): 1,
        ("sqlite", "INSERT", ""): 1,
        ("sqlite", "UPDATE", ""): 1,
    }


def test_a_row_that_cannot_be_read_is_no_second_statement(database: Database) -> None:
    with database.engine.connect() as connection:
        found = connection.execute(sqlalchemy.text("SELECT 'a' UNION ALL SELECT CAST(x'ff' AS TEXT)"))
        with pytest.raises(OperationalError):
            found.fetchall()

    assert database.recorded.counts(DURATION) == {("sqlite", "SELECT", ""): 1}


def test_the_pool_shows_who_has_connections_and_who_waits(database: Database) -> None:
    held = [database.engine.connect() for _ in range(3)]
    database.collector.collect()
    recorded = database.recorded
    assert recorded.last("db_client_connection_count") == {("main", "used"): 3.0, ("main", "idle"): 0.0}
    assert recorded.last("db_client_connection_overflow") == {("main",): 1.0}
    assert recorded.last("db_client_connection_max") == {("main",): 3.0}
    with pytest.raises(NoConnection):
        database.engine.connect()
    for one in held:
        one.close()
    database.collector.collect()

    assert recorded.last("db_client_connection_count") == {("main", "used"): 0.0, ("main", "idle"): 2.0}
    assert recorded.counts("db_client_connection_wait_time") == {("main", ""): 3, ("main", "TimeoutError"): 1}
    assert recorded.found()["db_client_connection_wait_time", "main", "TimeoutError"].min >= 0.05
    assert recorded.last("db_client_connection_pending_requests") == {("main",): 0.0}
    assert recorded.found()["db_client_connection_pending_requests", "main"].max == 1.0


def test_an_engine_that_is_disposed_of_goes_on_with_its_new_pool(database: Database) -> None:
    database.run("SELECT 1")
    database.engine.dispose()
    database.run("SELECT 1")
    database.collector.collect()

    assert database.recorded.counts("db_client_connection_wait_time") == {("main", ""): 2}
    assert database.recorded.last("db_client_connection_count")["main", "idle"] == 1.0


def test_after_close_nothing_of_an_engine_is_recorded(database: Database) -> None:
    database.bridge.close()
    database.run("SELECT 1")
    database.collector.collect()

    assert database.recorded.found() == {}


def test_a_pool_without_limits_has_statements_only(tmp_path: Path) -> None:
    recorded = Recorded()
    collector = Collector(recorded.producer, background=False)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'x.db'}", poolclass=NullPool)
    sqlalchemy_bridge.instrument(engine, producer=recorded.producer, collector=collector)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
    collector.collect()
    engine.dispose()

    assert recorded.counts(DURATION) == {("sqlite", "SELECT", ""): 1}
    assert recorded.counts("db_client_connection_count") == {}
    assert recorded.sums("streamgauge_collector_errors") == {}


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("select 1", "SELECT"),
        ("  -- a note\n/* another */ (SELECT 1) UNION SELECT 2", "SELECT"),
        ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH"),
        ("SELECTX", "_OTHER"),
        ("joe@example.com", "_OTHER"),
        ("/* never closed", "_OTHER"),
        ("", "_OTHER"),
    ],
)
def test_the_kind_of_a_statement_is_one_of_few(statement: str, kind: str) -> None:
    assert statement_kind(statement) == kind


class Store(socketserver.StreamRequestHandler):
    """As much of Redis as the tests need: strings, and an error for everything else."""

    def handle(self) -> None:
        kept: dict[bytes, bytes] = {}
        while line := self.rfile.readline():
            words = list[bytes]()
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2])
            answer = b"-ERR unknown command\r\n"
            if words[0] == b"SET":
                kept[words[1]] = words[2]
            if words[0] in {b"SET", b"CLIENT"}:
                answer = b"+OK\r\n"
            if words[0] == b"GET":
                value = kept[words[1]]
                answer = b"$%d\r\n%s\r\n" % (len(value), value)
            self.wfile.write(answer)


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Store) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_commands_of_redis_are_timed_by_their_name(redis_port: int) -> None:
    recorded = Recorded()
    with closing(redis.Redis("127.0.0.1", redis_port, protocol=2)) as client:
        assert redis_bridge.instrument(client, producer=recorded.producer) is client
        redis_bridge.instrument(client, producer=recorded.producer)
        client.set("joe@example.com", "secret")
        assert client.get("joe@example.com") == b"secret"
        with pytest.raises(redis.exceptions.ResponseError):
            client.lpush("list", 1)
        with client.pipeline(transaction=False) as pipeline:
            pipeline.set("a", "1")
            pipeline.get("a")
            assert pipeline.execute() == [True, b"1"]

    assert recorded.counts(DURATION) == {
        ("redis", "SET", ""): 1,
        ("redis", "GET", ""): 1,
        ("redis", "LPUSH", "ResponseError"): 1,
        ("redis", "PIPELINE", ""): 1,
    }


async def test_commands_of_the_async_client_too(redis_port: int) -> None:
    recorded = Recorded()
    client: Any = redis.asyncio.Redis(host="127.0.0.1", port=redis_port, protocol=2)
    redis_bridge.instrument(client, producer=recorded.producer)
    await client.set("a", "1")
    with pytest.raises(redis.exceptions.ResponseError):
        await client.execute_command("FLUSHALL")
    async with client.pipeline(transaction=False) as pipeline:
        assert await pipeline.set("a", "1").get("a").execute() == [True, b"1"]
    await client.aclose()

    assert recorded.counts(DURATION) == {
        ("redis", "SET", ""): 1,
        ("redis", "FLUSHALL", "ResponseError"): 1,
        ("redis", "PIPELINE", ""): 1,
    }


def test_a_redis_that_does_not_answer_is_an_error_by_its_type() -> None:
    recorded = Recorded()
    with socketserver.TCPServer(("127.0.0.1", 0), Store) as unused:
        port = unused.server_address[1]
    client = redis.Redis("127.0.0.1", port, retry=Retry(NoBackoff(), 0), socket_timeout=1)
    redis_bridge.instrument(client, producer=recorded.producer)
    with pytest.raises(redis.exceptions.ConnectionError):
        client.get("a")

    ((system, command, error),) = recorded.counts(DURATION)
    assert (system, command) == ("redis", "GET")
    assert error.endswith("ConnectionError")


@pytest.mark.parametrize(
    ("command", "name"),
    [("get", "GET"), (b"SET", "SET"), ("CONFIG GET", "CONFIG"), ("FT.SEARCH", "FT.SEARCH"), ("user:17", "_OTHER")],
)
def test_the_name_of_a_command_is_a_word(command: Any, name: str) -> None:
    assert command_name(command) == name


async def test_lookups_are_hits_and_misses_plain_or_async() -> None:
    recorded, missing = Recorded(), object()

    @count_lookups("sessions", producer=recorded.producer)
    def session_of(key: str) -> str | None:
        return {"a": "Ann"}.get(key)

    @count_lookups("prices", missing=missing, producer=recorded.producer)
    async def price_of(key: str) -> object:
        if key == "broken":
            raise KeyError(key)
        return missing if key == "new" else None

    assert [session_of(key) for key in "aab"] == ["Ann", "Ann", None]
    assert [await price_of("old") for _ in range(2)] == [None, None]
    assert await price_of("new") is missing
    with pytest.raises(KeyError):
        await price_of("broken")

    assert recorded.sums("cache_lookups") == {
        ("sessions", "hit"): 2.0,
        ("sessions", "miss"): 1.0,
        ("prices", "hit"): 2.0,
        ("prices", "miss"): 1.0,
    }


def test_an_lru_cache_is_asked_and_not_slowed_down() -> None:
    recorded = Recorded()
    collector = Collector(recorded.producer, background=False)

    @functools.lru_cache(maxsize=2)
    def square(n: int) -> int:
        return n * n

    observe_lru_cache(square, "squares", producer=recorded.producer, collector=collector)
    collector.collect()
    for n in (1, 1, 2, 3, 1):
        square(n)
    collector.collect()

    assert recorded.sums("cache_lookups") == {("squares", "hit"): 1.0, ("squares", "miss"): 4.0}
    assert recorded.last("cache_size") == {("squares",): 2.0}
