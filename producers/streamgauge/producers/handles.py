"""Handles: what `labels(...)` returns. Keep one where you record often: a kept handle is the cheapest call there is.

Where programming errors do not raise (production), no method raises: what cannot be recorded is counted as dropped, by
metric and reason. A series in use is recorded to without a lock, in straight lines (`Series` says why that is exact); the
bodies are written out, not shared: a call costs more than all they do.
"""

# a handle's timer reaches into the handle: the two are one noun, apart because a series must stay small
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import math
import sys
from abc import abstractmethod
from collections.abc import Sequence
from math import floor, log2
from time import perf_counter
from types import TracebackType
from typing import Any

from streamgauge.producers.aggregate import Family, NotRecorded, Series
from streamgauge.producers.around import ExceptionCount, InProgress, Timer
from streamgauge.producers.gains import Gains
from streamgauge.producers.rough_keys import DOUBLINGS, rough_key, wire_buckets
from streamgauge.schemas.errors import StreamgaugeError

log = logging.getLogger(__name__)

INF = math.inf
LOWEST = -INF
LARGEST = sys.float_info.max
ONE = 1
"""The amount of nearly every call. Small integers are the same object everywhere, so comparing costs next to nothing."""
ADVICE = {
    "negative_counter": "a counter only grows; use a Gauge for what also goes down",
    "not_finite": "NaN and infinity cannot be added up; pass a finite number",
    "wrong_type": "pass a number",
}
"""Reasons that are the caller's mistake, and what to do."""


class AmountError(StreamgaugeError, ValueError):
    """A metric was called with an amount that it cannot take."""


class Handle(Series):
    """What the handles of counters, gauges and histograms share."""

    __slots__ = ()

    @abstractmethod
    def _add(self, number: float) -> None:
        """Record an amount that is a number, under the lock. Raises NotRecorded."""

    def _record(self, amount: Any) -> None:
        """Record whatever is not the usual case: the first amount after a take, or a number of another kind."""
        try:
            if amount.__class__ is not float and amount.__class__ is not int:
                amount = _number(amount)
            with self._family.lock:
                self._family.check()
                self._add(amount)
                self._began()
        except NotRecorded as error:
            self._refuse(error.reason)
        except Exception:  # a telemetry call never takes the application down
            self._refuse("internal_error")

    def _refuse(self, reason: str) -> None:
        """Count one call as dropped. Raises AmountError where programming errors raise."""
        family = self._family
        first = family.aggregate.accounts.refused(family.head.name, reason)
        if family.aggregate.strict and reason in ADVICE:
            raise AmountError(f"{family.head.type.title()} {family.head.name!r}: {ADVICE[reason]}.")
        if first:
            log.warning("metric %s: calls are not recorded (%s)", family.head.name, reason)


def _number(amount: Any) -> float:
    """A number of another kind (Decimal, Fraction, text) as a float, as prometheus_client does. Raises NotRecorded."""
    try:
        return float(amount)
    except OverflowError:
        raise NotRecorded("not_finite") from None
    except (TypeError, ValueError):
        raise NotRecorded("wrong_type") from None


class CounterHandle(Handle):
    """One series of a counter."""

    __slots__ = ("_count", "_ones", "_sum")

    def __init__(self, family: Family[Any], labels: tuple[str, ...]) -> None:
        super().__init__(family, labels)
        self._ones = self._count = 0
        self._sum = 0.0

    @staticmethod
    def take(some: Sequence[CounterHandle], into: Gains) -> None:
        """Everything gained since the last take."""
        counts, sums = into.counts, into.sums
        for one in some:
            ones = one._ones
            count = one._count
            total: float = 0
            if count:
                total = one._sum
                one._count = 0
                one._sum = 0.0
            one._ones = 0
            one._dirty = False
            counts.append(ones + count)
            sums.append(ones + total)

    def points(self) -> int:
        """Points that were not taken yet."""
        return self._ones + self._count

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which must not be negative."""
        if amount is ONE:
            if ones := self._ones:
                self._ones = ones + 1
                return
        elif self._count and (amount.__class__ is float or amount.__class__ is int) and 0 <= amount <= LARGEST:
            self._sum += amount
            self._count += 1
            return
        self._record(amount)

    def _add(self, number: float) -> None:
        if not 0 <= number <= LARGEST:
            raise NotRecorded("negative_counter" if number < 0 else "not_finite")
        if number is ONE:
            self._ones += 1
        else:
            self._sum += number
            self._count += 1

    def count_exceptions(
        self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception
    ) -> ExceptionCount:
        """Count the exceptions of a block or of a function's calls."""
        return ExceptionCount(self.inc, exception)


