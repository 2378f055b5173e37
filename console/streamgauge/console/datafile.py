"""Data files: Parquet, CSV and NDJSON (also .gz, or .zip with one member), read in slices of bounded memory.

Text formats give text columns, so that one wrong value spoils its own row and no other.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import orjson
import polars as pl
from polars.exceptions import PolarsError

from streamgauge.console.suggest import did_you_mean
from streamgauge.schemas.errors import InputError

CHUNK_BYTES = 8 << 20
MAX_RECORD_BYTES = 64 << 20
PARQUET_ROWS = 131_072
FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
MISSING_WORDS = ("NA", "N/A", "NULL", "null", "None", "\\N")
"""Words that may stand for a missing value in CSV; `missing_words` decides whether they do in one file."""

MIN_NUMBERS = 10


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive rows. `first` is the number of its first row, from 1; `share` how much of the file is read by then.

    `broken` are positions in the frame of rows that cannot be read at all; the frame has nulls there.
    """

    frame: pl.DataFrame
    first: int
    share: float
    broken: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that can be read: its columns, those of them that hold lists or objects, and its words for "missing"."""

    path: Path
    format: str
    columns: tuple[str, ...]
    nested: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    separator: str = ","

    def need(self, names: Iterable[str]) -> None:
        """Raises InputError that names the columns there are, if one of `names` is not among them or is nested."""
        wanted = list(names)
        if lacking := [name for name in wanted if name not in self.columns]:
            hints = "".join(did_you_mean(name, self.columns) for name in lacking)
            there = ", ".join(self.columns)
            raise InputError(f"{self.path} has no column {', '.join(lacking)}.{hints}\n  It has: {there}")
        if nested := [name for name in wanted if name in self.nested]:
            raise InputError(f"{self.path}: {', '.join(nested)} holds lists or objects; a field is a single value")

    def slices(self, columns: Sequence[str]) -> Iterator[Slice]:
        """Its rows in order, only these columns (those the file lacks are left out). Raises InputError."""
        wanted = [name for name in self.columns if name in columns]
        return _parquet(self.path, wanted) if self.format == "parquet" else _text(self, wanted)

    def parse(self, chunk: bytes, columns: Sequence[str]) -> tuple[pl.DataFrame, tuple[int, ...]]:
        """Whole records of text as a frame of text columns, and the positions of those that cannot be read."""
        schema = dict.fromkeys(self.columns if self.format == "csv" else columns, pl.String)
        try:
            if self.format == "ndjson":
                return pl.read_ndjson(chunk, schema=schema), ()
            # all columns: with a choice of them polars accepts a row that has too many cells
            frame = pl.read_csv(
                chunk,
                has_header=False,
                schema=schema,
                separator=self.separator,
                null_values=list(self.missing),
            )
            return frame.select(columns), ()
        except PolarsError:
            # rare and slow: find the records that cannot be read, keep the others
            rows = _json_rows(chunk) if self.format == "ndjson" else self._csv_rows(chunk)
            return _frame(rows, columns)

    def _csv_rows(self, chunk: bytes) -> Iterator[dict[str, str | None] | None]:
        empty = {"", *self.missing}
        for row in csv.reader(io.StringIO(_decoded(chunk, self.path), newline=""), delimiter=self.separator):
            whole = len(row) <= len(self.columns)
            yield {k: None if v in empty else v for k, v in zip(self.columns, row, strict=False)} if whole else None


def open_data(path: Path, missing: Sequence[str] | None = None) -> DataFile:
    """Look at a file's beginning. `missing` names its words for "missing" (None: found out, see `missing_words`).

    Raises InputError when it cannot be read as what its name says.
    """
    kind = _format(path)
    try:
        if kind == "parquet":
            return _look_at_parquet(path)
        return _look_at_text(path, kind, missing)
    except (OSError, EOFError, PolarsError, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        # the text of a parser's error may quote the file
        why = error.strerror if isinstance(error, OSError) and error.strerror else f"not readable as {kind}"
        raise InputError(f"{path}: {why}") from error


def missing_words(frame: pl.DataFrame) -> dict[str, str]:
    """Words that stand for "missing" in this text: those found in a column where everything else is a number.

    Maps each word to the first such column. ("NA" in a column of country codes alone is Namibia.)
    """
    found: dict[str, str] = {}
    for column in frame.iter_columns():
        distinct = column.unique().drop_nulls()
        words = distinct.filter(distinct.is_in(MISSING_WORDS)).to_list()
        others = distinct.filter(~distinct.is_in(MISSING_WORDS))
        if not words or others.cast(pl.Float64, strict=False).null_count():
            continue
        if column.len() - column.is_in(MISSING_WORDS).sum() - column.null_count() >= MIN_NUMBERS:
            found |= {word: column.name for word in words if word not in found}
    return found


def records(stream: IO[bytes], quoted: bool, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The stream in chunks that end where a record ends. `quoted`: a line end between double quotes ends no record."""
    rest = b""
    while data := stream.read(chunk_bytes):
        rest += data
        cut = _last_end(rest, quoted)
        if cut == 0 and len(rest) > MAX_RECORD_BYTES:
            raise InputError(f"a record is longer than {MAX_RECORD_BYTES >> 20} MiB; is a closing quote missing?")
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest.strip():
        yield rest


def _last_end(data: bytes, quoted: bool) -> int:
    end = data.rfind(b"\n") + 1
    if not quoted:
        return end
    before = data.count(b'"', 0, end)
    while end and before % 2:
        earlier = data.rfind(b"\n", 0, end - 1) + 1
        before -= data.count(b'"', earlier, end)
        end = earlier
    return end


