"""Scrubbing: every value of a batch is cleaned before anything is grouped, so series that become equal merge exactly.

It works on the distinct values of a batch, and remembers what it has seen: telemetry repeats itself.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, NoReturn, cast

import numpy as np

from streamgauge.processors.detectors import UNCHECKED, Rules, standard_rules
from streamgauge.processors.detectors_context import HINTS
from streamgauge.processors.detectors_rule import Detector
from streamgauge.schemas.columns import Array

Scrubbed = tuple[str, tuple[str, ...]]
MAX_KEPT = 256
BATCH_VALIDATIONS = 2_000
FAILED = "failed"


class _Verdict(NamedTuple):
    """What became of a value: `clean` is None where it stays as it is. `validations` is what it costs the batch."""

    clean: str | None
    rules: tuple[str, ...]
    validations: int


INNOCENT = _Verdict(None, (), 0)
"""Nothing was found, and no library was called: the next time it costs the batch nothing either."""


class Scrubber:
    """Cleans free text by the detectors. Remembers about `capacity` values that are not long, then starts anew.

    What it knows lives in this process only: values in which nothing was found, and of all others a keyed hash with what
    became of them. It cannot be pickled. A value that a detector fails on is dropped, never passed on. One thread at a time.
    """

    def __init__(
        self,
        capacity: int = 200_000,
        detectors: Sequence[Detector] | None = None,
        validations: int = BATCH_VALIDATIONS,
    ) -> None:
        self._capacity = capacity
        self._rules = standard_rules() if detectors is None else Rules(detectors)
        self._validations = validations
        self._left: int | None = None
        self._innocent: dict[str, dict[str | None, str]] = {}
        self._changed: dict[bytes, _Verdict] = {}
        self.forget()

    @property
    def edition(self) -> str:
        """Tells its detectors from those of another edition."""
        return self._rules.edition

    def forget(self) -> None:
        """Remember nothing. To be called when a key is destroyed, and whenever values must not stay in memory."""
        self._innocent.clear()
        self._changed.clear()
        self._size = 0
        salt = os.urandom(32)
        self._keyed = {hint: blake2b(digest_size=16, key=salt, person=hint.encode()) for hint in HINTS}

    def new_batch(self) -> None:
        """From here on, values cost calls of libraries from a new account. Without one ever, each column has its own.

        When an account is used up, values that would need such a call become `[unchecked]` until the next batch. What is
        remembered costs the same as what is not, so that a batch that comes again becomes what it became.
        """
        self._left = self._validations

    def value(self, text: str, hint: str = "") -> Scrubbed:
        """The clean text and the rules that changed it. `hint`, one of `HINTS`, is what its key's name says about it."""
        known = self._innocent.get(hint) or self._known(hint)
        clean = known.get(text)
        return (clean, ()) if clean is not None else self._look_at(text, hint)

    def text(self, text: str, hint: str = "") -> Scrubbed:
        """As `value`, for what people wrote: it does not come again, and nothing of it is remembered."""
        return self._charged(self._judge(text, hint), text) if text else ("", ())

    def dictionary(self, values: Sequence[str | None], index: Array, hint: str = "") -> tuple[list[str], Counter[str]]:
        """Clean values (a missing one is empty) of a dictionary column, and rows changed by rule."""
        changed: Counter[str] = Counter()
        cleaned: list[str | None] = list(map(self._known(hint).get, values))
        if None in cleaned:
            alone = self._left is None
            if alone:
                self.new_batch()
            try:
                self._look_at_column(values, hint, cleaned, index, changed)
            finally:
                if alone:
                    self._left = None
        return cast("list[str]", cleaned), changed

    def __reduce__(self) -> NoReturn:
        raise TypeError("a scrubber remembers what must not leave this process; make one where it is needed")

    def _look_at_column(
        self, values: Sequence[str | None], hint: str, cleaned: list[str | None], index: Array, changed: Counter[str]
    ) -> None:
        rows: list[int] = []
        for position, clean in enumerate(cleaned):
            if clean is None:
                cleaned[position], rules = self._look_at(values[position] or "", hint)
                if rules:
                    rows = rows or np.bincount(index, minlength=len(values)).tolist()
                    for rule in rules:
                        changed[rule] += rows[position]

    def _known(self, hint: str) -> dict[str | None, str]:
        known = self._innocent.get(hint)
        if known is None:
            if hint not in HINTS:
                raise ValueError(f"{hint!r} is no hint; there are {', '.join(sorted(HINTS - {''}))}, and the empty one")
            known = self._innocent[hint] = {None: "", "": ""}
        return known

    def _look_at(self, text: str, hint: str) -> Scrubbed:
        if len(text) > MAX_KEPT:
            return self._charged(self._judge(text, hint), text)
        try:
            suspects = self._rules.suspects(text, hint)
        except Exception:  # it is asked again below, where failing has its place
            suspects = None
        if suspects == ():
            return self._innocently(text, hint)
        keyed = self._keyed[hint].copy()
        keyed.update(text.encode("utf-8", "surrogatepass"))
        digest = keyed.digest()
        verdict = self._changed.get(digest)
        if verdict is None or (self._left is not None and verdict.validations > self._left):
            verdict = self._judge(text, hint, suspects)
            if verdict is INNOCENT:
                return self._innocently(text, hint)
            if self._size >= self._capacity:
                self.forget()  # and the salt, so that this one cannot be remembered
            elif verdict.rules != (UNCHECKED,):
                self._size += 1
                self._changed[digest] = verdict
        return self._charged(verdict, text)

    def _innocently(self, text: str, hint: str) -> Scrubbed:
        if self._size >= self._capacity:
            self.forget()
        self._size += 1
        self._known(hint)[text] = text
        return text, ()

    def _charged(self, verdict: _Verdict, text: str) -> Scrubbed:
        if self._left is not None:
            self._left = max(0, self._left - verdict.validations)
        return text if verdict.clean is None else verdict.clean, verdict.rules

    def _judge(self, text: str, hint: str, suspects: tuple[int, ...] | None = None) -> _Verdict:
        try:
            clean, rules, validations = self._rules.scrub(text, hint, self._left, suspects)
        except Exception:  # whatever is wrong with a detector, its text must not go on
            clean, rules, validations = f"[{FAILED}]", (FAILED,), 0
        if not rules and not validations:
            return INNOCENT
        return _Verdict(clean if rules else None, rules, validations)


def merge_counts(into: Counter[str], more: Mapping[str, int]) -> None:
    """Add counts by name."""
    for name, count in more.items():
        into[name] += count