class GaugeHandle(Handle):
    """One series of a gauge. Its value starts at 0 in every process and outlives windows."""

    __slots__ = ("_count", "_last", "_last_ns", "_max", "_min", "_stepped", "_sum")

    def __init__(self, family: Family[Any], labels: tuple[str, ...]) -> None:
        super().__init__(family, labels)
        self._count = self._last_ns = 0
        self._sum = self._last = 0.0
        self._min = INF
        self._max = LOWEST
        self._stepped = False

    @staticmethod
    def take(some: Sequence[GaugeHandle], into: Gains) -> None:
        """Everything gained since the last take."""
        counts, sums, spread = into.counts, into.sums, into.spreading()
        lows, highs, lasts, instants = spread.low, spread.high, spread.last, spread.last_ms
        for one in some:
            count = one._count
            total = one._sum
            low = one._min
            high = one._max
            last = one._last
            at = one._last_ns
            one._count = 0
            one._sum = 0.0
            one._min = INF
            one._max = LOWEST
            one._dirty = False
            counts.append(count)
            sums.append(total)
            lows.append(low)
            highs.append(high)
            lasts.append(last)
            instants.append(at // 1_000_000)
        spread.sizes += [0] * len(some)

    def points(self) -> int:
        """Points that were not taken yet."""
        return self._count

    def idle_since(self) -> int | None:
        """Never, once it is moved by steps: its value is known nowhere else."""
        return None if self._stepped else super().idle_since()

    def set(self, value: float) -> None:
        """The value is now `value`."""
        if self._count and value.__class__ is float and -LARGEST <= value <= LARGEST:
            now = self._family.aggregate.clock.wall_ns()
            if self._count:
                self._sum += value
                self._count += 1
                if value < self._min:
                    self._min = value
                if value > self._max:
                    self._max = value
                self._last = value
                self._last_ns = now
                return
        self._record(value)

    def _add(self, number: float) -> None:
        if not -LARGEST <= number <= LARGEST:
            raise NotRecorded("not_finite")
        now = self._family.aggregate.clock.wall_ns()
        value = float(number)
        self._sum += value
        self._count += 1
        if value < self._min:
            self._min = value
        if value > self._max:
            self._max = value
        self._last = value
        self._last_ns = now

    def inc(self, amount: float = 1) -> None:
        """Raise the value by `amount`."""
        self._step(amount, 1)

    def dec(self, amount: float = 1) -> None:
        """Lower the value by `amount`."""
        self._step(amount, -1)

    def _step(self, amount: Any, sign: int) -> None:
        if amount.__class__ is not float and amount.__class__ is not int:
            try:
                amount = _number(amount)
            except NotRecorded as error:
                return self._refuse(error.reason)
            except Exception:  # a telemetry call never takes the application down
                return self._refuse("internal_error")
        now = self._family.aggregate.clock.wall_ns()
        if (
            self._count
            and -LARGEST <= amount <= LARGEST
            and -LARGEST <= (value := self._last + sign * amount) <= LARGEST
        ):
            self._sum += value
            self._count += 1
            if value < self._min:
                self._min = value
            if value > self._max:
                self._max = value
            self._last = value
            self._last_ns = now
            self._stepped = True
            return None
        with self._family.lock:
            self._stepped = True
            return self._record(self._last + sign * amount if -LARGEST <= amount <= LARGEST else math.inf)

    def set_to_current_time(self) -> None:
        """Seconds since the epoch."""
        self.set(self._family.aggregate.clock.wall_ns() / 1e9)

    def track_inprogress(self) -> InProgress:
        """One more while a block or a function's call runs."""
        return InProgress(self.inc, self.dec)

    def time(self) -> Timer:
        """Set it to the seconds that a block or a function's last call took."""
        return Timer.of(self.set)

    def restart(self) -> None:
        """Forget everything, the value too."""
        super().restart()
        self._last = 0.0


class HistogramHandle(Handle):
    """One series of a histogram: exponential buckets, quantiles within 1.1 %."""

    __slots__ = ("_buckets", "_last", "_max", "_min", "_sum")

    def __init__(self, family: Family[Any], labels: tuple[str, ...]) -> None:
        super().__init__(family, labels)
        self._buckets: dict[int, int] = {}
        self._sum = self._last = 0.0
        self._min = INF
        self._max = LOWEST

    @staticmethod
    def take(some: Sequence[HistogramHandle], into: Gains) -> None:
        """Everything gained since the last take."""
        sums, spread = into.sums, into.spreading()
        lows, highs, lasts = spread.low, spread.high, spread.last
        roughs: list[dict[int, int]] = []
        for one in some:
            fresh: dict[int, int] = {}
            rough = one._buckets
            total = one._sum
            low = one._min
            high = one._max
            last = one._last
            one._buckets = fresh
            one._sum = 0.0
            one._min = INF
            one._max = LOWEST
            one._dirty = False
            roughs.append(rough)
            sums.append(total)
            lows.append(low)
            highs.append(high)
            lasts.append(last)
        into.counts += map(sum, [rough.values() for rough in roughs])
        spread.last_ms += [into.window_ms] * len(some)
        sizes, keys, amounts = wire_buckets(roughs)
        spread.sizes += sizes
        spread.keys += keys
        spread.amounts += amounts

    def points(self) -> int:
        """Points that were not taken yet."""
        return sum(self._buckets.copy().values())

    def observe(self, amount: float) -> None:
        """Count one observation of `amount`."""
        if amount.__class__ is float:
            try:
                key = floor(log2(amount) * DOUBLINGS)
                # a bucket that is there already was made by an amount that was looked at; NaN finds none
                self._buckets[key] += 1
            except (KeyError, ValueError, OverflowError):
                self._record(amount)
            else:
                self._sum += amount
                if amount < self._min:
                    self._min = amount
                if amount > self._max:
                    self._max = amount
                self._last = amount
        else:
            self._record(amount)

    def _add(self, number: float) -> None:
        if not -LARGEST <= number <= LARGEST:
            raise NotRecorded("not_finite")
        amount = float(number)
        key = rough_key(amount)
        self._buckets[key] = self._buckets.get(key, 0) + 1
        self._sum += amount
        if amount < self._min:
            self._min = amount
        if amount > self._max:
            self._max = amount
        self._last = amount

    def time(self) -> Timer:
        """Observe the seconds that a block or every call of a function takes."""
        timer = ObservedTime()
        timer.handle = self
        return timer


class ObservedTime(Timer):
    """A timer of one series, with `observe` written out: half of an empty block's cost would be calls."""

    __slots__ = ("handle",)

    handle: HistogramHandle

    def again(self) -> Timer:
        """Another timer of the same series."""
        return self.handle.time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.duration = amount = perf_counter() - self._started
        handle = self.handle
        try:
            key = floor(log2(amount) * DOUBLINGS)
            handle._buckets[key] += 1
        except (KeyError, ValueError, OverflowError):
            handle._record(amount)
        else:
            handle._sum += amount
            if amount < handle._min:
                handle._min = amount
            if amount > handle._max:
                handle._max = amount
            handle._last = amount
