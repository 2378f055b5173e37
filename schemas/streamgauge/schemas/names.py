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

MAX_NAME = 200


def label_name(name: str) -> str:
    """The label that an attribute or tag becomes: its canonical column, or its name with `_` for whatever is not a word.

    A name that every view has for something else gets a `_` behind it.
    """
    if name in HTTP_ALIASES:
        return HTTP_ALIASES[name]
    column = ALIASES.get(name, "")
    if column in LABEL_COLUMNS:
        return column
    word = _word(name)
    if word.startswith("__"):
        word = f"_{word.lstrip('_')}"
    return f"{word}_" if word in RESERVED_COLUMNS else word


def metric_name(name: str) -> str:
    """The metric that an instrument becomes: lower case, `_` for whatever is not a word."""
    return _word(name.lower())


def label_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Values by label, sorted by label. Attributes that become one label have their values joined by `;`."""
    found: dict[str, str] = {}
    for name, value in sorted(pairs):
        label = label_name(name)
        found[label] = f"{found[label]};{value}" if label in found else value
    return dict(sorted(found.items()))


def _word(name: str) -> str:
    word = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    if word[0].isdigit():
        word = f"_{word}"
    if len(word) > MAX_NAME:  # cut short, two names could become one
        from hashlib import blake2b  # dear to load, and hardly ever needed

        digest = blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
        word = f"{word[: MAX_NAME - 9]}_{digest}"
    return word
