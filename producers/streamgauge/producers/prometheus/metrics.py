"""Metrics: prometheus_client's six instruments as streamgauge's own. /metrics shows what it always showed, and Kafka gets it too.

The hot methods are written out, not shared: a call costs more than all they do. Between the first and the last addition of one
record stands no call and no loop, so no other thread can come between (see `exact`).
"""

from __future__ import annotations

import math
import os
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from math import ceil, log2
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client import metrics as library
from prometheus_client.registry import REGISTRY, CollectorRegistry
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import INF, floatToGoString
from streamgauge.producers.aggregate import Delta, Taken
from streamgauge.producers.prometheus.context_managers import ExceptionCounter, InprogressTracker, Timer
from streamgauge.producers.prometheus.exact import exact
from streamgauge.producers.prometheus.names import wire_head
from streamgauge.producers.prometheus.validation import validate_exemplar
from streamgauge.producers.prometheus.values import Buckets, Value
from streamgauge.producers.prometheus.wrapper import MetricWrapperBase
from streamgauge.schemas.histogram import KEY_OFFSET, PER_DOUBLING, bucket_of

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

LARGEST = sys.float_info.max
USUAL_LOW, USUAL_HIGH = 1e-150, 1e150
BASE = KEY_OFFSET - 1
MultiprocessMode = Literal[
    "all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent"
]


def _get_use_created() -> bool:
    return os.environ.get("PROMETHEUS_DISABLE_CREATED_SERIES", "False").lower() not in ("true", "1", "t")


_use_created = _get_use_created()


def disable_created_metrics() -> None:
    """Show no `_created` series, of these instruments and of prometheus_client's own."""
    global _use_created
    _use_created = False
    library.disable_created_metrics()


def enable_created_metrics() -> None:
    """Show `_created` series again."""
    global _use_created
    _use_created = True
    library.enable_created_metrics()


class Counter(MetricWrapperBase):
    """A number that only grows: calls, bytes, errors."""

    _type = "counter"
    _wire_type = "counter"

    def _metric_init(self) -> None:
        self._total = 0.0
        self._gain = 0.0
        self._calls = 0
        self._exemplar: Exemplar | None = None
        self._created = time.time()

    @exact
    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        """Add `amount`; ValueError if it is negative."""
        kind = amount.__class__
        if (kind is int or kind is float) and 0 <= amount <= LARGEST:
            try:
                self._total += amount
                self._gain += amount
                self._calls += 1
            except AttributeError:
                self._raise_if_not_observable()
                raise
            if self.wire_idle:
                self._announce()
        else:
            self._add_unusual(amount)
        if exemplar:
            validate_exemplar(exemplar)
            self._exemplar = Exemplar(exemplar, amount, time.time())

    def _add_unusual(self, amount: Any) -> None:
        self._raise_if_not_observable()
        if amount < 0:
            raise ValueError("Counters can only be incremented by non-negative amounts. Use a Gauge for what also falls.")
        self._total += amount
        if math.isfinite(number := float(amount)):
            self._gain += number
            self._calls += 1
            if self.wire_idle:
                self._announce()
        else:
            self._refuse("not_finite")

    def reset(self) -> None:
        """Show zero again, from now. What was counted has travelled, or will: sums in the store do not shrink."""
        self._raise_if_not_observable()
        self._total = 0.0
        self._created = time.time()

    def count_exceptions(
        self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception
    ) -> ExceptionCounter:
        """Count the exceptions of a block or of a function's calls."""
        self._raise_if_not_observable()
        return ExceptionCounter(self, exception)

    def _child_samples(self) -> Iterable[Sample]:
        samples = [Sample("_total", {}, self._total, None, self._exemplar)]
        if _use_created:
            samples.append(Sample("_created", {}, self._created, None, None))
        return samples

    @property
    def _value(self) -> Value:
        """The number as prometheus_client's tests reach for it."""
        return Value(self, "_total", "_exemplar")

    @exact
    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """What was added since it was last asked."""
        gain, calls = self._gain, self._calls
        self._gain = 0.0
        self._calls = 0
        self.wire_idle = True
        return (self._taken(Delta(self.wire_start, calls, gain)),) if calls else ()

    def wire_calls(self) -> int:
        """Calls since it was last asked."""
        return self._calls


class _Levels(MetricWrapperBase):
    """What gauges and distributions share: extremes and the last value of what was recorded since the last take."""

    def _metric_init(self) -> None:
        self._gain = 0.0
        self._calls = 0
        self._low = INF
        self._high = -INF
        self._last = 0.0

    def wire_calls(self) -> int:
        """Calls since it was last asked."""
        return self._calls


