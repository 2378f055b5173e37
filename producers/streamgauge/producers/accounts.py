"""Accounts: where every point is. An event counts one point and one more per measure it carries, a metric call one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import RLock


@dataclass(frozen=True, slots=True)
class FlushReport:
    """What a flush came to, in points: acknowledged and dropped while it ran, and still waiting at its end."""

    delivered: int
    dropped: int
    left: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Points by metric or event name. For each name `emitted` = `acknowledged` + `waiting` + all its `dropped`.

    `dropped` is by name and reason, `overflowed` counts points of the overflow series (they are not lost), `sent`
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


class Accounts:
    """Running totals. Every method may be called from any thread, also from one that is interrupted inside another."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._emitted: Counter[str] = Counter()
        self._acknowledged: Counter[str] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()

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
            return first

    def dropped(self, points: Mapping[str, int], reason: str) -> bool:
        """Points that had come in are given up. True the first time for one of these names and this reason."""
        with self._lock:
            first = any((name, reason) not in self._dropped for name in points)
            for name, count in points.items():
                self._dropped[name, reason] += count
            return first

    def acknowledged(self, points: Mapping[str, int]) -> None:
        """The broker has these."""
        with self._lock:
            self._acknowledged.update(points)

    def totals(self) -> tuple[int, int]:
        """Points acknowledged and dropped so far."""
        with self._lock:
            return self._acknowledged.total(), self._dropped.total()

    def books(self) -> tuple[Counter[str], Counter[str], Counter[tuple[str, str]]]:
        """Copies of what was emitted, acknowledged and dropped."""
        with self._lock:
            return self._emitted.copy(), self._acknowledged.copy(), self._dropped.copy()
