"""Whatever bytes arrive, decoding answers: with a batch that can be worked on, or with a reason that tells nothing."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from streamgauge.processors.accumulator import Accumulator, Place, Tools
from streamgauge.processors.key_memory import Reading, prefix
from streamgauge.processors.keys import KeyPolicy
from streamgauge.processors.outputs import OutputPolicy, outputs
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.sequences import Sequences
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.again import Again, decode_again
from streamgauge.schemas.batches import MetricHead, Origin, Point, encode_events, encode_metrics
from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.decoding import decode
from streamgauge.schemas.errors import DECODING_REASONS, Refused
from streamgauge.schemas.keys import Keys, KeysMessage, decode_keys
from streamgauge.schemas.ledger import (
    DeadLetter,
    LedgerEntry,
    SampleRow,
    decode_dead,
    decode_ledger,
    read_sample,
)
from streamgauge.schemas.packing import pack_optional, pack_strings
from streamgauge.schemas.rollups import (
    DistinctRows,
    Histograms,
    RawRange,
    RollupMessage,
    RollupMetric,
    RollupRows,
    SeriesLabels,
    decode_rollups,
    encode,
)
from streamgauge.schemas.row_sets import RowSet, row_set
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, decode_scrubbed, encode_scrubbed
from streamgauge.schemas.state import Hole, Replay, StateMessage, StreamState, decode_state
from streamgauge.schemas.topics import DISTINCT, LEDGER, ROLLUPS, SCRUBBED
from streamgauge.sinks import ranges
from streamgauge.sinks.blocks import BlockPolicy, rollup_insert, shape_of
from tests.properties.messages import column_values

MARKER = "hunter2"
NOON = 1_795_354_000_000
ORIGIN = Origin({"service": MARKER, "instance": MARKER}, MARKER, 7, 3, backfill=True)
CONTRACT = Contract(
    MARKER,
    3,
    {
        "country": Field("dimension"),
        "amount": Field("measure", "number", optional=True),
        "items": Field("measure", "integer", optional=True),
        "customer": Field("unique", optional=True),
        "remark": Field("free_text", optional=True),
    },
    store_events=True,
)
EVENTS = encode_events(
    ORIGIN,
    MARKER,
    3,
    [NOON, NOON + 1, NOON + 90_000],
    {
        "country": pack_strings([MARKER, None, "AU"]),
        "amount": pack_optional("f8", [1.5, None, -1e308]),
        "items": pack_optional("i8", [1, 2, 3]),
        "customer": pack_strings([MARKER, "b", None]),
        "remark": pack_strings(["a", None, "b"]),
    },
)
METRICS = encode_metrics(
    ORIGIN,
    [
        MetricHead(MARKER, "counter", "1", (MARKER, "b")),
        MetricHead("depth", "gauge", granularity="1m"),
        MetricHead("seconds", "histogram", "s"),
    ],
    [(0, MARKER, "y"), (1,), (2,)],
    [
        Point(0, NOON, 4, 4.0),
        Point(1, NOON, 2, 9.0, 4.0, 5.0, 5.0, NOON + 77),
        Point(2, NOON, 3, 1e308, 0.0, 2.0, 1.0, NOON + 9, {0: 1, 16_384: 2}),
        Point(2, NOON + 10_000, 1, 1e308, 1.0, 1.0, 1.0, NOON + 10_001, {-5: 1}),
    ],
)
ROWS = RollupRows(
    metric=np.array([0, 1, 1], np.uint32),
    series_id=np.array([5, 1 << 63, 5], np.uint64),
    entry=np.array([0, 2, 3], np.uint8),
    window=np.array([1_795_354_000, 1_795_353_600, 0], np.uint32),
    count=np.array([1, 2, 300], np.uint64),
    sum=np.array([1.0, 2.0, 3.0]),
    min=np.array([0.0, 2.0, 3.0]),
    max=np.array([1.0, 2.0, 3.0]),
    last=np.array([0.0, 2.0, 3.0]),
    last_ms=np.array([0, NOON, NOON], np.int64),
    hist=Histograms(np.array([0, 2, 1], np.uint64), np.array([0, 9, -9], np.int16), np.array([1, 1, 300], np.uint64)),
)
FRAME = RollupMessage(
    MARKER,
    1,
    RawRange(MARKER, 3, 10, 20),
    (
        RollupMetric(MARKER, "event", MARKER, "{event}", (MARKER,)),
        RollupMetric(f"{MARKER}.amount", "measure", MARKER, "{USD}", (MARKER,)),
    ),
    ROWS,
    (SeriesLabels(5, MARKER, {MARKER: MARKER}),),
)
DISTINCT_ROWS = DistinctRows(ROWS.metric, ROWS.series_id, ROWS.entry, ROWS.window, np.array([1, 2, 3], np.uint64))


def rolled_up(value: bytes) -> None:
    """Decode; what is read must roll up into messages that a sink reads."""
    decode(value)
    accumulator = Accumulator(Place("r", "t", 0), Tools(Scrubber(), DistinctHasher(b"0" * 32, "r")))
    assert accumulator.add(0, value, {(MARKER, 3): CONTRACT}, NOON, hold=lambda _: False)
    made, _ = outputs(accumulator, 0, 1, SeriesIndex(), OutputPolicy(), NOON)
    for output in made:
        STORED[output.topic.split(".")[2]](output.value)


def inserted(value: bytes) -> None:
    """Decode; what is read must become a block."""
    message = decode_rollups(value)
    place = ranges.Place("r", "t", "i", 0)
    assert rollup_insert([message, message], ranges.Range(place, 0, 2)).rows <= len(message.rows)
    assert shape_of(message, len(value)).fits(BlockPolicy())
    for one in message.metrics:
        hash(one)
    for labels in message.labels:
        orjson.dumps([labels.series_id, labels.family, dict(labels.labels)])


def kept(value: bytes) -> None:
    """Decode; what is read must fit the columns of the store, row by row, and be written again as it was."""
    events = decode_scrubbed(value)
    assert [datetime.fromtimestamp(at / 1000, UTC).year for at in events.times.tolist()] <= [2106] * len(events)
    np.array([events.version, events.source.partition], np.uint16)
    np.array([events.contract], np.uint32)
    for column in (*events.labels.values(), *events.pseudonyms.values(), *events.texts.values()):
        assert len(column_values(column)) == len(events)
        orjson.dumps(column.dictionary)
    for numbers in events.measures.values():
        assert np.isfinite(numbers.values).all()
        assert len(numbers.values) == len(events)
    once = encode_scrubbed(events)
    assert encode_scrubbed(decode_scrubbed(once)) == once


def accounted(value: bytes) -> None:
    """Decode; what is read must fit the columns of the store."""
    entry = decode_ledger(value)
    for day in [day for _, day in entry.points]:
        assert datetime.fromtimestamp(day * 86_400, UTC).date().toordinal() >= 0
    for second in (entry.min_window, entry.max_window, entry.committed_ms / 1000):
        datetime.fromtimestamp(second, UTC)
    np.array([entry.partition], np.uint16)
    np.array([entry.start, entry.end, entry.messages, entry.batches, *entry.points.values(), entry.events], np.uint64)
    assert entry.total + sum(entry.refused.values()) + sum(entry.scrubbed.values()) + sum(entry.skipped.values()) >= 0


def buried(value: bytes) -> None:
    """Decode; what is read must fit the columns of the store."""
    letter = decode_dead(value)
    datetime.fromtimestamp(letter.at_ms / 1000, UTC)
    np.array([letter.partition], np.uint16)
    np.array([letter.offset, letter.rows, letter.contract, letter.size, letter.again], np.uint64)
    marked(letter.which)
    assert decode_dead(letter.encode()) == letter
    assert read_sample(orjson.loads(letter.sample_text() or "[]")) == letter.sample


def marked(which: RowSet | None) -> None:
    """Rows that are read are rows of their batch."""
    if which is not None:
        rows = which.rows().tolist()
        assert rows == sorted(set(rows))
        assert 0 <= rows[0] <= rows[-1] < which.of


def replayed(value: bytes) -> None:
    """Read a header; what is read points back, and at rows."""
    again = decode_again(value, 20)
    assert again.offset < 20
    assert again.copy == 0 or again.offset < again.copy < 20
    marked(again.rows)


def restored(value: bytes) -> None:
    """Decode; what is read must be written again as it was."""
    message = decode_state(value)
    assert decode_state(message.encode()) == message
    Sequences().restore(message.streams)


def remembered(value: bytes) -> None:
    """Decode; what is read must be written again as it was, and enter a table whatever its times are."""
    message = decode_keys(value)
    assert decode_keys(message.encode()).encode() == message.encode()
    place = Place(message.region, message.topic, message.partition)
    reading = Reading(place, KeyPolicy(), 1_795_354_000)
    reading.take(prefix(place), value)
    assert reading.journal().opened_s >= 0


STORED: dict[str, Callable[[bytes], None]] = {
    ROLLUPS.kind: inserted,
    DISTINCT.kind: inserted,
    LEDGER.kind: accounted,
    "dead": buried,
    SCRUBBED.kind: kept,
}
STREAMS = (StreamState(bytes(16), 41, 7, (Hole(3, 5, 6), Hole(7, 40, 7))), StreamState(bytes(range(16)), 0, 0))
STATE = StateMessage(MARKER, MARKER, 3, "change", 9, STREAMS, replays=(Replay(4, "too_old", 9),)).encode()
KEYS = Keys(np.array([1, 1 << 63, 5], np.uint64), np.zeros(3, np.uint64), np.array([0, 7, 1_795_353_999], np.uint32))
KEYS_MESSAGE = KeysMessage(MARKER, MARKER, 3, "slice", 9, 1_795_350_000, KEYS, 1, 3).encode()
LEDGER_ENTRY = LedgerEntry(
    MARKER, MARKER, 3, 10, 20, 10, 9, {(0, 20_780): 5, (2, 20_781): 6}, NOON, {MARKER: 1}, {MARKER: 2}, {"10s": 3}, 5, 6,
    sums={(0, 20_780): (1.5, 2.0)}, events=11,
)  # fmt: skip
SINGLE_EVENTS = ScrubbedEvents(
    MARKER, RawRange(MARKER, 3, 10, 20), 1, MARKER, 3, MARKER, np.array([NOON, NOON + 1, NOON + 90_000]),
    {"service": Strings([MARKER], np.zeros(3, np.uint8)), "country": Strings(["AU", None], np.array([0, 1, 0]))},
    {"amount": Numbers(np.array([1.5, 0.0, -1e308]), np.array([1]))},
    {"customer": Strings([MARKER, None, "us_k1_a"], np.arange(3))},
    {"note": Strings([MARKER], np.zeros(3, np.uint8))},
)  # fmt: skip
LETTER = DeadLetter(
    MARKER, MARKER, 3, 11, MARKER, 5, NOON, MARKER, MARKER, 3, MARKER, 900, MARKER, row_set(np.array([1, 2, 9]), 400),
    (SampleRow(1, NOON, {"country": MARKER, "amount": 1.5, "plan": None}, MARKER),), 12,
)  # fmt: skip
OLD_LETTER = DeadLetter(MARKER, MARKER, 3, 11, MARKER, 5, NOON, MARKER, MARKER)
AGAIN = Again(11, MARKER, row_set(np.array([1, 2, 9]), 400), backfill=True, copy=12)
AGAIN_BITS = Again(11, MARKER, row_set(np.array([1, 3]), 17))


@dataclass(frozen=True, slots=True)
class Kind:
    """A valid message and what its reader does with it."""

    valid: bytes
    read: Callable[[bytes], None]


KINDS = {
    "events": Kind(EVENTS, rolled_up),
    "metrics": Kind(METRICS, rolled_up),
    "rollups": Kind(encode(FRAME), inserted),
    "distinct": Kind(encode(replace(FRAME, rows=DISTINCT_ROWS)), inserted),
    "scrubbed events": Kind(encode_scrubbed(SINGLE_EVENTS), kept),
    "ledger": Kind(LEDGER_ENTRY.encode(), accounted),
    "dead": Kind(LETTER.encode(), buried),
    "old dead": Kind(OLD_LETTER.encode(), buried),
    "again": Kind(AGAIN.encode(), replayed),
    "again, bits": Kind(AGAIN_BITS.encode(), replayed),
    "state": Kind(STATE, restored),
    "keys": Kind(KEYS_MESSAGE, remembered),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
HARD = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])

Path = tuple[str | int, ...]
PACKED = frozenset({
    "t", "s", "count", "sum", "min", "max", "last", "last_t", "n", "b", "c", "i", "null", "m", "series", "entry", "w", "id",
    "low", "high", "at", "hash", "bits", "u1", "u2", "u4", "u8", "i8", "f8",
})  # fmt: skip


def answer(read: Callable[[bytes], None], value: bytes) -> str:
    """The reason that a message is refused under, or "read". Anything else that happens fails the test."""
    try:
        read(value)
    except Refused as error:
        refused = error
    else:
        return "read"
    assert refused.reason in DECODING_REASONS
    assert refused.reason in str(refused)
    assert MARKER not in "".join(traceback.format_exception(refused))
    return refused.reason


def places(value: Any, path: Path = ()) -> list[Path]:
    """The path of everything inside a JSON value."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inside = list(cast("dict[str | int, Any]", value).items())
    elif isinstance(value, list):
        inside = list(enumerate(cast("list[Any]", value)))
    return [place for key, one in inside for place in [(*path, key), *places(one, (*path, key))]]


