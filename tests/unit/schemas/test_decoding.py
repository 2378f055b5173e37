"""Decoding: which hostile messages are refused, and under which of the documented reasons."""

from __future__ import annotations

import ast
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from streamgauge.schemas import decoding, errors
from streamgauge.schemas.batches import MAX_INSTANT_MS, MetricHead, Origin, Point, encode_events, encode_metrics
from streamgauge.schemas.columns import Numbers, pack_array
from streamgauge.schemas.decoding import MAX_COUNT, EventBatch, MetricBatch, decode
from streamgauge.schemas.errors import DECODING_REASONS, Refused
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry, decode_dead, decode_ledger
from streamgauge.schemas.packing import pack, pack_optional, pack_strings
from streamgauge.schemas.rollups import (
    Histograms,
    RawRange,
    RollupMessage,
    RollupMetric,
    RollupRows,
    SeriesLabels,
    decode_rollups,
    encode,
)
from streamgauge.schemas.state import Hole, StateMessage, StreamState, decode_state

NOON = 1_795_354_000_000
ORIGIN = Origin({"service": "shop"}, "6f0c", 1, 5)


def loaded(value: bytes) -> dict[str, Any]:
    """A message as JSON."""
    body: dict[str, Any] = orjson.loads(value)
    return body


def events() -> dict[str, Any]:
    """A valid batch of two events."""
    fields = {"place": pack_strings(["north", None]), "paid": pack_optional("f8", [1.5, None])}
    return loaded(encode_events(ORIGIN, "visit", 1, [NOON, NOON + 5], fields))


def metrics() -> dict[str, Any]:
    """A valid batch: a counter, and a histogram with three buckets in two rows."""
    heads = [MetricHead("requests", "counter", "1", ("path",)), MetricHead("seconds", "histogram", "s")]
    points = [
        Point(0, NOON, 2, 2.0),
        Point(1, NOON, 2, 3.0, 1.0, 2.0, 2.0, NOON + 9, {16_384: 1, 16_416: 1}),
        Point(1, NOON + 10_000, 1, 0.0, 0.0, 0.0, 0.0, NOON + 10_009, {0: 1}),
    ]
    return loaded(encode_metrics(ORIGIN, heads, [(0, "/"), (1,)], points))


def rollups() -> dict[str, Any]:
    """A valid message of the rollups topic, with two buckets in one row."""
    rows = RollupRows(
        metric=np.array([0, 1], np.uint32),
        series_id=np.array([7, 8], np.uint64),
        entry=np.array([0, 1], np.uint8),
        window=np.array([60, 120], np.uint32),
        count=np.array([1, 2], np.uint64),
        sum=np.array([1.0, 2.0]),
        min=np.array([1.0, 2.0]),
        max=np.array([1.0, 2.0]),
        last=np.array([1.0, 2.0]),
        last_ms=np.array([1, 2], np.int64),
        hist=Histograms(np.array([0, 2], np.uint64), np.array([-1, 1], np.int16), np.array([1, 1], np.uint64)),
    )
    heads = (RollupMetric("visit", "event", "visit"), RollupMetric("visit.paid", "measure", "visit"))
    labels = (SeriesLabels(7, "visit", {"place": "north"}),)
    return loaded(encode(RollupMessage("ap", 1, RawRange("t", 0, 1, 2), heads, rows, labels)))


def ledger() -> dict[str, Any]:
    """A valid ledger entry."""
    return loaded(LedgerEntry("ap", "t", 0, 1, 2, 1, 1, {(0, 20_000): 3}, NOON, {"too_old": 1}).encode())


def dead() -> dict[str, Any]:
    """A valid dead letter."""
    return loaded(DeadLetter("ap", "t", 0, 1, "too_old", 1, NOON).encode())


def state() -> dict[str, Any]:
    """A valid state."""
    streams = (StreamState(bytes(16), 5, 9, (Hole(1, 2, 8), Hole(3, 4, 9))),)
    return loaded(StateMessage("eu", "t", 0, "change", 7, streams).encode())


READERS: dict[Callable[[], dict[str, Any]], Callable[[bytes], object]] = {
    events: decode,
    metrics: decode,
    rollups: decode_rollups,
    ledger: decode_ledger,
    dead: decode_dead,
    state: decode_state,
}


def reason(read: Callable[[bytes], object], value: bytes) -> str:
    """Why a message is refused."""
    with pytest.raises(Refused) as caught:
        read(value)
    return caught.value.reason


