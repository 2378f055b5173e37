"""Statements: what one request to the store means, decided without touching the store.

Everything here is a pure function of its arguments. What a statement does is never guessed from the text that a client
sent: the engine's own parser first writes it down in one canonical line, and `inspect` reads that line.
"""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import lz4.frame  # type: ignore[import-untyped,unused-ignore]  # the package carries no types

from streamgauge.schemas.errors import StreamgaugeError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SYNTAX_ERROR = 62
NOT_IMPLEMENTED = 48
ACCESS_DENIED = 497
CANNOT_DECOMPRESS = 271
TOO_LARGE = 229
UNKNOWN_CODE = 1002

SUPPORTED = (
    "This store answers GET /ping, and GET or POST / with ?query=, settings, param_x, database and default_format; "
    "bodies are plain, lz4, zstd or gzip. GET reads, POST may write."
)

# The table of ClickHouse's own HTTP handler; every code that is not named here is a 500.
_STATUS = {
    194: 401,
    **dict.fromkeys((192, 193, 497, 512, 516), 403),
    **dict.fromkeys((6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117), 400),
    **dict.fromkeys((167, 168, 223, 271, 321, 376, 427, 441, 675, 676), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336, 511), 404),
    **dict.fromkeys((76, 209, 439), 503),
    48: 501,
    159: 408,
    229: 413,
    381: 411,
}


class StatementError(StreamgaugeError):
    """A statement failed or is refused. `code` is ClickHouse's error code, `status` the HTTP status that goes with it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def status(self) -> int:
        """The HTTP status a ClickHouse server would answer."""
        return _STATUS.get(self.code, 500)


def refusal(code: int, text: str) -> StatementError:
    """An error in the words of ClickHouse, for what is refused before the engine sees it."""
    name = {NOT_IMPLEMENTED: "NOT_IMPLEMENTED", ACCESS_DENIED: "ACCESS_DENIED", TOO_LARGE: "QUERY_IS_TOO_LARGE"}
    return StatementError(code, f"Code: {code}. DB::Exception: {text} ({name.get(code, 'BAD_ARGUMENTS')})")


_CODE = re.compile(r"Code: (\d+)\. ")
_ECHO = re.compile(r"^(Code: (\d+)\. [\w:]+: )(?:Code: \2\. [\w:]+: )+")
_INSIDE = re.compile(r": In scope SELECT formatQuerySingleLine\(.*$", re.DOTALL)


def engine_error(message: str) -> StatementError:
    """The error that an engine's message tells of, from its first `Code:` on, without the engine's repetitions."""
    found = _CODE.search(message)
    if found is None:
        return StatementError(UNKNOWN_CODE, f"Code: {UNKNOWN_CODE}. DB::Exception: {message} (UNKNOWN_EXCEPTION)")
    text = _ECHO.sub(r"\1", message[found.start() :])
    text = _INSIDE.sub(" (SYNTAX_ERROR)", text)
    return StatementError(int(found[1]), text)


# ---------------------------------------------------------------------------------------------- arguments of a request

# Named by the HTTP interface and of no consequence here: answers are always buffered, there are no users to log in,
# and nothing is kept between calls (clickhouse-connect sends a session_id with every call unless told otherwise).
_IGNORED = frozenset(
    {
        "query",
        "database",
        "default_format",
        "buffer_size",
        "session_id",
        "session_timeout",
        "query_id",
        "quota_key",
        "wait_end_of_query",
        "user",
        "password",
        "client_protocol_version",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "enable_http_compression",
        "cancel_http_readonly_queries_on_client_close",
        "http_write_exception_in_output_format",
        "stacktrace",
    }
)
_UNSUPPORTED = {
    "compress": "ClickHouse's own block compression; use Accept-Encoding with enable_http_compression=1",
    "decompress": "ClickHouse's own block compression; use Content-Encoding",
    "session_check": "sessions; every call stands alone",
    "role": "roles; there is one user",
    "add_http_cors_header": "answers to other origins",
}
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the URL and the headers of one request say. `settings` hold for this one call."""

    sql: str
    database: str
    format: str
    settings: Mapping[str, str]
    params: Mapping[str, str]
    query_id: str
    compress: bool
    handshake: bool


