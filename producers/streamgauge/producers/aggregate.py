"""Aggregate: what each series gained, by 10 s window, until it is taken. Sums are exact, memory is bounded by series.

A series is also the handle that an application keeps: `handles` adds `inc`, `set` and `observe`. One lock per metric
guards its series; it is re-entrant because a finalizer or a signal handler may record inside a record.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Generic, TypeVar
from weakref import WeakSet

from streamgauge.producers.accounts import Accounts
from streamgauge.producers.clock import Clock
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.histogram import Buckets
from streamgauge.schemas.windows import TIERS, window_start

log = logging.getLogger(__name__)

WINDOW_NS = TIERS[0].width_ms * 1_000_000
OVERFLOW = "__overflow__"
"""Every label of the overflow series has this value."""
MAX_LABEL_CHARS = 4096
MAX_WINDOWS = 360
"""Finished windows a series keeps at most while nobody takes them: an hour."""
IDLE_NS = 600 * 1_000_000_000
"""A series that rested this long is not in use; it makes room when the budget is exhausted."""


class NotRecorded(Exception):  # carries a reason to the handle that called, never leaves this package
    """This call must not count; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Delta:
    """What one series gained in one window. Counters leave everything but `count` and `sum` at zero."""

    window_ms: int
    count: int
    sum: float
    min: float = 0.0
    max: float = 0.0
    last: float = 0.0
    last_ms: int = 0
    buckets: Buckets = field(default_factory=dict[int, int])


@dataclass(frozen=True, slots=True)
class Taken:
    """A delta with the metric and label values it belongs to."""

    head: MetricHead
    labels: tuple[str, ...]
    delta: Delta


