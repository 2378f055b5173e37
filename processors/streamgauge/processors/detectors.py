"""Detectors: personal data and secrets in free text, recognised by form, checksum and context.

One automaton asks all rules at once, in linear time; only what it points at is looked at closely. What is found is
replaced by its rule's name in brackets, so that scrubbing twice changes nothing. Nothing here asks the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b

from streamgauge.processors.detectors_addresses import INTERFACES, MACHINES, MAIL
from streamgauge.processors.detectors_cards import CARDS
from streamgauge.processors.detectors_context import CONTEXT, SHAPES, is_hinted, quiet
from streamgauge.processors.detectors_gate import Gate
from streamgauge.processors.detectors_ids import IDS
from streamgauge.processors.detectors_phones import PHONES
from streamgauge.processors.detectors_rule import OPAQUE, Detector, Look, Tangled, Unchecked
from streamgauge.processors.detectors_secrets import SECRETS
from streamgauge.processors.detectors_text import ENCODED, MAX_CHARS, decoded, folded

DETECTORS: tuple[Detector, ...] = (*SECRETS, *CONTEXT, *MAIL, *IDS, *CARDS, *MACHINES, *INTERFACES, *PHONES)
MAX_PASSES = 4
"""What is replaced may have hidden its neighbour. Text that needs more passes was made to be difficult."""
EDITION = 2
"""Raised when detectors find something else though no pattern of theirs has changed."""
TOO_LONG, TANGLED, UNCHECKED = "too_long", "tangled", "unchecked"
Found = tuple[str, tuple[str, ...], int]
"""The clean text, the rules that found something in it, and the calls of libraries that it took."""


class Rules:
    """Detectors behind their gate. Cleans texts; may be shared by threads."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)
        self._encoded = len(self._detectors)
        gate = Gate([*(one.gates for one in detectors), ENCODED])
        said = [OPAQUE.pattern, *((one.rule, one.gates, one.pattern.pattern) for one in detectors)]
        self.edition = blake2b(f"{EDITION} {said}".encode(), digest_size=4).hexdigest()
        """Tells one edition of the detectors from another: equal editions make the same of every text."""
        self._match, self._rules = gate.match, gate.rules

    def suspects(self, text: str, hint: str = "") -> tuple[int, ...] | None:
        """What the gate says: nothing at all if the text is innocent, None if it must be asked again in another form.

        Raises GateFailed.
        """
        if len(text) > MAX_CHARS or not text.isascii():
            return None
        found = self._match(text.encode())
        if len(found) != 1:
            return self._rules(found)
        return () if not hint or hint not in SHAPES else None

    def scrub(
        self, text: str, hint: str = "", budget: int | None = None, suspects: tuple[int, ...] | None = None
    ) -> Found:
        """As `scrub_text`. With a `budget` of calls of libraries, what needs more is dropped. `suspects` as they were told."""
        if len(text) > MAX_CHARS:
            return f"[{TOO_LONG}]", (TOO_LONG,), 0
        numbers = self.suspects(text, hint) if suspects is None else suspects
        if numbers == ():
            return text, (), 0
        look = Look(text, hint, budget)
        try:
            return self._scrub(look, numbers)
        except Tangled:
            return f"[{TANGLED}]", (TANGLED,), look.validations
        except Unchecked:
            return f"[{UNCHECKED}]", (UNCHECKED,), look.validations

    def _which(self, text: str) -> tuple[int, ...]:
        return self._rules(self._match(text.encode("utf-8", "replace")))

    def _scrub(self, look: Look, numbers: tuple[int, ...] | None) -> Found:
        rules: list[str] = []
        for _ in range(MAX_PASSES):
            text = look.text
            found = self._once(look, numbers)
            if not found:
                return text, tuple(dict.fromkeys(rules)), look.validations
            if found == [TOO_LONG]:
                return f"[{TOO_LONG}]", (TOO_LONG,), look.validations
            rules += found
            numbers = None
        raise Tangled("too many passes")

    def _once(self, look: Look, numbers: tuple[int, ...] | None) -> list[str]:
        """Turn the look to a cleaner text, if there is one: as it is, else as it is when decoded. The rules that did."""
        text = folded(look.text)
        if len(text) > MAX_CHARS:
            return [TOO_LONG]
        if text is not look.text:
            look.turn_to(text)
        numbers = self._which(text) if numbers is None else numbers
        found = self._view(look, numbers)
        if found or self._encoded not in numbers:
            return found
        plain = decoded(text)
        if plain == text:
            return []
        if len(plain) > MAX_CHARS:
            return [TOO_LONG]
        look.turn_to(plain)
        return self._view(look, self._which(plain))

    def _view(self, look: Look, numbers: tuple[int, ...]) -> list[str]:
        hint = look.hint
        if hint and is_hinted(hint, look.text):
            look.turn_to(f"[{hint}]")
            return [hint]
        silent = quiet(hint, look.text) if hint else ()
        rules: list[str] = []
        for number in numbers:
            if number != self._encoded:
                detector = self._detectors[number]
                if detector.rule not in silent and detector.scrub(look):
                    rules.append(detector.rule)
        return rules


@cache
def standard_rules() -> Rules:
    """The rules in force, made once a process."""
    return Rules(DETECTORS)


def scrub_text(text: str, hint: str = "") -> tuple[str, tuple[str, ...]]:
    """The text without personal data and secrets, and the rules that found some. `hint`, one of `HINTS`, is what the key's
    name says about it. Text beyond `MAX_CHARS`, and text that was made to be difficult, is dropped whole.

    Other widths, invisible characters and one level of encoding hide nothing; text in which nothing is found comes back
    as it was.
    """
    clean, rules, _ = standard_rules().scrub(text, hint)
    return clean, rules