def arguments(query: Mapping[str, str], headers: Mapping[str, str]) -> Arguments:
    """The arguments of a request, or `StatementError` (501) if it asks for something that is not offered."""
    for name, what in _UNSUPPORTED.items():
        if query.get(name, "0") not in ("", "0"):
            raise refusal(NOT_IMPLEMENTED, f"{name}: this store does not offer {what}. {SUPPORTED}")
    settings: dict[str, str] = {}
    params: dict[str, str] = {}
    for name, value in query.items():
        if name.startswith("param_"):
            params[_plain_name(name.removeprefix("param_"))] = value
        elif name not in _IGNORED and name not in _UNSUPPORTED:
            settings[_plain_name(name)] = value
    output = query.get("default_format") or headers.get("X-ClickHouse-Format", "") or "TabSeparated"
    if output.lower() in ("dataframe", "datastore", "arrowtable"):  # Python objects of chDB, not bytes
        raise StatementError(73, f"Code: 73. DB::Exception: Unknown format {output}. (UNKNOWN_FORMAT)")
    return Arguments(
        sql=query.get("query", ""),
        database=query.get("database") or headers.get("X-ClickHouse-Database", "") or "default",
        format=output,
        settings=settings,
        params=params,
        query_id=query.get("query_id", ""),
        compress=query.get("enable_http_compression", "0") not in ("", "0"),
        handshake="client_protocol_version" in query,
    )


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise StatementError(
            115, f"Code: 115. DB::Exception: {name!r} is not the name of a setting or parameter. (UNKNOWN_SETTING)"
        )
    return name


def quoted(value: str) -> str:
    """A string literal of ClickHouse SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """An identifier of ClickHouse SQL, quoted."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def parameter(value: str) -> str:
    """A value that the engine unescapes to exactly `value` (bound values travel in TabSeparated escaping)."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


# ------------------------------------------------------------------------------------------------- inserts with data

_TOKEN = re.compile(
    rb"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)|(?P<quote>'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")"""
    rb"""|(?P<word>[A-Za-z_]\w*)|(?P<other>.)""",
    re.DOTALL,
)
_FORMAT_NAME = re.compile(rb"\s+(\w+)[ \t\f]*(?:\r?\n)?")


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """An INSERT that brings its rows along: the statement without its FORMAT, the format, and where the rows begin."""

    statement: str
    format: str
    offset: int


def insert_header(text: bytes) -> InsertHeader | None:
    """Split an INSERT from its rows. None if `text` is no INSERT or takes its rows from a SELECT."""
    words = 0
    depth = 0
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "skip":
            continue
        if token[0] in (b"'", b"`", b'"'):
            return None  # opened and never closed: the engine says where
        if token.lastgroup == "other":
            depth += {b"(": 1, b")": -1}.get(token[0], 0)
        word = token[0].upper() if token.lastgroup == "word" else b""
        words += 1
        if words == 1 and word != b"INSERT":
            return None
        # the third word at the earliest: a table may be called format or values
        if depth == 0 and words > 3:
            if word == b"VALUES":
                return InsertHeader(_text(text[: token.start()]), "Values", token.end())
            if word in (b"SELECT", b"WITH", b"EXPLAIN", b"WATCH"):
                return None
            if word == b"FORMAT" and (name := _FORMAT_NAME.match(text, token.end())):
                return InsertHeader(_text(text[: token.start()]), name[1].decode(), name.end())
    return None


def _text(sql: bytes) -> str:
    try:
        return sql.decode()
    except UnicodeDecodeError:
        raise StatementError(
            SYNTAX_ERROR, "Code: 62. DB::Exception: The statement is not UTF-8. (SYNTAX_ERROR)"
        ) from None


# ------------------------------------------------------------------------------------- what a canonical statement does

# One pattern for both, read from left to right: either may hold the quotes of the other.
_QUOTED = re.compile(r"(?P<text>'(?:[^'\\]|\\.)*')|`(?P<called>\w+)`(?=\()|`(?:[^`\\]|\\.)*`", re.DOTALL)
_OUTPUT_FORMAT = re.compile(r" FORMAT (\w+)(?: SETTINGS .*)?$")
_RETURNS_ROWS = re.compile(r"^\(*(?:SELECT|WITH|SHOW|DESCRIBE|EXPLAIN|EXISTS|CHECK|KILL|FROM|VALUES)\b")

