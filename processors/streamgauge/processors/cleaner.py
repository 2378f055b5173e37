"""Cleaner: what labels and fields become before anything is grouped: replaced, made coarse or scanned, as policies say.

It works on distinct values and remembers names, policies and coarse values, all bounded and never beyond the process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from streamgauge.processors.detectors import UNCHECKED
from streamgauge.processors.detectors_text import MAX_CHARS
from streamgauge.processors.scrub import Scrubber
from streamgauge.schemas.columns import Array, Strings
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.generalise import SCANNED, UNKNOWN, generalise
from streamgauge.schemas.privacy import Action, Policy, compile_policy, label_action, rules_version
from streamgauge.schemas.stock_classes import GENERALISE, REPLACE, SCAN

UNKNOWN_RULE, PERSONAL_NAME = "unknown_value", "personal_name"
"""Rules under which values are counted that a coarse form could not be made of, and names that hold personal data."""
MAX_NAMES, MAX_POLICIES, MAX_COARSE = 100_000, 1_000, 100_000
MAX_KEPT = 256
CUT = "cut"
"""The rule under which free texts are counted of which only the beginning was kept."""
MAX_TEXT = 1_024
MARGIN = 512
"""What stood where a text was cut before it was searched may be half of something: so much before that place goes too."""

Cleaned = tuple[str, tuple[str, ...]]

_JOINTS = re.compile(r"[._]+")
_LOOSE_JOINTS = re.compile(r"_+|(?<!\d)\.|\.(?!\d)")
_ADDRESS = re.compile(
    r"(?:ip|host|addr|address|client|peer|from|user|node|of)_(\d{1,3})_(\d{1,3})_(\d{1,3})_(\d{1,3})(?![_.]?\d)"
)
_MAIL = re.compile(
    r"[a-z0-9]_(?:at_(?:[a-z0-9]{1,63}_){1,4}|(?:gmail|googlemail|yahoo|hotmail|outlook|icloud|protonmail|gmx|aol)_)"
    r"(?:com|org|net|edu|gov|info|biz|example|test|local|internal|corp|co|de|fr|uk|eu|au|nz|jp|cn|nl|ch|se|dk|fi|pl|es|ca|br|ru)"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
ADDRESS = "somebody@example.com"
"""What a name with an address in it is taken for; detectors know it."""


def _readings(name: str) -> Iterator[str]:
    """What detectors may make of a name: as it is, and with blanks, dots and an @ where it can only have `_` and `.`."""
    yield name
    if _MAIL.search(name):
        yield ADDRESS
    if any(map(str.isdigit, name)):
        yield _JOINTS.sub(" ", name).strip()
        yield _LOOSE_JOINTS.sub(" ", name).strip()
        if address := _ADDRESS.search(name):
            yield ".".join(address.groups())


class Cleaner:
    """Cleans by name and by value."""

    def __init__(self, scrubber: Scrubber) -> None:
        self.scrubber = scrubber
        self._labels: dict[str, Action] = {}
        self._names: dict[str, bool] = {}
        self._policies: dict[int, tuple[Contract, Policy]] = {}
        self._coarse: dict[tuple[str, str], Cleaned] = {}
        self.label_policy = f"l1-{rules_version(scrubber.edition)}"
        """The version of what labels of metrics become, which no contract declares."""

    def forget(self) -> None:
        """Forget every value and name, as when a key ends: what was seen under it must not outlive it."""
        for memory in (self._labels, self._names, self._coarse):
            memory.clear()

    def policy(self, contract: Contract) -> Policy:
        """The policy of a contract, compiled once."""
        # by identity: a contract is no key, and one that is replaced is another object
        found = self._policies.get(id(contract))
        if found is None or found[0] is not contract:
            if len(self._policies) >= MAX_POLICIES:
                self._policies.clear()
            found = self._policies[id(contract)] = contract, compile_policy(contract, self.scrubber.edition)
        return found[1]

    def label(self, name: str, text: str) -> Cleaned:
        """The clean value of a metric's or context's label, and the rules that changed it."""
        return self.value(self._action(name), text)

    def plan(self, names: Sequence[str]) -> list[tuple[str, int, Callable[[str], Cleaned]]]:
        """For each label that keeps its name: the name, the place of its values in a series, and what cleans them."""
        kept = [(name, place, self._action(name)) for place, name in enumerate(names, 1) if not self.personal(name)]
        scan = self.scrubber.value
        return [
            (name, place, scan if one.kind == SCAN and not one.hint else partial(self.value, one))
            for name, place, one in kept
        ]

    def _action(self, name: str) -> Action:
        action = self._labels.get(name)
        if action is None:
            if len(self._labels) >= MAX_NAMES:
                self._labels.clear()
            action = self._labels[name] = label_action(name)
        return action

    def value(self, action: Action, text: str) -> Cleaned:
        """The clean value under an action, and the rules that changed it. An empty value stays empty."""
        if not text:
            return "", ()
        if action.kind == REPLACE:
            return f"[{action.rule}]", (action.rule,)
        if action.kind == GENERALISE:
            return self._generalised(action.rule, text)
        return self.scrubber.value(text, action.hint)

    def dictionary(self, action: Action, values: Sequence[str | None], index: Array) -> tuple[list[str], Counter[str]]:
        """Clean values (a missing one is empty) of a dictionary column, and rows changed by rule."""
        if action.kind not in {REPLACE, GENERALISE}:
            return self.scrubber.dictionary(values, index, action.hint)
        both = [self.value(action, value or "") for value in values]
        return [text for text, _ in both], _rows_by_rule(both, index)

    def text(self, action: Action, text: str) -> Cleaned:
        """What is kept of a free text: at most `MAX_TEXT` characters, clean. No free text is remembered."""
        head = text[:MAX_CHARS]
        clean, rules = self.scrubber.text(head, action.hint) if action.kind == SCAN else self.value(action, head)
        most = MAX_TEXT if len(head) == len(text) else max(0, min(MAX_TEXT, len(clean) - MARGIN))
        if len(clean) <= most:
            return clean, rules
        # where it was cut, half of something harmless may look like something else
        clean, more = self.scrubber.text(clean[:most], action.hint)
        return clean[:MAX_TEXT], tuple(dict.fromkeys((*rules, *more, CUT)))

    def texts(self, action: Action, column: Strings) -> tuple[Strings, Counter[str]]:
        """A column of free texts, each as `text` keeps it, and rows changed by rule. Only what a row points at is looked at."""
        used, index = np.unique(column.index, return_inverse=True)
        both = [self.text(action, column.dictionary[int(entry)] or "") for entry in used]
        return Strings([clean or None for clean, _ in both], index), _rows_by_rule(both, index)

    def personal(self, name: str) -> bool:
        """Whether the name of a metric, an event or a label holds personal data itself, such as a card's number.

        Names have no blanks, so what detectors look for is written with `_` and `.` in them.
        """
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            rules = {rule for text in _readings(name) for rule in self.scrubber.value(text)[1]}
            found = bool(rules)
            if UNCHECKED not in rules:  # else the next batch may know better
                self._names[name] = found
        return found

    def name(self, name: str) -> str:
        """The name, or what may be shown for one that is personal."""
        return f"[{PERSONAL_NAME}]" if name and self.personal(name) else name

    def _generalised(self, rule: str, text: str) -> Cleaned:
        key = (rule, text)
        found = self._coarse.get(key)
        if found is None:
            coarse = generalise(rule, text)
            rules: tuple[str, ...] = (UNKNOWN_RULE,) if coarse == UNKNOWN else (rule,) if coarse != text else ()
            if rule in SCANNED and coarse != UNKNOWN:
                coarse, more = self.scrubber.value(coarse)
                rules += more
            found = coarse, rules
            if len(text) <= MAX_KEPT and UNCHECKED not in rules:
                if len(self._coarse) >= MAX_COARSE:
                    self._coarse.clear()
                self._coarse[key] = found
        return found


def _rows_by_rule(cleaned: Sequence[Cleaned], index: Array) -> Counter[str]:
    """How many rows each rule changed: row r has the entry `cleaned[index[r]]`."""
    changed: Counter[str] = Counter()
    rows = np.bincount(index, minlength=len(cleaned))
    for position, (_, rules) in enumerate(cleaned):
        for rule in rules:
            changed[rule] += int(rows[position])
    return changed
