"""Handles: what `labels(...)` returns. Keep one where you record often: a kept handle is the cheapest call there is.

Where programming errors do not raise (production), no method raises: what cannot be recorded is counted as dropped, by
metric and reason. The bodies are written out, not shared: a call costs more than all they do.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from math import ceil, log2
from typing import Any

from streamgauge.producers.aggregate import Delta, Family, NotRecorded, Series
from streamgauge.producers.around import ExceptionCount, InProgress, Timer
from streamgauge.schemas.errors import StreamgaugeError
from streamgauge.schemas.histogram import KEY_OFFSET, PER_DOUBLING, Buckets, bucket_of

log = logging.getLogger(__name__)

LARGEST = sys.float_info.max
USUAL_LOW, USUAL_HIGH = 1e-150, 1e150
BASE = KEY_OFFSET - 1
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

    def _refuse(self, error: Exception) -> None:
        """Count one call as dropped. Raises AmountError where programming errors raise."""
        family = self._family
        reason = error.reason if isinstance(error, NotRecorded) else "internal_error"
        first = family.aggregate.accounts.refused(family.head.name, reason)
        if family.aggregate.strict and reason in ADVICE:
            raise AmountError(f"{family.head.type.title()} {family.head.name!r}: {ADVICE[reason]}.") from error
        if first:
            log.warning("metric %s: calls are not recorded (%s)", family.head.name, reason)

    def _again(self, record: Callable[[float], None], amount: Any, error: Exception) -> None:
        """Record a number of another kind (Decimal, Fraction, text) as a float, as prometheus_client does."""
        if isinstance(amount, (float, int)):
            return self._refuse(error)
        try:
            number = float(amount)
        except (TypeError, ValueError, OverflowError):
            return self._refuse(NotRecorded("wrong_type"))
        return record(number)


class CounterHandle(Handle):
    """One series of a counter."""

    __slots__ = ()

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which must not be negative."""
        try:
            if not 0 <= amount <= LARGEST:
                raise NotRecorded("negative_counter" if amount < 0 else "not_finite")
            now = self._clock()
            with self._lock:
                if not self._start <= now < self._end:
                    self._open(now)
                self._sum += amount
                self._count += 1
        except NotRecorded as error:
            self._refuse(error)
        except Exception as error:  # a telemetry call never takes the application down
            self._again(self.inc, amount, error)

    def count_exceptions(
        self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception
    ) -> ExceptionCount:
        """Count the exceptions of a block or of a function's calls."""
        return ExceptionCount(self.inc, exception)


class ValueSeries(Handle):
    """A series that also knows the extremes and the last value of a window."""

    __slots__ = ("_last", "_last_ns", "_max", "_min")

    def __init__(self, family: Family[Any], labels: tuple[str, ...], reason: str = "") -> None:
        self._last = 0.0
        super().__init__(family, labels, reason)

    def _clear(self) -> None:
        super()._clear()
        self._min, self._max = math.inf, -math.inf
        self._last_ns = 0

    def _delta(self) -> Delta:
        return Delta(
            self._start // 1_000_000,
            self._count,
            self._sum,
            self._min,
            self._max,
            self._last,
            self._last_ns // 1_000_000,
        )


class GaugeHandle(ValueSeries):
    """One series of a gauge. Its value starts at 0 in every process and outlives windows."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """The value is now `value`."""
        try:
            if not -LARGEST <= value <= LARGEST:
                raise NotRecorded("not_finite")
            now = self._clock()
            with self._lock:
                if not self._start <= now < self._end:
                    self._open(now)
                self._sum += value
                if value < self._min:
                    self._min = value
                if value > self._max:
                    self._max = value
                self._last = value
                self._last_ns = now
                self._count += 1
        except NotRecorded as error:
            self._refuse(error)
        except Exception as error:  # a telemetry call never takes the application down
            self._again(self.set, value, error)

    def inc(self, amount: float = 1) -> None:
        """Raise the value by `amount`."""
        try:
            with self._lock:
                # moved by steps, its value is known nowhere else: no sweep may forget it
                self.pinned = True
                self.set(self._last + amount)
        except AmountError:
            raise
        except Exception as error:  # a telemetry call never takes the application down
            self._again(self.inc, amount, error)

    def dec(self, amount: float = 1) -> None:
        """Lower the value by `amount`."""
        try:
            step = -amount
        except Exception as error:  # a telemetry call never takes the application down
            self._again(self.dec, amount, error)
        else:
            self.inc(step)

    def set_to_current_time(self) -> None:
        """Seconds since the epoch."""
        self.set(self._clock() / 1e9)

    def track_inprogress(self) -> InProgress:
        """One more while a block or a function's call runs."""
        return InProgress(self.inc, self.dec)

    def time(self) -> Timer:
        """Set it to the seconds that a block or a function's last call took."""
        return Timer(self.set)

    def restart(self) -> None:
        """Forget everything, the value too."""
        self._last = 0.0
        super().restart()


class HistogramHandle(ValueSeries):
    """One series of a histogram: exponential buckets, quantiles within 1.1 %."""

    __slots__ = ("_buckets",)

    def _clear(self) -> None:
        super()._clear()
        self._buckets: Buckets = {}

    def _delta(self) -> Delta:
        return Delta(
            self._start // 1_000_000,
            self._count,
            self._sum,
            self._min,
            self._max,
            self._last,
            self._last_ns // 1_000_000,
            self._buckets,
        )

    def observe(self, amount: float) -> None:
        """Count one observation of `amount`."""
        try:
            if not -LARGEST <= amount <= LARGEST:
                raise NotRecorded("not_finite")
            # bucket_of without its call, where its bounds need no check
            key = ceil(log2(amount) * PER_DOUBLING) + BASE if USUAL_LOW < amount < USUAL_HIGH else bucket_of(amount)
            now = self._clock()
            with self._lock:
                if not self._start <= now < self._end:
                    self._open(now)
                self._sum += amount
                if amount < self._min:
                    self._min = amount
                if amount > self._max:
                    self._max = amount
                self._last = amount
                self._last_ns = now
                self._buckets[key] = self._buckets.get(key, 0) + 1
                self._count += 1
        except NotRecorded as error:
            self._refuse(error)
        except Exception as error:  # a telemetry call never takes the application down
            self._again(self.observe, amount, error)

    def time(self) -> Timer:
        """Observe the seconds that a block or every call of a function takes."""
        return Timer(self.observe)
