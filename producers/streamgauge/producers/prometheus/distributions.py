"""Distributions: Summary and Histogram. A call appends to a list; buckets are counted many observations at a time."""

from __future__ import annotations

import math
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import utils
from prometheus_client.registry import REGISTRY, CollectorRegistry
from prometheus_client.samples import Exemplar, Sample

from streamgauge.producers import native
from streamgauge.producers.gains import Taken
from streamgauge.producers.prometheus.context_managers import BlockTimer
from streamgauge.producers.prometheus.exact import GUARD, exact
from streamgauge.producers.prometheus.folding import count_below, count_keys
from streamgauge.producers.prometheus.validation import validate_exemplar
from streamgauge.producers.prometheus.values import Buckets, Value
from streamgauge.producers.prometheus.wrapper import MetricWrapperBase, shows_created
from streamgauge.schemas.batches import Delta

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

LARGEST = sys.float_info.max
bound_text: Callable[[float], str] = cast("Any", utils).floatToGoString
INF = utils.INF
MOST_WAITING = 512
"""Observations of one series that may wait to be put into buckets: 16 KiB."""


class _Distribution(MetricWrapperBase):
    """What Summary and Histogram share: observations wait in a list and are folded into buckets many at a time.

    They are folded when somebody looks, when they are taken, and when `MOST_WAITING` wait. What travels is an exponential
    histogram: percentiles are columns in SQL.
    """

    _wire_type = "histogram"

    def _metric_init(self) -> None:
        self._raw: list[float] = []
        self._total: float = 0.0
        self._folded = 0
        self._gain = 0.0
        self._calls = 0
        self._low = INF
        self._high = -INF
        self._last = 0.0
        self._keys: dict[int, int] = {}
        self._counts = self._no_counts()
        self._folding = 0
        self._created = time.time()

    def _no_counts(self) -> list[int]:
        """Counts by bucket to be shown."""
        return []

    def _bounds(self) -> Sequence[float]:
        """Bounds of the buckets to be shown."""
        return ()

    def _full(self) -> None:
        """Fold what waits, unless somebody else is doing so."""
        lock = GUARD.lock
        if lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                lock.release()

    def _fold(self) -> None:
        """Put what waits into buckets. Called under the lock; inside itself (by a finalizer, by a signal) it does nothing."""
        me = native.ident()
        # of the thread, not a flag: a process may be forked while another thread is here
        if self._folding == me or not self._raw:
            return
        self._folding = me
        try:
            while not self._folded_now():
                pass
        finally:
            self._folding = 0

    def _folded_now(self) -> bool:
        """Fold once; False if what waits was taken in between by this same thread, interrupted by a signal."""
        waiting, before = self._raw, self._keys
        raw = waiting[:]
        done = slice(0, len(raw))
        many, last, total, gain = len(raw), raw[-1], self._total, self._gain
        for amount in raw:
            total += amount
            gain += amount
        raw.sort()
        low, high = raw[0], raw[-1]
        counts = count_below(raw, self._bounds(), self._counts)
        keys = count_keys(raw, before)
        if self._keys is not before:
            return False
        # all at once, without a switch between: a process that forks has these observations either there or here
        self._total = total
        self._gain = gain
        self._folded += many
        self._calls += many
        self._counts = counts
        self._keys = keys
        self._last = last
        if low < self._low:
            self._low = low
        if high > self._high:
            self._high = high
        del waiting[done]
        return True

    def _add_odd(self, amount: float) -> None:
        """Show what no sum could hold; it does not travel."""
        with GUARD.lock:
            self._fold()
            self._keys = dict(self._keys)
            self._total += amount
            self._show_odd(amount)
        self._refuse("not_finite")
        self._reflect(False)

    def _show_odd(self, amount: float) -> None:
        raise NotImplementedError

    def observe(self, amount: float) -> None:
        """Count one observation of `amount`."""
        raise NotImplementedError

    def _observe_unusual(self, amount: Any) -> float:
        """Observe a number of another kind, or what is no number: then it raises what prometheus_client raises."""
        self._raise_if_not_observable()
        number = float(self._total * 0 + amount) if math.isfinite(self._total) else float(amount)
        if math.isfinite(number):
            self._raw.append(number)
            if self.wire_idle:
                self._announce()
        else:
            self._add_odd(number)
        return number

    def time(self) -> BlockTimer:
        """Observe the seconds that a block or every call of a function takes."""
        timer = BlockTimer()
        timer.record = self.observe
        return timer

    @property
    def _shown_sum(self) -> float:
        with GUARD.lock:
            self._fold()
            return self._total

    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """What was observed since it was last asked."""
        with GUARD.lock:
            # before it is folded: what comes while it is announces itself again
            self.wire_idle = True
            self._fold()
            fresh: dict[int, int] = {}
            calls = self._calls
            gain = self._gain
            low = self._low
            high = self._high
            last = self._last
            keys = self._keys
            self._gain = 0.0
            self._calls = 0
            self._low = INF
            self._high = -INF
            self._keys = fresh
        return (
            (self._taken(Delta(self.wire_start // 1_000_000, calls, gain, low, high, last, now_ms, keys)),)
            if calls
            else ()
        )

    def wire_forget(self) -> None:
        """What was gained is the parent process' to send; whoever was folding there is not in this process."""
        self._folding = 0
        super().wire_forget()

    def wire_calls(self) -> int:
        """Calls since it was last asked."""
        return self._calls + len(self._raw)


class Summary(_Distribution):
    """Size and number of what is observed. Shown as `_count` and `_sum`; percentiles are in SQL, over all processes."""

    __module__ = "streamgauge.producers.prometheus.metrics"
    _type = "summary"
    _reserved_labelnames = ("quantile",)

    def _metric_init(self) -> None:
        super()._metric_init()
        self._odd = 0

    @exact
    def observe(self, amount: float) -> None:
        """Count one observation of `amount`."""
        if amount.__class__ is float and -LARGEST <= amount <= LARGEST:
            try:
                raw = self._raw
            except AttributeError:
                self._raise_if_not_observable()
                raise
            raw.append(amount)
            if self.wire_idle:
                self._announce()
            if len(raw) > MOST_WAITING:
                self._full()
        else:
            self._observe_unusual(amount)

    def _show_odd(self, amount: float) -> None:
        self._odd += 1

    def _in_files(self) -> Sequence[Any]:
        return self._file_value("_count"), self._file_value("_sum")

    def _shown_numbers(self) -> Sequence[float]:
        with GUARD.lock:
            return self._shown_count, self._shown_sum

    @property
    def _shown_count(self) -> float:
        with GUARD.lock:
            self._fold()
            return float(self._folded + self._odd)

    def _child_samples(self) -> Iterable[Sample]:
        with GUARD.lock:
            samples = [
                Sample("_count", {}, self._shown_count, None, None),
                Sample("_sum", {}, self._shown_sum, None, None),
            ]
        if shows_created():
            samples.append(Sample("_created", {}, self._created, None, None))
        return samples

    @property
    def _count(self) -> Value:
        """The number of observations as prometheus_client's tests reach for it."""
        return Value(self, "_shown_count")

    @property
    def _sum(self) -> Value:
        """The sum as prometheus_client's tests reach for it."""
        return Value(self, "_shown_sum")


class Histogram(_Distribution):
    """A distribution. `buckets` are shown at /metrics; what travels has exponential buckets and no limits to choose."""

    __module__ = "streamgauge.producers.prometheus.metrics"
    _type = "histogram"
    _reserved_labelnames = ("le",)
    _upper_bounds: list[float]
    DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, INF)

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        _labelvalues: Sequence[str] | None = None,
        buckets: Sequence[float | str] = DEFAULT_BUCKETS,
        *,
        producer: Producer | None = None,
    ) -> None:
        self._prepare_buckets(buckets)
        super().__init__(
            name, documentation, labelnames, namespace, subsystem, unit, registry, _labelvalues, producer=producer
        )
        self._kwargs["buckets"] = buckets

    def _shares(self, parent: MetricWrapperBase) -> None:
        super()._shares(parent)
        self._upper_bounds = cast("Histogram", parent)._upper_bounds

    def _prepare_buckets(self, source_buckets: Sequence[float | str]) -> None:
        bounds = [float(bound) for bound in source_buckets]
        if bounds != sorted(bounds):
            raise ValueError("Buckets not in sorted order")
        if bounds and bounds[-1] != INF:
            bounds.append(INF)
        if len(bounds) < 2:
            raise ValueError("Must have at least two buckets")
        self._upper_bounds = bounds

    def _metric_init(self) -> None:
        super()._metric_init()
        self._exemplars: dict[int, Exemplar] = {}

    def _no_counts(self) -> list[int]:
        return [0] * len(self._upper_bounds)

    def _bounds(self) -> Sequence[float]:
        return self._upper_bounds

    def _in_files(self) -> Sequence[Any]:
        buckets = [self._file_value("_bucket", le=bound_text(bound)) for bound in self._upper_bounds]
        return self._file_value("_sum"), *buckets

    def _shown_numbers(self) -> Sequence[float]:
        with GUARD.lock:
            self._fold()
            return self._total, *map(float, self._counts)

    @exact
    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count one observation of `amount`."""
        if amount.__class__ is float and -LARGEST <= amount <= LARGEST:
            try:
                raw = self._raw
            except AttributeError:
                self._raise_if_not_observable()
                raise
            raw.append(amount)
            if self.wire_idle:
                self._announce()
            if len(raw) > MOST_WAITING:
                self._full()
        else:
            amount = self._observe_unusual(amount)
        if exemplar:
            self._keep(exemplar, amount)

    def _keep(self, exemplar: dict[str, str], amount: float) -> None:
        validate_exemplar(exemplar)
        if not math.isnan(amount):
            self._exemplars[bisect_left(self._upper_bounds, amount)] = Exemplar(exemplar, amount, time.time())

    def _show_odd(self, amount: float) -> None:
        if not math.isnan(amount):
            self._counts[bisect_left(self._upper_bounds, amount)] += 1

    def _child_samples(self) -> Iterable[Sample]:
        with GUARD.lock:
            self._fold()
            counts, total = self._counts, self._total
        samples: list[Sample] = []
        count = 0.0
        for place, bound in enumerate(self._upper_bounds):
            count += counts[place]
            labels = {"le": bound_text(bound)}
            samples.append(Sample("_bucket", labels, count, None, self._exemplars.get(place)))
        samples.append(Sample("_count", {}, count, None, None))
        if self._upper_bounds[0] >= 0:
            samples.append(Sample("_sum", {}, total, None, None))
        if shows_created():
            samples.append(Sample("_created", {}, self._created, None, None))
        return samples

    @property
    def _sum(self) -> Value:
        """The sum as prometheus_client's tests reach for it."""
        return Value(self, "_shown_sum")

    @property
    def _buckets(self) -> Buckets:
        """The buckets, not cumulative, as prometheus_client's tests reach for them."""
        with GUARD.lock:
            self._fold()
            return Buckets(self._counts)
