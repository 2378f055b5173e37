"""Names: what senders call metrics, as the gateway takes it. Words and labels are those of every part (schemas). Pure."""

from __future__ import annotations

import re

from streamgauge.console.gateway_account import Refusal
from streamgauge.producers.text import unicode
from streamgauge.schemas.names import word

RESERVED = ("streamgauge_gateway_", "streamgauge_producer_")
"""Metrics of the gateway itself, and of every producer itself, begin so."""
MAX_VALUE = 256
_MILLISECONDS = re.compile(r"_(?:ms|millis|msecs?|milliseconds)$")
_SECONDS = re.compile(r"(?:^|_)(?:s|secs?|seconds)$")


def senders_name(name: str) -> str:
    """`name` as a sender's metric: a word. Raises Refusal: `bad_name` if it says nothing, `reserved_name` for one of ours."""
    found = word(name)
    if not found.strip("_"):
        raise Refusal("bad_name")
    if found.startswith(RESERVED):
        raise Refusal("reserved_name")
    return found


def seconds_name(name: str) -> str:
    """The name of a timer that was sent in milliseconds and is kept in seconds: `db_query_ms` is `db_query_seconds`."""
    bare = _MILLISECONDS.sub("", name)
    return bare if _SECONDS.search(bare) else word(f"{bare}_seconds")


def label_value(text: str) -> str:
    """A tag's value, cut at a length that no name of anything has."""
    return unicode(text[:MAX_VALUE])


def shown_name(text: str) -> str:
    """The name of a set or check as a value, which may hold dots. Raises Refusal as `senders_name` does."""
    senders_name(text)
    return label_value(text)
