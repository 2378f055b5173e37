"""StatsD lines: what one line of StatsD, DogStatsD (1.0 to 1.3) or Telegraf says, checked and as values. Pure.

Tags stay text: most lines repeat them, so whoever records looks them up before reading them (`statsd_tags`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import NamedTuple

MIN_RATE = 1e-6
"""A sample stands for a million at most."""
TYPES = frozenset({"c", "m", "ms", "g", "h", "d", "s"})
ORIGIN = ("c:", "e:", "card:")
"""Sections that say which container sent a line. There is nobody here to resolve them: they are ignored."""
ALERTS = ("error", "warning", "info", "success")
PRIORITIES = ("normal", "low")
CHECKS = ("ok", "warning", "critical", "unknown")
_EVENT = re.compile(rb"_e\{(\d{1,7}),(\d{1,7})\}:")


class LineRefused(Exception):
    """This line cannot be used; `reason` is the word it is counted under. The line itself is nowhere in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sample(NamedTuple):
    """Values of one metric (a tuple, because one is made for every line).

    `texts` are the values as they stand there; `numbers` the same as finite numbers, none for a set. `name` may carry Influx
    tags, `tags` is what stood behind `#`. `at_s` is 0 where the line has no time; `unknown` counts sections ignored.
    """

    name: str
    type: str
    texts: tuple[str, ...]
    numbers: tuple[float, ...]
    rate: float = 1.0
    tags: str = ""
    at_s: int = 0
    unknown: int = 0
    datadog: bool = False


class StatsdEvent(NamedTuple):
    """An event without its free text, which is nobody's business here."""

    alert_type: str
    priority: str
    source: str
    tags: str = ""
    at_s: int = 0
    unknown: int = 0


class ServiceCheck(NamedTuple):
    """The state of a service, without host and message."""

    name: str
    status: str
    tags: str = ""
    at_s: int = 0
    unknown: int = 0


Parsed = Sequence[Sample] | StatsdEvent | ServiceCheck


def parse(line: bytes) -> Parsed:
    """Read one line without its newline. Raises LineRefused, and nothing else, whatever the bytes are."""
    if line.startswith(b"_e{"):
        return _event(line)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise LineRefused("not_utf8") from None
    if text.startswith("_sc|"):
        return _check(text)
    name, colon, rest = text.partition(":")
    if not name:
        raise LineRefused("no_name")
    if not colon:
        raise LineRefused("no_value")
    sections = rest.split("|")
    if len(sections) < 2:
        raise LineRefused("no_type")
    kind = sections[1]
    if ":" in kind:
        return _telegraf(name, sections)
    rate, tags, at_s, unknown, datadog = 1.0, "", 0, 0, False
    for section in sections[2:]:
        first = section[:1]
        if first == "#":
            tags, datadog = section[1:], True
        elif first == "@":
            if ":" in section:
                return _telegraf(name, sections)
            rate = _rate(section[1:])
        elif section.startswith(ORIGIN):
            datadog = True
        elif first == "T":
            at_s, datadog = seconds(section[1:]), True
        else:
            unknown += 1
    return (_sample(name, sections[0], kind, rate, tags, at_s, unknown, datadog),)


def _telegraf(name: str, sections: list[str]) -> Sequence[Sample]:
    found: list[tuple[str, str, float]] = []
    tags, at_s, unknown, datadog = "", 0, 0, False
    values, more, rest = sections[0], True, iter(sections[1:])
    while more:
        # Telegraf's `name:1|c|@0.1:200|ms` goes on behind a colon in a type or in a rate, and nowhere else
        kind, more, following = _split(next(rest, ""))
        rate = 1.0
        while not more and (section := next(rest, None)) is not None:
            if section.startswith("@"):
                text, more, following = _split(section[1:])
                rate = _rate(text)
            elif section.startswith("#"):
                tags, datadog = section[1:], True
            elif section.startswith(ORIGIN):
                datadog = True
            elif section.startswith("T"):
                at_s, datadog = seconds(section[1:]), True
            else:
                unknown += 1
        found.append((values, kind, rate))
        values = following
    samples = [_sample(name, values, kind, rate, tags, at_s, 0, datadog) for values, kind, rate in found]
    samples[0] = samples[0]._replace(unknown=unknown)
    return samples