_ENGINES = re.compile(
    r"\w*MergeTree|Null|Memory|Log|TinyLog|StripeLog|Set|Join|Buffer|Merge|Dictionary|GenerateRandom|Alias|TimeSeries"
    r"|View|MaterializedView|Atomic"
)
_DICTIONARY_KEYS = frozenset(("TABLE", "DB", "UPDATE_FIELD", "UPDATE_LAG"))
_REFUSED = (
    (
        re.compile(r"^(?:SET|USE|BEGIN|COMMIT|ROLLBACK)\b|\bTEMPORARY (?:TABLE|VIEW)\b"),
        NOT_IMPLEMENTED,
        "nothing is kept between two calls: send settings as URL arguments or in a SETTINGS clause, the database as "
        "?database=, and use an ordinary table in place of a temporary one.",
    ),
    (
        re.compile(r"\bINTO OUTFILE\b"),
        ACCESS_DENIED,
        "INTO OUTFILE writes files. Read the answer and store it yourself.",
    ),
    (
        re.compile(r"\bFROM INFILE\b"),
        ACCESS_DENIED,
        "FROM INFILE reads files. Send the rows in the body of the request.",
    ),
    (
        re.compile(r"\bATTACH TABLE\b.* FROM ''"),
        ACCESS_DENIED,
        "ATTACH ... FROM takes over a directory. Insert the rows.",
    ),
    (re.compile(r"\bdisk\("), ACCESS_DENIED, "disks cannot be defined in a statement."),
    (
        re.compile(
            r"\b((?:file|filesystem|url|s3|gcs|cosn|oss|hdfs|azureBlobStorage|iceberg|deltaLake|hudi|paimon|remote|cluster"
            r"|mysql|postgresql|mongodb|redis|sqlite|odbc|jdbc|bigquery|ytsaurus|executable|python|arrowstream|eval"
            r"|prometheusQuery)(?:Local|S3|Azure|HDFS|Secure|Range|AllReplicas)?(?:Cluster)?)\(",
            re.IGNORECASE,
        ),
        ACCESS_DENIED,
        "{0}() reaches outside this store (files, addresses, programs). Read the source yourself and insert its rows.",
    ),
)
_FILE_IN_TEXT = re.compile(r"(?<!\w)file\W*\(")
# A structure given as text may hold defaults, which are expressions: it is read here, so it must stand here whole.
_BOUND = r"(?:''|\{\w+:[^{}]*\})"
_STRUCTURE = re.compile(
    rf"\b(?:input|generateRandom|null)\((?!{_BOUND}[,)])"
    rf"|\bvalues\((?!{_BOUND}[,)]|[\d-]|\((?:''|-?[\w.]+|, )+\))"
    rf"|\bformat\(\w+(?!(?:, {_BOUND}){{1,2}}\))\b",
    re.IGNORECASE,
)
_FORMAT_IN_TEXT = re.compile(r"\bformat\('\w*',")
_FILE_ARGUMENT = re.compile(r"\bAPPLY file\b|(?<=[(\s])file(?=[,)])")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a statement is: the format it asks for itself ("" if none), and whether it answers with rows."""

    format: str
    returns_rows: bool


def inspect(canonical: str, params: Mapping[str, str] | None = None) -> Shape:
    """The shape of a statement that the engine's parser has written down in one line.

    Raises `StatementError` for statements that would leave the store (files, addresses, programs) or need a session.
    The engine's own grants stand behind this list; it is here for what grants do not cover, and to say what to do.
    """
    masked = _QUOTED.sub(_mask, canonical)
    for pattern, code, advice in _REFUSED:
        if found := pattern.search(masked):
            raise refusal(code, "Refused: " + advice.format(*found.groups()))
    for engine in re.findall(r"\bENGINE = (\w+)", masked):
        if not _ENGINES.fullmatch(engine):
            raise refusal(ACCESS_DENIED, f"Refused: tables of engine {engine} reach outside this store. Use MergeTree.")
    for source, keys in re.findall(r"\bSOURCE\((\w+)\(([^)]*)\)", masked):
        if source != "CLICKHOUSE" or not _DICTIONARY_KEYS.issuperset(re.findall(r"(\w+) (?:''|\w+)", keys)):
            raise refusal(
                ACCESS_DENIED, "Refused: a dictionary reads a table of this store: SOURCE(CLICKHOUSE(TABLE ...))."
            )
    if _STRUCTURE.search(masked) or _FORMAT_IN_TEXT.search(canonical):
        raise refusal(
            ACCESS_DENIED, "Refused: name the format, and write the structure as one literal or one parameter."
        )
    literals = [found["text"] for found in _QUOTED.finditer(canonical) if found["text"]]
    texts = [*literals, *(params or {}).values()]
    if any(_FILE_IN_TEXT.search(text) for text in texts) or any(
        found[0] != "file" or _is_call_argument(masked, found.start()) for found in _FILE_ARGUMENT.finditer(masked)
    ):
        raise refusal(
            ACCESS_DENIED, "Refused: `file` is a function that reads files. For a column write its table: t.file."
        )
    own = _OUTPUT_FORMAT.search(masked)
    return Shape(own[1] if own else "", bool(_RETURNS_ROWS.match(masked)))


def _mask(quoted_text: re.Match[str]) -> str:
    """A placeholder; but what is called keeps its name: `values`(...)."""
    return "''" if quoted_text["text"] else quoted_text["called"] or "``"


def _is_call_argument(masked: str, position: int) -> bool:
    """Whether the word at `position` stands directly in the brackets of a function call: `name(... word ...)`."""
    depth = 0
    for index in range(position - 1, 0, -1):
        if masked[index] == ")":
            depth += 1
        elif masked[index] == "(":
            if depth == 0:
                return masked[index - 1].isalnum() or masked[index - 1] in "_`)"
            depth -= 1
    return False


# ------------------------------------------------------------------------------------------------------ body encodings


class _Decompressor(Protocol):
    eof: bool
    needs_input: bool
    unused_data: bytes | None

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """One gzip member, behind the same face as the frames of lz4 and zstd."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))


