"""OTLP intake: metrics of a request become what series gain. What is rejected is counted, with a sentence for the sender."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeVar

import orjson

from streamgauge.console.gateway_account import Account, Refusal
from streamgauge.console.gateway_cells import MAX_CALLS, Series
from streamgauge.console.gateway_names import label_value, senders_name
from streamgauge.console.gateway_places import Place, Places
from streamgauge.console.gateway_senders import Sender, Senders
from streamgauge.console.gateway_series import SeriesIndex
from streamgauge.console.gateway_times import TimeBounds
from streamgauge.console.otlp_context import context_of
from streamgauge.console.otlp_histograms import distribution_of
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
from streamgauge.producers.cumulative import Cumulative, Number, Total
from streamgauge.schemas.foreign_histograms import Distribution, Explicit
from streamgauge.schemas.names import label_values, metric_name, unit_name

log = logging.getLogger("streamgauge.gateway")

OTLP = "otlp"
T = TypeVar("T", bound=Total)


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


class OtlpIntake:
    """Takes requests. One thread only."""

    def __init__(
        self, index: SeriesIndex, senders: Senders, account: Account, times: TimeBounds, cumulative: Cumulative[Any]
    ) -> None:
        self._index = index
        self._senders = senders
        self._account = account
        self._times = times
        self._cumulative = cumulative
        self._places: Places[tuple[Sender, str, str, Attributes]] = Places()

    def take(self, metrics: Iterable[Metric], now_ms: int) -> Taken:
        """Take all metrics of a request."""
        taken = Taken()
        resource: Attributes | None = None
        sender: Sender | None = None
        itself, refused = True, ""
        for metric in metrics:
            if resource is None or metric.resource is not resource:
                resource = metric.resource
                try:
                    (sender, itself), refused = self._senders.find(context_of(resource), now_ms), ""
                except Refusal as refusal:
                    sender, refused = None, refusal.reason
            for point in metric.points:
                self._account.received[OTLP] += 1
                taken.timed = taken.timed and point.time_ns > 0
                try:
                    if sender is None:
                        raise Refusal(refused)
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
        elif isinstance(point, SummaryPoint):
            self._summary(sender, metric, point, at_ms, now_ms)
        else:
            self._histogram(sender, metric, point, at_ms, now_ms)

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
        self._count(place, self._gained(metric, point, Number(point.value), now_ms), point.value, at_ms)

    def _histogram(
        self, sender: Sender, metric: Metric, point: HistogramPoint | ExponentialPoint, at_ms: int, now_ms: int
    ) -> None:
        held = distribution_of(point)
        if held is None:
            raise Refusal("bad_histogram")
        if held.sum is not None and not math.isfinite(held.sum):
            raise Refusal("not_finite")
        place = self._place(sender, metric, point, "histogram", now_ms)
        # histograms of other bounds cannot be compared: they are streams of their own
        bounds = held.shape.bounds if isinstance(held.shape, Explicit) else ()
        gained = self._gained(metric, point, held, now_ms, *bounds)
        if gained is not None and gained.count:
            self._merge(place.series, gained, at_ms)

    def _merge(self, series: Series, gained: Distribution, at_ms: int) -> None:
        if gained.count > MAX_CALLS:
            raise Refusal("too_many")
        buckets = gained.buckets()
        total, (low, high) = gained.total(buckets), gained.extremes(buckets)
        if not all(map(math.isfinite, (total, low, high))):
            raise Refusal("not_finite")
        if gained.sum is None:
            self._account.adjust(OTLP, "sum_estimated")
        series.merge(gained.count, total, low, high, buckets, at_ms)

    def _count(self, place: Place, gained: Number | None, whole: float, at_ms: int) -> None:
        # one that rests adds nothing; a first zero shows that there is a series
        if gained is not None and (gained.value or not whole):
            place.series.add(gained.value, 1, at_ms)

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
            self._count(place, self._gained(cumulative, point, Number(value), now_ms, part), value, at_ms)

    def _gained(self, metric: Metric, point: Point, total: T, now_ms: int, *more: object) -> T | None:
        if metric.temporality != CUMULATIVE:
            return total
        # workers that do not say who they are, are told apart by when they started
        stream = identity(
            metric.resource, metric.scope, metric.name, metric.kind, point.attributes, more, point.start_ns
        )
        gained = self._cumulative.added(stream, point.start_ns, point.time_ns, total, now_ms)
        if gained.note:
            self._account.adjust(OTLP, gained.note)
        return gained.total

    def _place(self, sender: Sender, metric: Metric, point: Point, kind: str, now_ms: int) -> Place:
        key = (sender, metric.name, metric.unit, point.attributes)
        place = self._places.find(key)
        if place is None or place.series.head.type != kind:
            chars = sum(len(name) + len(value) for name, value in point.attributes)
            place = self._places.keep(key, self._find(sender, metric, point.attributes, kind, now_ms), chars)
        for reason in place.adjusted:
            self._account.adjust(OTLP, reason)
        return place

    def _find(self, sender: Sender, metric: Metric, attributes: Attributes, kind: str, now_ms: int) -> Place:
        name, unit = senders_name(metric_name(metric.name)), unit_name(metric.unit)
        shown = tuple((key, label_value(value)) for key, value in attributes)
        found, adjusted = self._index.find(sender, name, kind, unit, label_values(shown).items(), now_ms)
        return Place(found, adjusted if shown == attributes else (*adjusted, "tag_shortened"))


def identity(*parts: object) -> bytes:
    """16 bytes that stand for a stream."""
    return blake2b(orjson.dumps(parts), digest_size=16).digest()
