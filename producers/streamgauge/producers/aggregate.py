"""Aggregate: what each series gained, by 10 s window, until it is taken. Sums are exact, memory is bounded by series.

A series is also the handle that an application keeps: `handles` adds `inc`, `set` and `observe`, which take no lock. The
lock of a metric guards its set of series and the moment in which an idle one is recorded to; it is re-entrant because a
finalizer or a signal handler may record inside a record.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import isfinite
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from streamgauge.producers import native
from streamgauge.producers.accounts import Accounts
from streamgauge.producers.clock import Clock
from streamgauge.producers.gains import Gains, Taken, gains_of, points_by_name, rows_of
from streamgauge.schemas.batches import MetricHead
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

    @staticmethod
    @abstractmethod
    def take(some: Sequence[Any], into: Gains) -> None:
        """Everything that some series of this class gained since the last take; they are idle afterwards.

        Called under the metric's lock. Each is read and cleared in straight lines that allocate no container.
        """

    @abstractmethod
    def points(self) -> int:
        """Points that were not taken yet."""

    def idle_since(self) -> int | None:
        """Start of the window it was last recorded in (ns), while it is idle; None while it holds something or is kept."""
        return None if self._dirty else self._start

    def restart(self) -> None:
        """Forget everything: what a forked child does."""
        self.take([self], Gains(self._family.head, 0))


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
        self._dirty: dict[int, list[Series]] = {}
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
        window = self.aggregate.window()
        self._hold(window, (one,))
        self.aggregate.on_record()
        return window

    def _hold(self, window: int, series: Sequence[Series]) -> None:
        while True:
            try:
                # nothing interrupts between finding the list and extending it: a list found earlier may be taken by now
                self._dirty[window].extend(series)
            except KeyError:
                self._dirty.setdefault(window, [])
            else:
                return

    def take(self, but_of: int | None = None) -> list[Gains]:
        """What every series that holds something gained; not those in the window that starts at `but_of`."""
        if not self._dirty:
            return []
        fresh: dict[int, list[Series]] = {}
        with self.lock:
            dirty = self._dirty
            self._dirty = fresh
            if but_of in dirty:
                self._hold(but_of, dirty.pop(but_of))
        return [self._gains(window, some) for window, some in dirty.items()]

    def _gains(self, window: int, series: list[Series]) -> Gains:
        overflow = self._overflow
        # a forgotten series that is recorded to again has the labels of a new one, the overflow series those of any
        gains = Gains(self.head, window // 1_000_000, overflow is None and not self._forgotten)
        gains.series += series
        for place in range(0, len(series), TOGETHER):
            some = series[place : place + TOGETHER]
            with self.lock:
                some[0].take(some, gains)
                if overflow is not None and overflow in some:
                    self._count_overflow(gains.counts[place + some.index(overflow)])
        return gains

    def _count_overflow(self, points: int) -> None:
        if points:
            self.overflowed += points
            self.aggregate.accounts.overflowed(self.head.name, self._widest_label(), points)

    def points(self) -> int:
        """Points that were not taken yet."""
        if not self._dirty:
            return 0
        with self.lock:
            return sum(one.points() for some in self._dirty.values() for one in some)

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
        self._dirty = {}
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
        self._finished: deque[list[Gains]] = deque()
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
                for name, points in points_by_name(self._finished.popleft()).items():
                    self.accounts.refused(name, "never_flushed", points)
            if not 0 <= start - self._retired < IDLE_NS:
                self._retired = start
                for family in list(self.families.values()):
                    family.retire()
        return max(0.0, (start + WINDOW_NS - self.clock.wall_ns()) / 1e9)

    def take(self) -> list[Gains]:
        """Everything recorded since the last take. Sums that left the range of numbers are counted as dropped."""
        self._finished.append(self._collect())
        found = [one for finished in self._finished for one in finished]
        self._finished.clear()
        if not isfinite(sum([sum(one.sums) for one in found])):
            found = gains_of(self._finite(rows_of(found)))
        for name, points in points_by_name(found).items():
            self.accounts.emitted(name, points)
        return found

    def _finite(self, rows: Iterable[Taken]) -> Iterator[Taken]:
        for one in rows:
            if isfinite(one.delta.sum):
                yield one
            else:
                self.accounts.refused(one.head.name, "not_finite", one.delta.count)

    def _collect(self, but_of: int | None = None) -> list[Gains]:
        return [gains for family in list(self.families.values()) for gains in family.take(but_of)]

    def points(self) -> Counter[str]:
        """Points that were not taken yet, by metric."""
        points = points_by_name(chain.from_iterable(list(self._finished)))
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
