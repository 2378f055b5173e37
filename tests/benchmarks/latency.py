"""Latency: from `emit` in an application until SQL shows the event, in a whole deployment under a steady load.

Probes are emitted beside the load by the same producer, and a client asks the store all the time how many it has. They
travel in one partition, so the n-th one is visible when the count reaches n.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import clickhouse_connect
import orjson

from streamgauge.schemas.events import contract_of
from tests.benchmarks.emitter import Probe, Purchase
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.processes import MIB, usage
from tests.benchmarks.regions import region
from tests.benchmarks.report import Figure
from tests.support.deployment import DATABASE, Deployment
from tests.support.flights import nearest_rank
from tests.support.kafka import ROOT, KafkaBroker

REGION = "latency"
RATE = 20_000
LOOK_EVERY_S = 0.05
LATE_AFTER_S = 30.0
SQL = "SELECT sum(count) FROM rollups_10s WHERE metric = 'probe'"


@dataclass(frozen=True, slots=True)
class Look:
    """How many probes the store had when an answer came (ns since the epoch), and how long the question took."""

    at_ns: int
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Account:
    """What the emitter told at its end."""

    probes_ns: list[int]
    seconds: float
    events: int
    lost: int
    cpu_s: float


def latencies(emitted_ns: Sequence[int], looks: Sequence[Look]) -> list[float]:
    """Seconds from each probe's emission to the first answer that counted it; those that were never seen are left out."""
    found: list[float] = []
    for look in looks:
        found += [(look.at_ns - at) / 1e9 for at in emitted_ns[len(found) : look.count]]
    return found


def watch(port: int, before: int, running: Callable[[], bool], wanted: Callable[[], int]) -> list[Look]:
    """Ask the store until the emitter has ended and all its probes are there, or late; `before` were there already."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=DATABASE)
    looks: list[Look] = []
    over = 0.0
    try:
        while True:
            asked = time.monotonic()
            count = int(client.query(SQL).result_rows[0][0]) - before
            answered = time.monotonic()
            looks.append(Look(time.time_ns(), count, answered - asked))
            if not running():
                over = over or answered
                if count >= wanted() or answered - over > LATE_AFTER_S:
                    return looks
            time.sleep(max(0.0, asked + LOOK_EVERY_S - answered))
    finally:
        client.close()


def emit(parts: Deployment, brokers: str, seconds: float, before: int = 0) -> tuple[Account, list[Look]]:
    """Run the emitter and look on."""
    words = ["-m", "tests.benchmarks.emitter", brokers, REGION, str(RATE), str(seconds)]
    with (parts.directory / "emitted.json").open("w+b") as out:
        emitter = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=out, stderr=subprocess.PIPE)
        try:
            account: list[Account] = []

            def wanted() -> int:
                if not account:
                    out.seek(0)
                    text = out.read()
                    if not text:
                        raise BenchmarkFailed("the emitter ended without an account")
                    account.append(Account(**orjson.loads(text)))
                return len(account[0].probes_ns)

            looks = watch(parts.port, before, lambda: emitter.poll() is None, wanted)
            return account[0], looks
        finally:
            emitter.kill()
            emitter.communicate()


def run(options: Options) -> Iterator[Figure]:
    """A short load to warm up, then the measured one."""
    contracts = (contract_of(Purchase), contract_of(Probe))
    with KafkaBroker() as broker, region(broker.bootstrap, REGION, contracts, store=True) as parts:
        parts.start_worker()
        parts.start_sink()
        warm, _ = emit(parts, broker.bootstrap, 4)
        if parts.points("1d") == 0:
            raise BenchmarkFailed(f"no event came through\n{parts.log('worker')}\n{parts.log('sink')}")
        yield from measured(parts, broker.bootstrap, options.sized(30, 8), len(warm.probes_ns))


def measured(parts: Deployment, brokers: str, seconds: float, before: int) -> Iterator[Figure]:
    """The figures of one load."""
    names = ("worker", "sink", "store")
    began, started = {name: usage(parts.parts[name].pid).cpu_s for name in names}, time.monotonic()
    account, looks = emit(parts, brokers, seconds, before)
    took = time.monotonic() - started
    found = latencies(account.probes_ns, looks)
    case = f"{account.events / account.seconds:,.0f} events/s"
    if account.lost or len(found) < len(account.probes_ns):
        missing = len(account.probes_ns) - len(found)
        raise BenchmarkFailed(
            f"{missing} of {len(account.probes_ns)} probes never came, {account.lost} points were lost"
        )
    questions = [one.seconds for one in looks]
    for q, budget in ((0.5, "<= 2"), (0.99, "<= 5"), (1.0, "")):
        name = "worst" if q == 1 else f"p{100 * q:.0f}"
        yield Figure(
            case,
            f"emit to SQL, {name}",
            nearest_rank(sorted(found), q),
            "s",
            nearest_rank(sorted(questions), q),
            "the question alone",
            budget,
        )
    yield Figure(case, "probes", len(found), "")
    for name in names:
        used = usage(parts.parts[name].pid)
        yield Figure(case, f"{name}: share of a core", (used.cpu_s - began[name]) / took, "")
        yield Figure(case, f"{name}: peak memory", used.peak_bytes / MIB, "MiB")
    yield Figure(case, "emitter: CPU an event", account.cpu_s / account.events * 1e6, "us")