def changed(body: dict[str, Any], path: str, value: Any) -> bytes:
    """A message with one value replaced, or taken away (`...`)."""
    inside: Any = body
    *steps, last = [int(step) if step.isdecimal() else step for step in path.split("/")]
    for step in steps:
        inside = inside[step]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return orjson.dumps(body)


NAN, INFINITY = pack("f8", [float("nan"), 1.0]), pack("f8", [1.0, float("-inf")])
BIG = (1 << 64) - 1


HOSTILE: list[tuple[Callable[[], dict[str, Any]], str, Any, str]] = [
    # the envelope
    (events, "v", 2, "unknown_version"),
    (events, "v", True, "wrong_type"),
    (events, "v", 1.0, "wrong_type"),
    (events, "v", ..., "missing_key"),
    (events, "kind", "traces", "unknown_kind"),
    (events, "kind", "rollups", "unknown_kind"),
    (events, "kind", None, "wrong_type"),
    (events, "context", [], "wrong_type"),
    (events, "context/service", 5, "wrong_type"),
    (events, "context/service", "x" * 257, "wrong_type"),
    (events, "context", {f"k{n}": "" for n in range(33)}, "wrong_type"),
    (events, "epoch", -1, "out_of_range"),
    (events, "epoch", 1 << 63, "out_of_range"),
    (events, "seq", -1, "out_of_range"),
    (events, "seq", True, "wrong_type"),
    (events, "seq", 1e30, "wrong_type"),
    (events, "seq", BIG, "out_of_range"),
    (events, "stream", "", "wrong_type"),
    (events, "stream", "x" * 129, "wrong_type"),
    (events, "backfill", 1, "wrong_type"),
    # rows and times
    (events, "n", 0, "wrong_length"),
    (events, "n", -1, "wrong_length"),
    (events, "n", 3, "wrong_length"),
    (events, "n", True, "wrong_type"),
    (events, "n", 1 << 62, "wrong_length"),
    (events, "t0", -1, "time_out_of_range"),
    (events, "t0", NOON * 1000, "time_out_of_range"),
    (events, "t0", MAX_INSTANT_MS - 1, "time_out_of_range"),  # the second row is 5 ms later
    (events, "t", [0, 5], "wrong_type"),
    (events, "t", "AAAA", "wrong_length"),
    (events, "t", "A===", "bad_base64"),
    (events, "t", "AAAA\nAAAA", "bad_base64"),
    (events, "t", "ÄÄÄÄ", "bad_base64"),
    (events, "t", "", "wrong_length"),
    # names and fields
    (events, "event", "", "bad_name"),
    (events, "event", "a\0b", "bad_name"),
    (events, "event", "x" * 201, "bad_name"),
    (events, "event", "two words", "bad_name"),
    (events, "event", 5, "bad_name"),
    (events, "contract", -1, "out_of_range"),
    (events, "contract", "1", "wrong_type"),
    (events, "fields", [], "wrong_type"),
    (events, "fields/place", [], "wrong_type"),
    (events, "fields/place", {}, "wrong_type"),
    (events, "fields/a\0b", {"i8": pack("i8", [1, 2])}, "bad_name"),
    (events, "fields/place/d", {}, "wrong_type"),
    (events, "fields/place/d", ["north", 5], "wrong_type"),
    (events, "fields/place/d", ["x" * 4097, None], "wrong_type"),
    (events, "fields/place/d", ["north"], "index_out_of_range"),
    (events, "fields/place/d", [], "index_out_of_range"),
    (events, "fields/place/i", pack("u1", [0, 2]), "index_out_of_range"),
    (events, "fields/place/i", pack("u2", [0, 1]), "wrong_length"),
    (events, "fields/paid/f8", NAN, "not_finite"),
    (events, "fields/paid/f8", INFINITY, "not_finite"),
    (events, "fields/paid/f8", pack("f8", [float("inf"), float("-inf")]), "not_finite"),
    (events, "fields/paid/f8", pack("f8", [1.0]), "wrong_length"),
    (events, "fields/paid/null", pack("u4", [2]), "index_out_of_range"),
    (events, "fields/paid/null", "AAA=", "wrong_length"),
    # metrics
    (metrics, "metrics", {}, "wrong_type"),
    (metrics, "metrics/0", "requests", "wrong_type"),
    (metrics, "metrics/0/name", "", "bad_name"),
    (metrics, "metrics/0/name", "a\0", "bad_name"),
    (metrics, "metrics/0/type", "summary", "wrong_type"),
    (metrics, "metrics/0/unit", ..., "missing_key"),
    (metrics, "metrics/0/unit", "x" * 65, "wrong_type"),
    (metrics, "metrics/0/labels", ["a", "a"], "duplicate_key"),
    (metrics, "metrics/0/labels", [["a"]], "bad_name"),
    (metrics, "metrics/0/labels", [f"l{n}" for n in range(65)], "wrong_type"),
    (metrics, "metrics/0/granularity", "5s", "wrong_type"),
    (metrics, "metrics/0/granularity", ["10s"], "wrong_type"),
    (metrics, "metrics", [], "index_out_of_range"),
    (metrics, "series", [], "index_out_of_range"),
    (metrics, "series/0", {}, "wrong_type"),
    (metrics, "series/0", [], "wrong_type"),
    (metrics, "series/0/0", 2, "index_out_of_range"),
    (metrics, "series/0/0", -1, "index_out_of_range"),
    (metrics, "series/0/0", False, "index_out_of_range"),
    (metrics, "series/0", [0], "wrong_length"),
    (metrics, "series/0", [0, "/", "/"], "wrong_length"),
    (metrics, "series/0/1", None, "wrong_type"),
    (metrics, "series/0/1", "x" * 4097, "wrong_type"),
    (metrics, "s", pack("u1", [0, 1, 2]), "index_out_of_range"),
    (metrics, "count", pack("u8", [BIG, 1, 1]), "out_of_range"),
    (metrics, "count", pack("u8", [BIG, BIG, BIG]), "out_of_range"),
    (metrics, "count", pack("u8", [MAX_COUNT, 1, 0]), "out_of_range"),
    (metrics, "sum", pack("f8", [1.0, float("nan"), 1.0]), "not_finite"),
    (metrics, "sum", ..., "wrong_type"),
    (metrics, "min", ..., "missing_key"),
    (metrics, "max", ..., "wrong_type"),
    (metrics, "last", pack("f8", [1.0, 1.0, float("inf")]), "not_finite"),
    (metrics, "last_t", pack("u4", [0, 0]), "wrong_length"),
    (metrics, "hist", [], "wrong_type"),
    (metrics, "hist/n", pack("u4", [0, 1, 1]), "wrong_length"),
    (metrics, "hist/n", pack("u4", [0, (1 << 32) - 1, 4]), "too_large"),
    (metrics, "hist/b", pack("i2", [-32_768, 0, 0]), "index_out_of_range"),
    (metrics, "hist/c", pack("u8", [BIG, BIG, 2]), "out_of_range"),
    (metrics, "hist/c", pack("u8", [1, 1]), "wrong_length"),
    # between worker and sink
    (rollups, "v", 2, "unknown_version"),
    (rollups, "kind", "events", "unknown_kind"),
    (rollups, "n", -1, "wrong_length"),
    (rollups, "mv", 1 << 16, "out_of_range"),
    (rollups, "mv", -1, "out_of_range"),
    (rollups, "mv", True, "wrong_type"),
    (rollups, "raw/from", -1, "out_of_range"),
    (rollups, "raw/to", BIG, "out_of_range"),
    (rollups, "raw/partition", 1 << 16, "out_of_range"),
    (rollups, "raw", None, "wrong_type"),
    (rollups, "m", pack("u1", [0, 2]), "index_out_of_range"),
    (rollups, "entry", pack("u1", [0, 4]), "index_out_of_range"),
    (rollups, "metrics/0", "visit", "wrong_type"),
    (rollups, "metrics/0/name", "", "wrong_type"),
    (rollups, "metrics/0/type", "summary", "wrong_type"),
    (rollups, "metrics/0/granularity", "5s", "wrong_type"),
    (rollups, "metrics/0/labels", [["place"]], "wrong_type"),
    (rollups, "count", pack("u8", [1, 2]), "wrong_type"),
    (rollups, "count", {"u3": ""}, "wrong_type"),
    (rollups, "sum", ..., "wrong_type"),
    (rollups, "sum", NAN, "not_finite"),
    (rollups, "max", ..., "missing_key"),
    (rollups, "last_t", ..., "missing_key"),
    (rollups, "hist/n", {"u8": pack("u8", [BIG, 3])}, "wrong_length"),  # their sum wraps around to 2
    (rollups, "hist/b", pack("i2", [-32_768, 0]), "index_out_of_range"),
    (rollups, "hist/c", {"u1": "AA=="}, "wrong_length"),
    (rollups, "labels/family", [5], "wrong_type"),
    (rollups, "labels/labels", [], "wrong_length"),
    (rollups, "labels/labels/0", None, "wrong_type"),
    (rollups, "labels/labels/0", {"place": 5}, "wrong_type"),
    (rollups, "labels/id", "AA==", "wrong_length"),
    (ledger, "kind", "dead", "unknown_kind"),
    (ledger, "v", 0, "unknown_version"),
    (ledger, "partition", 1 << 16, "out_of_range"),
    (ledger, "from", -1, "out_of_range"),
    (ledger, "messages", 1.0, "wrong_type"),
    (ledger, "committed", MAX_INSTANT_MS, "out_of_range"),
    (ledger, "min_window", 1 << 32, "out_of_range"),
    (ledger, "points", [[0, 20_000]], "wrong_type"),
    (ledger, "points", ["abc"], "wrong_type"),
    (ledger, "points/0/0", 4, "out_of_range"),
    (ledger, "points/0/1", 1 << 40, "out_of_range"),
    (ledger, "points/0/2", "3", "wrong_type"),
    (ledger, "refused/too_old", "1", "wrong_type"),
    (ledger, "refused/too_old", -1, "out_of_range"),
    (ledger, "skipped", [], "wrong_type"),
    (dead, "offset", -1, "out_of_range"),
    (dead, "at", 1 << 62, "out_of_range"),
    (dead, "detail", None, "wrong_type"),
    (dead, "kind", "ledger", "unknown_kind"),
    (state, "form", "everything", "unknown_kind"),
    (state, "part", 1, "out_of_range"),
    (state, "n", 2, "wrong_length"),
    (state, "stream", pack("u1", [1] * 15), "wrong_length"),
    (state, "next", pack("u8", [4]), "out_of_range"),
    (state, "holes/from", pack("u8", [1, 1]), "out_of_range"),
    (state, "holes/to", pack("u8", [1, 4]), "out_of_range"),
    (state, "holes/n", pack("u4", [3]), "wrong_length"),
]


