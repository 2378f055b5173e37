"""Wire examples: one message of each kind as our encoders write it, for the reference and its test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from streamgauge.schemas.again import Again, decode_again
from streamgauge.schemas.batches import MetricHead, Origin, Point, encode_events, encode_metrics
from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.contracts import Contract, Field, parse_contract
from streamgauge.schemas.decoding import decode
from streamgauge.schemas.histogram import histogram_of
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
from streamgauge.schemas.state import Hole, StateMessage, StreamState, decode_state

T0 = 1_795_354_000_000
CONTEXT = {
    "service": "checkout",
    "environment": "production",
    "version": "1.4.2",
    "instance": "6f0c11d2",
    "region": "ap-southeast-2",
}
ORIGIN = Origin(CONTEXT, "6f0c11d2", T0 - 60_000, 418)
RAW = RawRange("sg.apac.events.v1", 2, 1_200, 1_204)
LIFE = "Nq3v0bXgQ0a7v1mBq8s5Kw"
WINDOW = (T0 - T0 % 10_000) // 1000
SERIES = 12_345_678_901_234_567_890
ORDERS = Contract(
    "order_placed",
    1,
    {
        "country": Field("dimension"),
        "amount": Field("measure", "number", unit="{USD}"),
        "customer_id": Field("unique"),
        "note": Field("dropped"),
    },
    owner="checkout",
    description="A customer paid for a basket.",
)
LABELS = (SeriesLabels(SERIES, "order_placed", {"country": "JP", "region": "ap-southeast-2", "service": "checkout"}),)


def _rollups() -> bytes:
    buckets = histogram_of([42.5, 9.0])
    n = 2
    rows = RollupRows(
        metric=np.array([0, 1], np.uint32),
        series_id=np.full(n, SERIES, np.uint64),
        entry=np.zeros(n, np.uint8),
        window=np.full(n, WINDOW, np.uint32),
        count=np.full(n, 2, np.uint64),
        sum=np.array([2.0, 51.5]),
        min=np.array([0.0, 9.0]),
        max=np.array([0.0, 42.5]),
        last=np.zeros(n),
        last_ms=np.zeros(n, np.int64),
        hist=Histograms(
            np.array([0, len(buckets)], np.uint64),
            np.array(list(buckets), np.int16),
            np.array(list(buckets.values()), np.uint64),
        ),
    )
    metrics = (
        RollupMetric("order_placed", "event", "order_placed", labels=("country",)),
        RollupMetric("order_placed.amount", "measure", "order_placed", "{USD}", ("country",)),
    )
    return encode(RollupMessage("apac", 1, RAW, metrics, rows, LABELS))


def _distinct() -> bytes:
    rows = DistinctRows(
        metric=np.zeros(1, np.uint32),
        series_id=np.full(1, SERIES, np.uint64),
        entry=np.zeros(1, np.uint8),
        window=np.full(1, WINDOW, np.uint32),
        hash=np.full(1, 9_876_543_210_987_654_321, np.uint64),
    )
    metrics = (RollupMetric("order_placed.customer_id", "distinct", "order_placed", labels=("country",)),)
    return encode(RollupMessage("apac", 1, RAW, metrics, rows, ()))


def _scrubbed() -> bytes:
    one = np.zeros(2, np.uint8)
    return encode_scrubbed(
        ScrubbedEvents(
            "apac",
            RAW,
            1,
            "order_placed",
            1,
            "p1-5f1b2a7c90d3e846",
            np.array([T0 + 123, T0 + 450]),
            {"service": Strings(["checkout"], one), "country": Strings(["JP", "AU"], np.arange(2))},
            {"amount": Numbers(np.array([42.5, 0.0]), np.array([1]))},
            {"customer_id": Strings(["us_k3_fq7mcs2azb4dlr6wnyk3xo5hte", None], np.arange(2))},
            {"note": Strings(["call me at [phone]", ""], np.arange(2))},
        )
    )


EXAMPLES: Mapping[str, bytes] = {
    "events": encode_events(
        ORIGIN,
        "order_placed",
        1,
        [T0 + 123, T0 + 450],
        {
            "country": pack_strings(["JP", "AU"]),
            "amount": pack_optional("f8", [42.5, None]),
            "customer_id": pack_strings(["c-981", "c-982"]),
        },
    ),
    "metrics": encode_metrics(
        ORIGIN,
        [
            MetricHead("checkout_requests", "counter", "{request}", ("endpoint", "status")),
            MetricHead("checkout_latency_seconds", "histogram", "s", ("endpoint",)),
        ],
        [(0, "/pay", "200"), (1, "/pay")],
        [
            Point(0, WINDOW * 1000, 17, 17.0),
            Point(1, WINDOW * 1000, 2, 0.3, 0.1, 0.2, 0.2, T0 + 900, histogram_of([0.1, 0.2])),
        ],
    ),
    "rollups": _rollups(),
    "distinct": _distinct(),
    "events_scrubbed": _scrubbed(),
    "ledger": LedgerEntry(
        "apac", RAW.topic, 2, 1_200, 1_204, 4, 4, {(0, T0 // 86_400_000): 4}, T0 + 1_500,
        refused={"too_old": 3}, scrubbed={"email": 1}, min_window=WINDOW, max_window=WINDOW, incarnation=LIFE,
    ).encode(),
    "dead": DeadLetter(
        "apac", RAW.topic, 2, 1_201, "too_old", 3, T0 + 1_500, "order_placed", contract=1, service="checkout", size=1_377,
        hash="5d41402abc4b2a76b9719d911017c592", which=RowSet(40, "u4", "BQAAAAgAAAA="),
        sample=(SampleRow(5, T0 - 9 * 86_400_000, {"country": "JP", "amount": 42.5, "customer_id": "[unique]"}),),
        incarnation=LIFE,
    ).encode(),
    "again": Again(1_201, "too_old", RowSet(40, "u4", "BQAAAAgAAAA="), backfill=True).encode(),
    "state": StateMessage(
        "apac", RAW.topic, 2, "change", 1_204,
        (StreamState(bytes(range(16)), 422, T0 // 1000, (Hole(418, 420, T0 // 1000 - 60),)),), incarnation=LIFE,
    ).encode(),
    "keys": KeysMessage(
        "apac", RAW.topic, 2, "add", 1_204, T0 // 1000 - 400,
        Keys(
            np.array([12_345_678_901_234_567_890], np.uint64),
            np.array([9_876_543_210_987_654_321], np.uint64),
            np.array([T0 // 1000], np.uint32),
        ), 17, 18,
    ).encode(),
    "contract": ORDERS.dump(),
}  # fmt: skip
"""By kind; a contract is the message of the contracts topic."""

READERS: Mapping[str, Callable[[bytes], Any]] = {
    "events": decode,
    "metrics": decode,
    "rollups": decode_rollups,
    "distinct": decode_rollups,
    "events_scrubbed": decode_scrubbed,
    "ledger": decode_ledger,
    "dead": decode_dead,
    "again": lambda value: decode_again(value, 1_300),
    "state": decode_state,
    "keys": decode_keys,
    "contract": parse_contract,
}
"""What reads each kind."""
