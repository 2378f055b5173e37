"""OTLP intake: metrics of a request become what series gain. What is rejected is counted, with a sentence for the sender."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from streamgauge.console.gateway_account import Account, Refusal
from streamgauge.console.gateway_cells import MAX_CALLS, Series
from streamgauge.console.gateway_names import label_name, label_value, metric_name, senders_name
from streamgauge.console.gateway_senders import Sender, Senders
from streamgauge.console.gateway_series import SeriesIndex
from streamgauge.console.gateway_times import TimeBounds
from streamgauge.console.otlp_context import context_of
from streamgauge.console.otlp_cumulative import Cumulative, identity
from streamgauge.console.otlp_histograms import Explicit, Exponential, Whole, explicit, exponential
from streamgauge.console.otlp_model import (
    CUMULATIVE,
    DELTA,
    NO_VALUE,
    Attributes,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    NumberPoint,
    Point,
    SummaryPoint,
)

log = logging.getLogger("streamgauge.gateway")

OTLP = "otlp"
REMEMBERED, REMEMBERED_CHARS = 100_000, 1_000
S = TypeVar("S")


@dataclass(slots=True)
class Taken:
    """What became of one request: points taken, points rejected by reason, and the metrics they were of."""

    points: int = 0
    rejected: Counter[str] = field(default_factory=Counter[str])
    metrics: dict[str, None] = field(default_factory=dict[str, None])
    timed: bool = True
    """Whether every point says when it is from."""

    def message(self) -> str:
        """A sentence for whoever runs the sender; empty when nothing is rejected."""
        if not self.rejected:
            return ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.rejected.items()))
        names = list(self.metrics)
        return f"rejected: {reasons} (of {', '.join(names[:5])}{', …' if len(names) > 5 else ''})"


class Place(NamedTuple):
    """Where a point's values go, and in which ways that is not what was sent."""

    series: Series
    adjusted: tuple[str, ...]


