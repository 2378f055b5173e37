"""Memory: the most that worker and sink hold while they drain a backlog that is far larger, beside what they hold idle.

Messages of 100 kB, not compressed: mostly texts of a field that is dropped, as a chatty producer sends them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import orjson

from streamgauge.console.replay import stream_names
from streamgauge.console.rows import Amounts, Rows, Texts
from streamgauge.schemas.batches import Origin
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.packing import Json
from streamgauge.schemas.topics import EVENTS
from tests.benchmarks.backlog import Ledger, Progress, Record, produce
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.processes import MIB, settle, usage
from tests.benchmarks.regions import region
from tests.benchmarks.report import Figure
from tests.support.deployment import Deployment
from tests.support.kafka import KafkaBroker

CONTRACT = Contract(
    "page_view",
    1,
    {"page": Field("dimension"), "seconds": Field("measure", "number", unit="s"), "note": Field("dropped")},
)
EVENTS_A_MESSAGE = 1_000
PAGES = 50
NOTE_CHARS = 80
TEMPLATES = 8
PARTS = ("worker", "sink")


def bodies() -> list[Json]:
    """Some different batches, without their head and time."""
    random = np.random.default_rng(1)
    made: list[Json] = []
    for _ in range(TEMPLATES):
        notes = tuple(random.bytes(NOTE_CHARS // 2).hex() for _ in range(EVENTS_A_MESSAGE))
        rows = Rows(
            np.sort(random.integers(0, 10_000, EVENTS_A_MESSAGE)),
            {
                "page": Texts(tuple(f"/page/{n}" for n in range(PAGES)), random.integers(0, PAGES, EVENTS_A_MESSAGE)),
                "seconds": Amounts(
                    "f8", random.lognormal(0, 0.1, EVENTS_A_MESSAGE), np.zeros(EVENTS_A_MESSAGE, np.bool_)
                ),
                "note": Texts(notes, np.arange(EVENTS_A_MESSAGE)),
            },
        )
        made.append(rows.body(slice(0, EVENTS_A_MESSAGE)))
    return made


def backlog(messages: int, start_ms: int) -> Iterator[Record]:
    """The messages; each partition gets one a window of 10 s."""
    templates, context = bodies(), {"service": "site", "environment": "production", "instance": "benchmark"}
    streams = stream_names("site", EVENTS.partitions, EVENTS.partitions)
    for number in range(messages):
        turn, seq = number % len(streams), number // len(streams)
        message = Origin(context, streams[turn], 1, seq).head("events")
        message |= {"event": CONTRACT.name, "contract": CONTRACT.version, **templates[number % TEMPLATES]}
        message["t0"] = start_ms + seq * 10_000
        yield Record(streams[turn].encode(), orjson.dumps(message))


def run(options: Options) -> Iterator[Figure]:
    """Idle first, in a region of its own; then behind the backlog."""
    messages = options.sized(20_000, 2_000)
    with KafkaBroker() as broker:
        with region(broker.bootstrap, "idle", (CONTRACT,), store=True) as parts:
            pids = [parts.start_worker().pid, parts.start_sink().pid]
            time.sleep(5)  # so that they have begun to work, before the wait for their rest
            idle = {name: settle(pid).peak_bytes for name, pid in zip(PARTS, pids, strict=True)}
        with region(broker.bootstrap, "memory", (CONTRACT,), store=True) as parts:
            yield from measured(parts, broker.bootstrap, messages, idle)


def measured(parts: Deployment, bootstrap: str, messages: int, idle: dict[str, int]) -> Iterator[Figure]:
    """The figures of one backlog."""
    # a minute before now at its end, at the latest
    start_ms = time.time_ns() // 1_000_000 // 10_000 * 10_000 - (messages // EVENTS.partitions + 6) * 10_000
    size = produce(bootstrap, EVENTS.name(parts.region), backlog(messages, start_ms), compression="none")
    started = time.monotonic()
    worker, sink = parts.start_worker(), parts.start_sink()
    ledger = Ledger(bootstrap, parts.region)
    try:
        ledger.wait(messages, lambda: worker.poll() is None)
        worker_s, points = time.monotonic() - started, ledger.points
        progress = Progress("the sink", lambda: sink.poll() is None)
        while not progress.check(parts.points("1d"), points):
            time.sleep(0.5)
    except BenchmarkFailed as failure:
        raise BenchmarkFailed(f"{failure}\n{parts.log('worker')[-2000:]}\n{parts.log('sink')[-2000:]}") from failure
    finally:
        ledger.close()
    if ledger.refused or points != 2 * messages * EVENTS_A_MESSAGE:
        raise BenchmarkFailed(f"{points:,} points were committed and {ledger.refused:,} refused")
    case = f"{size / 1e9:.1f} GB, {messages:,} messages"
    used = {"worker": usage(worker.pid), "sink": usage(sink.pid), "store": usage(parts.parts["store"].pid)}
    for name in PARTS:
        yield Figure(
            case, f"{name}: peak memory", used[name].peak_bytes / MIB, "MiB", idle[name] / MIB, "the same, idle"
        )
    for name, one in used.items():
        yield Figure(case, f"{name}: CPU a message, with its start", one.cpu_s / messages * 1e6, "us")
    yield Figure(case, "store: peak memory", used["store"].peak_bytes / MIB, "MiB")
    yield Figure(case, "worker: time to drain, with its start", worker_s, "s")
    yield Figure(case, "all in the store after", time.monotonic() - started, "s")