def _format(path: Path) -> str:
    suffixes = [one.lower() for one in path.suffixes]
    packed = suffixes[-1:] in ([".gz"], [".zip"])
    suffix = (suffixes[:-1] if packed else suffixes)[-1:]
    if suffixes[-1:] == [".zip"] and not (suffix and suffix[0] in FORMATS) and path.is_file():
        with _readable(path), zipfile.ZipFile(path) as archive:
            suffix = [Path(_member(archive, path)).suffix.lower()]
    kind = FORMATS.get(suffix[0]) if suffix else None
    if kind is None or (packed and kind == "parquet"):
        known = ", ".join(FORMATS)
        raise InputError(f"{path}: give a file that ends in {known}; text also with .gz, or .zip with one member")
    return kind


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable zip file") from error


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(members) != 1:
        raise InputError(f"{path} holds {len(members)} files; unpack it and give one: {', '.join(members[:10])}")
    return members[0]


@contextmanager
def _opened(path: Path) -> Generator[tuple[IO[bytes], Callable[[], float]]]:
    """The text of a file, unpacked on the fly, and how much of it is read."""
    size = max(1, path.stat().st_size)
    with path.open("rb") as raw:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(raw) as archive:
                name = _member(archive, path)
                total = max(1, archive.getinfo(name).file_size)
                with archive.open(name) as stream:
                    yield stream, lambda: min(1.0, stream.tell() / total)
        elif path.suffix.lower() == ".gz":
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast("IO[bytes]", unpacked), lambda: min(1.0, raw.tell() / size)
        else:
            yield raw, lambda: min(1.0, raw.tell() / size)


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8; convert it, for instance: iconv -f latin1 -t utf-8") from error


def _header(stream: IO[bytes], path: Path) -> tuple[tuple[str, ...], str]:
    """Reads the first record: names and separator."""
    line = stream.readline(MAX_RECORD_BYTES)
    while line.count(b'"') % 2 and (more := stream.readline(MAX_RECORD_BYTES)):
        line += more
    text = _decoded(line, path).rstrip("\r\n")
    separator = max(",", "\t", ";", key=text.count)
    names = next(csv.reader([text], delimiter=separator), list[str]())
    if not any(names):
        raise InputError(f"{path}: the first line must hold the names of the columns")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: two columns have one name: {', '.join(twice)}")
    return tuple(names), separator


def _look_at_text(path: Path, kind: str, missing: Sequence[str] | None) -> DataFile:
    with _opened(path) as (stream, _):
        if kind == "csv":
            names, separator = _header(stream, path)
            data = DataFile(path, kind, names, missing=tuple(missing or ()), separator=separator)
            if missing is not None:
                return data
            first = next(records(stream, quoted=True), b"")
            frame = data.parse(first, names)[0] if first else pl.DataFrame()
            return replace(data, missing=tuple(missing_words(frame)))
        first = next(records(stream, quoted=False), b"")
        try:
            frame = pl.read_ndjson(first, infer_schema_length=None)
        except PolarsError:
            kept = [orjson.dumps(row) for row in map(_json_row, first.split(b"\n")) if row]
            frame = pl.read_ndjson(b"\n".join(kept), infer_schema_length=None) if kept else pl.DataFrame()
    if not frame.columns:
        raise InputError(f"{path}: no line of it holds a JSON object")
    return DataFile(path, kind, tuple(frame.columns), nested=_nested(frame.schema))


def _look_at_parquet(path: Path) -> DataFile:
    schema = pl.read_parquet_schema(path)
    return DataFile(path, "parquet", tuple(schema), nested=_nested(schema))


def _nested(schema: Any) -> tuple[str, ...]:
    return tuple(
        name for name, dtype in schema.items() if dtype.is_nested() or isinstance(dtype, (pl.Binary, pl.Object))
    )


def _parquet(path: Path, columns: list[str]) -> Iterator[Slice]:
    lazy = pl.scan_parquet(path)
    total = int(lazy.select(pl.len()).collect().item())
    for start in range(0, total, PARQUET_ROWS):
        frame = lazy.select(columns).slice(start, PARQUET_ROWS).collect()
        yield Slice(frame, start + 1, min(1.0, (start + PARQUET_ROWS) / total))


def _text(data: DataFile, columns: list[str]) -> Iterator[Slice]:
    first = 1
    with _opened(data.path) as (stream, share):
        if data.format == "csv":
            _header(stream, data.path)
        with closing(cast("Generator[bytes]", records(stream, quoted=data.format == "csv"))) as chunks:
            for chunk in chunks:
                frame, broken = data.parse(chunk, columns)
                yield Slice(frame, first, share(), broken)
                first += frame.height


def _json_row(line: bytes) -> dict[str, Any] | None:
    try:
        row: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", row) if isinstance(row, dict) else None


def _json_rows(chunk: bytes) -> Iterator[dict[str, str | None] | None]:
    for line in chunk.split(b"\n"):
        if line.strip():
            row = _json_row(line)
            yield None if row is None else {key: _json_text(value) for key, value in row.items()}


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _frame(
    rows: Iterable[dict[str, str | None] | None], columns: Sequence[str]
) -> tuple[pl.DataFrame, tuple[int, ...]]:
    held = list(rows)
    broken = tuple(position for position, row in enumerate(held) if row is None)
    series = [pl.Series(name, [row.get(name) if row else None for row in held], pl.String) for name in columns]
    return pl.DataFrame(series), broken
