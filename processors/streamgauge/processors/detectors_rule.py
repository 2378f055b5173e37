"""Rules: what a detector is made of, and how much work one look at a text may cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from streamgauge.schemas.errors import StreamgaugeError

MAX_TRIES = 512
"""Candidates of one text that are looked at. A text with more was made to be difficult."""
MAX_VALIDATIONS = 64
"""Calls of a library that one text may cost."""

Span = tuple[int, int]
APART = "(?:^|[^0-9A-Za-z])"
ENDS = "(?:$|[^0-9A-Za-z])"
"""For gates: where no letter and no digit stands before. What may begin anywhere makes the automaton large, and slow."""


class Tangled(StreamgaugeError):
    """A text needs more work than one may cost. It is dropped whole."""


class Unchecked(StreamgaugeError):
    """A batch has no calls of libraries left. What would need one is dropped whole."""


@dataclass(slots=True)
class Look:
    """One look at one text: what its key says about it, and what the look has cost. `budget` is what the batch has left."""

    text: str
    hint: str = ""
    budget: int | None = None
    validations: int = 0
    tries: int = 0
    _masked: str | None = field(default=None, repr=False)

    def turn_to(self, text: str) -> None:
        """Look at another text, on the same account."""
        self.text, self._masked = text, None

    def validate(self) -> None:
        """To be called before every call of a library. Raises Tangled or Unchecked where there have been enough."""
        self.validations += 1
        if self.validations > MAX_VALIDATIONS:
            raise Tangled(f"one value asked for more than {MAX_VALIDATIONS} validations")
        if self.budget is not None and self.validations > self.budget:
            raise Unchecked("the batch has no validations left")

    def attempt(self) -> None:
        """To be called for every candidate. Raises Tangled where there have been enough."""
        self.tries += 1
        if self.tries > MAX_TRIES:
            raise Tangled(f"one value holds more than {MAX_TRIES} candidates")

    @property
    def masked(self) -> str:
        """The text with NUL in place of every character of what means nothing to anyone: UUIDs, hashes, instants."""
        if self._masked is None:
            self._masked = OPAQUE.sub(lambda match: "\0" * len(match[0]), self.text)
        return self._masked


OPAQUE = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
    # hashes, trace and span ids: hexadecimal of a usual length, in which a letter stands
    r"|(?=[0-9]{0,63}[A-Fa-f])(?:[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}"
    r"|[0-9A-F]{16}|[0-9A-F]{32}|[0-9A-F]{40}|[0-9A-F]{64})"
    # a W3C traceparent
    r"|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
    # a fingerprint: ten pairs or more
    r"|(?:[0-9A-Fa-f]{2}:){9,63}[0-9A-Fa-f]{2}"
    # ULID
    r"|[0-7](?=[0-9]{0,25}[A-HJKMNP-TV-Z])[0-9A-HJKMNP-TV-Z]{25}"
    # instants: dates with their times, and digits that are one
    r"|(?:19|20)\d\d[-/.](?:0[1-9]|1[0-2])[-/.](?:0[1-9]|[12]\d|3[01])"
    r"(?:[T _]?(?:[01]\d|2[0-4])(?:[:.\-]?[0-5]\d){0,2}(?:[.,]\d{1,9})?)?"
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])(?:[0-5]\d){2}(?:\d{3}|\d{6})?"
    r"|(?<!\+\d )(?<!\+\d\d )(?<!\+\d\d\d )(?<!\))(?<!\) )1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9})?"
    # ids that say what they are of
    r"|(?i:order|ord|invoice|inv|txn|trx|transaction|trace|span|sku|ref|req|request|ticket|case|job|build|batch|po|so|pod|uid|id)"
    r"[-_#]\d{5,32}"
    r")(?![0-9A-Za-z]|[-.:][0-9A-Fa-f]{2})"
)
"""Identifiers and instants: rules that rest on digits leave them alone."""

Confirm = Callable[[re.Match[str], Look], Span | None]


@dataclass(frozen=True, slots=True)
class Detector:
    """`pattern` finds candidates, `confirm` tells them from look-alikes and says which part of the text goes.

    `gates` are patterns of RE2, one of which holds wherever `pattern` does. Where `yields` holds, opaque identifiers are
    left alone. Candidates that are not confirmed may hide another one that begins within them, if `overlaps` holds.
    """

    rule: str
    gates: tuple[str, ...]
    pattern: re.Pattern[str]
    confirm: Confirm
    yields: bool = False
    overlaps: bool = False

    def scrub(self, look: Look) -> int:
        """Turn the look to its text with `[rule]` where something was found. How often it was.

        Raises Tangled and Unchecked.
        """
        text = searched = look.text
        match = self.pattern.search(text)
        if match is None:
            return 0
        if self.yields and look.masked != text:
            searched = look.masked
            match = self.pattern.search(searched)
        parts: list[str] = []
        done = 0
        while match is not None:
            look.attempt()
            start, end = match.span()
            at = start + 1 if self.overlaps or end == start else end
            span = self.confirm(match, look)
            if span is not None:
                parts += [text[done : span[0]], f"[{self.rule}]"]
                done = span[1]
                at = max(span[1], start + 1)
            match = self.pattern.search(searched, at)
        if parts:
            look.turn_to("".join([*parts, text[done:]]))
        return len(parts) // 2


def always(match: re.Match[str], _: Look) -> Span:
    """A confirmation that confirms: the group `x`, or everything."""
    return part(match)


def part(match: re.Match[str]) -> Span:
    """The span of the group `x` where the pattern has one, else of everything."""
    return match.span("x") if "x" in match.re.groupindex else match.span()


def when(predicate: Callable[[str], bool]) -> Confirm:
    """A confirmation by what the candidate is, without its surroundings."""

    def confirm(match: re.Match[str], _: Look) -> Span | None:
        span = part(match)
        return span if predicate(match.string[span[0] : span[1]]) else None

    return confirm