class Gauge(_Levels):
    """A number that goes up and down. `multiprocess_mode` is checked and has no further meaning: there is nothing to merge."""

    _type = "gauge"
    _MULTIPROC_MODES = frozenset(
        ("all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent")
    )
    _MOST_RECENT_MODES = frozenset(("mostrecent", "livemostrecent"))

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
        multiprocess_mode: MultiprocessMode = "all",
        *,
        producer: Producer | None = None,
    ) -> None:
        if multiprocess_mode not in self._MULTIPROC_MODES:
            raise ValueError(f"Invalid multiprocess mode: {multiprocess_mode}")
        self._multiprocess_mode = multiprocess_mode
        self._is_most_recent = multiprocess_mode in self._MOST_RECENT_MODES
        super().__init__(
            name, documentation, labelnames, namespace, subsystem, unit, registry, _labelvalues, producer=producer
        )
        self._kwargs["multiprocess_mode"] = multiprocess_mode

    def _metric_init(self) -> None:
        super()._metric_init()
        self._now: float = 0.0
        self._function: Callable[[], float] | None = None

    @exact
    def set(self, value: float) -> None:
        """The value is now `value`."""
        if value.__class__ is not float:
            self._raise_if_not_observable()
            value = float(value)
        if not -LARGEST <= value <= LARGEST:
            self._set_unusual(value)
            return
        try:
            if value < self._low:
                self._low = value
        except AttributeError:
            self._raise_if_not_observable()
            raise
        if value > self._high:
            self._high = value
        self._now = self._last = value
        self._gain += value
        self._calls += 1
        if self.wire_idle:
            self._announce()

    @exact
    def inc(self, amount: float = 1) -> None:
        """Raise the value by `amount`."""
        if self._is_most_recent:
            raise RuntimeError("inc must not be used with the mostrecent mode")
        try:
            value = self._now + amount
        except AttributeError:
            self._raise_if_not_observable()
            raise
        if value.__class__ is not float or not -LARGEST <= value <= LARGEST:
            self._set_unusual(value)
            return
        if value < self._low:
            self._low = value
        if value > self._high:
            self._high = value
        self._now = self._last = value
        self._gain += value
        self._calls += 1
        if self.wire_idle:
            self._announce()

    @exact
    def dec(self, amount: float = 1) -> None:
        """Lower the value by `amount`."""
        if self._is_most_recent:
            raise RuntimeError("dec must not be used with the mostrecent mode")
        try:
            value = self._now - amount
        except AttributeError:
            self._raise_if_not_observable()
            raise
        if value.__class__ is not float or not -LARGEST <= value <= LARGEST:
            self._set_unusual(value)
            return
        if value < self._low:
            self._low = value
        if value > self._high:
            self._high = value
        self._now = self._last = value
        self._gain += value
        self._calls += 1
        if self.wire_idle:
            self._announce()

    def _set_unusual(self, value: Any) -> None:
        """A number of another kind travels as a float; what no sum can hold is shown and does not travel."""
        self._raise_if_not_observable()
        self._now = value
        if not math.isfinite(number := float(value)):
            self._refuse("not_finite")
            return
        self._low, self._high, self._last = min(self._low, number), max(self._high, number), number
        self._gain += number
        self._calls += 1
        if self.wire_idle:
            self._announce()

    def set_to_current_time(self) -> None:
        """Seconds since the epoch."""
        self.set(time.time())

    def track_inprogress(self) -> InprogressTracker:
        """One more while a block or a function's call runs."""
        self._raise_if_not_observable()
        return InprogressTracker(self)

    def time(self) -> Timer:
        """Set it to the seconds that a block or a function's last call took."""
        return Timer(self, "set")

    def set_function(self, f: Callable[[], float]) -> None:
        """Ask `f` for the value: at every scrape, and once a window for what travels. The other methods show no effect."""
        self._raise_if_not_observable()
        self._function = f
        self._keep_sampled()

    def _child_samples(self) -> Iterable[Sample]:
        if self._function is not None:
            return (Sample("", {}, float(self._function()), None, None),)
        return (Sample("", {}, self._now, None, None),)

    @property
    def _value(self) -> Value:
        """The number as prometheus_client's tests reach for it."""
        return Value(self, "_now")

    @exact
    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """What it was set to since it was last asked; of a function its value now."""
        calls, gain, low, high, last = self._calls, self._gain, self._low, self._high, self._last
        self._gain = 0.0
        self._calls = 0
        self._low = INF
        self._high = -INF
        self.wire_idle = True
        if self._function is not None and now_ms:
            last = low = high = gain = float(self._function())
            if not math.isfinite(last):
                self._refuse("not_finite")
                return ()
            calls = 1
        return (self._taken(Delta(self.wire_start, calls, gain, low, high, last, now_ms)),) if calls else ()


