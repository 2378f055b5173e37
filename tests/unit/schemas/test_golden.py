"""Golden messages: what a release wrote is read for ever, and what is written today has the same bytes.

A file below `tests/golden/v1` never changes; a message that looks different is a new version with files of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from streamgauge.schemas.again import Again, decode_again
from streamgauge.schemas.batches import MetricHead, Origin, Point, encode_events, encode_metrics
from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.contracts import Contract, Field, parse_contract
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode
from streamgauge.schemas.keys import Keys, KeysMessage, decode_keys
from streamgauge.schemas.ledger import (
    DeadLetter,
    LedgerEntry,
    SampleRow,
    decode_dead,
    decode_ledger,
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
from streamgauge.schemas.row_sets import RowSet
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, decode_scrubbed, encode_scrubbed
from streamgauge.schemas.state import Hole, Replay, StateMessage, StreamState, decode_state
from tests.properties.messages import column_values, event_values, points_of, row_values

GOLDEN = Path(__file__).parents[2] / "golden" / "v1"

ORIGIN = Origin(
    {"service": "checkout", "environment": "production", "version": "1.4.2", "instance": "6f0c", "region": "ap"},
    "6f0c",
    1_795_354_000_123,
    418,
    backfill=True,
)
TIMES = [1_795_354_000_000, 1_795_354_000_000, 1_795_354_059_999, 1_795_353_999_001]
FIELDS: dict[str, list[Any]] = {
    "country": ["AU", "NZ", None, "AU"],
    "segment": ["pro", "pro", "pro", "free"],
    "amount": [12.5, None, -0.25, 1e300],
    "items": [3, 2, None, 9_007_199_254_740_992],
    "customer_id": ["ana", "bo", "ana", "çelik"],
}
HEADS = [
    MetricHead("requests", "counter", "1", ("operation", "status")),
    MetricHead("queue_depth", "gauge", granularity="1m"),
    MetricHead("latency", "histogram", "s", ("operation",)),
]
SERIES: list[tuple[int, *tuple[str, ...]]] = [
    (0, "pay", "200"),
    (1,),
    (2, "pay"),
]
POINTS = [
    Point(0, 1_795_354_000_000, 7, 7.5, last_ms=1_795_354_000_000),
    Point(1, 1_795_353_980_000, 3, 12.0, 2.0, 6.0, 4.0, 1_795_353_989_999),
    Point(2, 1_795_354_000_000, 4, 0.75, -0.25, 1.0, 0.0, 1_795_354_003_000, {0: 2, 16_384: 1, -16_321: 1}),
]
METRICS = (
    RollupMetric("order_placed", "event", "order_placed", "{event}", ("country",), "10s"),
    RollupMetric("order_placed.amount", "measure", "order_placed", "{USD}", ("country",), "10s"),
    RollupMetric("queue_depth", "gauge", "queue_depth", granularity="1m"),
)
ROWS = RollupRows(
    metric=np.array([0, 1, 2], np.uint32),
    series_id=np.array([1, 1, 18_446_744_073_709_551_615], np.uint64),
    entry=np.array([0, 0, 1], np.uint8),
    window=np.array([1_795_354_000, 1_795_354_000, 1_795_353_960], np.uint32),
    count=np.array([2, 2, 70_000], np.uint64),
    sum=np.array([2.0, 12.25, 7.0]),
    min=np.array([0.0, -0.25, 1.0]),
    max=np.array([0.0, 12.5, 6.0]),
    last=np.array([0.0, 0.0, 6.0]),
    last_ms=np.array([0, 0, 1_795_353_989_999], np.int64),
    hist=Histograms(
        np.array([0, 2, 0], np.uint64), np.array([-16_320, 16_500], np.int16), np.array([1, 300], np.uint64)
    ),
)
ROLLUPS = RollupMessage(
    "ap",
    1,
    RawRange("sg.ap.events.v1", 3, 1_000, 1_042),
    METRICS,
    ROWS,
    (
        SeriesLabels(1, "order_placed", {"country": "AU", "service": "checkout"}),
        SeriesLabels(18_446_744_073_709_551_615, "queue_depth", {}),
    ),
)
DISTINCT = replace(
    ROLLUPS,
    metrics=(RollupMetric("order_placed.customer_id", "distinct", "order_placed", "", ("country",)),),
    rows=DistinctRows(
        metric=np.array([0, 0], np.uint32),
        series_id=np.array([1, 1], np.uint64),
        entry=np.array([0, 3], np.uint8),
        window=np.array([1_795_354_000, 1_795_305_600], np.uint32),
        hash=np.array([1, 18_446_744_073_709_551_615], np.uint64),
    ),
    labels=(),
)
LEDGER = LedgerEntry(
    region="ap",
    topic="sg.ap.events.v1",
    partition=3,
    start=1_000,
    end=1_042,
    messages=42,
    batches=41,
    points={(0, 20_779): 81, (2, 20_700): 3},
    committed_ms=1_795_354_001_500,
    refused={"bad_json": 1, "too_old": 5},
    scrubbed={"email": 2},
    skipped={"10s": 3},
    min_window=1_788_480_000,
    max_window=1_795_354_000,
    sequence_gaps=1,
    sequence_repeats=2,
)
DEAD = DeadLetter(
    "ap", "sg.ap.events.v1", 3, 1_007, "missing_field", 2_000, 1_795_354_001_500, "order_placed", "country"
)
LEDGER_SUMS = replace(LEDGER, sums={(0, 20_779): (12.5, 12.75), (2, 20_700): (-1e300, 1e300)})
DEAD_ROWS = replace(
    DEAD,
    reason="bad_value",
    contract=3,
    service="checkout",
    size=48_112,
    hash="00112233445566778899aabbccddeeff",
    which=RowSet(2_000, "u4", "BQAAAAcAAADPBwAA0AcAAA=="),
    sample=(SampleRow(5, 1_795_354_000_000, {"country": "[email]", "amount": 12.5, "segment": None}),),
    again=1_044,
)
LEDGER_LIFE = replace(LEDGER_SUMS, incarnation="Nq3v0bXgQ0a7v1mBq8s5Kw")
LEDGER_POLICIES = replace(LEDGER_LIFE, policies=("l1-00112233aabbccdd", "p1-99aabbccddeeff00"))
LEDGER_EVENTS = replace(LEDGER_POLICIES, events=40)
SCRUBBED = ScrubbedEvents(
    "ap",
    RawRange("sg.ap.events.v1", 3, 1_000, 1_042),
    1,
    "order_placed",
    3,
    "p1-99aabbccddeeff00",
    np.array([1_795_354_000_000, 1_795_353_999_001, 1_795_400_000_000], np.int64),
    {
        "service": Strings(["checkout"], np.zeros(3, np.uint8)),
        "country": Strings(["AU", None], np.array([0, 1, 0], np.uint8)),
    },
    {"amount": Numbers(np.array([12.5, 0.0, 1e300]), np.array([1], np.uint32)), "items": Numbers(np.ones(3))},
    {"customer_id": Strings([None, "us_k1_cafdobabeidfghijklmnopqrst"], np.array([1, 1, 0], np.uint8))},
    {"note": Strings(["call [phone], or çelik"], np.zeros(3, np.uint8))},
)
DEAD_LIFE = replace(DEAD_ROWS, incarnation="Nq3v0bXgQ0a7v1mBq8s5Kw")
AGAIN = Again(1_007, "too_old", RowSet(12, "bits", "BQg="), backfill=True, copy=1_044)
STREAMS = (
    StreamState(bytes(range(16)), 426, 1_795_354_000, (Hole(419, 421, 1_795_353_000), Hole(422, 425, 1_795_353_900))),
    StreamState(bytes(16), 1, 1_795_354_001),
)
STATE = StateMessage("ap", "sg.ap.events.v1", 3, "snapshot", 1_042, STREAMS, 1, 2)
STATE_CHANGE = StateMessage(
    "ap", "sg.ap.metrics.v1", 0, "change", 7, STREAMS[1:], replays=(Replay(1_007, "too_old", 1_795_354_002),)
)
STATE_LIFE = replace(STATE_CHANGE, incarnation="Nq3v0bXgQ0a7v1mBq8s5Kw")
KEYS = Keys(
    np.array([1, 18_446_744_073_709_551_615], np.uint64),
    np.array([0, 9_876_543_210_987_654_321], np.uint64),
    np.array([1_795_354_001, 1_795_350_000], np.uint32),
)
KEYS_SLICE = KeysMessage("ap", "sg.ap.events.v1", 3, "slice", 1_042, 1_795_350_000, KEYS, 1, 2)
KEYS_ADD = KeysMessage("ap", "sg.ap.events.v1", 3, "add", 1_043, 1_795_354_000, next(KEYS.split(1)), 7, 8)
CONTRACT = Contract(
    "order_placed",
    3,
    {
        "country": Field("dimension"),
        "segment": Field("dimension", values=("free", "pro", "enterprise"), optional=True),
        "amount": Field("measure", "number", "{USD}", description="what was paid, without taxes"),
        "customer_id": Field("unique"),
        "order_id": Field("idempotency_key"),
        "note": Field("dropped"),
    },
    owner="checkout",
    retention="400d",
    granularity="1m",
    time="placed_at",
    description="A customer paid for a basket.",
    examples={"pass": [{"country": "AU"}], "fail": []},
)


def read(name: str) -> bytes:
    """A golden file."""
    return (GOLDEN / name).read_bytes()


def written_events() -> bytes:
    """The golden events, written anew."""
    columns = {name: pack_strings(FIELDS[name]) for name in ("country", "segment", "customer_id")}
    columns |= {"amount": pack_optional("f8", FIELDS["amount"]), "items": pack_optional("i8", FIELDS["items"])}
    return encode_events(ORIGIN, "order_placed", 3, TIMES, columns)


WRITTEN: dict[str, Callable[[], bytes]] = {
    "events.json": written_events,
    "metrics.json": lambda: encode_metrics(ORIGIN, HEADS, SERIES, POINTS),
    "counters.json": lambda: encode_metrics(replace(ORIGIN, backfill=False), HEADS[:1], SERIES[:1], POINTS[:1]),
    "rollups.json": lambda: encode(ROLLUPS),
    "distinct.json": lambda: encode(DISTINCT),
    "ledger.json": LEDGER.encode,
    "ledger_sums.json": LEDGER_SUMS.encode,
    "ledger_life.json": LEDGER_LIFE.encode,
    "ledger_policies.json": LEDGER_POLICIES.encode,
    "ledger_events.json": LEDGER_EVENTS.encode,
    "events_scrubbed.json": lambda: encode_scrubbed(SCRUBBED),
    "dead.json": DEAD.encode,
    "dead_rows.json": DEAD_ROWS.encode,
    "dead_life.json": DEAD_LIFE.encode,
    "again.json": AGAIN.encode,
    "state.json": STATE.encode,
    "state_change.json": STATE_CHANGE.encode,
    "state_life.json": STATE_LIFE.encode,
    "keys_slice.json": KEYS_SLICE.encode,
    "keys_add.json": KEYS_ADD.encode,
    "contract.json": CONTRACT.dump,
}
FOREIGN = {"events_of_tomorrow.json"}
"""What our encoder does not write."""


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_today_has_the_bytes_of_version_one(name: str) -> None:
    assert WRITTEN[name]() == read(name)


def test_every_golden_file_is_tested() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == WRITTEN.keys() | FOREIGN


def check_events(batch: object, unknown_keys: int) -> None:
    """The golden events, whoever wrote them."""
    assert isinstance(batch, EventBatch)
    assert batch.origin == ORIGIN
    assert (batch.event, batch.contract, batch.unknown_keys) == ("order_placed", 3, unknown_keys)
    assert batch.times.tolist() == TIMES
    assert {name: column_values(column) for name, column in batch.fields.items()} == FIELDS


def test_golden_events_are_read() -> None:
    check_events(decode(read("events.json")), 0)


def test_golden_events_with_keys_of_a_later_release_are_read_without_them() -> None:
    assert orjson.loads(read("events_of_tomorrow.json")).keys() > orjson.loads(read("events.json")).keys()
    check_events(decode(read("events_of_tomorrow.json")), 2)


def test_golden_metrics_are_read() -> None:
    batch = decode(read("metrics.json"))
    assert isinstance(batch, MetricBatch)
    assert batch.origin == ORIGIN
    assert (list(batch.metrics), batch.series, batch.unknown_keys) == (HEADS, SERIES, 0)
    assert points_of(batch) == POINTS


def test_golden_counters_are_read() -> None:
    batch = decode(read("counters.json"))
    assert isinstance(batch, MetricBatch)
    assert batch.origin == replace(ORIGIN, backfill=False)
    assert (list(batch.metrics), batch.series, batch.buckets) == (HEADS[:1], SERIES[:1], None)
    assert points_of(batch) == POINTS[:1]


@pytest.mark.parametrize(("name", "message"), [("rollups.json", ROLLUPS), ("distinct.json", DISTINCT)])
def test_golden_rollups_and_distinct_hashes_are_read(name: str, message: RollupMessage) -> None:
    got = decode_rollups(read(name))
    assert type(got.rows) is type(message.rows)
    assert row_values(got.rows, got.metrics) == row_values(message.rows, message.metrics)
    assert replace(got, rows=message.rows) == message


def test_golden_scrubbed_events_are_read() -> None:
    got = decode_scrubbed(read("events_scrubbed.json"))
    assert event_values(got) == event_values(SCRUBBED)
    columns = {name: getattr(SCRUBBED, name) for name in ("times", "labels", "measures", "pseudonyms", "texts")}
    assert replace(got, **columns) == SCRUBBED


def test_golden_accounts_are_read() -> None:
    assert decode_ledger(read("ledger.json")) == LEDGER
    assert decode_ledger(read("ledger_sums.json")) == LEDGER_SUMS
    assert decode_ledger(read("ledger_life.json")) == LEDGER_LIFE
    assert decode_ledger(read("ledger_policies.json")) == LEDGER_POLICIES
    assert decode_ledger(read("ledger_events.json")) == LEDGER_EVENTS
    assert decode_dead(read("dead.json")) == DEAD
    assert decode_dead(read("dead_rows.json")) == DEAD_ROWS
    assert decode_dead(read("dead_life.json")) == DEAD_LIFE
    assert decode_again(read("again.json"), 1_100) == AGAIN
    assert decode_state(read("state.json")) == STATE
    assert decode_state(read("state_change.json")) == STATE_CHANGE
    assert decode_state(read("state_life.json")) == STATE_LIFE


@pytest.mark.parametrize(("name", "message"), [("keys_slice.json", KEYS_SLICE), ("keys_add.json", KEYS_ADD)])
def test_golden_keys_are_read(name: str, message: KeysMessage) -> None:
    got = decode_keys(read(name))
    for column in ("low", "high", "at"):
        assert getattr(got.keys, column).tolist() == getattr(message.keys, column).tolist()
    assert replace(got, keys=message.keys) == message


def test_the_golden_contract_is_read() -> None:
    assert parse_contract(read("contract.json")) == CONTRACT