@pytest.mark.parametrize(("valid", "path", "value", "expected"), HOSTILE)
def test_a_hostile_value_is_refused(valid: Callable[[], dict[str, Any]], path: str, value: Any, expected: str) -> None:
    assert reason(READERS[valid], changed(valid(), path, value)) == expected


@pytest.mark.parametrize("valid", READERS)
def test_the_messages_that_the_other_tests_spoil_are_valid(valid: Callable[[], dict[str, Any]]) -> None:
    READERS[valid](orjson.dumps(valid()))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "bad_json"),
        (b"[]", "wrong_type"),
        (b"1", "wrong_type"),
        (b"null", "wrong_type"),
        (b"{}", "missing_key"),
        (b"\xef\xbb\xbf{}", "bad_json"),
        (b"\xff\xfe{\x00}\x00", "bad_json"),
        (b'{"v":NaN}', "bad_json"),
        (b'{"v":1e999}', "bad_json"),
        (b'{"v":"\xff"}', "bad_json"),
        (b'{"v":"\\ud800"}', "bad_json"),
        (b'{"v":1,"v":1}', "duplicate_key"),
        (b'{"v":1,"\\u0076":1}', "duplicate_key"),
        (b'{"v":1,"more":[{"a":[{"b":1,"c":{},"b":1}]}]}', "duplicate_key"),
        (b'{"v":' + b"9" * 5_000 + b"}", "bad_json"),
        (b"[" * 10_000, "bad_json"),
        (b'{"v":' + b"[" * 300 + b"]" * 300 + b"}", "bad_json"),
        (b"{" * 50_000_000, "too_large"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None,
)
def test_bytes_that_are_no_message_are_refused(value: bytes | None, expected: str) -> None:
    for read in (decode, decode_rollups, decode_ledger, decode_dead, decode_state):
        with pytest.raises(Refused) as caught:
            read(value)
        assert caught.value.reason == expected