class _Distribution(_Levels):
    """What Summary and Histogram share. What travels is an exponential histogram: percentiles are columns in SQL."""

    _wire_type = "histogram"

    def _metric_init(self) -> None:
        super()._metric_init()
        self._total: float = 0.0
        self._keys: dict[int, int] = {}
        self._created = time.time()

    def time(self) -> Timer:
        """Observe the seconds that a block or every call of a function takes."""
        return Timer(self, "observe")

    def _travel(self, amount: Any) -> None:
        """Let an unusual amount travel, if a sum can hold it."""
        if not math.isfinite(number := float(amount)):
            self._refuse("not_finite")
            return
        key = bucket_of(number)
        self._low, self._high, self._last = min(self._low, number), max(self._high, number), number
        self._keys[key] = self._keys.get(key, 0) + 1
        self._gain += number
        self._calls += 1
        if self.wire_idle:
            self._announce()

    @exact
    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """What was observed since it was last asked."""
        fresh: dict[int, int] = {}
        calls, gain, low, high, last, keys = self._calls, self._gain, self._low, self._high, self._last, self._keys
        self._gain = 0.0
        self._calls = 0
        self._low = INF
        self._high = -INF
        self._keys = fresh
        self.wire_idle = True
        return (self._taken(Delta(self.wire_start, calls, gain, low, high, last, now_ms, keys)),) if calls else ()


class Summary(_Distribution):
    """Size and number of what is observed. Shown as `_count` and `_sum`; percentiles are in SQL, over all processes."""

    _type = "summary"
    _reserved_labelnames = ("quantile",)

    def _metric_init(self) -> None:
        super()._metric_init()
        self._number = 0.0

    @exact
    def observe(self, amount: float) -> None:
        """Count one observation of `amount`."""
        kind = amount.__class__
        if (kind is not float and kind is not int) or not -LARGEST <= amount <= LARGEST:
            self._observe_unusual(amount)
            return
        key = ceil(log2(amount) * PER_DOUBLING) + BASE if USUAL_LOW < amount < USUAL_HIGH else bucket_of(amount)
        try:
            self._number += 1
        except AttributeError:
            self._raise_if_not_observable()
            raise
        self._total += amount
        self._gain += amount
        self._last = amount
        if amount < self._low:
            self._low = amount
        if amount > self._high:
            self._high = amount
        keys = self._keys
        if key in keys:
            keys[key] += 1
        else:
            keys[key] = 1
        self._calls += 1
        if self.wire_idle:
            self._announce()

    def _observe_unusual(self, amount: Any) -> None:
        self._raise_if_not_observable()
        self._number += 1
        self._total += amount
        self._travel(amount)

    def _child_samples(self) -> Iterable[Sample]:
        samples = [Sample("_count", {}, self._number, None, None), Sample("_sum", {}, self._total, None, None)]
        if _use_created:
            samples.append(Sample("_created", {}, self._created, None, None))
        return samples

    @property
    def _count(self) -> Value:
        """The number of observations as prometheus_client's tests reach for it."""
        return Value(self, "_number")

    @property
    def _sum(self) -> Value:
        """The sum as prometheus_client's tests reach for it."""
        return Value(self, "_total")


class Histogram(_Distribution):
    """A distribution. `buckets` are shown at /metrics; what travels has exponential buckets and no limits to choose."""

    _type = "histogram"
    _reserved_labelnames = ("le",)
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
        self._counts = [0] * len(self._upper_bounds)
        self._exemplars: dict[int, Exemplar] = {}

    @exact
    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count one observation of `amount`."""
        kind = amount.__class__
        if (kind is not float and kind is not int) or not -LARGEST <= amount <= LARGEST or exemplar:
            self._observe_unusual(amount, exemplar)
            return
        key = ceil(log2(amount) * PER_DOUBLING) + BASE if USUAL_LOW < amount < USUAL_HIGH else bucket_of(amount)
        place = bisect_left(self._upper_bounds, amount)
        try:
            self._counts[place] += 1
        except AttributeError:
            self._raise_if_not_observable()
            raise
        self._total += amount
        self._gain += amount
        self._last = amount
        if amount < self._low:
            self._low = amount
        if amount > self._high:
            self._high = amount
        keys = self._keys
        if key in keys:
            keys[key] += 1
        else:
            keys[key] = 1
        self._calls += 1
        if self.wire_idle:
            self._announce()

    def _observe_unusual(self, amount: Any, exemplar: dict[str, str] | None) -> None:
        self._raise_if_not_observable()
        self._total += amount
        for place, bound in enumerate(self._upper_bounds):
            if amount <= bound:
                self._counts[place] += 1
                self._travel(amount)
                if exemplar:
                    validate_exemplar(exemplar)
                    self._exemplars[place] = Exemplar(exemplar, amount, time.time())
                break
        else:
            self._refuse("not_finite")

    def _child_samples(self) -> Iterable[Sample]:
        samples: list[Sample] = []
        count = 0.0
        for place, bound in enumerate(self._upper_bounds):
            count += self._counts[place]
            labels = {"le": floatToGoString(bound)}
            samples.append(Sample("_bucket", labels, count, None, self._exemplars.get(place)))
        samples.append(Sample("_count", {}, count, None, None))
        if self._upper_bounds[0] >= 0:
            samples.append(Sample("_sum", {}, self._total, None, None))
        if _use_created:
            samples.append(Sample("_created", {}, self._created, None, None))
        return samples

    @property
    def _sum(self) -> Value:
        """The sum as prometheus_client's tests reach for it."""
        return Value(self, "_total")

    @property
    def _buckets(self) -> Buckets:
        """The buckets, not cumulative, as prometheus_client's tests reach for them."""
        return Buckets(self._counts)


