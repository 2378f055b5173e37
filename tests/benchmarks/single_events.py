"""Single events: what a row with four labels, two measures and a token costs in the sink and in the store.

The floor of the store is a Null table that takes the very same blocks. Engine and client share this process, so CPU time is
of both.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.rollups import RawRange
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, encode_scrubbed
from streamgauge.schemas.topics import EVENTS, SCRUBBED
from streamgauge.sinks.blocks import Insert
from streamgauge.sinks.event_blocks import event_insert
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.partition import decode_stored
from streamgauge.sinks.ranges import Place, Range
from streamgauge.sinks.retention import Retention
from tests.benchmarks.options import Options
from tests.benchmarks.report import Figure
from tests.support.rolled_up import LocalStore

PLACE = Place("eu", SCRUBBED.name("eu"), "life", 0)
ROWS = 5_000
T = TypeVar("T")


def message(number: int, now_ms: int) -> bytes:
    """A message as a worker sends it."""
    random = np.random.default_rng(number)
    labels = {
        "service": Strings(["checkout"], np.zeros(ROWS, np.uint8)),
        "environment": Strings(["production"], np.zeros(ROWS, np.uint8)),
        "country": Strings([f"C{n}" for n in range(40)], random.integers(0, 40, ROWS)),
        "plan": Strings(["free", "pro", "team"], random.integers(0, 3, ROWS)),
    }
    measures = {
        "amount": Numbers(random.lognormal(3, 1, ROWS)),
        "items": Numbers(random.integers(1, 9, ROWS).astype(np.float64)),
    }
    tokens = [f"us_k3_{secrets.token_hex(13)}" for _ in range(ROWS)]
    pseudonyms = {"customer_id": Strings([*tokens], np.arange(ROWS))}
    source = RawRange(EVENTS.name("eu"), 0, number, number + 1)
    times = now_ms + np.arange(ROWS)
    return encode_scrubbed(
        ScrubbedEvents("eu", source, 1, "order_placed", 1, "p1-bench", times, labels, measures, pseudonyms, {})
    )


def cpu(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of CPU time of the best of three, and what came of the last."""
    spent: list[float] = []
    found: list[T] = []
    for _ in range(3):
        began = time.process_time()
        found.append(work())
        spent.append(time.process_time() - began)
    return min(spent), found[-1]


def run(options: Options) -> Iterator[Figure]:
    """The sink's part, then the store's, with what it keeps."""
    now_ms = time.time_ns() // 1_000_000
    many, blocks = options.sized(10, 2), options.sized(8, 2)
    rows = many * ROWS
    case = f"{rows:,} rows a block"
    values = [message(number, now_ms) for number in range(many)]
    decoding, buffered = cpu(lambda: [decode_stored(SCRUBBED.kind, PLACE, n, v, now_ms) for n, v in enumerate(values)])
    events = [one.message for one in buffered if isinstance(one.message, ScrubbedEvents)]
    building, block = cpu(lambda: event_insert(events, Range(PLACE, 0, many)))
    yield Figure(case, "message", sum(map(len, values)) / rows, "B a row")
    yield Figure(case, "CPU of the sink to read", decoding / rows * 1e6, "us a row")
    yield Figure(case, "CPU of the sink to build a block", building / rows * 1e6, "us a row")
    yield Figure(case, "block", len(block.data) / rows, "B a row")
    with tempfile.TemporaryDirectory() as directory:
        store = LocalStore(Path(directory), "default")
        migrate(store, Retention(), "default")
        store.command("CREATE TABLE nothing AS events_landing ENGINE = Null")
        spent = {"events_landing": 0.0, "nothing": 0.0}
        for number in range(blocks):
            fresh = [decode_stored(SCRUBBED.kind, PLACE, n, message(number * many + n, now_ms), 0) for n in range(many)]
            of = [one.message for one in fresh if isinstance(one.message, ScrubbedEvents)]
            span = Range(PLACE, number * many, (number + 1) * many)
            made = event_insert(of, span)
            for name in spent:
                began = time.process_time()
                store.insert_block(Insert(name, made.columns, made.data, made.rows), span.token)
                spent[name] += time.process_time() - began
        least, whole = (spent[name] / (blocks * rows) * 1e6 for name in ("nothing", "events_landing"))
        yield Figure(case, "CPU of store and client to insert", whole, "us a row", least, "a Null table")
        ((held, index),) = store.query_rows(
            "SELECT sum(bytes_on_disk) / sum(rows), sum(secondary_indices_compressed_bytes) / sum(rows) FROM system.parts"
            " WHERE database = 'default' AND table = 'events' AND active"
        )
        yield Figure(case, "on disk", float(held), "B a row")
        yield Figure(case, "of it the index of tokens", float(index), "B a row")
        store.engine.close()