def holder(body: Any, path: Path) -> Any:
    """The object or list that a path's last step is in."""
    for step in path[:-1]:
        body = body[step]
    return body


ODD_SCALARS = (None, True, False, 0, -1, 1, 1.5, 3, 255, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1e30, -1e300)
ODD_TEXTS = ("", MARKER, "\0", "AAAA", "AAAAAAAAAAA=", "é", "10s", "gauge")
ODD_SHAPES: tuple[Any, ...] = (
    [],
    {},
    [[]],
    [None],
    [MARKER, MARKER],
    [0, 0, 0],
    {MARKER: MARKER},
    {"u1": "AA=="},
    {"d": [], "i": ""},
)
odd_values: st.SearchStrategy[Any] = st.sampled_from((*ODD_SCALARS, *ODD_TEXTS, *ODD_SHAPES)).map(deepcopy)
ODD_BYTES = {
    "NaN": np.array([np.nan], "<f8").tobytes(),
    "infinity": np.array([np.inf], "<f8").tobytes(),
    "largest": np.array([1.7e308], "<f8").tobytes(),
    "ones": b"\xff" * 8,
    "high bit": b"\0" * 7 + b"\x80",
}


def repacked(draw: st.DrawFn, text: str) -> str:
    """A packed column with something else in it."""
    try:
        data = bytearray(base64.b64decode(text))
    except ValueError:  # spoilt before
        data = bytearray(text.encode())
    how = draw(st.sampled_from(["flip", "cut", "grow", "fill", "place", "spoil"]))
    at = draw(st.integers(0, max(0, len(data) - 1)))
    if how == "flip" and data:
        data[at] ^= 1 << draw(st.integers(0, 7))
    elif how == "cut":
        del data[at:]
    elif how == "grow":
        data += draw(st.binary(max_size=9))
    elif how == "fill":
        data[:] = (ODD_BYTES[draw(st.sampled_from(list(ODD_BYTES)))] * (len(data) // 8 + 1))[: len(data)]
    elif how == "place":
        at -= at % 8
        data[at : at + 8] = ODD_BYTES[draw(st.sampled_from(list(ODD_BYTES)))][: len(data) - at]
    packed = base64.b64encode(data).decode()
    return packed + draw(st.sampled_from(["=", "\n", "é", "-", "\0"])) if how == "spoil" else packed


@st.composite
def rewritten(draw: st.DrawFn, valid: bytes) -> bytes:
    """A message with some values removed, renamed, replaced, packed otherwise, or moved by a little."""
    body: Any = orjson.loads(valid)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(body) or [("v",)]))
        inside, step = holder(body, path), path[-1]
        named = isinstance(step, str)
        how = draw(st.sampled_from(["remove", "rename", "replace", "repack", "repack", "nudge", "repeat"]))
        value: Any = inside.get(step) if named else inside[step]
        if how == "remove" and value is not None:
            del inside[step]
        elif how == "rename" and named:
            inside[draw(st.sampled_from([MARKER, "\0", "", f"{step}\0"]))] = inside.pop(step, None)
        elif how == "repack" and step in PACKED and type(value) is str:
            inside[step] = repacked(draw, value)
        elif how == "nudge" and type(value) is int:
            inside[step] = value + draw(st.sampled_from([-1, 1, 1 << 16, -value - 1, 1 << 41]))
        elif how == "repeat" and type(value) is list:
            inside[step] = value * 2
        else:
            inside[step] = draw(odd_values)
    return json.dumps(body).encode()


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """A message with some bytes flipped, dropped or put in."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["flip", "drop", "insert"]))
        if how == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "drop":
            del data[at : at + draw(st.integers(1, 5))]
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=4) | st.sampled_from([b"NaN", b"1e999", b'"\\ud800"']))
    return bytes(data)


@every_kind
def test_a_valid_message_is_read(kind: str) -> None:
    assert answer(KINDS[kind].read, KINDS[kind].valid) == "read"


@every_kind
@HARD
@given(data=st.data())
def test_a_rewritten_message_is_read_or_refused_with_a_known_reason(kind: str, data: st.DataObject) -> None:
    event(answer(KINDS[kind].read, data.draw(rewritten(KINDS[kind].valid))))


@every_kind
@HARD
@given(data=st.data())
def test_a_damaged_message_is_read_or_refused_with_a_known_reason(kind: str, data: st.DataObject) -> None:
    event(answer(KINDS[kind].read, data.draw(damaged(KINDS[kind].valid))))


@every_kind
@HARD
@given(value=st.binary(max_size=64))
def test_any_bytes_at_all_are_refused(kind: str, value: bytes) -> None:
    assert answer(KINDS[kind].read, value) in {"empty", "bad_json", "wrong_type", "missing_key"}


@every_kind
def test_a_message_cut_at_any_byte_is_refused(kind: str) -> None:
    valid = KINDS[kind].valid
    assert {answer(KINDS[kind].read, valid[:end]) for end in range(1, len(valid))} == {"bad_json"}
    assert answer(KINDS[kind].read, b"") == "empty"


@every_kind
def test_any_single_key_that_is_missing_is_noticed_or_has_a_meaning(kind: str) -> None:
    body = orjson.loads(KINDS[kind].valid)
    answers = {key: answer(KINDS[kind].read, orjson.dumps({k: v for k, v in body.items() if k != key})) for key in body}
    assert {key for key, got in answers.items() if got == "read"} == OPTIONAL.get(kind, set())


OPTIONAL = {
    "events": {"backfill"},
    "metrics": {"backfill", "hist"},
    "rollups": {"labels", "hist"},
    "distinct": {"labels"},
    "ledger": {"sums", "events"},
    "state": {"holes", "replays"},
    "dead": {"contract", "service", "size", "hash", "which", "sample", "again"},
    "again": {"copy"},
}


@every_kind
def test_a_key_that_stands_twice_is_refused_at_any_depth(kind: str) -> None:
    valid = KINDS[kind].valid
    body: Any = orjson.loads(valid)
    objects = [(), *(place for place in places(body) if isinstance(holder(body, (*place, "")), dict))]
    for place in objects:
        inside = holder(body, (*place, ""))
        for key, value in inside.items():
            twice = valid.replace(
                orjson.dumps(inside)[:-1], orjson.dumps(inside)[:-1] + b"," + orjson.dumps({key: value})[1:-1]
            )
            assert twice != valid
            assert answer(KINDS[kind].read, twice) == "duplicate_key", (place, key)


@every_kind
@pytest.mark.timeout(30)
@pytest.mark.parametrize("depth", [200, 255, 300, 900, 1_023, 10_000, 1_000_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused_or_ignored_but_never_followed(
    kind: str, depth: int, brackets: tuple[bytes, bytes]
) -> None:
    nested = brackets[0] * depth + b"0" + brackets[1] * depth
    got = answer(KINDS[kind].read, KINDS[kind].valid[:-1] + b',"more":' + nested + b"}")
    assert got == ("read" if depth == 200 else "bad_json")


@every_kind
def test_a_huge_message_is_refused_by_its_size_without_reading_it(kind: str) -> None:
    # were it read, it would be bad_json
    assert answer(KINDS[kind].read, b"[" * (50 << 20)) == "too_large"
