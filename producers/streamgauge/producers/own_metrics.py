"""Own metrics: what a producer says of itself, as points of ordinary counters that travel with the next window. Pure.

`streamgauge_producer_dropped` counts lost points by name and reason, `streamgauge_producer_overflowed` those that came
beyond a metric's series budget, by name and the label that has most values. Nothing is said of the loss of these points
themselves: the books have them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from streamgauge.producers.aggregate import OVERFLOW
from streamgauge.producers.gains import Taken
from streamgauge.schemas.batches import Delta, MetricHead

HEADS = {
    "dropped": MetricHead("streamgauge_producer_dropped", "counter", "{point}", ("name", "reason")),
    "overflowed": MetricHead("streamgauge_producer_overflowed", "counter", "{point}", ("name", "label")),
    "spooled": MetricHead("streamgauge_producer_spooled", "counter", "{point}", ("name",)),
    "replayed": MetricHead("streamgauge_producer_replayed", "counter", "{point}", ("name",)),
    "spool_errors": MetricHead("streamgauge_producer_spool_errors", "counter", "{error}", ("reason",)),
}
NAMES = frozenset(head.name for head in HEADS.values())
"""Names that no metric of an application may have."""
MAX_SERIES = 1_000


class OwnMetrics:
    """Which series there are: beyond `MAX_SERIES` further names share one whose name is `__overflow__`."""

    def __init__(self) -> None:
        self._series: set[tuple[str, ...]] = set()

    def taken(self, untold: Mapping[tuple[str, ...], int], window_ms: int) -> list[Taken]:
        """Points that tell this, in the window given."""
        amounts: Counter[tuple[str, ...]] = Counter()
        for (what, *labels), amount in untold.items():
            if labels[0] in NAMES:
                continue
            series = (what, *labels)
            if series not in self._series:
                if len(self._series) < MAX_SERIES:
                    self._series.add(series)
                else:
                    series = (what, OVERFLOW, *labels[1:])
            amounts[series] += amount
        return [
            Taken(HEADS[what], tuple(labels), Delta(window_ms, 1, float(amount)))
            for (what, *labels), amount in amounts.items()
        ]
