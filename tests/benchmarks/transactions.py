"""Transactions: how a worker drains the same backlog with them (exactly once) and without (at least once, as the embedded
mode commits: every send is acknowledged, then the offset is written).

The mode without also writes all rollups to one partition, which is a little cheaper: what transactions cost is at most
what the two differ by.
"""

from __future__ import annotations

from collections.abc import Iterator

from streamgauge.schemas.topics import EVENTS
from tests.benchmarks.drain import Drained, drain
from tests.benchmarks.flight_batches import Case, batches, records
from tests.benchmarks.options import BenchmarkFailed, Options
from tests.benchmarks.report import Figure
from tests.support.kafka import KafkaBroker

CASE = Case(("carrier", "origin"), "1h")
INTERVALS = ("1s", "200ms")


def run(options: Options) -> Iterator[Figure]:
    """With and without, for each time between commits, on one broker."""
    with KafkaBroker() as broker:
        for interval in INTERVALS:
            on, off = (_drained(broker.bootstrap, interval, embedded, options) for embedded in ("false", "true"))
            points = on.points
            case = f"commits every {interval}"
            yield Figure(case, "points a second", points / on.seconds, "1/s", points / off.seconds, "without")
            yield Figure(case, "CPU a point", on.cpu_s * 1e6 / points, "us", off.cpu_s * 1e6 / points, "without")
            yield Figure(case, "messages in a commit", on.per_commit, "", off.per_commit, "without")


def _drained(bootstrap: str, interval: str, embedded: str, options: Options) -> Drained:
    years = options.sized(6, 1)
    contract = CASE.contract()
    region = f"transactions-{interval}-{embedded}"
    warm, load = list(batches(CASE, 1)), list(batches(CASE, years, first=1))
    drained = drain(
        bootstrap,
        region,
        EVENTS.name(region),
        contract,
        records(warm),
        records(load),
        commit_interval=interval,
        embedded=embedded,
        incarnation="benchmark",
    )
    sent = sum(one.points for one in load)
    if drained.points != sent:
        raise BenchmarkFailed(f"{region}: {drained.points:,} points committed, {sent:,} sent")
    return drained
