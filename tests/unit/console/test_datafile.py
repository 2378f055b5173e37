"""Data files: slices hold every row once, whatever the format, and what cannot be read is told without its values."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console import datafile
from streamgauge.console.datafile import DataFile, missing_words, open_data, records
from streamgauge.schemas.errors import InputError

CELLS = st.lists(st.lists(st.text(st.sampled_from('a,"\n\r é'), max_size=6), min_size=2, max_size=2), max_size=30)


def rows_of(data: DataFile, *columns: str) -> list[dict[str, object]]:
    return [row for part in data.slices(columns) for row in part.frame.to_dicts()]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@given(CELLS, st.integers(1, 40))
def test_chunks_of_quoted_text_end_where_records_end(rows: list[list[str]], chunk_bytes: int) -> None:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    chunks = list(records(io.BytesIO(stream.getvalue().encode()), quoted=True, chunk_bytes=chunk_bytes))
    read = [row for chunk in chunks for row in csv.reader(io.StringIO(chunk.decode(), newline=""))]
    assert read == rows


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafile, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(InputError, match="quote"):
        list(records(io.BytesIO(b'"' + b"a\n" * 2000), quoted=True, chunk_bytes=100))


def test_a_csv_is_read_in_slices_that_number_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafile, "CHUNK_BYTES", 64)
    text = b"\xef\xbb\xbfa,b\n" + b"".join(b"%d,x%d\n" % (row, row) for row in range(200))
    monkeypatch.setattr(records, "__defaults__", (64,))
    data = open_data(written(tmp_path / "rows.csv", text))
    parts = list(data.slices(["b"]))
    assert len(parts) > 5
    assert [part.first for part in parts] == [1 + sum(p.frame.height for p in parts[:n]) for n in range(len(parts))]
    assert [row["b"] for part in parts for row in part.frame.to_dicts()] == [f"x{row}" for row in range(200)]
    assert parts[-1].share == 1.0


def test_packed_files_are_read_like_plain_ones(tmp_path: Path) -> None:
    text = b"a,b\n1,x\n2,\n"
    with zipfile.ZipFile(tmp_path / "rows.csv.zip", "w") as archive:
        archive.writestr("folder/rows.csv", text)
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.writestr("rows.csv", text)
    paths = [
        written(tmp_path / "rows.csv", text),
        written(tmp_path / "rows.csv.gz", gzip.compress(text)),
        tmp_path / "rows.csv.zip",
        tmp_path / "bundle.zip",
    ]
    read = [rows_of(open_data(path), "a", "b") for path in paths]
    assert read == [[{"a": "1", "b": "x"}, {"a": "2", "b": None}]] * 4


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_the_one_of_the_header(tmp_path: Path, separator: str) -> None:
    path = written(tmp_path / "rows.csv", f"a{separator}b\n1{separator}x\n".encode())
    assert rows_of(open_data(path), "a", "b") == [{"a": "1", "b": "x"}]


def test_parquet_keeps_its_types_and_json_lines_may_mix_them(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2], "b": [True, None]}).write_parquet(tmp_path / "rows.parquet")
    lines = b'{"a": 1, "b": true}\n{"a": "one", "c": 0.5}\n'
    assert rows_of(open_data(tmp_path / "rows.parquet"), "a", "b") == [{"a": 1, "b": True}, {"a": 2, "b": None}]
    data = open_data(written(tmp_path / "rows.ndjson", lines))
    assert data.columns == ("a", "b", "c")
    assert rows_of(data, "a", "b", "c") == [{"a": "1", "b": "true", "c": None}, {"a": "one", "b": None, "c": "0.5"}]


@given(
    st.lists(st.one_of(st.integers(-(1 << 53), 1 << 53), st.floats(allow_nan=False, allow_infinity=False)), min_size=1)
)
def test_numbers_of_json_lines_keep_every_digit(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.ndjson"
    path.write_bytes(b"".join(orjson.dumps({"a": number}) + b"\n" for number in numbers))
    assert [float(str(row["a"])) for row in rows_of(open_data(path), "a")] == [float(number) for number in numbers]


def test_a_line_that_cannot_be_read_spoils_no_other(tmp_path: Path) -> None:
    lines = open_data(written(tmp_path / "rows.ndjson", b'{"a": 1}\n{"a": \n[1]\n{"a": 2}\n'))
    (part,) = lines.slices(["a"])
    assert (part.frame["a"].to_list(), part.broken) == (["1", None, None, "2"], (1, 2))
    text = open_data(written(tmp_path / "rows.csv", b'a,b\n1,x\n2,y,z\n3,"q\nr"\n'))
    (part,) = text.slices(["a"])
    assert (part.frame["a"].to_list(), part.broken) == (["1", None, "3"], (1,))


def test_a_missing_column_is_told_with_those_there_are(tmp_path: Path) -> None:
    data = open_data(written(tmp_path / "rows.csv", b"dep_delay,origin\n1,x\n"))
    with pytest.raises(InputError, match=r"dep_dely.*Did you mean 'dep_delay'(.|\n)*dep_delay, origin"):
        data.need(["dep_dely"])


def test_a_nested_column_cannot_be_a_field(tmp_path: Path) -> None:
    data = open_data(written(tmp_path / "rows.ndjson", b'{"a": {"b": 1}}\n'))
    with pytest.raises(InputError, match="single value"):
        data.need(["a"])


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("rows.csv", b"a,b\n1,\xe9\n", "UTF-8"),
        ("rows.csv", b"", "first line"),
        ("rows.csv", b"a,a\n1,2\n", "one name"),
        ("rows.parquet", b"PAR1 secret", "parquet"),
        ("rows.csv.gz", b"secret", "csv"),
        ("rows.zip", b"secret", "zip"),
        ("rows.txt", b"secret", ".ndjson"),
        ("rows.ndjson", b"secret\n", "JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_without_what_it_holds(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path = written(tmp_path / name, data)
    with pytest.raises(InputError) as caught:
        list(open_data(path).slices(["a", "b"]))
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        open_data(tmp_path / "rows.csv")


def test_a_zip_of_several_files_names_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.csv.zip", "w") as archive:
        archive.writestr("one.csv", "a\n")
        archive.writestr("two.csv", "a\n")
    with pytest.raises(InputError, match=r"one\.csv, two\.csv"):
        open_data(tmp_path / "rows.csv.zip")


def test_na_is_missing_in_a_file_that_says_so_in_a_column_of_numbers() -> None:
    numbers = [str(number) for number in range(20)]
    assert missing_words(pl.DataFrame({"delay": [*numbers, "NA"], "country": ["NA"] * 21})) == {"NA": "delay"}


def test_na_is_namibia_in_a_file_whose_numbers_are_complete() -> None:
    numbers = [str(number) for number in range(20)]
    assert missing_words(pl.DataFrame({"delay": numbers, "country": ["NA", "JP"] * 10})) == {}


def test_the_words_for_missing_can_be_given(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", b"a,b\nNA,-\n")
    assert rows_of(open_data(path, ["-"]), "a", "b") == [{"a": "NA", "b": None}]