def _split(text: str) -> tuple[str, bool, str]:
    head, colon, tail = text.partition(":")
    return head, bool(colon), tail


def _sample(
    name: str,
    values: str,
    kind: str,
    rate: float = 1.0,
    tags: str = "",
    at_s: int = 0,
    unknown: int = 0,
    datadog: bool = False,
) -> Sample:
    if kind not in TYPES:
        raise LineRefused("unknown_type" if kind else "no_type")
    if kind == "s":
        if not values:
            raise LineRefused("no_value")
        return Sample(name, kind, (values,), (), rate, tags, at_s, unknown, datadog)
    if ":" not in values:
        return Sample(name, kind, (values,), (_number(values),), rate, tags, at_s, unknown, datadog)
    texts = tuple(values.split(":"))
    return Sample(name, kind, texts, tuple(map(_number, texts)), rate, tags, at_s, unknown, datadog)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise LineRefused("bad_value" if text else "no_value") from None
    # float() also reads 1_000 and surrounding blanks, which no client writes
    if "_" in text or text[0].isspace() or text[-1].isspace():
        raise LineRefused("bad_value")
    if not isfinite(number):
        raise LineRefused("not_finite")
    return number


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        raise LineRefused("bad_rate") from None
    if not MIN_RATE <= rate <= 1:
        raise LineRefused("bad_rate")
    return rate


def seconds(text: str) -> int:
    """A Unix time. Raises LineRefused."""
    if not (text.isdecimal() and text.isascii() and len(text) <= 10):
        raise LineRefused("bad_time")
    return int(text)


def _event(line: bytes) -> StatsdEvent:
    # lengths are in bytes, and a title may hold what elsewhere separates sections
    match = _EVENT.match(line)
    if match is None:
        raise LineRefused("bad_event")
    title_end = match.end() + int(match[1])
    text_end = title_end + 1 + int(match[2])
    rest = line[text_end:]
    if len(line) < text_end or line[title_end : title_end + 1] != b"|" or (rest and not rest.startswith(b"|")):
        raise LineRefused("bad_event")
    try:
        sections = rest[1:].decode().split("|") if rest else []
    except UnicodeDecodeError:
        raise LineRefused("not_utf8") from None
    alert_type, priority, source, tags, at_s, unknown = "info", "normal", "", "", 0, 0
    for section in sections:
        if section.startswith("t:") and section[2:] in ALERTS:
            alert_type = section[2:]
        elif section.startswith("p:") and section[2:] in PRIORITIES:
            priority = section[2:]
        elif section.startswith("s:"):
            source = section[2:]
        elif section.startswith("d:"):
            at_s = seconds(section[2:])
        elif section.startswith("#"):
            tags = section[1:]
        elif not section.startswith((*ORIGIN, "h:", "k:")):
            unknown += 1
    return StatsdEvent(alert_type, priority, source, tags, at_s, unknown)


def _check(text: str) -> ServiceCheck:
    # the message comes last and may hold anything
    _, name, *sections = text.partition("|m:")[0].split("|")
    if not name:
        raise LineRefused("no_name")
    if not sections or sections[0] not in {"0", "1", "2", "3"}:
        raise LineRefused("bad_check")
    tags, at_s, unknown = "", 0, 0
    for section in sections[1:]:
        if section.startswith("d:"):
            at_s = seconds(section[2:])
        elif section.startswith("#"):
            tags = section[1:]
        elif not section.startswith((*ORIGIN, "h:")):
            unknown += 1
    return ServiceCheck(name, CHECKS[int(sections[0])], tags, at_s, unknown)


def lines(packet: bytes) -> Iterator[bytes]:
    """The lines of a packet, without empty ones and without carriage returns."""
    for line in packet.split(b"\n"):
        if stripped := line.strip(b"\r\0 "):
            yield stripped
