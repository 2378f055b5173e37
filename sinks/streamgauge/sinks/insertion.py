"""Insertion: how one block becomes final, as steps that a driver carries out. The next run heals a crash between any two."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum

from streamgauge.sinks.ranges import Range


class Outcome(Enum):
    """What became of a step. A failed or timed-out insert is UNKNOWN until it is known."""

    DONE = "done"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class CommitIntent:
    """Write the range down. Acknowledged, it is the fence: a member of an old generation is refused here."""

    pending: Range


@dataclass(frozen=True, slots=True)
class InsertTable:
    """Insert one table's part of the block under the range's token."""

    table: str
    token: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing for so long; end early when the process ends."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CommitDone:
    """The range is in: the next one starts at its end."""

    done: Range


Operation = CommitIntent | InsertTable | Wait | CommitDone


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Unknown outcomes are tried again soon, refusals (wrong password, missing table) seldom; never given up."""

    first_s: float = 0.2
    longest_s: float = 10.0
    refused_s: float = 15.0

    def pause(self, attempt: int, outcome: Outcome) -> float:
        """Seconds before attempt number `attempt` + 1."""
        if outcome is Outcome.REFUSED:
            return self.refused_s
        return min(self.longest_s, self.first_s * float(1 << min(attempt - 1, 10)))


def store_range(pending: Range, tables: tuple[str, ...], policy: RetryPolicy) -> Generator[Operation, Outcome, bool]:
    """Intent, one insert per table in order, done. Returns False when fenced: the range belongs to someone else now."""
    if not (yield from _commit(CommitIntent(pending), policy)):
        return False
    for table in tables:
        attempt = 0
        while (outcome := (yield InsertTable(table, pending.token))) is not Outcome.DONE:
            attempt += 1
            yield Wait(policy.pause(attempt, outcome))  # same block, same token: never skipped, never split
    return (yield from _commit(CommitDone(pending), policy))


def _commit(step: CommitIntent | CommitDone, policy: RetryPolicy) -> Generator[Operation, Outcome, bool]:
    attempt = 0
    while (outcome := (yield step)) is not Outcome.DONE:
        if outcome is Outcome.FENCED:
            return False
        attempt += 1
        yield Wait(policy.pause(attempt, outcome))
    return True
