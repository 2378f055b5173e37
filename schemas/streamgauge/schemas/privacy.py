"""Privacy: what becomes of each field of a contract, and of each label of a metric, decided once from names and classes.

A policy is a frozen value. Its `version` is the same wherever contract and rules are the same, and tells any two apart:
it can be stamped on what the policy made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from types import MappingProxyType

import orjson

from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.generalise import AGES, FAMILIES, SECRET_PARAMETERS
from streamgauge.schemas.key_names import FORMS, STATISTICS, hints, table, verdict
from streamgauge.schemas.packing import Json
from streamgauge.schemas.stock_classes import COARSE, GENERAL, GENERALISE, REPLACE, SCAN, STOCK, stock_class

CLOSED, PSEUDONYM, NUMBER, DROP = "closed", "pseudonym", "number", "drop"
"""Actions that only a contract can ask for, beside those of `stock_classes`."""
EDITION = 1
"""Raised when the code of the rules changes and their tables do not."""


@dataclass(frozen=True, slots=True)
class Action:
    """What becomes of a field's values. `rule` names the token that replaces them or the coarse form, `hint` what
    detectors may expect, and `why` says in a sentence what decided it."""

    kind: str
    rule: str = ""
    hint: str = ""
    why: str = ""

    def json(self) -> Json:
        """As a JSON object, without what is empty."""
        named = {"action": self.kind, "rule": self.rule, "hint": self.hint, "why": self.why}
        return {key: text for key, text in named.items() if text}


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of the fields of one version of an event. A field that is not in `actions` is dropped."""

    event: str
    contract: int
    version: str
    actions: Mapping[str, Action]
    residency: tuple[str, ...] = ()

    def action(self, field: str) -> Action:
        """What becomes of a field, declared or not."""
        return self.actions.get(field, UNDECLARED)

    def explain(self) -> Iterator[str]:
        """A line for each field: its action, rule and reason. There is no value in it."""
        for name, one in self.actions.items():
            rule = f" {one.rule}" if one.rule else ""
            yield f"{name}: {one.kind}{rule}: {one.why}"

    def json(self) -> Json:
        """As a JSON object."""
        return {
            "event": self.event,
            "contract": self.contract,
            "version": self.version,
            "fields": {name: one.json() for name, one in self.actions.items()},
        }


_SPOKEN: Mapping[str, str] = MappingProxyType(
    {
        "email": "an e-mail address",
        "phone": "a phone number",
        "card": "a payment card",
        "iban": "a bank account",
        "account": "a bank account",
        "national_id": "a national number",
        "passport": "a passport",
        "ip": "a network address",
        "secret": "a secret",
        "session": "a session",
        "device": "a device",
        "user": "a person",
        "name": "a person's name",
        "address": "where somebody lives",
        "birth": "somebody's birth",
        "sensitive": "a sensitive matter",
        "location": "a place on the map",
    }
)
UNDECLARED = Action(DROP, "unknown_field", why="the contract does not declare it")


def compile_policy(contract: Contract, detectors: str = "") -> Policy:
    """The policy of a contract. `detectors` is whatever tells one set of detectors from another."""
    actions = {name: _declared(name, one, contract.store_events) for name, one in contract.fields.items()}
    declared = orjson.dumps([contract.json(), rules_version(detectors)], option=orjson.OPT_SORT_KEYS)
    version = f"p1-{blake2b(declared, digest_size=8).hexdigest()}"
    return Policy(contract.name, contract.version, version, MappingProxyType(actions), contract.residency)


def rules_version(detectors: str = "") -> str:
    """Tells editions of the rules apart that hold for every contract: key names, stock classes, coarse forms, detectors."""
    return blake2b(f"{_own_rules()}\0{detectors}".encode(), digest_size=8).hexdigest()


@cache
def _own_rules() -> str:
    stock = [(one.attribute, one.action, one.rule, one.hint) for one in STOCK]
    words = [sorted(one) for one in (SECRET_PARAMETERS, FORMS, STATISTICS, COARSE)]
    return repr((EDITION, sorted(table().items()), sorted(hints().items()), stock, AGES, FAMILIES, words))


def label_action(name: str) -> Action:
    """What becomes of the values of a label of this name: the conventions' class, else what its words say, else a scan."""
    stock, said = stock_class(name), verdict(name)
    if stock and (not said.rule or stock.group not in GENERAL or not stock.attribute.endswith("*")):
        return Action(stock.action, stock.rule, stock.hint, f"the conventions know {stock.attribute}: {stock.group}")
    if said.rule:
        return Action(REPLACE, said.rule, said.hint, f"its name speaks of {_SPOKEN.get(said.rule, said.rule)}")
    hint = stock.hint if stock and not said.hint else said.hint
    return Action(SCAN, hint=hint, why="nothing is known of it; detectors see every value")


def _declared(name: str, field: Field, stored: bool) -> Action:
    if field.kind == "measure":
        return Action(NUMBER, why="a measure; it is added up and never becomes a label")
    if field.kind == "unique":
        kept = "; kept with each event as a token under the key of its day" if stored else ""
        return Action(PSEUDONYM, why=f"counted distinct through a keyed hash{kept}")
    if field.kind == "idempotency_key":
        return Action(PSEUDONYM, why="recognised through a keyed hash")
    if field.kind == "free_text":
        return _text(name) if stored else Action(DROP, "free_text", why="free text; it is kept with store_events only")
    if field.kind != "dimension":
        return Action(DROP, "dropped", why="declared so")
    if field.values:
        return Action(CLOSED, why="a closed set of values, reviewed with the contract")
    if field.generalise:
        return Action(GENERALISE, field.generalise, why="declared so")
    return label_action(name)


def _text(name: str) -> Action:
    """What becomes of a free text that is kept: detectors see it, unless its name says that all of it is personal."""
    said = label_action(name)
    why = "free text; kept with each event after the detectors, never a label" if said.kind == SCAN else said.why
    return Action(said.kind, said.rule, said.hint, why)


def findings(contract: Contract) -> Iterator[str]:
    """What somebody should know who declares this: dimensions and free texts whose values will not arrive as they are sent."""
    for name, field in contract.fields.items():
        if field.kind == "free_text":
            yield from _lost_text(name, contract.store_events)
        if field.kind != "dimension" or field.values or field.generalise:
            continue
        action = label_action(name)
        if action.kind == REPLACE:
            yield (
                f"fields.{name}: {action.why}, so every value becomes [{action.rule}]. To count people make it unique, else "
                "generalise or drop it, close its values, or give it a name that says what it holds"
            )
        elif action.kind == GENERALISE:
            yield f"fields.{name}: {action.why}, so its values are made coarse ({action.rule}); say so with generalise"


def _lost_text(name: str, stored: bool) -> Iterator[str]:
    if not stored:
        yield f"fields.{name}: free text is dropped and counted, unless the contract has store_events; then it is kept, scrubbed"
    elif (action := _text(name)).kind == REPLACE:
        yield f"fields.{name}: {action.why}, so every text becomes [{action.rule}]; give it a name that says what it holds"
