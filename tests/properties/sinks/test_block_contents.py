"""What comes in is what a block holds: every point, every bucket, every hash, whatever the messages are."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.rollups import (
    DistinctRows,
    RawRange,
    RollupMessage,
    RollupMetric,
    RollupRows,
    decode_rollups,
    encode,
)
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, decode_scrubbed, encode_scrubbed
from streamgauge.sinks.blocks import COUNT_LIMIT, rollup_insert
from streamgauge.sinks.event_blocks import event_insert, shape_of_events
from streamgauge.sinks.ranges import Place, Range
from tests.properties.messages import MODERATE, column_values, distinct_rows, rollup_rows, row_values, scrubbed_events
from tests.properties.sinks.native_reader import read_block

BLOCK = Range(Place("eu", "sg.eu.rollups.v1", "life", 3), 7, 9)
EVENTS_BLOCK = Range(Place("eu", "sg.eu.events_scrubbed.v1", "life", 1), 7, 9)
METRICS = tuple(RollupMetric(name, "histogram", name) for name in ("b", "a", "é\0"))

Rows = RollupRows | DistinctRows


def message(rows: Rows) -> RollupMessage:
    return RollupMessage("eu", 1, RawRange("raw", 0, 0, 1), METRICS, rows, ())


several = st.lists(rollup_rows(few_keys=True), min_size=1, max_size=4)
several_distinct = st.lists(distinct_rows(few_keys=True), min_size=1, max_size=4)


def keys_of(found: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*(found[name] for name in ("metric", "series_id", "entry", "window")), strict=True))


@MODERATE
@given(several)
def test_a_block_holds_every_point_of_its_messages_under_its_key(parts: list[RollupRows]) -> None:
    insert = rollup_insert([message(rows) for rows in parts], BLOCK)
    found = read_block(insert.data)
    counts: Counter[tuple[Any, ...]] = Counter()
    sums: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    buckets: dict[tuple[Any, ...], Counter[int]] = defaultdict(Counter)
    lasts: dict[tuple[Any, ...], list[tuple[int, float]]] = defaultdict(list)
    for rows in parts:
        for metric, series, entry, window, count, total, _, _, last, last_ms, hist in row_values(rows, METRICS):
            key = (metric.name, series, entry, window)
            counts[key] += count
            sums[key].append(total)
            buckets[key].update(hist)
            lasts[key].append((last_ms, last))
    if not counts:
        assert not found
        return
    keys = keys_of(found)
    assert sorted(keys) == sorted(counts), "each key once"
    assert [name for name, *_ in keys] == sorted(name for name, *_ in keys)
    assert dict(zip(keys, found["count"], strict=True)) == counts
    for key, total, cells, at, last in zip(
        keys, found["sum"], found["hist"], found["last_ms"], found["last"], strict=True
    ):
        assert math.isclose(total, math.fsum(sums[key]), rel_tol=1e-9, abs_tol=1e-3 * len(sums[key]))
        held = Counter[int]()
        for cell in cells:
            held[(cell >> 48) - 32_768] += cell & COUNT_LIMIT
        assert held == buckets[key]
        assert (at, last) == max(lasts[key])
    assert set(found["topic"]) == {BLOCK.place.topic}
    assert set(zip(found["partition"], found["block_from"], found["block_to"], strict=True)) == {(3, 7, 9)}


@MODERATE
@given(several, st.data())
def test_messages_may_be_cut_anywhere_and_sent_over_the_wire(parts: list[RollupRows], data: st.DataObject) -> None:
    whole = rollup_insert([message(rows) for rows in parts], BLOCK)
    pieces: list[RollupRows] = []
    for rows in parts:
        cut = data.draw(st.integers(0, len(rows)))
        order = list(range(len(rows)))
        pieces += [rows.take(order[:cut]), rows.take(order[cut:])]  # type: ignore[arg-type]  # numpy takes lists too
    assert rollup_insert([decode_rollups(encode(message(rows))) for rows in pieces], BLOCK) == whole


@MODERATE
@given(several_distinct)
def test_a_block_holds_every_hash_once_per_key(parts: list[DistinctRows]) -> None:
    found = read_block(rollup_insert([message(rows) for rows in parts], BLOCK).data)
    expected = {
        (metric.name, series, entry, window, value)
        for rows in parts
        for metric, series, entry, window, value in row_values(rows, METRICS)
    }
    if not expected:
        assert not found
        return
    held = [(*key, value) for key, value in zip(keys_of(found), found["hash"], strict=True)]
    assert sorted(held) == sorted(expected)


def rows_of(message: ScrubbedEvents) -> list[tuple[Any, ...]]:
    """What a block must hold of a message, row by row; what is absent is not there."""
    parts = [
        {name: column_values(column) for name, column in columns.items()}
        for columns in (message.labels, message.measures, message.pseudonyms, message.texts)
    ]
    return [
        (
            message.event, message.contract, message.policy, int(message.times[row]),
            *({name: values[row] for name, values in part.items() if values[row] not in (None, "")} for part in parts),
        )
        for row in range(len(message))
    ]  # fmt: skip


@MODERATE
@given(st.lists(scrubbed_events(), min_size=1, max_size=4))
def test_a_block_holds_every_single_event_with_its_fields_in_the_order_of_messages(parts: list[ScrubbedEvents]) -> None:
    messages = [replace(one, version=2) for one in parts]
    insert = event_insert(messages, EVENTS_BLOCK)
    found = read_block(insert.data)
    names = ("event", "contract", "policy", "at", "labels", "measures", "pseudonyms", "texts")
    assert list(zip(*(found[name] for name in names), strict=True)) == [row for one in messages for row in rows_of(one)]
    assert set(found["materialization_version"]) == {2}
    assert set(zip(found["partition"], found["block_from"], found["block_to"], found["incarnation"], strict=True)) == {
        (1, 7, 9, "life")
    }
    assert event_insert([decode_scrubbed(encode_scrubbed(one)) for one in messages], EVENTS_BLOCK) == insert


@MODERATE
@given(scrubbed_events())
def test_a_message_counts_as_what_it_is_in_a_block(message: ScrubbedEvents) -> None:
    value = encode_scrubbed(message)
    shape = shape_of_events(message, len(value))
    written = len(event_insert([message], EVENTS_BLOCK).data)
    assert shape.rows == len(message)
    assert written <= 2 * shape.size + 1_000
    assert shape.parts == {int(at) // 86_400_000 for at in message.times}
