"""Blocks: one range is one sequence of bytes, whoever builds it and however its rows were spread over messages."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from streamgauge.schemas.rollups import RollupRows, SeriesLabels, decode_rollups, encode
from streamgauge.sinks.blocks import (
    COUNT_LIMIT,
    EMPTY_SHAPE,
    BlockPolicy,
    labels_of,
    metrics_of,
    rollup_insert,
    shape_of,
)
from streamgauge.sinks.ranges import Place, Range
from tests.unit.sinks.messages import BLOCK, DAY, ENTRY, LETTER, T0, Row, hashes, message

POLICY = BlockPolicy()
MONTH = 31 * DAY


def test_a_message_has_the_shape_of_what_the_store_would_write() -> None:
    rows = [Row(window=T0), Row(window=T0 + DAY), Row(entry=2, window=T0), Row(entry=3, window=T0 + 40 * DAY)]
    shape = shape_of(message(rows, version=4), 100)
    assert (shape.rows, shape.size, len(shape.parts), shape.versions) == (4, 100, 4, frozenset([4]))
    assert shape_of(hashes([(1, 2), (1, 3)]), 10).rows == 2
    assert shape_of(LETTER, 10) == shape_of(ENTRY, 10)
    assert shape_of(LETTER, 10).with_more(shape).versions == frozenset([4])


def test_a_block_fits_up_to_each_limit_and_not_beyond() -> None:
    most = EMPTY_SHAPE
    for day in range(64):
        most = most.with_more(shape_of(message([Row(window=T0 + DAY * day)]), 10))
    assert most.fits(POLICY)
    assert most.with_more(shape_of(message([Row(window=T0)]), 10)).fits(POLICY), "a day that it has already"
    assert not most.with_more(shape_of(message([Row(window=T0 + DAY * 64)]), 10)).fits(POLICY)
    assert not most.with_more(shape_of(message([Row(entry=2)]), 10)).fits(POLICY), "months are parts of other tables"
    assert not most.with_more(shape_of(message([Row()], version=2), 10)).fits(POLICY)
    rows = shape_of(message([Row()] * 10), 10)
    assert rows.fits(BlockPolicy(max_rows=10, max_bytes=10))
    assert not rows.fits(BlockPolicy(max_rows=9))
    assert not rows.fits(BlockPolicy(max_bytes=9))


def test_rows_of_one_cell_are_merged_and_cells_are_sorted_by_key() -> None:
    rows = [
        Row("b", 1, sum=1.0, hist={3: 1, -2: 5}),
        Row("a", 2, sum=2.0),
        Row("b", 1, sum=4.0, hist={3: 2}),
        Row("b", 1, window=T0 + 10),
    ]
    assert rollup_insert([message(rows)], BLOCK).rows == 3
    assert rollup_insert([message(rows[:2]), message(rows[2:])], BLOCK).rows == 3


def test_how_rows_were_spread_over_messages_changes_no_byte() -> None:
    rows = [Row(metric, series, sum=0.1 * n, last=(n, n)) for n in range(5) for metric in "cab" for series in (2, 1)]
    whole = rollup_insert([message(rows)], BLOCK)
    for width in (1, 2, 7):
        parts = [message(rows[n : n + width], heads=["z", "a"][: n % 3]) for n in range(0, len(rows), width)]
        assert rollup_insert(parts, BLOCK) == whole, width
        assert rollup_insert([decode_rollups(encode(one)) for one in parts], BLOCK) == whole, "over the wire"


def test_hashes_are_kept_once_per_cell() -> None:
    whole = rollup_insert([hashes([(1, 7), (1, 8), (2, 7)])], BLOCK)
    assert whole.rows == 3
    assert rollup_insert([hashes([(2, 7), (1, 7)]), hashes([(1, 8), (1, 7)])], BLOCK) == whole


def test_the_range_is_part_of_the_bytes() -> None:
    one = message([Row()])
    others = [Range(BLOCK.place, 7, 8), Range(BLOCK.place, 6, 9), Range(Place("eu", "other", "life", 3), 7, 9)]
    assert len({rollup_insert([one], block).data for block in (BLOCK, *others)}) == 4


def test_messages_that_cannot_share_a_block_are_never_half_of_one() -> None:
    for pair in ([message([Row()]), hashes([(1, 2)])], [message([Row()]), message([Row()], version=2)]):
        with pytest.raises(ValueError, match="one kind and one materialization version"):
            rollup_insert(pair, BLOCK)


def test_no_rows_are_no_bytes() -> None:
    for empty in (message([]), hashes([])):
        insert = rollup_insert([empty], BLOCK)
        assert (insert.rows, insert.data) == (0, b"")


def cells(data: bytes, count: int) -> list[tuple[int, int]]:
    """The last `count` cells of a block of one row, whose histogram stands before topic, partition, bounds and region."""
    whole = rollup_insert([message([Row()])], BLOCK).data
    tail = whole[whole.index(b"\x05topic\x16LowCardinality") :]
    assert data.endswith(tail)
    found = np.frombuffer(data[: -len(tail)][-8 * count :], "<u8").tolist()
    return [((cell >> 48) - 32_768, cell & COUNT_LIMIT) for cell in found]


@pytest.mark.parametrize("key", [-32_767, -5, 0, 5, 32_767])
@pytest.mark.parametrize(
    ("count", "spread"),
    [
        (0, [0]),
        (1, [1]),
        (COUNT_LIMIT, [COUNT_LIMIT]),
        (COUNT_LIMIT + 1, [COUNT_LIMIT, 1]),
        (2 * COUNT_LIMIT, [COUNT_LIMIT, COUNT_LIMIT]),
        (3 * COUNT_LIMIT + 7, [COUNT_LIMIT, COUNT_LIMIT, COUNT_LIMIT, 7]),
    ],
)
def test_a_count_beyond_a_cell_is_spread_over_several_and_none_is_lost(key: int, count: int, spread: list[int]) -> None:
    data = rollup_insert([message([Row(hist={key: count})])], BLOCK).data
    assert cells(data, len(spread)) == [(key, part) for part in spread]


def test_counts_that_only_together_are_too_great_are_spread_too() -> None:
    one = message([Row(hist={3: COUNT_LIMIT, 4: 1})])
    assert cells(rollup_insert([one, one, one], BLOCK).data, 4) == [(3, COUNT_LIMIT)] * 3 + [(4, 3)]


def test_the_greatest_count_there_is_keeps_every_one() -> None:
    data = rollup_insert([message([Row(hist={3: (1 << 64) - 1})])], BLOCK).data
    found = cells(data, (1 << 16) + 1)
    assert {key for key, _ in found} == {3}
    assert sum(count for _, count in found) == (1 << 64) - 1


def test_labels_and_metrics_are_those_that_the_messages_name() -> None:
    labels = [SeriesLabels(1, "requests", {"a": "x"}), SeriesLabels(2, "requests", {"a": "y"})]
    messages = [message([Row()], labels=labels[:1]), message([Row("other")], labels=labels)]
    assert labels_of(messages) == {1: labels[0], 2: labels[1]}
    assert set(metrics_of(messages)) == {"requests", "other"}


def test_a_metric_whose_points_have_different_labels_has_them_all() -> None:
    one, other = message([Row()]), message([Row()])
    heads = [replace(one.metrics[0], labels=labels) for labels in (("a", "b"), ("c",), ())]
    messages = [replace(one, metrics=tuple(heads[:2])), replace(other, metrics=tuple(heads[2:]))]

    assert metrics_of(messages)["requests"].labels == ("a", "b", "c")


BUILD = """
import sys
from hashlib import sha256
from tests.unit.sinks.test_blocks import example
print(sha256(example()).hexdigest())
"""


def example() -> bytes:
    """A block of many metrics and series, over the wire."""
    random = np.random.default_rng(5)
    parts = [
        message(
            [
                Row(
                    f"metric_{random.integers(40)}",
                    int(random.integers(50)),
                    sum=float(random.normal()),
                    hist={3: n + 1},
                )
                for n in range(50)
            ]
        )
        for _ in range(20)
    ]
    assert all(isinstance(one.rows, RollupRows) for one in parts)
    return rollup_insert([decode_rollups(encode(one)) for one in parts], BLOCK).data


def test_every_process_builds_the_same_bytes() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", BUILD],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2", "77")
    }
    assert found == {sha256(example()).hexdigest()}
