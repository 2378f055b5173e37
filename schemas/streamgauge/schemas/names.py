"""Names: what labels and metrics of other systems are called here. Every result is a name that the wire accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from streamgauge.schemas.contracts import RESERVED_COLUMNS

ALIASES = {
    "service_name": "service", "service.name": "service", "service_version": "version", "service.version": "version",
    "host_id": "instance", "host.id": "instance", "instance_id": "instance", "service.instance.id": "instance",
    "datacenter": "region", "cloud.region": "region", "cloud_region": "region", "country_code": "country",
    "tenant_id": "tenant", "tenant.id": "tenant", "customer_segment": "segment", "endpoint": "operation", "route": "operation",
    "status_code": "status", "error.type": "error_type",
    "deployment.environment": "environment", "deployment.environment.name": "environment", "env": "environment",
}  # fmt: skip
"""Usual other spellings of context columns (version 1 of the table)."""

HTTP_ALIASES = {
    "http.request.method": "method",
    "http.method": "method",
    "http.route": "operation",
    "http.response.status_code": "status",
    "http.status_code": "status",
}
"""What OpenTelemetry's HTTP conventions call the labels of our own middleware."""

LABEL_COLUMNS = frozenset({"country", "tenant", "segment", "operation", "status", "error_type"})
"""Context columns that a single point may fill. The others say who sends, and a point cannot change that."""

MAX_NAME, MAX_LABELS, MAX_UNIT = 200, 64, 64
EXPORTED = "exported_"
"""Before a label that cannot have its own name, as Prometheus does with labels that it sets itself."""


def label_name(name: str) -> str:
    """The label that an attribute or tag becomes: its canonical column, or `free_label` of its name."""
    if name in HTTP_ALIASES:
        return HTTP_ALIASES[name]
    column = ALIASES.get(name, "")
    return column if column in LABEL_COLUMNS else free_label(name)


def free_label(name: str) -> str:
    """The label `name`, as a word. One that every view has for something else, or that is hidden (`__…`), is exported."""
    label = word(name)
    return word(EXPORTED + label) if label in RESERVED_COLUMNS or label.startswith("__") else label


def metric_name(name: str) -> str:
    """The metric that an instrument becomes: a word in lower case, since OpenTelemetry's names have no case."""
    return word(name.lower())


def unit_name(unit: str) -> str:
    """A unit as it can be shown."""
    return "".join(letter for letter in unit if letter.isprintable())[:MAX_UNIT]


def label_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Values by label, sorted by label. Attributes that become one label have their values joined by `;`."""
    found: dict[str, str] = {}
    for name, value in sorted(pairs):
        label = label_name(name)
        found[label] = f"{found[label]};{value}" if label in found else value
    return dict(sorted(found.items()))


def word(name: str) -> str:
    """`name` with `_` for everything but letters, digits and `_`, and no longer than a name may be.

    An `@` stays recognisable, as `_at_`: a name that holds somebody's address must not look like any other to workers.
    """
    name = name.replace("@", "_at_")
    found = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    if found[0].isdigit():
        found = f"_{found}"
    if len(found) > MAX_NAME:  # cut short, two names could become one
        from hashlib import blake2b  # dear to load, and hardly ever needed

        digest = blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
        found = f"{found[: MAX_NAME - 9]}_{digest}"
    return found
