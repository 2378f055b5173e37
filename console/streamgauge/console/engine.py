"""The engine: one embedded ClickHouse (chDB) over one data directory, for one process.

A call opens a session of its own (0.2 ms) and drops it, so settings, the current database and roles never reach the next
call. Statements run with grants that end at this engine's tables: files, addresses and programs are out of reach.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import quote

from streamgauge.console.statements import (
    InsertHeader,
    Shape,
    StatementError,
    engine_error,
    identifier,
    inspect,
    parameter,
    quoted,
)
from streamgauge.schemas.errors import InputError

_NOTHING: Mapping[str, str] = {}

# What a statement may do. Sources (FILE, URL, S3, ...), BACKUP, users, named collections and SYSTEM SHUTDOWN are missing on
# purpose. The constraints hold for settings whose values are SQL or paths, which no grant looks into.
_USERS = """<clickhouse>
<profiles><default>
  <async_insert>0</async_insert><implicit_select>0</implicit_select>
  <allow_introspection_functions>0</allow_introspection_functions>
  <constraints>{constraints}</constraints>
</default></profiles>
<quotas><default/></quotas>
<users><default>
  <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
  <grants><query>GRANT SHOW, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE DICTIONARY,
    CREATE FUNCTION, DROP, TRUNCATE, OPTIMIZE, CHECK, UNDROP TABLE, KILL QUERY, dictGet, SYSTEM FLUSH, SYSTEM MERGES,
    SYSTEM TTL MERGES, SYSTEM RELOAD DICTIONARY, SYSTEM VIEWS ON *.*</query></grants>
</default></users>
</clickhouse>
"""
_FIXED_SETTINGS = (
    "format_schema",
    "dialect",
    "allow_experimental_eval_table_function",
    "additional_table_filters",
    "additional_result_filter",
    "parallel_replicas_custom_key",
    "schema_inference_hints",
)
# The engine lays its own default database over the files of the working directory, so that a table may be a path. That
# one is moved out of the way under this name, where the grants make it useless; `default` is a plain database.
# Inserts and merges are refused while so little room is left that one could fail halfway: the engine (chDB 4.1) takes a
# merge whose last bytes found no room for a good one.
_CONFIG = """<clickhouse>
<default_database>_unused</default_database>
<storage_configuration><disks><default><keep_free_space_bytes>{spare}</keep_free_space_bytes></default></disks></storage_configuration>
<user_directories><users_xml><path>{users}</path></users_xml></user_directories>
</clickhouse>
"""


SPARE_BYTES = 64 << 20
"""Room on the disk that is never used."""
_WRITE_FAILURES = """SELECT sum(value) FROM system.errors WHERE name IN (
  'NOT_ENOUGH_SPACE', 'CANNOT_WRITE_TO_FILE_DESCRIPTOR', 'CANNOT_OPEN_FILE', 'CANNOT_CLOSE_FILE', 'CANNOT_FSYNC',
  'CANNOT_CREATE_DIRECTORY', 'CANNOT_TRUNCATE_FILE', 'DIRECTORY_ALREADY_EXISTS', 'MEMORY_LIMIT_EXCEEDED',
  'CANNOT_ALLOCATE_MEMORY', 'FILE_DOESNT_EXIST', 'SYSTEM_ERROR', 'STD_EXCEPTION')"""


class _Result(Protocol):
    def bytes(self) -> bytes | None: ...
    def rows_read(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...
    def rows_written(self) -> int: ...
    def bytes_written(self) -> int: ...


class _InsertResult(Protocol):
    rows_written: int
    bytes_written: int


class _Inserter(Protocol):
    def append(self, data: bytes) -> None: ...
    def finish(self) -> _InsertResult: ...
    def cancel(self) -> None: ...


class _Connection(Protocol):
    def query(self, query: str, format: str = ..., params: Mapping[str, str] | None = ...) -> _Result: ...  # noqa: A002
    def send_insert(self, query: str, format: str = ...) -> _Inserter: ...  # noqa: A002
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call gave: the bytes in `format`, and what was read and written to get them."""

    data: bytes
    format: str
    returns_rows: bool
    result_rows: int
    read_rows: int
    read_bytes: int
    written_rows: int
    written_bytes: int


