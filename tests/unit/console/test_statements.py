"""What a request to the store means: pure parsing, without an engine."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console.door import is_loopback, refused_origin
from streamgauge.console.statements import (
    InsertHeader,
    Shape,
    StatementError,
    arguments,
    chosen_encoding,
    decoded,
    encoded,
    engine_error,
    go_handshake,
    insert_header,
    inspect,
    parameter,
    quoted,
)

LIMIT = 1 << 24


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"INSERT INTO t FORMAT Native\n\x00\xff", InsertHeader("INSERT INTO t ", "Native", 28)),
        (b"insert into t (a, `b)`) format CSV\r\n1,2", InsertHeader("insert into t (a, `b)`) ", "CSV", 36)),
        (b"INSERT INTO t FORMAT JSONEachRow {}", InsertHeader("INSERT INTO t ", "JSONEachRow", 33)),
        (b"INSERT INTO t VALUES (1)", InsertHeader("INSERT INTO t ", "Values", 20)),
        (b"/* FORMAT a */ INSERT INTO t -- FORMAT b\n FORMAT CSV\n", InsertHeader("", "CSV", 53)),
        (b"INSERT INTO `values` (`format`) FORMAT CSV\n", InsertHeader("INSERT INTO `values` (`format`) ", "CSV", 43)),
        (b"INSERT INTO format FORMAT CSV\n", InsertHeader("INSERT INTO format ", "CSV", 30)),
        (b"INSERT INTO t SETTINGS x='FORMAT y' FORMAT CSV\n", InsertHeader("", "CSV", 47)),
    ],
)
def test_an_insert_is_split_from_its_rows(text: bytes, expected: InsertHeader) -> None:
    found = insert_header(text)
    assert found is not None
    assert (found.format, found.offset) == (expected.format, expected.offset)
    if expected.statement:
        assert found.statement == expected.statement


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 FORMAT CSV",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"INSERT INTO t (a)",
        b"",
        b"EXPLAIN INSERT INTO t FORMAT CSV\n",
        b"INSERT INTO t 'FORMAT CSV\n",
    ],
)
def test_statements_without_rows_of_their_own_are_left_whole(text: bytes) -> None:
    assert insert_header(text) is None


@given(st.binary(max_size=200))
def test_the_rows_of_an_insert_are_never_read_as_sql(rows: bytes) -> None:
    text = b"INSERT INTO t FORMAT RowBinary\n" + rows
    header = insert_header(text)
    assert header is not None
    assert text[header.offset :] == rows


@given(st.text(max_size=300).map(str.encode))
def test_any_text_is_an_insert_or_not_but_never_an_accident(text: bytes) -> None:
    header = insert_header(b"INSERT INTO t " + text)
    assert header is None or 14 <= header.offset <= 14 + len(text)


@pytest.mark.parametrize(
    ("canonical", "shape"),
    [
        ("SELECT 1", Shape("", True)),
        ("SELECT 1 FORMAT JSON", Shape("JSON", True)),
        ("SELECT 1 AS x FORMAT JSON SETTINGS max_threads = 1", Shape("JSON", True)),
        ("SELECT ' FORMAT CSV'", Shape("", True)),
        ("SELECT 'it\\'s FORMAT CSV'", Shape("", True)),
        ("SELECT ` FORMAT CSV`", Shape("", True)),
        ("CREATE TABLE t (`a` UInt8) ENGINE = AggregatingMergeTree ORDER BY a", Shape("", False)),
        ("INSERT INTO t SELECT 1", Shape("", False)),
        (
            "CREATE DICTIONARY d (`a` UInt64) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 't' DB 'x')) LAYOUT(FLAT())",
            Shape("", False),
        ),
        ("SELECT file, t.file FROM t AS file WHERE file = 'x' GROUP BY file", Shape("", True)),
        ("CREATE TABLE t (`file` String, `url` String) ENGINE = Null", Shape("", False)),
        ("INSERT INTO t (a, file) SELECT 1, file FROM s", Shape("", False)),
        ("SELECT count(t.file), profile('x'), URLHash(url), remote_ip, 'profile (x)' FROM t", Shape("", True)),
        ("SELECT * FROM values('a Int8', 1, 2)", Shape("", True)),
        ("SELECT * FROM `values`((1, 'a'), (2, 'b'))", Shape("", True)),
        ("SELECT * FROM values(1, 2), values({s:String}, 1)", Shape("", True)),
        ("SELECT * FROM format(JSONEachRow, 'a Int8', '{}'), format(CSV, {s:String})", Shape("", True)),
        ("SELECT format('{} {}', concat('a', 'b'), 'c'), isNull(concat('a', 'b'))", Shape("", True)),
        ("SELECT `it's` FORMAT CSV", Shape("CSV", True)),
        ("SELECT 'INTO OUTFILE', 'python(1)', `remote(` FROM t", Shape("", True)),
    ],
)
def test_a_statement_inside_the_store_is_let_through_with_its_own_format(canonical: str, shape: Shape) -> None:
    assert inspect(canonical) == shape


@pytest.mark.parametrize(
    "canonical",
    [
        "SELECT * FROM file('/x')",
        "SELECT file('/x')",
        "SELECT * APPLY file FROM t",
        "SELECT arrayMap(file, ['/x'])",
        "SELECT g(f(1), file)",
        "SELECT * FROM values('a String DEFAULT file(\\'/x\\')', '')",
        "SELECT * FROM format(CSV, concat('a String DEFAULT fi', 'le(a)'), '')",
        "SELECT * FROM format(CSV, 'a String DEFAULT fi' || 'le(a)', '')",
        "WITH concat('fi', 'le(a)') AS s SELECT * FROM format(CSV, s, '')",
        "SELECT * FROM format('CSV', concat('a String DEFAULT fi', 'le(a)'), '')",
        "SELECT * FROM values(concat('a String DEFAULT fi', 'le(a)'), '')",
        "SELECT * FROM `values`(concat('a String DEFAULT fi', 'le(a)'), '')",
        "SELECT * FROM `remote`('a')",
        "SELECT `file`('/x')",
        "SELECT `it's`, file('/x'), `it's`",
        "SELECT '`', file('/x'), '`'",
        "SELECT '\\\\', file('/x'), '\\\\'",
        "SELECT * FROM values(('a String DEFAULT fi' || 'le(a)'), '')",
        "INSERT INTO t SELECT a FROM input(concat('a String DEFAULT fi', 'le(a)')) FORMAT CSV",
        "SELECT * FROM generateRandom({a:String} || {b:String})",
        "SELECT * FROM url('http://x')",
        "SELECT * FROM s3Cluster('a', 'b')",
        "SELECT * FROM icebergS3('b')",
        "SELECT * FROM remoteSecure('b')",
        "SELECT * FROM Python(frame)",
        "SELECT * FROM executable('id', 'TSV', 'a String')",
        "SELECT * FROM t INTO OUTFILE '/x'",
        "INSERT INTO t FROM INFILE '/x' FORMAT CSV",
        "INSERT INTO FUNCTION file('/x') FORMAT CSV",
        "CREATE TABLE t (`a` Int8) ENGINE = File('CSV')",
        "CREATE TABLE t (`a` Int8) ENGINE = EmbeddedRocksDB(0, '/x') PRIMARY KEY a",
        "DROP TABLE a PARALLEL WITH CREATE TABLE b (`a` Int8) ENGINE = Executable('id', 'TSV')",
        "CREATE DATABASE d ENGINE = Filesystem('/x')",
        "CREATE TABLE t (`a` Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '/x')",
        "ATTACH TABLE t FROM '/x' (`a` Int8) ENGINE = MergeTree ORDER BY a",
        "CREATE DICTIONARY d (`a` UInt64) PRIMARY KEY a SOURCE(EXECUTABLE(COMMAND 'id' FORMAT 'TSV'))",
        "CREATE DICTIONARY d (`a` UInt64) PRIMARY KEY a SOURCE(CLICKHOUSE(HOST 'x' PORT 1 TABLE 't'))",
        "CREATE DICTIONARY d (`a` UInt64) PRIMARY KEY a SOURCE(CLICKHOUSE(QUERY 'SELECT 1'))",
    ],
)
def test_statements_that_leave_the_store_are_refused_and_told_what_to_do(canonical: str) -> None:
    with pytest.raises(StatementError, match=r"^Code: 497\. DB::Exception: Refused: .+\(ACCESS_DENIED\)$") as caught:
        inspect(canonical)
    assert caught.value.status == 403


def test_a_bound_value_cannot_smuggle_a_reading_function_into_a_structure() -> None:
    with pytest.raises(StatementError, match="reads files"):
        inspect("SELECT * FROM values({s:String}, '')", {"s": "a String DEFAULT file('/x')"})


@pytest.mark.parametrize("canonical", ["SET a = 1", "SET ROLE NONE", "USE x", "CREATE TEMPORARY TABLE t (`a` Int8)"])
def test_statements_that_need_a_session_are_not_offered(canonical: str) -> None:
    with pytest.raises(StatementError, match="nothing is kept between two calls") as caught:
        inspect(canonical)
    assert caught.value.status == 501


def test_settings_parameters_and_what_belongs_to_http_are_told_apart() -> None:
    asked = arguments(
        {"query": "SELECT 1", "max_threads": "2", "param_x": "3", "session_id": "s", "wait_end_of_query": "1"},
        {"X-ClickHouse-Database": "d", "X-ClickHouse-Format": "CSV"},
    )
    assert (asked.sql, asked.database, asked.format) == ("SELECT 1", "d", "CSV")
    assert asked.settings == {"max_threads": "2"}
    assert asked.params == {"x": "3"}
    assert not asked.compress


@pytest.mark.parametrize("name", ["compress", "decompress", "session_check", "role", "add_http_cors_header"])
def test_what_is_not_offered_is_answered_with_501_and_what_is(name: str) -> None:
    with pytest.raises(StatementError, match="This store answers GET /ping") as caught:
        arguments({name: "1"}, {})
    assert caught.value.status == 501
    assert arguments({name: "0"}, {}).settings == {}


@pytest.mark.parametrize("name", ["a = 1, b", "param_a = 1, b", "", "param_"])
def test_a_name_that_is_not_a_name_never_reaches_sql(name: str) -> None:
    with pytest.raises(StatementError, match="is not the name of a setting"):
        arguments({name: "1"}, {})


@pytest.mark.parametrize("name", ["DataFrame", "ArrowTable"])
def test_python_objects_are_no_format_of_the_wire(name: str) -> None:
    with pytest.raises(StatementError) as caught:
        arguments({"default_format": name}, {})
    assert caught.value.code == 73


def test_literals_and_parameters_are_escaped() -> None:
    assert quoted("a'b\\") == "'a\\'b\\\\'"
    assert parameter("a\tb\\n\n") == "a\\tb\\\\n\\n"


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": partial(encoded, encoding="lz4"),
    "zstd": partial(encoded, encoding="zstd"),
    "gzip": gzip.compress,
}


@pytest.mark.parametrize("encoding", list(CODERS))
@given(frames=st.lists(st.binary(max_size=3_000), min_size=1, max_size=5))
def test_every_frame_of_a_body_is_read(encoding: str, frames: list[bytes]) -> None:
    body = b"".join(CODERS[encoding](frame) for frame in frames)
    assert b"".join(decoded(body, encoding, LIMIT)) == b"".join(frames)


@pytest.mark.parametrize("encoding", list(CODERS))
def test_a_body_of_many_megabytes_in_many_frames_is_whole(encoding: str) -> None:
    frames = [bytes([n]) * 1_500_000 + n.to_bytes(4) * 10_000 for n in range(8)]
    body = b"".join(CODERS[encoding](frame) for frame in frames)
    assert b"".join(decoded(body, encoding, LIMIT)) == b"".join(frames)


@pytest.mark.parametrize("encoding", list(CODERS))
def test_a_body_cut_short_is_an_error_wherever_it_is_cut(encoding: str) -> None:
    whole = CODERS[encoding](b"0123456789" * 50)
    for end in range(1, len(whole)):
        with pytest.raises(StatementError, match="cannot be unpacked") as caught:
            list(decoded(whole[:end], encoding, LIMIT))
        assert caught.value.status == 400


@pytest.mark.parametrize("encoding", list(CODERS))
def test_garbage_after_a_frame_is_an_error(encoding: str) -> None:
    with pytest.raises(StatementError, match="cannot be unpacked"):
        list(decoded(CODERS[encoding](b"abc") + b"garbage, not a frame", encoding, LIMIT))


@pytest.mark.parametrize("encoding", list(CODERS))
def test_a_small_body_cannot_unpack_to_more_than_the_limit(encoding: str) -> None:
    bomb = CODERS[encoding](bytes(20_000_000))
    taken: list[int] = []
    with pytest.raises(StatementError, match="more than 3000000 bytes") as caught:
        taken.extend(len(piece) for piece in decoded(bomb, encoding, 3_000_000))
    assert sum(taken) <= 3_000_000
    assert caught.value.status == 413


def test_a_statement_that_is_not_utf8_is_a_syntax_error() -> None:
    with pytest.raises(StatementError, match="not UTF-8") as caught:
        insert_header(b"INSERT INTO \xff t FORMAT CSV\n")
    assert caught.value.status == 400


def test_an_unknown_encoding_is_not_offered() -> None:
    with pytest.raises(StatementError) as caught:
        decoded(b"x", "br", LIMIT)
    assert caught.value.status == 501


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [("lz4,zstd,br", "lz4"), ("br, zstd;q=0.5, gzip", "zstd"), ("gzip;q=0", ""), ("", ""), ("*", ""), ("br", "")],
)
def test_the_first_encoding_that_both_sides_know_is_chosen(accept: str, chosen: str) -> None:
    assert chosen_encoding(accept) == chosen


@given(st.binary(max_size=1_000), st.sampled_from(["", "lz4", "zstd", "gzip"]))
def test_what_is_encoded_decodes_to_itself(data: bytes, encoding: str) -> None:
    assert b"".join(decoded(encoded(data, encoding), encoding, LIMIT)) == data


@pytest.mark.parametrize(
    ("message", "code", "status"),
    [
        ("Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE)", 60, 404),
        ("Streaming insert finish failed: Code: 27. DB::Exception: Cannot parse", 27, 400),
        ("Code: 241. DB::Exception: Memory limit", 241, 500),
        ("something else", 1002, 500),
    ],
)
def test_an_engine_message_becomes_a_code_and_a_status(message: str, code: int, status: int) -> None:
    error = engine_error(message)
    assert (error.code, error.status) == (code, status)
    assert error.text.startswith(f"Code: {code}. ")


def test_the_engine_repeats_itself_and_we_do_not() -> None:
    error = engine_error("Code: 115. DB::Exception: Code: 115. DB::Exception: Unknown setting 'bad'. (UNKNOWN_SETTING)")
    assert error.text == "Code: 115. DB::Exception: Unknown setting 'bad'. (UNKNOWN_SETTING)"


def test_a_syntax_error_does_not_show_how_it_was_found() -> None:
    message = (
        "Code: 62. DB::Exception: Syntax error: failed at 1: In scope SELECT formatQuerySingleLine('x'). (SYNTAX_ERROR)"
    )
    assert engine_error(message).text == "Code: 62. DB::Exception: Syntax error: failed at 1 (SYNTAX_ERROR)"


def test_the_handshake_of_clickhouse_go_names_revision_zero() -> None:
    block = go_handshake("26.9.2.1", "UTC")
    assert b"\x0arevision()\x06UInt32\x00\x00\x00\x00\x00" in block
    assert block.endswith(b"\x00\x03UTC")


@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"])
def test_loopback_names_mean_this_machine(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize(
    "name", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.nip.io", ""]
)
def test_other_names_do_not(name: str) -> None:
    assert not is_loopback(name)


def test_a_page_of_another_origin_is_refused_whatever_it_claims() -> None:
    hosts = ("127.0.0.1:8123", "localhost", "[::1]:8123", "LocalHost:1")
    for host, origin in itertools.product(hosts, ("", "http://localhost:8080", "http://127.0.0.1", "http://[::1]:3")):
        assert refused_origin(host, origin, "same-site") == ""
    for origin in (
        "null",
        "https://example.org",
        "http://localhost.example.org",
        "file://",
        "http://127.0.0.1@example.org",
        "http://[",
    ):
        assert "other origins" in refused_origin("127.0.0.1", origin, "")
    assert "other origins" in refused_origin("127.0.0.1", "", "cross-site")
    for host in ("example.org", "example.org:8123", "", "rebound.example:8123", "127.0.0.1@example.org", "["):
        assert "localhost and 127.0.0.1 only" in refused_origin(host, "", "")


def test_gzip_is_told_from_raw_deflate() -> None:
    with pytest.raises(StatementError):
        list(decoded(zlib.compress(b"abc"), "gzip", LIMIT))