class Info(MetricWrapperBase):
    """Key-value pairs, such as a build's version. Travels as a gauge `<name>_info` of 1 with the pairs as labels, once a window."""

    _type = "info"

    def _metric_init(self) -> None:
        self._pairs: dict[str, str] = {}

    def info(self, val: dict[str, str]) -> None:
        """The pairs are now these."""
        self._raise_if_not_observable()
        if set(self._labelnames) & set(val):
            raise ValueError(f"Overlapping labels for Info metric, metric: {self._labelnames} child: {val}")
        if any(value is None for value in val.values()):  # pyright: ignore[reportUnnecessaryComparison]  # not every caller is checked
            raise ValueError("Label value cannot be None")
        self._pairs = dict(val)
        self._keep_sampled()

    def _child_samples(self) -> Iterable[Sample]:
        return (Sample("_info", self._pairs, 1.0, None, None),)

    def _head(self) -> Any:
        return wire_head(f"{self._name}_info", "gauge", self._labelnames)

    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """The pairs as they are."""
        self.wire_idle = True
        if not now_ms:
            return ()
        pairs = self._pairs
        head = wire_head(f"{self._name}_info", "gauge", (*self._labelnames, *pairs))
        values = (*self._wire, *(str(value) for value in pairs.values()))
        return (Taken(head, values, Delta(self.wire_start, 1, 1.0, 1.0, 1.0, 1.0, now_ms)),)

    def wire_calls(self) -> int:
        """Nothing is kept for it."""
        return 0


class Enum(MetricWrapperBase):
    """Which of some states is true. Travels as a gauge with the state as a label named like the metric: 1 or 0, once a window."""

    _type = "stateset"

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: CollectorRegistry | None = REGISTRY,
        _labelvalues: Sequence[str] | None = None,
        states: Sequence[str] | None = None,
        *,
        producer: Producer | None = None,
    ) -> None:
        if name in labelnames:
            raise ValueError(f"Overlapping labels for Enum metric: {name}")
        if not states:
            raise ValueError(f"No states provided for Enum metric: {name}")
        self._states = states
        super().__init__(
            name, documentation, labelnames, namespace, subsystem, unit, registry, _labelvalues, producer=producer
        )
        self._kwargs["states"] = states

    def _metric_init(self) -> None:
        self._place = 0

    def state(self, state: str) -> None:
        """This state is true now; ValueError if it is none of them."""
        self._raise_if_not_observable()
        if state not in self._states:
            raise ValueError(f"{state!r} is not in list of states of {self._name}: {', '.join(self._states)}")
        self._place = self._states.index(state)
        self._keep_sampled()

    def _child_samples(self) -> Iterable[Sample]:
        place = self._place
        return [
            Sample("", {self._name: state}, 1 if number == place else 0, None, None)
            for number, state in enumerate(self._states)
        ]

    def _head(self) -> Any:
        return wire_head(self._name, "gauge", (*self._labelnames, self._name))

    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """Every state as it is."""
        self.wire_idle = True
        if not now_ms:
            return ()
        found: list[Taken] = []
        for number, state in enumerate(self._states):
            value = 1.0 if number == self._place else 0.0
            delta = Delta(self.wire_start, 1, value, value, value, value, now_ms)
            found.append(Taken(self._wire_head, (*self._wire, str(state)), delta))
        return found

    def wire_calls(self) -> int:
        """Nothing is kept for it."""
        return 0