class Engine:
    """One open data directory. Every method may be called from any thread; at most `handles` calls run at once.

    Acknowledged inserts are in the directory when the call returns, and survive a killed process.
    """

    def __init__(self, directory: Path, connect: Callable[[], _Connection], lock: int, handles: int) -> None:
        """Use `Engine.open`."""
        self.directory = directory
        self.handles = handles
        self._connect = connect
        self._lock = lock
        self._places = threading.BoundedSemaphore(handles)
        self._idle = threading.Condition()
        self._running = 0
        self._closed = False
        self._keeper = connect()  # while it lives the engine does; sessions come and go
        self.version = self._word("SELECT version()")
        self.timezone = self._word("SELECT timezone()")

    @classmethod
    def open(cls, directory: str | os.PathLike[str], handles: int = 4) -> Engine:
        """Open `directory`, created if missing. Raises `InputError` if it cannot be used or another engine has it open."""
        path = Path(directory).absolute()
        if handles < 1:
            raise InputError(f"the store needs at least one handle, not {handles}")
        if "?" in str(path):
            raise InputError(
                f"{path}: the engine cannot open a directory with a question mark in its path. Choose another."
            )
        lock = _locked(path)
        try:
            _plain_default_database(path)
            with tempfile.TemporaryDirectory(prefix="streamgauge-") as folder:  # read once, when the engine starts
                return cls(path, _connector(path, Path(folder)), lock, handles)
        except (RuntimeError, ValueError) as error:
            os.close(lock)
            raise InputError(
                f"{path}: the engine cannot open this directory: {engine_error(str(error)).text}\n"
                "Choose another directory, or move this one away if its data may be lost."
            ) from error
        except BaseException:
            os.close(lock)
            raise

    def query(
        self,
        sql: str,
        format: str = "TabSeparated",  # noqa: A002
        *,
        params: Mapping[str, str] = _NOTHING,
        settings: Mapping[str, str] = _NOTHING,
        database: str = "default",
        readonly: bool = False,
    ) -> Answer:
        """Run one statement and return its whole result in `format`, unless the statement names its own FORMAT.

        `params` are bound to `{name:Type}` as the engine unescapes them: see `statements.parameter`.
        """
        with self._session() as connection:
            shape = _shape(connection, sql, params)
            _prepare(connection, settings, database, readonly)
            result = connection.query(sql, format, params=params)
            return Answer(
                data=result.bytes() or b"",
                format=shape.format or format,
                returns_rows=shape.returns_rows,
                result_rows=result.rows_read() if shape.returns_rows else 0,
                read_rows=result.storage_rows_read(),
                read_bytes=result.storage_bytes_read(),
                written_rows=result.rows_written(),
                written_bytes=result.bytes_written(),
            )

    def insert(
        self,
        header: InsertHeader,
        data: Iterable[bytes],
        *,
        params: Mapping[str, str] = _NOTHING,
        settings: Mapping[str, str] = _NOTHING,
        database: str = "default",
        readonly: bool = False,
    ) -> Answer:
        """Stream `data` (rows in `header.format`, cut anywhere) into the table that `header` names.

        After an error nothing is known: large blocks may be in already. Send the same rows with the same
        `insert_deduplication_token` again.
        """
        with self._session() as connection:
            _shape(connection, f"{header.statement} FORMAT {header.format}", params)
            _prepare(connection, settings, database, readonly)
            for name, value in params.items():
                connection.query(f"SET param_{name} = {quoted(value)}")
            failures = _write_failures(connection)
            inserter = connection.send_insert(header.statement, header.format)
            try:
                for piece in data:
                    inserter.append(piece)
                written = inserter.finish()
            except BaseException:
                inserter.cancel()
                raise
            if _write_failures(connection) != failures:
                raise StatementError(
                    243,
                    "Code: 243. DB::Exception: A write failed meanwhile; the rows may not be in. (NOT_ENOUGH_SPACE)",
                )
            return Answer(b"", header.format, False, 0, 0, 0, written.rows_written, written.bytes_written)

    def close(self, grace_s: float = 1.0) -> None:
        """Let running calls end for `grace_s`, then cancel them, and close the directory. May be called again."""
        with self._idle:
            if self._closed:
                return
            self._closed = True
            if not self._idle.wait_for(lambda: self._running == 0, grace_s):
                self._keeper.query("KILL QUERY WHERE query_id != queryID() ASYNC")
                self._idle.wait_for(lambda: self._running == 0)
        self._keeper.close()
        os.close(self._lock)

    @contextmanager
    def _session(self) -> Generator[_Connection]:
        with self._places:
            with self._idle:
                if self._closed:
                    raise StatementError(439, "Code: 439. DB::Exception: The store is closing. (CANNOT_SCHEDULE_TASK)")
                self._running += 1
            try:
                connection = self._connect()
                try:
                    yield connection
                finally:
                    connection.close()
            except RuntimeError as error:  # what chDB raises; its own class derives from it
                raise engine_error(str(error)) from error
            finally:
                with self._idle:
                    self._running -= 1
                    self._idle.notify_all()

    def _word(self, sql: str) -> str:
        return (self._keeper.query(sql, "TabSeparated").bytes() or b"").decode().strip()


