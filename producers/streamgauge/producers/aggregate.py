"""Aggregate: what each series gained, by 10 s window, until it is taken. Sums are exact, memory is bounded by series.

A series is also the handle that an application keeps: `handles` adds `inc`, `set` and `observe`, which take no lock. The
lock of a metric guards its set of series and the moment in which an idle one is recorded to; it is re-entrant because a
finalizer or a signal handler may record inside a record.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby
from math import isfinite
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar, cast
from weakref import WeakSet

from streamgauge.producers import native
from streamgauge.producers.accounts import Accounts
from streamgauge.producers.clock import Clock
from streamgauge.schemas.batches import Delta, MetricHead
from streamgauge.schemas.windows import TIERS, window_start

log = logging.getLogger(__name__)

WINDOW_NS = TIERS[0].width_ms * 1_000_000
OVERFLOW = "__overflow__"
"""Every label of the overflow series has this value."""
MAX_LABEL_CHARS = 4096
MAX_WINDOWS = 360
"""Finished windows that are kept at most while nobody takes them: an hour."""
IDLE_NS = 600 * 1_000_000_000
"""A series that rested this long is not in use; it makes room when the budget is exhausted."""
TOGETHER = 64
"""Series that are taken under one hold of their metric's lock, which no recording of a series in use needs."""


class NotRecorded(Exception):  # carries a reason to the handle that called, never leaves this package
    """This call must not count; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Taken(NamedTuple):
    """A delta with the metric and label values it belongs to."""

    head: MetricHead
    labels: tuple[str, ...]
    delta: Delta


def points_by_name(taken: Sequence[Taken]) -> Counter[str]:
    """Points of deltas, by metric."""
    points: Counter[str] = Counter()
    for head, some in groupby(taken, _HEAD):
        points[head.name] += sum([one.delta.count for one in some])
    return points


_HEAD = attrgetter("head")
_new = cast("Callable[[type[Taken], tuple[Any, ...]], Taken]", tuple.__new__)


class Series(ABC):
    """One label set of one metric. Idle until something is recorded after a take.

    Recording and taking meet without a lock: where the interpreter has one lock for all, a thread is never interrupted
    between two instructions unless one of them calls something or jumps back. So what must not be torn apart is written
    as straight lines, and a test reads the byte code. Interpreters without that lock get handles that take one.
    """

    __slots__ = ("__weakref__", "_dirty", "_family", "_start", "labels")

    def __init__(self, family: Family[Series], labels: tuple[str, ...]) -> None:
        self._family = family
        self.labels = labels
        self._dirty = False
        self._start = 0

    def _began(self) -> None:
        """Something was added to an idle series. Called under the metric's lock."""
        if not self._dirty:
            self._dirty = True
            self._start = self._family.began(self)

    @abstractmethod
    def take(self) -> Delta:
        """Everything gained since the last take; the series is idle afterwards. Called under the metric's lock.

        Straight lines that allocate no container until all is read and cleared.
        """

    @abstractmethod
    def points(self) -> int:
        """Points that were not taken yet."""

    def window(self) -> int:
        """Start of the window it was last recorded in, in nanoseconds."""
        return self._start

    def idle_since(self) -> int | None:
        """The same while it is idle; None while it holds something or must be kept."""
        return None if self._dirty else self._start

    def restart(self) -> None:
        """Forget everything: what a forked child does."""
        self.take()


S_co = TypeVar("S_co", bound=Series, covariant=True)
MakeSeries = Callable[["Family[Series]", tuple[str, ...]], S_co]


