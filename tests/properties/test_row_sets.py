"""Row sets: any rows of any batch come back, and need no more room than a bit each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamgauge.schemas.errors import Refused
from streamgauge.schemas.row_sets import RowSet, read_row_set, row_set

batches = st.integers(1, 3_000).flatmap(lambda of: st.tuples(st.just(of), st.sets(st.integers(0, of - 1), min_size=1)))


@given(batches)
@example((3_000, set(range(3_000))))
@example((3_000, set(range(0, 3_000, 2))))
@example((3_000, {0, 2_999}))
def test_rows_come_back_through_json_and_are_never_larger_than_bits(batch: tuple[int, set[int]]) -> None:
    of, rows = batch
    packed = row_set(np.array(sorted(rows)), of)
    again = read_row_set(packed.json())
    assert again == packed
    assert again.rows().tolist() == sorted(rows)
    assert len(packed.data) <= 4 * (((of + 7) // 8 + 2) // 3)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "wrong_type"),
        ({"u4": "AAAAAAEAAAA="}, "missing_key"),
        ({"of": 1}, "missing_key"),
        ({"of": 1, "u4": "AAAAAAEAAAA=", "bits": "AQ=="}, "wrong_type"),
        ({"of": 1, "u4": ""}, "wrong_length"),
        ({"of": 1, "u4": "AAAAAA=="}, "wrong_length"),
        ({"of": 1, "u4": "AAAAAAIAAAA="}, "index_out_of_range"),
        ({"of": 9, "u4": "AQAAAAEAAAA="}, "index_out_of_range"),
        ({"of": 9, "u4": "AAAAAAIAAAABAAAAAwAAAA=="}, "index_out_of_range"),
        ({"of": 9, "bits": "AAA="}, "wrong_length"),
        ({"of": 9, "bits": "AAI="}, "index_out_of_range"),
        ({"of": 9, "bits": "AQ=="}, "wrong_length"),
        ({"of": 1_000_001, "u4": "AAAAAAEAAAA="}, "out_of_range"),
    ],
)
def test_what_is_no_set_of_rows_is_refused(body: object, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        read_row_set(body)
    assert refused.value.reason == reason


def test_the_rows_of_the_largest_batch_fit_into_a_letter() -> None:
    worst = row_set(np.arange(0, 1_000_000, 2), 1_000_000)
    assert worst == RowSet(1_000_000, "bits", worst.data)
    assert len(worst.data) < 167_000
