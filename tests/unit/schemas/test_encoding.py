"""Encoding: what the small half that applications carry writes, and what it refuses to write."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import orjson
import pytest

from streamgauge.schemas.batches import MAX_SPAN_MS, MetricHead, Origin, Point, encode_events, encode_metrics
from streamgauge.schemas.decoding import EventBatch, decode
from streamgauge.schemas.packing import index_type, pack, pack_optional, pack_strings
from streamgauge.schemas.rollups import RawRange, RollupMessage, RollupMetric, RollupRows, decode_rollups, encode
from streamgauge.schemas.rollups import no_histograms as without_histograms

ORIGIN = Origin({}, "6f0c", 1, 0)
GAUGE = [MetricHead("depth", "gauge")]


def test_times_of_one_batch_span_at_most_49_days() -> None:
    batch = decode(encode_events(ORIGIN, "visit", 1, [0, MAX_SPAN_MS], {}))
    assert isinstance(batch, EventBatch)
    assert batch.times.tolist() == [0, MAX_SPAN_MS]
    with pytest.raises(OverflowError):
        encode_events(ORIGIN, "visit", 1, [0, MAX_SPAN_MS + 1], {})


def test_windows_and_last_instants_of_one_batch_span_at_most_49_days() -> None:
    points = [Point(0, 10_000, 1, 1.0, last_ms=10_001), Point(0, MAX_SPAN_MS + 10_000, 1, 1.0)]
    decode(encode_metrics(ORIGIN, GAUGE, [(0,)], points))
    for far in (replace(points[1], window_ms=MAX_SPAN_MS + 10_001), replace(points[1], last_ms=MAX_SPAN_MS + 10_001)):
        with pytest.raises(OverflowError):
            encode_metrics(ORIGIN, GAUGE, [(0,)], [points[0], far])


def test_only_backfill_says_so() -> None:
    assert "backfill" not in orjson.loads(encode_events(ORIGIN, "visit", 1, [0], {}))
    assert orjson.loads(encode_events(replace(ORIGIN, backfill=True), "visit", 1, [0], {}))["backfill"] is True


def test_counters_travel_without_what_only_others_have() -> None:
    body = orjson.loads(encode_metrics(ORIGIN, [MetricHead("calls", "counter")], [(0,)], [Point(0, 0, 1, 1.0)]))
    assert body.keys() == {
        *("v", "kind", "context", "epoch", "stream", "seq"),
        *("n", "metrics", "series", "s", "t0", "t", "count", "sum"),
    }


@pytest.mark.parametrize(("size", "kind"), [(0, "u1"), (256, "u1"), (257, "u2"), (65_536, "u2"), (65_537, "u4")])
def test_indexes_are_as_narrow_as_the_dictionary_allows(size: int, kind: str) -> None:
    assert index_type(size) == kind


def test_a_dictionary_holds_each_value_once_in_order_of_appearance() -> None:
    assert pack_strings(["b", None, "a", "b", None]) == {"d": ["b", None, "a"], "i": pack("u1", [0, 1, 2, 0, 1])}
    assert pack_strings([]) == {"d": [], "i": ""}


def test_missing_numbers_are_named_by_position() -> None:
    assert pack_optional("f8", [None, 1.0]) == {"f8": pack("f8", [0, 1.0]), "null": pack("u4", [0])}
    assert pack_optional("i8", [3]) == {"i8": pack("i8", [3])}


@pytest.mark.parametrize(("kind", "value"), [("u1", 256), ("u1", -1), ("i2", 32_768), ("u4", 1 << 32), ("u8", 1 << 64)])
def test_a_number_that_does_not_fit_is_never_cut(kind: str, value: int) -> None:
    with pytest.raises(OverflowError):
        pack(kind, [value])


def test_a_sum_that_left_the_range_of_doubles_travels_as_its_end() -> None:
    zeros, whole = np.zeros(3), np.zeros(3, np.int64)
    sums = np.array([np.inf, -np.inf, np.nan])
    count = np.ones(3, np.uint64)
    histograms = without_histograms(3)
    rows = RollupRows(whole, whole, whole, whole, count, sums, zeros, zeros, zeros, whole, histograms)
    got = decode_rollups(
        encode(RollupMessage("r", 1, RawRange("t", 0, 0, 1), (RollupMetric("m", "event", "m"),), rows, ()))
    )
    assert isinstance(got.rows, RollupRows)
    largest = float(np.finfo(float).max)
    assert got.rows.sum.tolist() == [largest, -largest, 0.0]


def test_applications_encode_without_loading_numpy() -> None:
    code = (
        "import sys, streamgauge.schemas.batches, streamgauge.schemas.contracts, streamgauge.schemas.settings, "
        "streamgauge.schemas.histogram, streamgauge.schemas.topics; sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