class Family(Generic[S_co]):
    """All series of one metric, within its budget. `reason`: why nothing of them may be recorded."""

    def __init__(
        self, aggregate: Aggregate, head: MetricHead, make: MakeSeries[S_co], budget: int, reason: str = ""
    ) -> None:
        self.aggregate = aggregate
        self.head = head
        self.make = make
        self.reason = reason
        self.lock = native.rlock()
        self.series: dict[tuple[str, ...], S_co] = {}
        self.overflowed = 0
        self._budget = budget
        self._overflow: S_co | None = None
        self._refused: dict[str, Family[S_co]] = {}
        self._dirty: list[Series] = []
        self._forgotten: WeakSet[Series] = WeakSet()
        self._swept_ns = 0

    def refused(self, reason: str) -> S_co:
        """A series that counts every call as dropped for `reason`."""
        with self.lock:
            if reason not in self._refused:
                self._refused[reason] = Family(self.aggregate, self.head, self.make, 1, reason)
            return self._refused[reason].get(())

    def get(self, labels: tuple[str, ...]) -> S_co:
        """The series of these label values; the overflow series beyond the budget."""
        with self.lock:
            if one := self.series.get(labels):
                return one
            full = len(self.series) >= self._budget and not self._sweep()
            if not full:
                return self.series.setdefault(labels, self.make(self, labels))
            first = self._overflow is None
            self._overflow = self._overflow or self.make(self, (OVERFLOW,) * len(labels))
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
        """Make room, at most once a window."""
        if not 0 <= self.aggregate.clock.wall_ns() - self._swept_ns < WINDOW_NS:
            self.retire()
        return len(self.series) < self._budget

    def retire(self) -> None:
        """Forget series that are not in use. Kept handles of them go on working."""
        with self.lock:
            now = self._swept_ns = self.aggregate.clock.wall_ns()
            for labels, one in list(self.series.items()):
                since = one.idle_since()
                if since is not None and now - since > IDLE_NS:
                    self._forgotten.add(self.series.pop(labels))

    def _widest_label(self) -> str:
        values = zip(*self.series, strict=True)
        return max(zip(map(len, map(set, values)), self.head.labels, strict=True))[1]

    def check(self) -> None:
        """Raises NotRecorded where nothing may be recorded."""
        if reason := self.reason or self.aggregate.closed:
            raise NotRecorded(reason)

    def began(self, one: Series) -> int:
        """An idle series holds something now; returns the start of its window. Called under the lock."""
        self._dirty.append(one)
        self.aggregate.on_record()
        return self.aggregate.window()

    def take(self, but_of: int | None = None) -> Iterator[Taken]:
        """Deltas of every series that holds something; not of those in the window that starts at `but_of`."""
        with self.lock:
            dirty, self._dirty = self._dirty, []
            if but_of is not None:
                self._dirty = [one for one in dirty if one.window() == but_of]
                dirty = [one for one in dirty if one.window() != but_of]
        head, overflow = self.head, self._overflow
        for place in range(0, len(dirty), TOGETHER):
            with self.lock:
                # what Taken(...) does, without the call of Python that it is
                some = [_new(Taken, (head, one.labels, one.take())) for one in dirty[place : place + TOGETHER]]
                if overflow is not None:
                    self._count_overflow([one for one in some if one.labels is overflow.labels])
            yield from some

    def _count_overflow(self, taken: Sequence[Taken]) -> None:
        if points := sum(one.delta.count for one in taken):
            self.overflowed += points
            self.aggregate.accounts.overflowed(self.head.name, self._widest_label(), points)

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
        self.lock = native.rlock()
        # series that a sweep forgot may still be in the application's hands
        every: list[Series | None] = [*self.series.values(), *self._forgotten, self._overflow]
        for one in every:
            if one is not None:
                one.restart()
        for refusing in self._refused.values():
            refusing.restart()
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
        self._lock = native.rlock()
        self._finished: deque[list[Taken]] = deque()
        self._ticked = self._retired = 0

    def window(self) -> int:
        """Start of the present window, in nanoseconds. Series share the number, which saves memory."""
        now, window = self.clock.wall_ns(), self._window
        if not window[0] <= now < window[1]:
            start = window_start(now, WINDOW_NS)
            window = self._window = (start, start + WINDOW_NS)
        return window[0]

    def family(self, head: MetricHead, make: MakeSeries[S_co], budget: int | None = None) -> Family[S_co] | None:
        """The series of a metric; None when another declaration has this name already. The first one's budget holds."""
        with self._lock:
            known = self.families.get(head.name)
            if known is None:
                made = Family(self, head, make, budget or self._budget)
                self.families[head.name] = made
                return made
            if known.head != head or known.make is not make:
                return None
            # same name, type and maker, so its series are of this class
            return known  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    def tick(self) -> float:
        """Set aside what earlier windows hold; returns the seconds until the present one ends.

        A call counts in the window that was open when it was made, as far as ticks are on time.
        """
        start = self.window()
        if start != self._ticked:
            self._ticked = start
            if finished := self._collect(start):
                self._finished.append(finished)
            if len(self._finished) > MAX_WINDOWS:
                for one in self._finished.popleft():
                    self.accounts.refused(one.head.name, "never_flushed", one.delta.count)
            if not 0 <= start - self._retired < IDLE_NS:
                self._retired = start
                for family in list(self.families.values()):
                    family.retire()
        return max(0.0, (start + WINDOW_NS - self.clock.wall_ns()) / 1e9)

    def take(self) -> list[Taken]:
        """Everything recorded since the last take. Sums that left the range of numbers are counted as dropped."""
        self._finished.append(self._collect())
        found = [one for finished in self._finished for one in finished]
        self._finished.clear()
        if not isfinite(sum([one.delta.sum for one in found])):
            for one in found:
                if not isfinite(one.delta.sum):
                    self.accounts.refused(one.head.name, "not_finite", one.delta.count)
            found = [one for one in found if isfinite(one.delta.sum)]
        for name, points in points_by_name(found).items():
            self.accounts.emitted(name, points)
        return found

    def _collect(self, but_of: int | None = None) -> list[Taken]:
        return [taken for family in list(self.families.values()) for taken in family.take(but_of)]

    def points(self) -> Counter[str]:
        """Points that were not taken yet, by metric."""
        points = points_by_name(list(chain.from_iterable(self._finished)))
        for name, family in list(self.families.items()):
            if live := family.points():
                points[name] += live
        return points

    def restart(self, accounts: Accounts) -> None:
        """Forget what was recorded: what a forked child does."""
        self._lock = native.rlock()
        self.accounts = accounts
        self._finished.clear()
        for family in self.families.values():
            family.restart()