_DECOMPRESSORS: dict[str, Any] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "gzip": _Gzip,
}
_PIECE = 1 << 20


def decoded(body: bytes, encoding: str, limit: int) -> Iterator[bytes]:
    """The plain bytes of a body, piece by piece. Every frame is read: clickhouse-connect sends one frame per block.

    Raises `StatementError` for an unknown encoding, for a body that is damaged or cut short, and beyond `limit` bytes.
    """
    if encoding in ("", "identity"):
        return iter([body] if body else [])
    if encoding not in _DECOMPRESSORS:
        raise refusal(NOT_IMPLEMENTED, f"Content-Encoding {encoding!r} is not offered. {SUPPORTED}")
    return _frames(body, encoding, limit)


def _frames(body: bytes, encoding: str, limit: int) -> Iterator[bytes]:
    position = 0
    rest = b""
    total = 0
    try:
        while rest or position < len(body):
            frame = cast("_Decompressor", _DECOMPRESSORS[encoding]())
            while not frame.eof:
                if frame.needs_input and not rest:
                    rest = body[position : position + _PIECE]
                    position += len(rest)
                    if not rest:
                        raise EOFError("the body ends within a frame")
                piece = frame.decompress(rest, _PIECE)
                rest = b""
                total += len(piece)
                if total > limit:
                    raise refusal(TOO_LARGE, f"The unpacked body has more than {limit} bytes. Send smaller blocks.")
                if piece:
                    yield piece
            rest = frame.unused_data or b""
    except (EOFError, OSError, RuntimeError, ValueError, zlib.error, zstd.ZstdError) as error:
        text = f"Code: 271. DB::Exception: The {encoding} body cannot be unpacked: {error}. (CANNOT_DECOMPRESS)"
        raise StatementError(CANNOT_DECOMPRESS, text) from error


def chosen_encoding(accept: str) -> str:
    """The first encoding of an Accept-Encoding header that `encoded` can write; "" for none."""
    for entry in accept.split(","):
        name, _, weight = entry.strip().partition(";")
        if name in _DECOMPRESSORS and weight.replace(" ", "") not in ("q=0", "q=0.0"):
            return name
    return ""


def encoded(data: bytes, encoding: str) -> bytes:
    """`data` as one frame of `encoding`, which is one that `chosen_encoding` gave."""
    if encoding == "lz4":
        return cast("bytes", lz4.frame.compress(data))
    if encoding == "zstd":
        return zstd.compress(data, 1)
    if encoding == "gzip":
        return gzip.compress(data, 1, mtime=0)
    return data


# ---------------------------------------------------------------------------------------------------------- handshakes

GO_HANDSHAKE = b"SELECT displayName(), version(), revision(), timezone()"


def go_handshake(version: str, timezone: str) -> bytes:
    """The answer to clickhouse-go's first query, as one Native block.

    The driver reads this block with its own newest revision (block info, a byte per column for custom serialization), and
    all later ones with the revision named here: 0 is the plain Native that the engine writes.
    """
    columns = (
        ("displayName()", "String", _varstring("streamgauge")),
        ("version()", "String", _varstring(version)),
        ("revision()", "UInt32", bytes(4)),
        ("timezone()", "String", _varstring(timezone)),
    )
    block = b"\x01\x00\x02\xff\xff\xff\xff\x00" + bytes((len(columns), 1))
    return block + b"".join(_varstring(name) + _varstring(kind) + b"\x00" + data for name, kind, data in columns)


def _varstring(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data  # a length below 128 is its own variable-length integer
