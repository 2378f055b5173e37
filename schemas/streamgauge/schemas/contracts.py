"""Contracts: what an event may carry and what becomes of each field, as a reviewed JSON file.

A contract is the truth beside its Python class (`events`): both are checked equal. What it does not declare is dropped.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson

from streamgauge.schemas.consent import LEGAL_BASES, is_purpose
from streamgauge.schemas.errors import ContractError
from streamgauge.schemas.keeping import keeping_problems
from streamgauge.schemas.packing import Json
from streamgauge.schemas.small_cells import SmallCells, read_small_cells
from streamgauge.schemas.windows import TIER_NAMES

if TYPE_CHECKING:
    from pathlib import Path

FIELD_KINDS = ("dimension", "measure", "unique", "idempotency_key", "free_text", "dropped")
GENERALISE_RULES = ("ip_prefix", "date", "age_band", "user_agent", "country", "url")
"""What a dimension's values may be made coarse by; `generalise` has the rules."""
WHERE_COLLECTED = ("region",)
"""The residency of what declares none: it is processed in the region where it was collected, whichever that is."""
FIELD_TYPES = ("string", "integer", "number", "boolean")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field.

    A dimension becomes a label, a measure a metric of its own, a unique field is counted distinct through a keyed
    pseudonym, an idempotency key recognises repeats, a free text is never a label and kept with single events only, a dropped
    field never leaves the process. `values` closes the set of a dimension's values (empty: open); `generalise` names the
    rule that makes them coarse. `column` is the field's name in data files, where that is another one.
    """

    kind: str
    type: str = "string"
    unit: str = ""
    values: tuple[str, ...] = ()
    optional: bool = False
    description: str = ""
    column: str = ""
    generalise: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """A version of an event's declaration. `granularity` is the finest tier it is kept in, `time` its field of event
    time where rows are loaded from a file (events that are emitted carry their own).

    `purposes` are all the purposes it serves where there are several; `purpose` is the first. `residency` names the
    regions that may process it. `loosens` says why, by place, this version shows more of people than the one before.
    `retention` bounds everything that is kept of it, `retention_tiers` single tiers and single events (see `keeping`).
    `small_cells` asks for a view in which small groups are hidden.
    `store_events`: each event is also kept by itself, scrubbed, with tokens for unique fields.
    """

    name: str
    version: int
    fields: Mapping[str, Field]
    owner: str = ""
    purpose: str = "analytics"
    retention: str = ""
    granularity: str = "10s"
    time: str = ""
    time_format: str = ""
    description: str = ""
    examples: Mapping[str, Any] = field(default_factory=dict[str, Any])
    purposes: tuple[str, ...] = ()
    legal_basis: str = ""
    residency: tuple[str, ...] = WHERE_COLLECTED
    loosens: Mapping[str, str] = field(default_factory=dict[str, str])
    small_cells: SmallCells | None = None
    retention_tiers: Mapping[str, str] = field(default_factory=dict[str, str])
    store_events: bool = False

    def all_purposes(self) -> tuple[str, ...]:
        """Every purpose it serves, the first one first."""
        return self.purposes or (self.purpose,)

    def column(self, name: str) -> str:
        """What the field `name` is called in data files."""
        return self.fields[name].column or name

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of the fields of one kind, in declared order."""
        return tuple(name for name, one in self.fields.items() if one.kind == kind)

    def problems(self) -> list[str]:
        """Everything that is wrong with this contract; empty when it can be used."""
        found = [
            f"{label}: {text!r} is not a name (letters, digits, _)" for label, text in self._names() if not _named(text)
        ]
        if self.version < 1:
            found.append("version: must be 1 or more")
        if self.granularity not in TIER_NAMES:
            found.append(f"granularity: {self.granularity!r} is none of {', '.join(TIER_NAMES)}")
        if self.time and self.time in self.fields:
            found.append(f"time: {self.time!r} is a field too; an event has one time")
        found += self._law()
        if self.small_cells:
            found += self.small_cells.problems(self.of_kind("unique"), self.granularity)
        found += self._single()
        for name, one in self.fields.items():
            if one.kind not in FIELD_KINDS:
                found.append(f"fields.{name}.kind: {one.kind!r} is none of {', '.join(FIELD_KINDS)}")
            found += _coarse(name, one)
            if one.type not in FIELD_TYPES:
                found.append(f"fields.{name}.type: {one.type!r} is none of {', '.join(FIELD_TYPES)}")
            if one.kind == "measure" and one.type not in {"integer", "number"}:
                found.append(f"fields.{name}: a measure is an integer or a number, not a {one.type}")
            if name in RESERVED_COLUMNS:
                found.append(f"fields.{name}: this name is a column of every view; choose another")
        return found

    def _law(self) -> Iterable[str]:
        for purpose in self.purposes:
            if not is_purpose(purpose):
                yield f"purposes: {purpose!r} is not a word (lower-case letters, digits, _, -)"
        if self.purposes and self.purpose not in self.purposes:
            yield f"purpose: {self.purpose!r} is none of the purposes {', '.join(self.purposes)}"
        if self.legal_basis and self.legal_basis not in LEGAL_BASES:
            yield f"legal_basis: {self.legal_basis!r} is none of {', '.join(LEGAL_BASES)}"
        if not self.residency:
            yield 'residency: names no region, so nobody may process it; leave it out for ["region"], where it was collected'
        for region in self.residency:
            if not _REGION.fullmatch(region):
                yield f"residency: {region!r} is not the name of a region (letters, digits, _, -)"
        yield from keeping_problems(self.retention, self.retention_tiers, self.granularity)
        for place, reason in self.loosens.items():
            if not reason.strip():
                yield f"loosens.{place}: say why; a person who reads it later was not there"

    def _single(self) -> Iterable[str]:
        if not self.store_events:
            return
        if "tenant" in self.of_kind("dimension"):
            yield "fields.tenant: with store_events the context says whose a row is; by that people are found. Choose another"
        for name, one in self.fields.items():
            if name == EVENT_TIME or (name in EVENT_COLUMNS and one.kind in {"measure", "unique", "free_text"}):
                yield f"fields.{name}: with store_events this name is a column of the event's rows; choose another"
        if len(self.of_kind("free_text")) > MAX_STORED_TEXTS:
            yield f"store_events: of more than {MAX_STORED_TEXTS} free texts an event is no row; drop some"

    def _names(self) -> Iterable[tuple[str, str]]:
        yield "name", self.name
        for name in self.fields:
            yield f"fields.{name}", name

    def json(self) -> Json:
        """As a JSON object, without what stands at its default."""
        body: Json = {"name": self.name, "version": self.version}
        for key in ("owner", "purpose", "retention", "granularity", "time", "time_format", "description"):
            if value := getattr(self, key):
                body[key] = value
        if self.purposes:
            body["purposes"] = list(self.purposes)
        if self.legal_basis:
            body["legal_basis"] = self.legal_basis
        if self.residency != WHERE_COLLECTED:
            body["residency"] = list(self.residency)
        if self.retention_tiers:
            body["retention_tiers"] = dict(self.retention_tiers)
        if self.loosens:
            body["loosens"] = dict(self.loosens)
        if self.small_cells:
            body["small_cells"] = self.small_cells.json()
        if self.store_events:
            body["store_events"] = True
        body["fields"] = {name: _field_json(one) for name, one in self.fields.items()}
        if self.examples:
            body["examples"] = dict(self.examples)
        return body

    def key(self) -> bytes:
        """The record key on the contracts topic: compaction keeps the latest record of each version."""
        return f"{self.name}@{self.version}".encode()

    def dump(self) -> bytes:
        """The contract file: sorted nowhere, indented, ends with a newline."""
        return orjson.dumps(self.json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


RESERVED_COLUMNS = frozenset(
    {"window", "count", "value", "series_id", "labels", "metric", "service", "environment", "region", "region_group"}
)
"""Columns that every view has; a field of the same name would hide them."""


EVENT_TIME = "at"
EVENT_COLUMNS = frozenset({"tenant", "country", "operation", "status"})
"""Columns of single events beside those: their time, and context that a dimension may stand for and no other field."""
MAX_STORED_TEXTS = 16
_REGION = re.compile(r"[A-Za-z0-9_\-]{1,100}", re.ASCII)


def _named(text: str) -> bool:
    return text.isidentifier() and text.isascii() and len(text) <= 100


def _coarse(name: str, one: Field) -> Iterable[str]:
    """What is wrong with how a field is made coarse, or with a free text."""
    if one.kind == "free_text" and (one.type != "string" or one.values):
        yield f"fields.{name}: a free text is a string without a set of values"
    if not one.generalise:
        return
    if one.generalise not in GENERALISE_RULES:
        yield f"fields.{name}.generalise: {one.generalise!r} is none of {', '.join(GENERALISE_RULES)}"
    if one.kind != "dimension" or one.type != "string":
        yield f"fields.{name}.generalise: only a dimension of type string is made coarse"
    if one.values:
        yield f"fields.{name}.generalise: a closed set is coarse already; drop one of generalise and values"


def _field_json(one: Field) -> Json:
    body: Json = {"kind": one.kind, "type": one.type}
    if one.unit:
        body["unit"] = one.unit
    if one.values:
        body["values"] = list(one.values)
    if one.optional:
        body["optional"] = True
    if one.description:
        body["description"] = one.description
    if one.column:
        body["column"] = one.column
    if one.generalise:
        body["generalise"] = one.generalise
    return body


def parse_contract(text: bytes, where: str = "contract") -> Contract:
    """Read a contract file. Raises ContractError that names everything wrong with it; `where` tells people which file."""
    repeated: list[str] = []
    try:
        body: Any = orjson.loads(text)
        if not isinstance(body, dict):
            raise ContractError(f"{where}: a contract is a JSON object")
        # orjson keeps the last of equal keys and says nothing
        json.loads(text, object_pairs_hook=lambda pairs: repeated.extend(_repeated(key for key, _ in pairs)))
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{where}: not JSON: {error}") from error
    reading = _Reading([f"{key}: stands twice in one object" for key in repeated])
    contract = reading.contract(cast("Json", body))
    said = [problem.partition(":")[0] for problem in reading.problems]
    # where the shape is wrong, what a placeholder lacks is no news
    more = [one for one in contract.problems() if not any(_within(one.partition(":")[0], place) for place in said)]
    if problems := reading.problems + more:
        raise ContractError("\n".join(f"{where}: {problem}" for problem in problems))
    return contract


def _within(place: str, other: str) -> bool:
    return f"{place}.".startswith(f"{other}.") or f"{other}.".startswith(f"{place}.")


def _repeated(keys: Iterable[str]) -> list[str]:
    return [key for key, times in Counter(keys).items() if times > 1]


_TEXTS = ("owner", "purpose", "retention", "granularity", "time", "time_format", "description", "legal_basis")
_LISTS = ("purposes", "residency")
_KEYS = {
    "name", "version", "fields", "examples", "loosens", "retention_tiers", "small_cells", "store_events", *_TEXTS, *_LISTS,
}  # fmt: skip
_FIELD_TEXTS = ("type", "unit", "description", "column", "generalise")
_FIELD_KEYS = {"kind", "values", "optional", *_FIELD_TEXTS}
_JSON_NAMES: dict[type[Any], str] = {
    str: "a text",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


@dataclass(slots=True)
class _Reading:
    """Reads a contract's JSON and collects whatever has another shape than it must have."""

    problems: list[str]

    def contract(self, body: Json) -> Contract:
        """The contract; of no use when there are problems."""
        self._unknown("", body, _KEYS)
        texts = {key: self._given(body, key, str, "") for key in _TEXTS if key in body}
        fields = {
            name: self._field(f"fields.{name}", one) for name, one in self._given(body, "fields", dict, {}).items()
        }
        examples: dict[str, Any] = self._given(body, "examples", dict, {}) if "examples" in body else {}
        loosens: dict[str, Any] = self._given(body, "loosens", dict, {}) if "loosens" in body else {}
        if not all(type(reason) is str for reason in loosens.values()):
            self.problems.append("loosens: must say why, as texts by place")
            loosens = {}
        tiers: dict[str, Any] = self._given(body, "retention_tiers", dict, {}) if "retention_tiers" in body else {}
        if not all(type(span) is str for span in tiers.values()):
            self.problems.append('retention_tiers: must say how long, as texts by tier, for instance {"10s": "1d"}')
            tiers = {}
        lists = {key: self._words(key, self._given(body, key, list, [])) for key in _LISTS if key in body}
        if first := lists.get("purposes"):
            texts.setdefault("purpose", first[0])
        return Contract(
            self._given(body, "name", str, ""),
            self._given(body, "version", int, 1),
            fields,
            examples=examples,
            loosens=loosens,
            small_cells=read_small_cells(body["small_cells"], self.problems) if "small_cells" in body else None,
            retention_tiers=tiers,
            purposes=lists.get("purposes", ()),
            residency=lists.get("residency", WHERE_COLLECTED),
            store_events=self._given(body, "store_events", bool, False) if "store_events" in body else False,
            **texts,
        )

    def _words(self, where: str, given: list[Any]) -> tuple[str, ...]:
        if not given or not all(type(one) is str for one in given) or len(set(given)) != len(given):
            self.problems.append(f"{where}: must be a list of different texts")
            return ()
        return tuple(given)

    def _field(self, where: str, one: Any) -> Field:
        if type(one) is not dict:
            self.problems.append(f"{where}: must be an object")
            return Field("")
        body = cast("Json", one)
        self._unknown(f"{where}.", body, _FIELD_KEYS)
        texts = {key: self._given(body, key, str, "", where) for key in _FIELD_TEXTS if key in body}
        values: list[Any] = self._given(body, "values", list, [], where) if "values" in body else []
        if not all(type(value) is str for value in values):
            self.problems.append(f"{where}.values: must be texts, as they are emitted")
        optional = self._given(body, "optional", bool, False, where) if "optional" in body else False
        return Field(self._given(body, "kind", str, "", where), values=tuple(values), optional=optional, **texts)

    def _unknown(self, where: str, body: Json, known: set[str]) -> None:
        self.problems += [f"{where}{key}: there is no such key" for key in sorted(body.keys() - known)]

    def _given(self, body: Json, key: str, kind: type[T], instead: T, where: str = "") -> T:
        value = body.get(key)
        if type(value) is kind:
            return value
        wrong = f"must be {_JSON_NAMES[kind]}" if key in body else "is missing"
        self.problems.append(f"{where}{'.' if where else ''}{key}: {wrong}")
        return instead


def load_contracts(paths: Iterable[Path]) -> dict[tuple[str, int], Contract]:
    """Contracts by (name, version) from files, and from every `*.json` in directories.

    Raises ContractError that names every file that cannot be read or used, everything wrong with it, and two files that
    declare one name and version differently.
    """
    contracts: dict[tuple[str, int], Contract] = {}
    problems: list[str] = []
    for path in paths:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            try:
                contract = parse_contract(file.read_bytes(), str(file))
            except OSError as error:
                problems.append(f"{file}: {error.strerror}")
                continue
            except ContractError as error:
                problems.append(str(error))
                continue
            key = (contract.name, contract.version)
            if contracts.setdefault(key, contract) != contract:
                problems.append(
                    f"{file}: version {contract.version} of {contract.name!r} is declared twice, differently"
                )
    if problems:
        raise ContractError("\n".join(problems))
    return contracts