def test_a_batch_without_rows_is_refused() -> None:
    for body, packed in ((events(), ("t",)), (metrics(), ("t", "s", "count", "sum", "min", "max", "last", "last_t"))):
        body |= {"n": 0, **dict.fromkeys(packed, "")}
        body.pop("hist", None)
        if "fields" in body:
            body["fields"] = {}
        assert reason(decode, orjson.dumps(body)) == "wrong_length"


def test_the_size_limit_is_the_callers_and_is_met_exactly() -> None:
    value = orjson.dumps(events())
    decode(value, len(value))
    assert reason(lambda one: decode(one, len(one) - 1), value) == "too_large"


def test_counts_up_to_the_limit_are_read() -> None:
    batch = decode(changed(metrics(), "count", pack("u8", [MAX_COUNT - 1, 1, 0])))
    assert isinstance(batch, MetricBatch)
    assert int(batch.count.sum()) == MAX_COUNT


def test_the_last_instant_is_read_and_its_window_fits_32_bits() -> None:
    batch = decode(changed(events(), "t0", MAX_INSTANT_MS - 6))
    assert batch is not None
    assert isinstance(batch, EventBatch)
    assert int(batch.times.max()) == MAX_INSTANT_MS - 1
    assert int(batch.times.max()) // 1000 == (1 << 32) - 1
    assert reason(decode, changed(events(), "t0", MAX_INSTANT_MS - 5)) == "time_out_of_range"


