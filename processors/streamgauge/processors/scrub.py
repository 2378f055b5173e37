"""Scrubbing: every value of a batch is cleaned before anything is grouped, so series that become equal merge exactly.

It works on the distinct values of a batch, and remembers what it has seen: telemetry repeats itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from streamgauge.processors.detectors import DETECTORS, Detector, scrub_text
from streamgauge.schemas.columns import Array

Scrubbed = tuple[str, tuple[str, ...]]
MAX_KEPT = 256
FAILED = "failed"


class Scrubber:
    """Cleans free text by the detectors. Remembers about `capacity` values that are not long, then starts anew.

    A value that a detector fails on is dropped, never passed on.
    """

    def __init__(self, capacity: int = 200_000, detectors: Sequence[Detector] = DETECTORS) -> None:
        self._capacity = capacity
        self._detectors = detectors
        self._clean: dict[str | None, str] = {}
        self._rules: dict[str, tuple[str, ...]] = {}
        self._forget()

    def value(self, text: str, hint: str = "") -> Scrubbed:  # these detectors need no hint
        """The clean text and the rules that changed it. `hint` is what the name of the value lets expect."""
        clean = self._clean.get(text)
        return self._learn(text) if clean is None else (clean, self._rules.get(text, ()))

    def dictionary(self, values: Sequence[str | None], index: Array, hint: str = "") -> tuple[list[str], Counter[str]]:
        """Clean values (a missing one is empty) of a dictionary column, and rows changed by rule."""
        changed: Counter[str] = Counter()
        try:
            cleaned = list(map(self._clean.__getitem__, values))
            hits = [(position, value) for position, value in enumerate(values) if value in self._rules]
            found = [(position, self._rules[value or ""]) for position, value in hits]
        except KeyError:
            both = [self.value(value or "", hint) for value in values]
            cleaned = [text for text, _ in both]
            found = [(position, rules) for position, (_, rules) in enumerate(both) if rules]
        if found:
            rows = np.bincount(index, minlength=len(values))
            for position, rules in found:
                changed.update(dict.fromkeys(rules, int(rows[position])))
        return cleaned, changed

    def _learn(self, text: str) -> Scrubbed:
        try:
            clean, rules = scrub_text(text, self._detectors)
        except Exception:  # whatever is wrong with a detector, its text must not go on
            clean, rules = f"[{FAILED}]", (FAILED,)
        if len(text) <= MAX_KEPT:
            if len(self._clean) >= self._capacity:
                self._forget()
            self._clean[text] = clean
            if rules:
                self._rules[text] = rules
        return clean, rules

    def _forget(self) -> None:
        self._rules.clear()
        self._clean.clear()
        self._clean.update({None: "", "": ""})


def merge_counts(into: Counter[str], more: Mapping[str, int]) -> None:
    """Add counts by name."""
    for name, count in more.items():
        into[name] += count
