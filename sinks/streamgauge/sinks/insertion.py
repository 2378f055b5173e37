"""Insertion: how one block becomes final, as steps that a driver carries out. The next run heals a crash between any two."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum

from streamgauge.sinks.ddl import COUNTED_TABLES
from streamgauge.sinks.decisions import Act, Read, StoreView, stop_for, when_read
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
class AskStore:
    """Ask the store what it has of this range, and whether its tables still know the token. Answered by a StoreView."""

    pending: Range


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing for so long; end early when the process ends."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CommitDone:
    """The range is in: the next one starts at its end."""

    done: Range


Operation = CommitIntent | AskStore | InsertTable | Wait | CommitDone
Answer = Outcome | StoreView
Run = Generator[Operation, Answer, bool]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Unknown outcomes are tried again soon, refusals (wrong password, missing table) seldom; never given up."""

    first_s: float = 0.2
    longest_s: float = 10.0
    refused_s: float = 15.0

    def pause(self, attempt: int, outcome: Answer) -> float:
        """Seconds before attempt number `attempt` + 1."""
        if outcome is Outcome.REFUSED:
            return self.refused_s
        return min(self.longest_s, self.first_s * float(1 << min(attempt - 1, 10)))


def store_range(pending: Range, tables: tuple[str, ...], policy: RetryPolicy, read: Read = Read.NEW) -> Run:
    """Intent, one insert per table in order, done. Returns False when fenced: the range belongs to someone else now.

    `read` is what the topic gave: a range that was begun before is inserted only if the store says that this is safe, and
    so is one whose insert has an unknown outcome. Raises what `decisions.stop` makes when it is not.
    """
    if not (yield from _commit(CommitIntent(pending), policy)):
        return False
    act = Act.AGAIN
    if read is not Read.NEW and (act := (yield from _decided(pending, read, policy))) is Act.IGNORE:
        return False
    again = Read.ASKED if read is Read.ASKED else Read.SAME
    safe = True  # it was never sent, or the store was asked just now
    for table in tables:
        attempt = 0
        while not (act is Act.COMMIT and table in COUNTED_TABLES):
            if table in COUNTED_TABLES and not safe:
                act, safe = (yield from _decided(pending, again, policy)), True
                if act is Act.IGNORE:
                    return False
                continue
            outcome = yield InsertTable(table, pending.token)
            if outcome is Outcome.DONE:
                break
            attempt += 1
            yield Wait(policy.pause(attempt, outcome))  # same block, same token: never skipped, never split
            safe = read is Read.NEW and table not in COUNTED_TABLES
    return (yield from _commit(CommitDone(pending), policy))


def _decided(pending: Range, read: Read, policy: RetryPolicy) -> Generator[Operation, Answer, Act]:
    """AGAIN, COMMIT, or IGNORE when fenced; raises when it is to stop."""
    attempt = 0
    while not isinstance(view := (yield AskStore(pending)), StoreView):
        attempt += 1
        yield Wait(policy.pause(attempt, view))
    decision = when_read(read, view.found, view.covered)
    if decision.why is None:
        return decision.act
    if not (yield from _commit(CommitIntent(pending), policy)):
        return Act.IGNORE  # it was frozen, and what it saw is its successor's work
    raise stop_for(decision.why, pending, view)


def _commit(step: CommitIntent | CommitDone, policy: RetryPolicy) -> Run:
    attempt = 0
    while (outcome := (yield step)) is not Outcome.DONE:
        if outcome is Outcome.FENCED:
            return False
        attempt += 1
        yield Wait(policy.pause(attempt, outcome))
    return True
