"""Names: what senders call metrics and tags, as names that can travel. The same text always gives the same name. Pure."""

from __future__ import annotations

import re

from streamgauge.console.gateway_account import Refusal
from streamgauge.producers.metrics import MAX_NAME
from streamgauge.producers.text import unicode
from streamgauge.schemas.contracts import RESERVED_COLUMNS

RESERVED = ("streamgauge_gateway_", "streamgauge_producer_")
"""Metrics of the gateway itself, and of every producer itself, begin so."""
MAX_VALUE = 256
MAX_LABEL_NAME = 100
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9_.]")
_NOT_OF_LABELS = re.compile(r"[^A-Za-z0-9_]")
_MILLISECONDS = re.compile(r"[._](?:ms|millis|msecs?|milliseconds)$")
_SECONDS = re.compile(r"(?:^|[._])(?:s|secs?|seconds)$")


def metric_name(text: str) -> str:
    """A metric's name; empty when nothing can be made of `text`. Dots stay, all else that is no letter, digit or _ is _."""
    name = text if text.isidentifier() and text.isascii() else _NOT_OF_NAMES.sub("_", text)
    if name[:1].isdigit():
        name = f"_{name}"
    return name if 0 < len(name) <= MAX_NAME and name.strip("_.") else ""


def senders_name(text: str) -> str:
    """The name of a sender's metric. Raises Refusal: `bad_name`, or `reserved_name` for one of ours."""
    name = metric_name(text)
    if not name:
        raise Refusal("bad_name")
    if name.startswith(RESERVED):
        raise Refusal("reserved_name")
    return name


def seconds_name(name: str) -> str:
    """The name of a timer that was sent in milliseconds and is kept in seconds: `db.query_ms` is `db.query_seconds`."""
    bare = _MILLISECONDS.sub("", name)
    return bare if _SECONDS.search(bare) else f"{bare}_seconds"[:MAX_NAME]


def label_name(text: str) -> str:
    """A tag's name; empty when nothing can be made of `text`. A name that every view has gets a _ behind it."""
    name = _NOT_OF_LABELS.sub("_", text)[:MAX_LABEL_NAME]
    if not name.strip("_"):
        return ""
    if name[0].isdigit():
        name = f"_{name}"
    elif name.startswith("__"):
        name = f"_{name.lstrip('_')}"
    return f"{name}_" if name in RESERVED_COLUMNS else name


def label_value(text: str) -> str:
    """A tag's value, cut at a length that no name of anything has."""
    return unicode(text[:MAX_VALUE])
