"""Inbox: keys that nobody has told of yet, with what became of them and how a value looks. It never holds a value.

A worker tells of each (family, key, rule) once a day, so that it costs nothing while nothing is new. What it tells of is
bounded: for a worker, and for a transaction. What is told of twice is the same, so forgetting does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable

from streamgauge.schemas.key_notes import MAX_NOTE_TEXT, KeyNote
from streamgauge.schemas.shapes import shape

CAPACITY, PER_TRANSACTION = 50_000, 100
Seen = tuple[str, str, str]
"""Family, key and rule."""
Clean = Callable[[str], str]

_WORD = "[A-Za-z]{1,30}(?:[0-9]{1,3}[A-Za-z]{0,10})?"
_NAME = re.compile(rf"_{{0,2}}{_WORD}(?:[._\-]{{1,2}}(?:{_WORD}|[0-9]{{1,3}}[A-Za-z]{{0,2}})){{0,9}}", re.ASCII)


def shown(name: str, clean: Clean) -> str:
    """The name of a key as it may be told: itself where it looks like a name that somebody gave to a field and is not
    personal, else its shape. So names that are made of ids are one."""
    if _NAME.fullmatch(name) and clean(name) == name:
        return name
    return shape(name)


class Inbox:
    """Which keys one worker has told of, and on which day. One thread at a time."""

    def __init__(self, capacity: int = CAPACITY, per_transaction: int = PER_TRANSACTION) -> None:
        self.per_transaction = per_transaction
        self.told: dict[Seen, int] = {}
        self.marks: dict[Hashable, int] = {}
        self._capacity = capacity
        self._swept = -1

    def forget(self) -> None:
        """Tell of everything anew: what was told may not have arrived, or must not be remembered."""
        self.told.clear()
        self.marks.clear()

    def room(self, day: int) -> bool:
        """Whether one more key can be remembered. Those of earlier days make room."""
        if len(self.told) >= self._capacity and self._swept != day:
            self._swept = day
            self.told = {seen: told for seen, told in self.told.items() if told == day}
        return len(self.told) < self._capacity


class Notices:
    """What one transaction tells of. `dropped` counts what there was no room for; it is told of when it comes again."""

    def __init__(self, inbox: Inbox, clean: Clean) -> None:
        self.notes: list[KeyNote] = []
        self.dropped = 0
        self._inbox = inbox
        self._clean = clean

    @property
    def full(self) -> bool:
        """Whether this transaction tells of nothing more."""
        return len(self.notes) >= self._inbox.per_transaction

    def known(self, family: str, key: str, rule: str, day: int) -> bool:
        """Whether this was told of on this day: all that is asked while nothing is new."""
        return self._inbox.told.get((family, key, rule)) == day

    def marked(self, what: Hashable, day: int) -> bool:
        """Whether all of something was told of on this day, such as every label of a metric."""
        return self._inbox.marks.get(what) == day

    def mark(self, what: Hashable, day: int) -> None:
        """All of it is told of."""
        if len(self._inbox.marks) >= CAPACITY:
            self._inbox.marks.clear()
        self._inbox.marks[what] = day

    def new(self, family: str, key: str, rule: str, day: int) -> bool:
        """Whether there is this to tell of, and room. What there is no room for is counted."""
        if self.known(family, key, rule, day):
            return False
        name = self._shown(key)
        if name != key and self.known(family, name, rule, day):
            return False
        inbox = self._inbox
        fits = not self.full and ((family, name, rule) in inbox.told or inbox.room(day))
        self.dropped += not fits
        return fits

    def note(self, family: str, key: str, rule: str, day: int, example: str = "", more: str = "") -> bool:
        """Tell of a key, of whose values `example` is one, unless it was told of. `more` is added to the rule that is told.
        False when there is no room."""
        if not self.new(family, key, rule, day):
            return self.known(family, key, rule, day) or self.known(family, self._shown(key), rule, day)
        name, told = self._shown(key), f"{rule}:{more}" if more else rule
        self._inbox.told[family, name, rule] = day
        self.notes.append(KeyNote(family[:MAX_NOTE_TEXT], name, told[:MAX_NOTE_TEXT], shape(example)))
        return True

    def _shown(self, key: str) -> str:
        return shown(key, self._clean)[:MAX_NOTE_TEXT]
