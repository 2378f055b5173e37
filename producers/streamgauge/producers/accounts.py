"""Accounts: where every point is. An event counts one point and one more per measure it carries, a metric call one.

They also keep what the producer has not yet told of itself: what was dropped, spooled and replayed since it last did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from streamgauge.producers import native


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What a flush came to, in points: acknowledged and dropped while it ran, still waiting in memory at its end (`left`),
    and on disk only (`spooled`), where a later process of the service finds them. `by_reason` divides `dropped`.

    What the producer tells of itself is not counted here."""

    delivered: int
    dropped: int
    left: int
    spooled: int = 0
    by_reason: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)


@dataclass(frozen=True, slots=True)
class Stats:
    """Points by metric or event name. For each name `emitted` = `acknowledged` + `waiting` + `spooled` + all its `dropped`.

    `waiting` is in memory, `spooled` on disk only; what was taken over from the spool of a dead process counts as emitted
    here. `dropped` is by name and reason, `overflowed` counts points of the overflow series (they are not lost), `sent`
    counts hand-overs to the transport, repeats included.
    """

    emitted: Mapping[str, int]
    acknowledged: Mapping[str, int]
    waiting: Mapping[str, int]
    dropped: Mapping[tuple[str, str], int]
    overflowed: Mapping[str, int] = field(default_factory=dict[str, int])
    batches_sent: int = 0
    batches_acknowledged: int = 0
    batches_waiting: int = 0
    bytes_waiting: int = 0
    spooled: Mapping[str, int] = field(default_factory=dict[str, int])


class Accounts:
    """Running totals. Every method may be called from any thread, also from one that is interrupted inside another."""

    def __init__(self) -> None:
        self._lock = native.rlock()
        self._emitted: Counter[str] = Counter()
        self._acknowledged: Counter[str] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()
        self._untold: Counter[tuple[str, ...]] = Counter()

    def emitted(self, name: str, points: int) -> None:
        """Points left their series or were accepted into the event buffer."""
        with self._lock:
            self._emitted[name] += points

    def refused(self, name: str, reason: str, points: int = 1) -> bool:
        """Points that never came in: emitted and dropped at once. True the first time for this name and reason."""
        with self._lock:
            first = (name, reason) not in self._dropped
            self._emitted[name] += points
            self._dropped[name, reason] += points
            self._untold["dropped", name, reason] += points
            return first

    def dropped(self, points: Mapping[str, int], reason: str) -> bool:
        """Points that had come in are given up. True the first time for one of these names and this reason."""
        with self._lock:
            first = any((name, reason) not in self._dropped for name in points)
            for name, count in points.items():
                self._dropped[name, reason] += count
                self._untold["dropped", name, reason] += count
            return first

    def spooled(self, points: Mapping[str, int]) -> None:
        """These came to the disk."""
        self._note("spooled", points)

    def replayed(self, points: Mapping[str, int]) -> None:
        """The broker has these from the disk."""
        self._note("replayed", points)

    def overflowed(self, name: str, label: str, points: int) -> None:
        """Points of a metric went to its overflow series; `label` is the one with most values."""
        with self._lock:
            self._untold["overflowed", name, label] += points

    def spool_failed(self, reason: str) -> None:
        """The spool could not be used."""
        with self._lock:
            self._untold["spool_errors", reason] += 1

    def _note(self, what: str, points: Mapping[str, int]) -> None:
        with self._lock:
            for name, count in points.items():
                self._untold[what, name] += count

    def take_untold(self) -> Counter[tuple[str, ...]]:
        """What happened since this was last asked: `(what, *labels)`, and how often."""
        with self._lock:
            untold, self._untold = self._untold, Counter()
            return untold

    def acknowledged(self, points: Mapping[str, int]) -> None:
        """The broker has these."""
        with self._lock:
            self._acknowledged.update(points)

    def acknowledged_and_reasons(self, without: frozenset[str]) -> tuple[int, Counter[str]]:
        """Points acknowledged so far, and points dropped so far by reason, of all names but those."""
        with self._lock:
            reasons: Counter[str] = Counter()
            for (name, reason), points in self._dropped.items():
                if name not in without:
                    reasons[reason] += points
            return sum(points for name, points in self._acknowledged.items() if name not in without), reasons

    def books(self) -> tuple[Counter[str], Counter[str], Counter[tuple[str, str]]]:
        """Copies of what was emitted, acknowledged and dropped."""
        with self._lock:
            return self._emitted.copy(), self._acknowledged.copy(), self._dropped.copy()