class OtlpIntake:
    """Takes requests. One thread only."""

    def __init__(
        self, index: SeriesIndex, senders: Senders, account: Account, times: TimeBounds, cumulative: Cumulative
    ) -> None:
        self._index = index
        self._senders = senders
        self._account = account
        self._times = times
        self._cumulative = cumulative
        self._places: dict[tuple[Sender, str, Attributes], Place] = {}

    def take(self, metrics: Iterable[Metric], now_ms: int) -> Taken:
        """Take all metrics of a request."""
        taken = Taken()
        resource: Attributes | None = None
        sender: Sender | None = None
        itself = True
        for metric in metrics:
            if sender is None or metric.resource is not resource:
                resource = metric.resource
                sender, itself = self._senders.find(context_of(resource), now_ms)
            for point in metric.points:
                self._account.received[OTLP] += 1
                taken.timed = taken.timed and point.time_ns > 0
                try:
                    self._point(sender, metric, point, now_ms)
                    taken.points += 1
                    if not itself:
                        self._account.adjust(OTLP, "sender_overflow")
                except Refusal as refusal:
                    self._reject(taken, metric, refusal.reason)
                except Exception as error:  # no point costs the others of its request
                    log.error("a point was not taken: internal error %s", type(error).__name__)
                    self._reject(taken, metric, "internal_error")
            if not metric.kind:
                self._account.refuse(OTLP, "unknown_kind")
        return taken

    def _reject(self, taken: Taken, metric: Metric, reason: str) -> None:
        self._account.refuse(OTLP, reason)
        taken.rejected[reason] += 1
        taken.metrics[metric_name(metric.name)] = None

    def _point(self, sender: Sender, metric: Metric, point: Point, now_ms: int) -> None:
        if point.flags & NO_VALUE:
            self._account.adjust(OTLP, "no_value")
            return
        at_ms = self._times.checked(point.time_ns // 1_000_000, now_ms) if point.time_ns else now_ms
        if metric.kind != "gauge" and metric.kind != "summary" and metric.temporality not in (DELTA, CUMULATIVE):
            raise Refusal("no_temporality")
        if isinstance(point, NumberPoint):
            self._number(sender, metric, point, at_ms, now_ms)
        elif isinstance(point, HistogramPoint):
            self._explicit(sender, metric, point, at_ms, now_ms)
        elif isinstance(point, ExponentialPoint):
            self._exponential(sender, metric, point, at_ms, now_ms)
        else:
            self._summary(sender, metric, point, at_ms, now_ms)

    def _number(self, sender: Sender, metric: Metric, point: NumberPoint, at_ms: int, now_ms: int) -> None:
        if not math.isfinite(point.value):
            raise Refusal("not_finite")
        if metric.kind == "gauge" or not metric.monotonic:
            place = self._place(sender, metric, point, "gauge", now_ms)
            if metric.kind == "sum" and metric.temporality == DELTA:
                place.series.step(point.value, at_ms)
            else:
                place.series.set(point.value, at_ms)
            return
        if point.value < 0:
            raise Refusal("negative_counter")
        place = self._place(sender, metric, point, "counter", now_ms)
        gained = self._gained(metric, point, point.value, gained_since, now_ms)
        if gained is not None:
            place.series.add(gained, 1, at_ms)

    def _explicit(self, sender: Sender, metric: Metric, point: HistogramPoint, at_ms: int, now_ms: int) -> None:
        held = explicit(point)
        if held is None:
            raise Refusal("bad_histogram")
        place = self._place(sender, metric, point, "histogram", now_ms)
        # histograms of other bounds cannot be compared: they are series of their own. The extremes of a cumulative one
        # are of its whole life: they bound what came since
        gained = self._gained(metric, point, held, Explicit.minus, now_ms, *held.bounds)
        if gained is not None and gained.count:
            self._merge(place, gained.whole(point.min, point.max), at_ms)

    def _exponential(self, sender: Sender, metric: Metric, point: ExponentialPoint, at_ms: int, now_ms: int) -> None:
        held = exponential(point)
        if held is None:
            raise Refusal("bad_histogram")
        place = self._place(sender, metric, point, "histogram", now_ms)
        gained = self._gained(metric, point, held, Exponential.minus, now_ms)
        if gained is not None and gained.count:
            self._merge(place, gained.whole(point.min, point.max), at_ms)

    def _merge(self, place: Place, whole: Whole, at_ms: int) -> None:
        if whole.count > MAX_CALLS:
            raise Refusal("too_many")
        if not all(map(math.isfinite, (whole.sum, whole.min, whole.max))):
            raise Refusal("not_finite")
        if whole.estimated:
            self._account.adjust(OTLP, "sum_estimated")
        place.series.merge(whole.count, whole.sum, whole.min, whole.max, whole.buckets, at_ms)

    def _summary(self, sender: Sender, metric: Metric, point: SummaryPoint, at_ms: int, now_ms: int) -> None:
        if not math.isfinite(point.sum):
            raise Refusal("not_finite")
        if point.quantiles:
            # quantiles of instances and windows cannot be added up
            self._account.adjust(OTLP, "quantiles_dropped", point.quantiles)
        parts = (("sum", metric.unit, point.sum), ("count", "1", float(point.number)))
        places = [
            self._place(sender, metric._replace(name=f"{metric.name}.{part}", unit=unit), point, "counter", now_ms)
            for part, unit, _ in parts
        ]
        for place, (part, _, value) in zip(places, parts, strict=True):
            # a summary is cumulative by definition
            cumulative = metric._replace(temporality=CUMULATIVE)
            gained = self._gained(cumulative, point, value, gained_since, now_ms, part)
            if gained is not None:
                place.series.add(gained, 1, at_ms)

    def _gained(
        self, metric: Metric, point: Point, state: S, minus: Callable[[S, S], S | None], now_ms: int, *more: object
    ) -> S | None:
        if metric.temporality != CUMULATIVE:
            return state
        series = identity(metric.resource, metric.scope, metric.name, metric.kind, point.attributes, more)
        gained = self._cumulative.advance(series, point.start_ns, point.time_ns, state, minus, now_ms)
        if gained.note:
            self._account.adjust(OTLP, gained.note)
        return gained.state

    def _place(self, sender: Sender, metric: Metric, point: Point, kind: str, now_ms: int) -> Place:
        key = (sender, metric.name, point.attributes)
        place = self._places.get(key)
        head = place.series.head if place is not None else None
        if place is None or not place.series.live or head is None or head.type != kind or head.unit != metric.unit:
            place = self._find(sender, metric, point.attributes, kind, now_ms)
            if sum(len(name) + len(value) for name, value in point.attributes) <= REMEMBERED_CHARS:
                if len(self._places) >= REMEMBERED:
                    self._places.clear()
                self._places[key] = place
        for reason in place.adjusted:
            self._account.adjust(OTLP, reason)
        return place

    def _find(self, sender: Sender, metric: Metric, attributes: Attributes, kind: str, now_ms: int) -> Place:
        name = senders_name(metric.name)
        labels: dict[str, str] = {}
        cut = 0
        for key, value in attributes:
            text, label = label_value(value), label_name(key)
            cut += text != value or not label
            if label:
                labels[label] = text
        found, adjusted = self._index.find(sender, name, kind, metric.unit, sorted(labels.items()), now_ms)
        return Place(found, (*adjusted, "tag_shortened") if cut else adjusted)


def gained_since(now: float, then: float) -> float | None:
    """How much a number grew; None where it fell."""
    return now - then if now >= then else None
