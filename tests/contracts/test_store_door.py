"""The store door as ordinary ClickHouse clients see it: a process of its own, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import clickhouse_connect
import polars as pl
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from streamgauge.console.door import start_door
from streamgauge.console.engine import Engine
from streamgauge.console.statements import encoded
from streamgauge.schemas.errors import InputError
from tests.support.door import DoorProcess, until

pytestmark = pytest.mark.clickhouse

ROWS = 200_000


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorProcess]:
    with DoorProcess(tmp_path_factory.mktemp("store")) as opened:
        yield opened


@pytest.fixture
def table(door: DoorProcess, unique: str) -> str:
    door.run(f"CREATE TABLE {unique} (a Int64, s String) ENGINE = MergeTree ORDER BY a")
    return unique


# ------------------------------------------------------------------------------------------------ clickhouse-connect


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip", True])
def test_every_row_of_a_large_insert_arrives_whatever_the_compression(
    door: DoorProcess, table: str, compress: bool | str
) -> None:
    with door.client(compress=compress) as client:
        data = [[n, f"row {n}"] for n in range(ROWS)]
        summary = client.insert(table, data, column_names=["a", "s"])
        assert summary.written_rows == ROWS
        result = client.query(f"SELECT a, s FROM {table} ORDER BY a").result_rows
        assert len(result) == ROWS
        assert result[-1] == (ROWS - 1, f"row {ROWS - 1}")


def test_a_plain_client_pings_queries_and_commands(door: DoorProcess, unique: str) -> None:
    with door.client() as client:
        assert client.ping()
        assert client.command("SELECT 1 + 1") == 2
        client.command(f"CREATE TABLE {unique} (a Int8) ENGINE = Memory")
        assert client.command(f"EXISTS {unique}") == 1
        assert client.query("SELECT number, toString(number) FROM numbers(3)").result_rows == [
            (0, "0"),
            (1, "1"),
            (2, "2"),
        ]
        assert client.query("SELECT 1 WHERE 0").result_rows == []
        assert client.server_version == door.value("SELECT version()")


def test_bound_parameters_are_values_and_never_sql(door: DoorProcess) -> None:
    nasty = "it's \\ a\ttab\nline ' OR 1; DROP TABLE x --"
    with door.client() as client:
        rows = client.query(
            "SELECT {s:String}, {n:Int64} + 1, {d:Date}, {l:Array(String)}, {o:Nullable(String)}",
            parameters={"s": nasty, "n": 41, "d": "2026-11-22", "l": ["a", "b'c"], "o": None},
        ).result_rows
    assert rows[0][0] == nasty
    assert (rows[0][1], str(rows[0][2]), rows[0][3], rows[0][4]) == (42, "2026-11-22", ["a", "b'c"], None)
    assert door.value("SELECT {x:UInt8} + {y:UInt8}", param_x="40", param_y="2") == "42"
    assert door.ask("SELECT {x:UInt8}").code == 456


def test_a_setting_holds_for_one_call_only(door: DoorProcess) -> None:
    show = "SELECT getSetting('max_threads'), currentDatabase()"
    before = door.value(show)
    with door.client() as client:
        assert client.query(show, settings={"max_threads": 7}).result_rows == [(7, "default")]
    assert door.value(show, max_threads="7", database="system") == "7\tsystem"
    assert door.value(show + " SETTINGS max_threads = 6") == "6\tdefault"
    assert {door.value(show) for _ in range(10)} == {before}
    assert door.ask("SELECT 1", no_such_setting="1").code == 115


def test_errors_carry_their_codes(door: DoorProcess) -> None:
    with door.client() as client, pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        client.query("SELECT * FROM no_such_table")
    replies = {
        "SELECT * FROM no_such_table": (404, 60),
        "SELECT * FROM no_such_database.t": (404, 81),
        "SELEC 1": (400, 62),
        "SELECT no_such_column": (404, 47),
        "SELECT no_such_function()": (404, 46),
        "SELECT throwIf(1)": (500, 395),
        "SELECT 1 FORMAT NoSuchFormat": (404, 73),
        "SELECT 1; SELECT 2": (400, 62),
        "INSERT INTO no_such_table FORMAT CSV": (404, 60),
    }
    for sql, expected in replies.items():
        reply = door.ask(sql)
        assert (reply.status, reply.code) == expected, (sql, reply.text)
        assert reply.text.startswith(f"Code: {expected[1]}. DB::Exception: ")


def test_an_insert_with_a_bad_row_is_an_error_and_inserts_nothing(door: DoorProcess, table: str) -> None:
    reply = door.ask(f"INSERT INTO {table} FORMAT CSV", b"1,a\n2,b\nthree,c\n")
    assert (reply.status, reply.code) == (400, 27)
    assert door.value(f"SELECT count() FROM {table}") == "0"


def test_polars_writes_and_reads_arrow_streams(door: DoorProcess, table: str) -> None:
    frame = pl.DataFrame({"a": range(ROWS), "s": [f"row {n}" for n in range(ROWS)]})
    stream = io.BytesIO()
    frame.write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    with door.client() as client:
        client.raw_insert(table, insert_block=stream.getvalue(), fmt="ArrowStream")
        assert client.command(f"SELECT count(), sum(a), uniqExact(s) FROM {table}") == [
            str(ROWS),
            str(sum(range(ROWS))),
            str(ROWS),
        ]
        client.insert_arrow(table, frame.head(10).to_arrow(compat_level=pl.CompatLevel.oldest()))
        assert client.command(f"SELECT count() FROM {table}") == ROWS + 10
        back = client.raw_query(f"SELECT a, s FROM {table} ORDER BY a LIMIT 3", fmt="ArrowStream")
    assert pl.read_ipc_stream(io.BytesIO(back))["a"].to_list() == [0, 0, 1]


async def test_the_async_client_inserts_and_reads_at_the_same_time(door: DoorProcess, table: str) -> None:
    async with await clickhouse_connect.get_async_client(host="127.0.0.1", port=door.port) as client:
        await asyncio.gather(
            *(
                client.insert(table, [[n * 1_000 + i, "x"] for i in range(1_000)], column_names=["a", "s"])
                for n in range(8)
            )
        )
        counts = await asyncio.gather(*(client.query(f"SELECT count() FROM {table}") for _ in range(8)))
        assert {cast("int", count.result_rows[0][0]) for count in counts} == {8_000}


# --------------------------------------------------------------------------------------------------------- raw requests


def test_ping_and_the_empty_request_answer_ok(door: DoorProcess) -> None:
    assert door.ask(path="/ping", body=None).text == "Ok.\n"
    assert door.ask(body=None).text == "Ok.\n"


def test_rows_come_in_many_formats_in_the_body_or_in_the_statement(door: DoorProcess, table: str) -> None:
    insert = f"INSERT INTO {table} (a, s)"
    for sql, body in (
        (f"{insert} FORMAT CSV", b"1,one\n"),
        (f"{insert} FORMAT TabSeparated", b"2\ttwo\n"),
        (f"{insert} FORMAT JSONEachRow", b'{"a":3,"s":"three"}\n'),
        (f"{insert} VALUES", b"(4, 'four'), (5, concat('fi', 've'))"),
        (f"{insert} VALUES (6, 'six; infile');", b""),
        ("", f"{insert} FORMAT CSV\n7,seven\n".encode()),
        (insert, b"FORMAT CSV\n8,eight\n"),
        ("", f"-- a comment with FORMAT Native\n{insert} VALUES (9, 'nine')".encode()),
        ("INSERT INTO {t:Identifier} (a, s) SETTINGS max_insert_threads = 1 FORMAT CSV", b"10,ten\n"),
        (f"{insert} SELECT 11, 'eleven'", b""),
    ):
        reply = door.ask(sql, body, param_t=table)
        assert reply.status == 200, (sql, reply.text)
        written = json.loads(reply.headers["X-ClickHouse-Summary"])["written_rows"]
        assert written == ("2" if b"four" in body else "1"), sql
    assert door.value(f"SELECT groupArray(a) FROM (SELECT a FROM {table} ORDER BY a)") == str([*range(1, 12)]).replace(
        " ", ""
    )


@pytest.mark.parametrize("encoding", ["", "lz4", "zstd", "gzip"])
def test_bodies_and_answers_are_packed_as_asked(door: DoorProcess, table: str, encoding: str) -> None:
    rows = "".join(f"{n},row {n}\n" for n in range(5_000)).encode()
    frames = b"".join(encoded(part, encoding) for part in (rows[:3_000], rows[3_000:]))
    reply = door.ask(f"INSERT INTO {table} FORMAT CSV", frames, {"Content-Encoding": encoding} if encoding else {})
    assert reply.status == 200, reply.text
    select = f"SELECT a, s FROM {table} ORDER BY a FORMAT CSV"
    reply = door.ask(select, headers={"Accept-Encoding": encoding or "identity"}, enable_http_compression="1")
    assert reply.headers.get("Content-Encoding", "") == encoding
    plain = door.ask(select, headers={"Accept-Encoding": encoding or "identity"})
    assert plain.headers.get("Content-Encoding") is None
    assert [row[1] for row in csv.reader(io.StringIO(plain.text))] == [f"row {n}" for n in range(5_000)]
    assert reply.body == encoded(plain.body, encoding)


def test_the_format_is_the_statements_own_then_the_urls_then_tab_separated(door: DoorProcess) -> None:
    assert door.ask("SELECT 1 AS x").body == b"1\n"
    assert door.ask("SELECT 1 AS x", default_format="JSONEachRow").body == b'{"x":1}\n'
    reply = door.ask("SELECT 1 AS x FORMAT CSVWithNames -- FORMAT JSON", default_format="JSONEachRow")
    assert (reply.body, reply.headers["X-ClickHouse-Format"]) == (b'"x"\n1\n', "CSVWithNames")


def test_get_reads_and_never_writes(door: DoorProcess, table: str) -> None:
    for sql in (
        f"INSERT INTO {table} VALUES (1, 'a')",
        f"INSERT INTO {table} SELECT 1, 'a'",
        f"DROP TABLE {table}",
        f"ALTER TABLE {table} DELETE WHERE 1",
        f"CREATE FUNCTION {table} AS x -> x",
        "SELECT 1 SETTINGS readonly = 0",
    ):
        for level in ("", "0", "1"):
            assert door.ask(sql, None, readonly=level).code == 164, sql
    assert door.value(f"SELECT count() FROM {table}", readonly="1") == "0"
    assert door.ask(f"INSERT INTO {table} VALUES (1, 'a')", readonly="1").code == 164


def test_what_is_not_offered_says_so_with_501_and_what_is(door: DoorProcess) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--x--\r\n'
    for reply in (
        door.ask(path="/play", body=None),
        door.ask(path="/replicas_status", body=None),
        door.ask("SELECT 1", method="PUT"),
        door.ask("SELECT 1", method="DELETE"),
        door.ask(method="OPTIONS"),
        door.ask("SELECT 1", form, {"Content-Type": "multipart/form-data; boundary=x"}),
        door.ask("SELECT 1", compress="1"),
        door.ask("SELECT 1", session_id="s", session_check="1"),
        door.ask("SELECT 1", b"x", {"Content-Encoding": "br"}),
    ):
        assert (reply.status, reply.code) == (501, 48), reply.text
        assert "GET /ping" in reply.text
    for sql in ("SET max_threads = 1", "USE system", "CREATE TEMPORARY TABLE x (a Int8)"):
        assert "nothing is kept between two calls" in door.ask(sql, session_id="s").text


SMALL_DOOR = """
import asyncio, sys
from streamgauge.console.door import DoorPolicy, serve
asyncio.run(serve(sys.argv[1], int(sys.argv[2]), policy=DoorPolicy(max_body_bytes=10_000)))
"""


def test_a_body_beyond_the_limit_is_refused_packed_or_not(tmp_path: Path) -> None:
    with DoorProcess(tmp_path, SMALL_DOOR) as door:
        door.run("CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY s")
        for body, headers in (
            (b"x" * 10_001, {}),
            (encoded(b"x" * 10_001, "lz4"), {"Content-Encoding": "lz4"}),
        ):
            reply = door.ask("INSERT INTO t FORMAT LineAsString", body, headers)
            assert (reply.status, reply.code) == (413, 229), reply.text
            assert "Send smaller blocks" in reply.text
        assert door.ask("INSERT INTO t FORMAT LineAsString", b"x" * 10_000).status == 200
        assert door.value("SELECT count() FROM t") == "1"


# ------------------------------------------------------------------------------------------------------------- security


def test_nothing_outside_the_store_can_be_reached(door: DoorProcess, table: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("open sesame\n")
    target = tmp_path / "written.csv"
    key = "a UInt64, s String) PRIMARY KEY a"
    attempts = (
        f"SELECT * FROM file('{secret}')",
        f"SELECT * FROM `{secret}`",
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM _unused.`{secret}`",
        f"SELECT file('{secret}')",
        f"SELECT `fi\\x6ce`('{secret}')",
        f"SELECT /* */ file -- \n ('{secret}')",
        f"SELECT arrayMap(file, ['{secret}'])",
        f"SELECT `it's`, file('{secret}'), `it's` FROM (SELECT 1 AS `it's`)",
        f'SELECT "it\'s", file(\'{secret}\'), "it\'s" FROM (SELECT 1 AS "it\'s")',
        f"SELECT $a$'$a$, file('{secret}'), $a$'$a$",
        f"SELECT * APPLY(file) FROM (SELECT '{secret}')",
        f"SELECT b FROM format(JSONEachRow, concat('a String, b String ALIAS fi', 'le(a)'), '{{\"a\":\"{secret}\"}}')",
        f"SELECT b FROM format(JSONEachRow, 'a String, b String ALIAS file(a)', '{{\"a\":\"{secret}\"}}')",
        f"SELECT 1 SETTINGS additional_result_filter = 'throwIf(1, file(''{secret}''))'",
        f"SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM file('{secret}')))",
        f"DESCRIBE file('{secret}')",
        f"SELECT * FROM executable('cat {secret}', 'CSV', 'a String')",
        f"SELECT * FROM eval('SELECT file(''{secret}'')') SETTINGS allow_experimental_eval_table_function = 1",
        "SELECT * FROM python(sys)",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT * FROM s3('http://127.0.0.1:1/b/c.csv', 'CSV', 'a String')",
        "SELECT * FROM remote('127.0.0.1:1', 'system.one')",
        "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        f"SELECT * FROM sqlite('{tmp_path}/x.db', 't')",
        f"INSERT INTO {table} FROM INFILE '{secret}' FORMAT CSV",
        f"SELECT 1 INTO OUTFILE '{target}'",
        f"SELECT 1 INTO/**/OUTFILE '{target}'",
        f"INSERT INTO FUNCTION file('{target}', 'CSV', 'a Int8') VALUES (1)",
        f"CREATE TABLE x (a String) ENGINE = File('CSV', '{secret}')",
        f"CREATE TABLE x (a UInt64) ENGINE = EmbeddedRocksDB(0, '{target}') PRIMARY KEY a",
        f"CREATE TABLE x (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{target}/')",
        f"ATTACH TABLE x FROM '{tmp_path}' (a Int8) ENGINE = MergeTree ORDER BY a",
        f"CREATE DATABASE x ENGINE = Filesystem('{tmp_path}')",
        f"CREATE DICTIONARY x ({key} SOURCE(FILE(PATH '{secret}' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
        f"CREATE DICTIONARY x ({key} SOURCE(EXECUTABLE(COMMAND 'id' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
        f"BACKUP TABLE {table} TO File('{target}')",
        "CREATE FUNCTION reader AS x -> file(x)",
        f"SELECT * FROM {table} FORMAT Protobuf SETTINGS format_schema = '{secret}:x'",
        "SYSTEM SHUTDOWN",
        "CREATE USER x",
        "GRANT ALL ON *.* TO default",
        "CREATE NAMED COLLECTION x AS a = 1",
        "SET dialect = 'kusto'",
    )
    for sql in attempts:
        reply = door.ask(body=sql.encode())
        assert reply.status != 200, (sql, reply.text)
        assert "sesame" not in reply.text, sql
    assert door.ask("SELECT 1", dialect="kusto").code == 452
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret.csv"]


def test_a_served_store_stands_where_the_function_that_reads_files_finds_none(door: DoorProcess) -> None:
    # no grant covers the function file(): this is what stands behind the reading of statements
    assert os.readlink(f"/proc/{door.process.pid}/cwd").endswith(" (deleted)")


def test_requests_that_a_foreign_page_could_send_are_refused(door: DoorProcess, table: str) -> None:
    insert = f"INSERT INTO {table} VALUES (1, 'a')"
    for headers in (
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "example.org"},
        {"Host": f"rebound.example:{door.port}"},
    ):
        for path in ("/", "/ping"):
            reply = door.ask(insert, headers=headers, path=path)
            assert reply.status == 403, headers
            assert reply.headers.get("Access-Control-Allow-Origin") is None
    assert door.value(f"SELECT count() FROM {table}") == "0"
    assert door.ask("SELECT 1", headers={"Origin": "http://localhost:8080", "Host": "localhost"}).status == 200


async def test_the_door_opens_on_loopback_only() -> None:
    with pytest.raises(InputError, match="loopback only"):
        await start_door(cast("Engine", None), 0, "0.0.0.0")


# ------------------------------------------------------------------------------------------------- one store, many calls


def test_readers_see_whole_blocks_while_rows_come_in(door: DoorProcess, table: str) -> None:
    seen: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(int(door.value(f"SELECT count() FROM {table}")))

    block = "".join(f"{n},x\n" for n in range(20_000)).encode()
    with ThreadPoolExecutor(2) as readers:
        running = [readers.submit(read) for _ in range(2)]
        try:
            for _ in range(10):
                assert door.ask(f"INSERT INTO {table} FORMAT CSV", block).status == 200
            assert until(lambda: 200_000 in seen)
        finally:
            stop.set()
    for reader in running:
        reader.result()
    assert {count % 20_000 for count in seen} == {0}
    assert len(set(seen)) > 2
