"""Names: what a metric declared with prometheus_client's rules is called in the topic and in SQL.

prometheus_client allows more than a view's column may be called. What does not fit is renamed, never refused: a label that every
view has as a column of its own already becomes `exported_<label>`, as Prometheus does with labels that it sets itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import RESERVED_COLUMNS

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
FOREIGN = re.compile(r"[^A-Za-z0-9_]")
PREFIX = "exported_"


def wire_name(declared: str) -> str:
    """`declared` with `_` for everything but letters, digits and `_`."""
    name = FOREIGN.sub("_", declared)
    return name if name.isidentifier() else f"_{name}"


def wire_labels(declared: Iterable[str]) -> tuple[str, ...]:
    """Labels as columns: none is reserved, hidden or there twice."""
    found: list[str] = []
    for label in declared:
        name = wire_name(label)
        while name in RESERVED_COLUMNS or name.startswith("__") or name in found:
            name = PREFIX + name
        found.append(name)
    return tuple(found)


def wire_head(declared: str, kind: str, labels: Iterable[str] = (), unit: str = "") -> MetricHead:
    """How a metric travels. `kind` is counter, gauge or histogram."""
    return MetricHead(wire_name(declared), kind, UNITS.get(unit, unit), wire_labels(labels))
