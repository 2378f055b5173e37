"""OTLP resources as contexts: which attributes say who sends. Pure."""

from __future__ import annotations

from streamgauge.console.otlp_model import Attributes
from streamgauge.producers.settings import OTEL_ATTRIBUTES

INSTANCE_INSTEAD = ("k8s.pod.name", "container.id", "host.name", "host.id")
"""What tells instances apart where the sender gives no service.instance.id, the best first."""


def context_of(resource: Attributes) -> Attributes:
    """The context in canonical names, sorted. Everything else that a resource says is not kept."""
    given = dict(resource)
    found: dict[str, str] = {}
    for attribute, name in OTEL_ATTRIBUTES.items():
        if value := given.get(attribute):
            found.setdefault("region" if name == "cloud_region" else name, value)
    if "instance" not in found:
        place = next((given[name] for name in INSTANCE_INSTEAD if given.get(name)), "")
        process = given.get("process.pid", "")
        if instead := "-".join(part for part in (place, process) if part):
            found["instance"] = instead
    return tuple(sorted(found.items()))
