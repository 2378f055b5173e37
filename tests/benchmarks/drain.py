"""Drains: a worker process on a real broker, held still while its backlog is produced, then measured until all is committed.

CPU time is that of the whole process from the first message to the last commit: start-up, imports and the join of the
group are over, and a warm-up has been rolled up, before the measurement begins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from streamgauge.schemas.contracts import Contract
from tests.benchmarks.backlog import Ledger, Record, produce
from tests.benchmarks.options import BenchmarkFailed
from tests.benchmarks.processes import held_still, settle, usage
from tests.benchmarks.regions import PATIENT, region
from tests.benchmarks.spy import spied


@dataclass(frozen=True, slots=True)
class Drained:
    """What draining a backlog took."""

    messages: int
    points: int
    refused: int
    commits: int
    bytes: int
    seconds: float
    cpu_s: float
    peak_bytes: int
    profile: str = ""

    @property
    def per_commit(self) -> int:
        """Messages of one partition in one transaction, on average and rounded up."""
        return -(-self.messages // max(1, self.commits))


def drain(
    bootstrap: str,
    name: str,
    topic: str,
    contract: Contract | None,
    warm: Sequence[Record],
    load: Sequence[Record],
    profile: bool = False,
    **settings: str,
) -> Drained:
    """Start a worker in the region `name`, with these settings, warm it up, and measure how it drains `load`.

    With `profile` it is also sampled, which makes it dearer.
    """
    with region(bootstrap, name, () if contract is None else (contract,)) as parts:
        part = parts.start_worker(session_timeout=PATIENT, **settings)
        ledger = Ledger(bootstrap, name)
        try:

            def alive() -> bool:
                return part.poll() is None

            produce(bootstrap, topic, warm)
            ledger.wait(len(warm), alive)
            settle(part.pid)
            messages, points, refused, commits = ledger.messages, ledger.points, ledger.refused, ledger.commits
            with held_still(part):
                size = produce(bootstrap, topic, load)
                before, started = usage(part.pid), time.monotonic()
            with spied(part.pid, profile) as profiles:
                ledger.wait(messages + len(load), alive)
            seconds, after = time.monotonic() - started, usage(part.pid)
        except BenchmarkFailed as failure:
            raise BenchmarkFailed(f"{failure}\n{parts.log('worker')[-3000:]}") from failure
        finally:
            ledger.close()
    return Drained(
        ledger.messages - messages,
        ledger.points - points,
        ledger.refused - refused,
        ledger.commits - commits,
        size,
        seconds,
        after.cpu_s - before.cpu_s,
        after.peak_bytes,
        "".join(profiles),
    )