def test_large_finite_numbers_whose_sum_is_not_are_read() -> None:
    batch = decode(changed(events(), "fields/paid/f8", pack("f8", [1.7e308, 1.7e308])))
    assert isinstance(batch, EventBatch)
    column = batch.fields["paid"]
    assert isinstance(column, Numbers)
    assert column.values.tolist() == [1.7e308, 1.7e308]


def test_counters_alone_need_no_extremes() -> None:
    body = orjson.loads(encode_metrics(ORIGIN, [MetricHead("requests", "counter")], [(0,)], [Point(0, NOON, 1, 2.0)]))
    assert not {"min", "max", "last", "last_t"} & body.keys()
    batch = decode(orjson.dumps(body))
    assert isinstance(batch, MetricBatch)
    assert (batch.min.tolist(), batch.last_ms.tolist()) == ([0.0], [NOON])
    assert reason(decode, changed(body, "metrics/0/type", "gauge")) == "missing_key"


def test_a_window_need_not_be_aligned_because_workers_align_it() -> None:
    batch = decode(changed(metrics(), "t0", NOON + 7))
    assert isinstance(batch, MetricBatch)
    assert batch.windows.tolist() == [NOON + 7, NOON + 7, NOON + 10_007]


def test_indexes_into_large_dictionaries_are_wider() -> None:
    body = events()
    body["fields"]["place"]["d"] = [str(n) for n in range(257)]
    body["fields"]["place"]["i"] = pack("u2", [256, 0])
    decode(orjson.dumps(body))
    body["fields"]["place"]["i"] = pack("u2", [257, 0])
    assert reason(decode, orjson.dumps(body)) == "index_out_of_range"


def test_a_repeated_label_or_hostile_base64_never_shows_in_the_error() -> None:
    for path, value in (("t", "hunter2"), ("event", "hunter2!"), ("n", "hunter2"), ("fields/hunter2", 5)):
        with pytest.raises(Refused) as caught:
            decode(changed(events(), path, value))
        assert "hunter2" not in f"{caught.value} {caught.value.detail} {caught.value.__cause__}"


def test_columns_written_from_arrays_and_from_lists_are_the_same() -> None:
    values = [0, 1, 255]
    for kind in ("u1", "u2", "u4", "u8", "i2", "i8", "f8"):
        assert pack_array(kind, np.array(values)) == pack(kind, values)
    assert pack("f8", [-0.5]) == base64.b64encode(np.array([-0.5], "<f8").tobytes()).decode()


def test_the_documented_reasons_are_exactly_those_that_decoding_uses() -> None:
    used: set[str] = set()
    for path in Path(decoding.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refused":
                parts = [one for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)]
                assert parts, f"{path}: a reason is computed"
                used |= {str(one.value) for one in parts}
    assert used == DECODING_REASONS.keys()


def test_every_reason_says_what_it_means() -> None:
    assert all(word.isidentifier() and len(meaning) > 10 for word, meaning in DECODING_REASONS.items())
    assert str(errors.Refused("empty")) == "empty"
    assert str(errors.Refused("too_large", "5 bytes")) == "too_large: 5 bytes"