class Series:
    """One label set of one metric. Idle until its first record after a take; then it has one open window."""

    __slots__ = (
        "__weakref__",
        "_clock",
        "_count",
        "_done",
        "_end",
        "_family",
        "_lock",
        "_reason",
        "_start",
        "_sum",
        "labels",
        "pinned",
    )

    _count: int
    _sum: float

    def __init__(self, family: Family[Series], labels: tuple[str, ...], reason: str = "") -> None:
        self._family = family
        self._lock = family.lock
        self._clock: Callable[[], int] = family.aggregate.clock.wall_ns
        self._reason = reason
        self._start = self._end = 0
        self._done: list[Delta] | None = None
        self.labels = labels
        self.pinned = False
        self._clear()

    def _clear(self) -> None:
        """Start from nothing."""
        self._count = 0
        self._sum = 0.0

    def _delta(self) -> Delta:
        """What stands in the open window."""
        return Delta(self._start // 1_000_000, self._count, self._sum)

    def _open(self, now_ns: int) -> None:
        """Make the window of `now_ns` the open one. Raises NotRecorded where nothing may be recorded."""
        if reason := self._reason or self._family.aggregate.closed:
            raise NotRecorded(reason)
        if self._count:
            self._finish()
        elif not self._end:
            self._family.touched(self)
        self._start, self._end = self._family.aggregate.window(now_ns)

    def _finish(self) -> None:
        if self._done is None:
            self._done = []
        elif len(self._done) >= MAX_WINDOWS:
            self._family.lost(self._done.pop(0))
        self._done.append(self._delta())
        self._clear()

    def take(self) -> Sequence[Delta]:
        """Everything gained since the last take; the series is idle afterwards. Called under the metric's lock."""
        deltas = self._done or []
        if self._count:
            deltas.append(self._delta())
        self._done = None
        self._clear()
        self._end = 0
        return deltas

    def points(self) -> int:
        """Points that were not taken yet. Called under the metric's lock."""
        return self._count + sum(delta.count for delta in self._done or ())

    def idle_since(self) -> int | None:
        """Start of the last window it was used in; None while it holds something."""
        return None if self._end else self._start

    def restart(self) -> None:
        """Forget everything, with the metric's new lock: what a forked child does."""
        self._lock = self._family.lock
        self.take()


S_co = TypeVar("S_co", bound=Series, covariant=True)
MakeSeries = Callable[["Family[Series]", tuple[str, ...], str], S_co]


class Family(Generic[S_co]):
    """All series of one metric, within its budget."""

    def __init__(self, aggregate: Aggregate, head: MetricHead, make: MakeSeries[S_co], budget: int) -> None:
        self.aggregate = aggregate
        self.head = head
        self.make = make
        self.lock = RLock()
        self.series: dict[tuple[str, ...], S_co] = {}
        self.overflowed = 0
        self._budget = budget
        self._overflow: S_co | None = None
        self._refused: dict[str, S_co] = {}
        self._dirty: list[Series] = []
        self._forgotten: WeakSet[Series] = WeakSet()
        self._swept_ns = 0

    def refused(self, reason: str) -> S_co:
        """A series that counts every call as dropped for `reason`."""
        with self.lock:
            return self._refused.get(reason) or self._refused.setdefault(reason, self.make(self, (), reason))

    def get(self, labels: tuple[str, ...]) -> S_co:
        """The series of these label values; the overflow series beyond the budget."""
        with self.lock:
            if one := self.series.get(labels):
                return one
            full = len(self.series) >= self._budget and not self._sweep()
            if not full:
                return self.series.setdefault(labels, self.make(self, labels, ""))
            first = self._overflow is None
            self._overflow = self._overflow or self.make(self, (OVERFLOW,) * len(labels), "")
            one = self._overflow
            widest = self._widest_label() if first else ""
        if first:
            log.warning(
                "metric %s has more than %d series in use: further ones count in its overflow series. "
                "Its label with most values is %s; name fewer values there",
                self.head.name,
                self._budget,
                widest,
            )
        return one

    def _sweep(self) -> bool:
        """Forget series that are not in use, at most once a window. Kept handles of them go on working."""
        now = self.aggregate.clock.wall_ns()
        if 0 <= now - self._swept_ns < WINDOW_NS:
            return False
        self._swept_ns = now
        for labels, one in list(self.series.items()):
            since = one.idle_since()
            if since is not None and not one.pinned and now - since > IDLE_NS:
                self._forgotten.add(self.series.pop(labels))
        return len(self.series) < self._budget

    def _widest_label(self) -> str:
        values = zip(*self.series, strict=True)
        return max(zip(map(len, map(set, values)), self.head.labels, strict=True))[1]

    def touched(self, one: Series) -> None:
        """An idle series holds something now. Called under the lock."""
        self._dirty.append(one)
        self.aggregate.on_record()

    def lost(self, delta: Delta) -> None:
        """A window that nobody took in time is given up."""
        accounts = self.aggregate.accounts
        accounts.refused(self.head.name, "never_flushed", delta.count)

    def take(self) -> Iterator[Taken]:
        """Deltas of every series that holds something. The lock is held for one series at a time."""
        with self.lock:
            dirty, self._dirty = self._dirty, []
        for one in dirty:
            with self.lock:
                deltas = one.take()
                if one is self._overflow:
                    self.overflowed += sum(delta.count for delta in deltas)
            for delta in deltas:
                yield Taken(self.head, one.labels, delta)

    def points(self) -> int:
        """Points that were not taken yet."""
        with self.lock:
            return sum(one.points() for one in self._dirty)

    def overflow_points(self) -> int:
        """Points that ever went to the overflow series."""
        with self.lock:
            return self.overflowed + (self._overflow.points() if self._overflow else 0)

    def restart(self) -> None:
        """Forget what was recorded, keep the series: their handles are in use."""
        self.lock = RLock()
        # series that a sweep forgot may still be in the application's hands
        every: list[Series] = [*self.series.values(), *self._refused.values(), *self._forgotten]
        for one in (*every, self._overflow):
            if one is not None:
                one.restart()
        self._dirty = []
        self.overflowed = 0


class Aggregate:
    """All metrics of one producer. `on_record` is called, under a lock, when an idle series is recorded to."""

    def __init__(
        self,
        clock: Clock,
        accounts: Accounts,
        on_record: Callable[[], None],
        budget: int = 2_000,
        strict: bool = True,
    ) -> None:
        self.clock = clock
        self.accounts = accounts
        self.on_record = on_record
        self.strict = strict
        self.closed = ""
        self.families: dict[str, Family[Series]] = {}
        self._budget = budget
        self._window = (0, 0)
        self._lock = RLock()

    def window(self, now_ns: int) -> tuple[int, int]:
        """Start and end of the window of an instant. Series share the numbers, which saves memory."""
        window = self._window
        if not window[0] <= now_ns < window[1]:
            start = window_start(now_ns, WINDOW_NS)
            window = self._window = (start, start + WINDOW_NS)
        return window

    def family(self, head: MetricHead, make: MakeSeries[S_co]) -> Family[S_co] | None:
        """The series of a metric; None when another declaration has this name already."""
        with self._lock:
            known = self.families.get(head.name)
            if known is None:
                made = Family(self, head, make, self._budget)
                self.families[head.name] = made
                return made
            if known.head != head or known.make is not make:
                return None
            # same name, type and maker, so its series are of this class
            return known  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    def take(self) -> list[Taken]:
        """Everything recorded since the last take. Sums that left the range of numbers are counted as dropped."""
        found: list[Taken] = []
        for family in list(self.families.values()):
            name, points = family.head.name, 0
            for taken in family.take():
                if math.isfinite(taken.delta.sum):
                    points += taken.delta.count
                    found.append(taken)
                else:
                    self.accounts.refused(name, "not_finite", taken.delta.count)
            if points:
                self.accounts.emitted(name, points)
        return found

    def restart(self, accounts: Accounts) -> None:
        """Forget what was recorded: what a forked child does."""
        self._lock = RLock()
        self.accounts = accounts
        for family in self.families.values():
            family.restart()
