"""Spool segments: whatever a file ends in, every whole record before it is read, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.producers.spool_segment import MAGIC, Record, encode, is_torn, records

some_records = st.lists(
    st.builds(
        Record,
        st.integers(0, 1 << 50),
        st.text(max_size=20),
        st.binary(max_size=20),
        st.binary(max_size=200),
        st.dictionaries(st.text(max_size=8), st.integers(0, 1 << 40), max_size=3),
    ),
    max_size=6,
)


def written(kept: list[Record]) -> bytes:
    return MAGIC + b"".join(map(encode, kept))


def read(data: bytes) -> tuple[list[Record], int]:
    found = list(records(data))
    return [one.record for one in found], found[-1].end if found else 0


@given(some_records)
def test_what_is_written_is_read_back(kept: list[Record]) -> None:
    data = written(kept)
    found, end = read(data)
    assert found == kept
    assert not is_torn(data, end)


@given(some_records, st.data())
def test_a_file_that_is_cut_anywhere_gives_its_whole_records_and_says_that_it_was_cut(
    kept: list[Record], data: st.DataObject
) -> None:
    whole = written(kept)
    cut = data.draw(st.integers(0, len(whole)))
    found, end = read(whole[:cut])
    assert found == kept[: len(found)]
    ends = [len(written(kept[:number])) for number in range(len(kept) + 1)]
    assert len(found) == max(0, sum(place <= cut for place in ends) - 1)
    assert is_torn(whole[:cut], end) == (cut not in {0, *ends} and cut > len(MAGIC))


@given(some_records.filter(bool), st.data())
def test_a_byte_that_changed_is_never_read_as_a_record(kept: list[Record], data: st.DataObject) -> None:
    whole = bytearray(written(kept))
    place = data.draw(st.integers(len(MAGIC), len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    found, end = read(bytes(whole))
    assert found == kept[: len(found)]
    assert len(found) < len(kept)
    assert is_torn(bytes(whole), end)


def test_a_tail_of_zeros_is_no_record() -> None:
    data = written([]) + bytes(4_096)
    assert read(data) == ([], 0)
    assert is_torn(data, 0)


def test_another_kind_of_file_holds_no_records_and_is_called_damaged() -> None:
    assert read(b"PAR1" + bytes(100)) == ([], 0)
    assert is_torn(b"PAR1" + bytes(100), 0)
