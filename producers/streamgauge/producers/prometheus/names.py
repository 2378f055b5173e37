"""Names: what a metric declared with prometheus_client's rules is called in the topic and in SQL.

prometheus_client allows more than a view's column may be called. What does not fit is renamed, never refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.names import EXPORTED, free_label, word

UNITS = {
    "seconds": "s",
    "bytes": "By",
    "ratio": "1",
    "celsius": "Cel",
    "meters": "m",
    "volts": "V",
    "amperes": "A",
    "joules": "J",
    "grams": "g",
}
"""Prometheus' base units in UCUM notation, which streamgauge uses."""


def wire_labels(declared: Iterable[str]) -> tuple[str, ...]:
    """Labels as columns: none is reserved, hidden or there twice."""
    found: list[str] = []
    for label in declared:
        name = free_label(label)
        while name in found:
            name = EXPORTED + name
        found.append(name)
    return tuple(found)


def wire_head(declared: str, kind: str, labels: Iterable[str] = (), unit: str = "") -> MetricHead:
    """How a metric travels. `kind` is counter, gauge or histogram."""
    return MetricHead(word(declared), kind, UNITS.get(unit, unit), wire_labels(labels))
