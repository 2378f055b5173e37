"""StatsD tags: `#key:value,flag` and Influx's `name,key=value`, told apart into who sends and what is labelled. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from streamgauge.console.gateway_names import label_value
from streamgauge.schemas.names import ALIASES, label_values

SENDER = frozenset({"service", "environment", "version", "tenant", "region"})
"""What tags say of who sends, in whatever spelling: these become the context of a batch, not labels."""
FLAG = "true"
"""The value of a tag that has none."""


class Tags(NamedTuple):
    """Who sends, in canonical names, and the labels, sorted by name. `cut` counts values that had to change."""

    sender: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    cut: int = 0


def influx(name: str) -> tuple[str, str]:
    """A metric's own name, and the Influx tags behind it as text."""
    own, _, tags = name.partition(",")
    return own, tags


def read_tags(datadog: str, influx_tags: str = "") -> Tags:
    """All tags of a line. Of a tag that is there twice the last one counts."""
    sender: dict[str, str] = {}
    labels: dict[str, str] = {}
    cut = 0
    for key, value in (*_pairs(influx_tags, "="), *_pairs(datadog, ":")):
        text = label_value(value)
        cut += text != value
        canonical = ALIASES.get(key, key)
        if canonical in SENDER:
            sender[canonical] = text
        else:
            labels[key] = text
    return Tags(tuple(sorted(sender.items())), tuple(label_values(labels.items()).items()), cut)


def _pairs(text: str, separator: str) -> Iterator[tuple[str, str]]:
    for part in text.split(",") if text else ():
        key, found, value = part.partition(separator)
        if key:
            yield key, value if found else FLAG