def _write_failures(connection: _Connection) -> bytes:
    """How many writes have failed so far. A streaming insert answers with success when its last part could not be written
    (chDB 4.1), and only this tells. Somebody else's failure in the same moment is taken for its own: it is sent again."""
    return connection.query(_WRITE_FAILURES).bytes() or b""


def _shape(connection: _Connection, sql: str, params: Mapping[str, str]) -> Shape:
    # before the caller's settings: a `limit` among them would blank the answer
    line = connection.query(
        "SELECT formatQuerySingleLine({statement:String}) SETTINGS max_query_size = 0",
        "TSVRaw",
        params={"statement": parameter(sql)},
    )
    return inspect((line.bytes() or b"").decode().removesuffix("\n"), params)


def _prepare(connection: _Connection, settings: Mapping[str, str], database: str, readonly: bool) -> None:
    if database != "default":
        connection.query(f"USE {identifier(database)}")
    level = settings.get("readonly", "0")
    pairs = [f"{name} = {quoted(value)}" for name, value in settings.items() if name != "readonly"]
    if pairs:
        connection.query("SET " + ", ".join(pairs))
    if readonly and level in ("", "0"):
        level = "2"
    if level not in ("", "0"):
        connection.query(f"SET readonly = {quoted(level)}")  # last: nothing can be set after it


def _locked(path: Path) -> int:
    """A descriptor that holds this directory until it is closed, or `InputError`. The engine's own refusal is empty."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / ".streamgauge-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(
            f"{path}: the store cannot write here ({error.strerror}). Choose a directory that you may write to."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (status := path / "status").exists():  # the engine's own lock: held by any other program that uses it
            with status.open("rb") as foreign:
                fcntl.flock(foreign, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise InputError(
            f"{path}: another store has this directory open. Stop that process, use its address, or choose another directory."
        ) from error
    return descriptor


def _plain_default_database(path: Path) -> None:
    """Make `default` an ordinary database on disk, as a ClickHouse server does; keep the one that is there."""
    metadata = path / "metadata"
    metadata.mkdir(exist_ok=True)
    link = metadata / "default"
    definition = metadata / "default.sql"
    if not definition.exists():
        identity = link.readlink().name if link.is_symlink() else str(uuid.uuid4())
        partial = definition.with_suffix(".tmp")
        partial.write_text(f"ATTACH DATABASE _ UUID '{identity}'\nENGINE = Atomic\n")
        partial.replace(definition)
    # the engine would give the identity behind this link to its other database too, and abort; it makes the link anew
    link.unlink(missing_ok=True)


def _connector(path: Path, folder: Path) -> Callable[[], _Connection]:
    """A function that opens sessions. The first one starts the engine, which reads its configuration from `folder`."""
    connect = cast("Callable[[str], _Connection]", importlib.import_module("chdb").connect)
    address = f"{path}?config-file={quote(str(folder / 'config.xml'))}"
    constraints = "".join(f"<{name}><readonly/></{name}>" for name in _FIXED_SETTINGS)
    (folder / "users.xml").write_text(_USERS.format(constraints=constraints))
    (folder / "config.xml").write_text(_CONFIG.format(users="users.xml", spare=SPARE_BYTES))
    return lambda: connect(address)
