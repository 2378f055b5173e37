"""Counter: a number that only grows. No other thread comes between the additions of a call (see `exact`)."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.samples import Exemplar, Sample

from streamgauge.producers.gains import Taken
from streamgauge.producers.prometheus.context_managers import ExceptionCounter
from streamgauge.producers.prometheus.exact import exact
from streamgauge.producers.prometheus.validation import validate_exemplar
from streamgauge.producers.prometheus.values import Value
from streamgauge.producers.prometheus.wrapper import ONE, MetricWrapperBase, shows_created
from streamgauge.schemas.batches import Delta

LARGEST = sys.float_info.max
NO_BUCKETS: dict[int, int] = {}
WHOLE = 2.0**52
"""Sums of whole numbers are the same in any order up to here."""


class Counter(MetricWrapperBase):
    """A number that only grows: calls, bytes, errors."""

    __module__ = "streamgauge.producers.prometheus.metrics"
    _type = "counter"
    _wire_type = "counter"

    def _metric_init(self) -> None:
        # all calls by 1 are in _ones, all other amounts in _total: adding 1 to an integer is the cheapest addition there is
        self._ones = 0
        self._ones_taken = 0
        self._whole = True
        self._total: float = 0.0
        self._gain = 0.0
        self._calls = 0
        self._exemplar: Exemplar | None = None
        self._created = time.time()

    @exact
    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        """Add `amount`; ValueError if it is negative."""
        try:
            if amount is ONE and exemplar is None and self._whole:
                self._ones += 1
            elif (amount.__class__ is float and 0.0 <= amount <= LARGEST) or (
                amount.__class__ is int and 0 <= amount <= LARGEST
            ):
                if self._whole and (amount % 1 or self._total + amount > WHOLE):
                    self._fold_ones()
                self._total += amount
                self._gain += amount
                self._calls += 1
            else:
                self._add_unusual(amount)
                amount = float(amount)
        except AttributeError:
            self._raise_if_not_observable()
            raise
        if self.wire_idle:
            self._announce()
        if exemplar:
            validate_exemplar(exemplar)
            self._exemplar = Exemplar(exemplar, amount, time.time())

    def _fold_ones(self) -> None:
        """From the first fraction on the order of additions shows in the last digit, so nothing is counted apart any more."""
        ones, fresh = self._ones, self._ones - self._ones_taken
        self._whole = False
        self._total += ones
        self._gain += fresh
        self._calls += fresh
        self._ones = self._ones_taken = 0

    def _add_unusual(self, amount: Any) -> None:
        self._raise_if_not_observable()
        if amount < 0:
            raise ValueError(
                "Counters can only be incremented by non-negative amounts. Use a Gauge for what also falls."
            )
        if self._whole:
            self._fold_ones()
        # raises what prometheus_client raises for what is no number
        number = float(self._total * 0.0 + amount) if math.isfinite(self._total) else float(amount)
        self._total += number
        if math.isfinite(number):
            self._gain += number
            self._calls += 1
        else:
            self._refuse("not_finite")

    def _in_files(self) -> Sequence[Any]:
        return (self._file_value("_total"),)

    def _shown_numbers(self) -> Sequence[float]:
        return (self._shown,)

    @exact
    def reset(self) -> None:
        """Show zero again, from now. What was counted has travelled, or will: sums in the store do not shrink."""
        self._raise_if_not_observable()
        self._fold_ones()
        self._total = 0.0
        self._whole = True
        self._created = time.time()
        self._reflect(True)

    @property
    def _shown(self) -> float:
        return self._total + self._ones

    @_shown.setter
    def _shown(self, value: float) -> None:
        self._fold_ones()
        self._total = value

    def count_exceptions(
        self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception
    ) -> ExceptionCounter:
        """Count the exceptions of a block or of a function's calls."""
        self._raise_if_not_observable()
        return ExceptionCounter(self, exception)

    def _child_samples(self) -> Iterable[Sample]:
        samples = [Sample("_total", {}, self._shown, None, self._exemplar)]
        if shows_created():
            samples.append(Sample("_created", {}, self._created, None, None))
        return samples

    @property
    def _value(self) -> Any:
        """The number as prometheus_client's tests reach for it."""
        if self._mirror is not None:
            return self._mirror.first()
        return Value(self, "_shown", "_exemplar")

    @exact
    def wire_gained(self, now_ms: int) -> Iterable[Taken]:
        """What was added since it was last asked."""
        fresh = self._ones - self._ones_taken
        gain, calls = self._gain + fresh, self._calls + fresh
        self._ones_taken = self._ones
        self._gain = 0.0
        self._calls = 0
        self.wire_idle = True
        if not calls:
            return ()
        # with every field, for a missing one costs a call
        return (self._taken(Delta(self.wire_start // 1_000_000, calls, gain, 0.0, 0.0, 0.0, 0, NO_BUCKETS)),)

    def wire_calls(self) -> int:
        """Calls since it was last asked."""
        return self._calls + self._ones - self._ones_taken
