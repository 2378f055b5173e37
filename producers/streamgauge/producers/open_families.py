"""Open families: what others have aggregated, on its way into a producer: deltas of metrics that nobody declared here.

Label names may differ from point to point; readers unite them. Deltas of one series and window merge until they are
taken, so sums stay exact and memory is bounded.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable

from streamgauge.producers import native
from streamgauge.producers.accounts import Accounts
from streamgauge.producers.aggregate import IDLE_NS, MAX_LABEL_CHARS, OVERFLOW, WINDOW_NS
from streamgauge.producers.backlog import merged, moved
from streamgauge.producers.clock import Clock
from streamgauge.producers.gains import Gains, Taken, gains_of, points_by_name
from streamgauge.producers.own_metrics import NAMES
from streamgauge.producers.text import unicode
from streamgauge.schemas.batches import MAX_INSTANT_MS, Delta, MetricHead
from streamgauge.schemas.errors import place_of
from streamgauge.schemas.names import MAX_LABELS, label_values, metric_name, unit_name
from streamgauge.schemas.windows import TIERS, window_start

log = logging.getLogger(__name__)

MAX_METRICS = 10_000
MAX_WAITING = 200_000
"""Series and windows that wait to be taken, at most."""
MAX_POINTS = 1 << 29
"""Points of one series and window: so many that no batch holds more than its readers accept."""
Labels = tuple[str, ...]


def open_series(name: str, kind: str, unit: str, attributes: Iterable[tuple[str, str]]) -> tuple[MetricHead, Labels]:
    """Head and label values of a metric of another system, under names that can travel."""
    labels = label_values(attributes)
    return MetricHead(metric_name(name), kind, unit_name(unit), tuple(labels)), tuple(map(unicode, labels.values()))


class _Open:
    """One metric: the head it was first seen with, its series by when they were last used, and all its label names."""

    __slots__ = ("head", "names", "overflowed", "swept_ns", "used")

    def __init__(self, head: MetricHead) -> None:
        self.head = head
        self.used: dict[tuple[Labels, Labels], int] = {}
        self.names: set[str] = set()
        self.swept_ns = 0
        self.overflowed = 0


class OpenFamilies:
    """Takes deltas from any thread, never raises, and gives them to the producer's next flush.

    `declared` is asked for the head of a metric that the application declared, `closed` whether nothing may come any more.
    """

    def __init__(
        self,
        clock: Clock,
        budget: int,
        declared: Callable[[str], MetricHead | None],
        closed: Callable[[], bool],
        on_record: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._budget = budget
        self._declared = declared
        self._closed = closed
        self._on_record = on_record
        self.restart(Accounts())

    def restart(self, accounts: Accounts) -> None:
        """Forget everything: what a forked child does."""
        self._lock = native.rlock()
        self._accounts = accounts
        self._metrics: dict[str, _Open] = {}
        self._waiting: dict[tuple[MetricHead, Labels, int], Delta] = {}

    def add(self, head: MetricHead, labels: Labels, delta: Delta) -> bool:
        """Let a series gain `delta`, whose window is the one that holds its `window_ms`. False: it is counted as dropped.

        `head` and `labels` come from `open_series`, or are names that a declaration may have.
        """
        try:
            with self._lock:
                reason = self._add(head, labels, delta)
        except Exception as error:  # a telemetry call never takes the application down
            log.debug("metric %s: a delta cannot be taken (%s)", head.name, place_of(error))
            reason = "internal_error"
        if reason:
            self.refuse(head.name, reason, delta.count)
        return not reason

    def refuse(self, name: str, reason: str, points: int = 1) -> None:
        """Count points that cannot be taken as dropped."""
        if self._accounts.refused(name, reason, points):
            log.warning("metric %s: some points are not recorded (%s)", name, reason)

    def _add(self, head: MetricHead, labels: Labels, delta: Delta) -> str:
        """Why it cannot be taken; empty when it was."""
        if self._closed():
            return "closed"
        if head.name in NAMES:
            return "reserved_name"
        if not all(map(math.isfinite, (delta.sum, delta.min, delta.max, delta.last))):
            return "not_finite"
        if not (0 <= delta.window_ms < MAX_INSTANT_MS and 0 <= delta.last_ms < MAX_INSTANT_MS) or delta.count <= 0:
            return "out_of_range"
        if any(len(text) > MAX_LABEL_CHARS for text in labels):
            return "too_long"
        metric = self._metrics.get(head.name)
        if metric is None:
            if len(self._metrics) >= MAX_METRICS:
                return "too_many_metrics"
            metric = self._metrics[head.name] = _Open(self._declared(head.name) or head)
        if (metric.head.type, metric.head.unit) != (head.type, head.unit):
            return "name_clash"
        head, labels = self._within_budget(metric, head, labels, delta.count)
        key = (head, labels, window_start(delta.window_ms, TIERS[0].width_ms))
        before = self._waiting.get(key)
        if before is None:
            if len(self._waiting) >= MAX_WAITING:
                return "buffer_full"
            if not self._waiting:
                self._on_record()
        both = delta if before is None else merged(before, delta, before.window_ms)
        if not math.isfinite(both.sum) or both.count > MAX_POINTS:
            return "out_of_range"
        self._waiting[key] = both
        return ""

    def _within_budget(self, metric: _Open, head: MetricHead, labels: Labels, points: int) -> tuple[MetricHead, Labels]:
        key, now = (head.labels, labels), self._clock.wall_ns()
        if key not in metric.used:
            names = metric.names.union(head.labels)
            full = len(metric.used) >= self._budget and not self._sweep(metric, now)
            if full or len(names) > MAX_LABELS:
                if not metric.overflowed:
                    log.warning(
                        "metric %s has more than %d series or %d labels in use: further ones count in its overflow series",
                        head.name,
                        self._budget,
                        MAX_LABELS,
                    )
                metric.overflowed += points
                return metric.head, (OVERFLOW,) * len(metric.head.labels)
            metric.names = names
        metric.used[key] = now
        return head, labels

    def _sweep(self, metric: _Open, now: int) -> bool:
        """Forget series that rest, at most once a window."""
        if not 0 <= now - metric.swept_ns < WINDOW_NS:
            metric.swept_ns = now
            metric.used = {key: used for key, used in metric.used.items() if now - used <= IDLE_NS}
        return len(metric.used) < self._budget

    def take(self) -> list[Gains]:
        """Everything that came since the last take."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        found = gains_of(Taken(head, labels, moved(delta, window)) for (head, labels, window), delta in waiting.items())
        for name, points in points_by_name(found).items():
            self._accounts.emitted(name, points)
        return found

    def points(self) -> Counter[str]:
        """Points by metric that were not taken yet."""
        found: Counter[str] = Counter()
        with self._lock:
            for (head, _, _), delta in self._waiting.items():
                found[head.name] += delta.count
        return found

    def overflow_points(self) -> dict[str, int]:
        """Points by metric that ever went to an overflow series."""
        with self._lock:
            return {name: one.overflowed for name, one in self._metrics.items() if one.overflowed}
