"""Gauge: a number that goes up and down. The hot methods are written out, not shared: a call costs more than all they do."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from prometheus_client.registry import REGISTRY, CollectorRegistry
from prometheus_client.samples import Sample
from prometheus_client.utils import INF

from streamgauge.producers.gains import Taken
from streamgauge.producers.prometheus.context_managers import BlockTimer, InprogressTracker
from streamgauge.producers.prometheus.exact import exact
from streamgauge.producers.prometheus.values import Value
from streamgauge.producers.prometheus.wrapper import ONE, MetricWrapperBase
from streamgauge.schemas.batches import Delta

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

LARGEST = sys.float_info.max
MultiprocessMode = Literal[
    "all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent"
]


class Gauge(MetricWrapperBase):
    """A number that goes up and down. `multiprocess_mode` is for the files of that mode; what travels is merged in SQL."""

    __module__ = "streamgauge.producers.prometheus.metrics"
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
        self._now: float = 0.0
        self._gain = 0.0
        self._calls = 0
        self._low = INF
        self._high = -INF
        self._function: Callable[[], float] | None = None

    def _in_files(self) -> Sequence[Any]:
        return (self._file_value("", multiprocess_mode=self._multiprocess_mode),)

    def _shown_numbers(self) -> Sequence[float]:
        return (self._now,)

    def _reflect(self, placed: bool) -> None:
        if self._mirror is not None and self._is_most_recent:
            self._mirror.stamp(self._shown_numbers(), time.time())
        else:
            super()._reflect(placed)

    @exact
    def set(self, value: float) -> None:
        """The value is now `value`."""
        if value.__class__ is not float:
            self._raise_if_not_observable()
            value = float(value)
        if not -LARGEST <= value <= LARGEST:
            self._set_unusual(value, True)
            return
        try:
            low = self._low
        except AttributeError:
            self._raise_if_not_observable()
            raise
        if value < low:
            self._low = value
        if value > self._high:
            self._high = value
        self._now = value
        self._gain += value
        self._calls += 1
        if self.wire_idle:
            self._announce(True)

    @exact
    def inc(self, amount: float = 1) -> None:
        """Raise the value by `amount`."""
        if self._is_most_recent:
            raise RuntimeError("inc must not be used with the mostrecent mode")
        try:
            value = self._now + (1.0 if amount is ONE else amount)
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
        self._now = value
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
            value = self._now - (1.0 if amount is ONE else amount)
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
        self._now = value
        self._gain += value
        self._calls += 1
        if self.wire_idle:
            self._announce()

    def _set_unusual(self, value: Any, placed: bool = False) -> None:
        """A number of another kind travels as a float; what no sum can hold is shown and does not travel."""
        self._raise_if_not_observable()
        number = self._now = float(value)
        if not math.isfinite(number):
            self._refuse("not_finite")
            self._reflect(placed)
            return
        self._low = min(self._low, number)
        self._high = max(self._high, number)
        self._gain += number
        self._calls += 1
        if self.wire_idle:
            self._announce(placed)

    def set_to_current_time(self) -> None:
        """Seconds since the epoch."""
        self.set(time.time())

    def track_inprogress(self) -> InprogressTracker:
        """One more while a block or a function's call runs."""
        self._raise_if_not_observable()
        return InprogressTracker(self)

    def time(self) -> BlockTimer:
        """Set it to the seconds that a block or a function's last call took."""
        timer = BlockTimer()
        timer.record = self.set
        return timer

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
        calls = self._calls
        gain = self._gain
        low = self._low
        high = self._high
        last = self._now
        self._gain = 0.0
        self._calls = 0
        self._low = INF
        self._high = -INF
        self.wire_idle = True
        if not -LARGEST <= last <= LARGEST:  # shown only
            last = high
        if self._function is not None and now_ms:
            last = low = high = gain = float(self._function())
            if not math.isfinite(last):
                self._refuse("not_finite")
                return ()
            calls = 1
        return (
            (self._taken(Delta(self.wire_start // 1_000_000, calls, gain, low, high, last, now_ms)),) if calls else ()
        )

    def wire_calls(self) -> int:
        """Calls since it was last asked."""
        return self._calls
