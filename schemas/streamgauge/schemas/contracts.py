"""Contracts: what an event may carry and what becomes of each field, as a reviewed JSON file.

A contract is the truth beside its Python class (`events`): both are checked equal. What it does not declare is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from streamgauge.schemas.errors import ContractError
from streamgauge.schemas.packing import Json
from streamgauge.schemas.windows import TIER_NAMES

FIELD_KINDS = ("dimension", "measure", "unique", "idempotency_key", "dropped")
FIELD_TYPES = ("string", "integer", "number", "boolean")


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field.

    A dimension becomes a label, a measure a metric of its own, a unique field is counted distinct through a keyed
    pseudonym, an idempotency key recognises repeats, a dropped field never leaves the process. `values` closes the set
    of a dimension's values (empty: open).
    """

    kind: str
    type: str = "string"
    unit: str = ""
    values: tuple[str, ...] = ()
    optional: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """A version of an event's declaration. `granularity` is the finest tier it is kept in, `time` its field of event
    time where rows are loaded from a file (events that are emitted carry their own)."""

    name: str
    version: int
    fields: Mapping[str, Field]
    owner: str = ""
    purpose: str = "analytics"
    retention: str = ""
    granularity: str = "10s"
    time: str = ""
    description: str = ""
    examples: Mapping[str, Any] = field(default_factory=dict[str, Any])

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
        if self.time in self.fields:
            found.append(f"time: {self.time!r} is a field too; an event has one time")
        for name, one in self.fields.items():
            if one.kind not in FIELD_KINDS:
                found.append(f"fields.{name}.kind: {one.kind!r} is none of {', '.join(FIELD_KINDS)}")
            if one.type not in FIELD_TYPES:
                found.append(f"fields.{name}.type: {one.type!r} is none of {', '.join(FIELD_TYPES)}")
            if one.kind == "measure" and one.type not in {"integer", "number"}:
                found.append(f"fields.{name}: a measure is an integer or a number, not a {one.type}")
            if name in RESERVED_COLUMNS:
                found.append(f"fields.{name}: this name is a column of every view; choose another")
        return found

    def _names(self) -> Iterable[tuple[str, str]]:
        yield "name", self.name
        for name in self.fields:
            yield f"fields.{name}", name

    def json(self) -> Json:
        """As a JSON object, without what stands at its default."""
        body: Json = {"name": self.name, "version": self.version}
        for key in ("owner", "purpose", "retention", "granularity", "time", "description"):
            if value := getattr(self, key):
                body[key] = value
        body["fields"] = {name: _field_json(one) for name, one in self.fields.items()}
        if self.examples:
            body["examples"] = dict(self.examples)
        return body

    def dump(self) -> bytes:
        """The contract file: sorted nowhere, indented, ends with a newline."""
        return orjson.dumps(self.json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


RESERVED_COLUMNS = frozenset(
    {"window", "count", "value", "series_id", "labels", "metric", "service", "environment", "region", "region_group"}
)
"""Columns that every view has; a field of the same name would hide them."""


def _named(text: str) -> bool:
    return text.isidentifier() and text.isascii() and len(text) <= 100


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
    return body


def parse_contract(text: bytes, where: str = "contract") -> Contract:
    """Read a contract file. Raises ContractError that names everything wrong with it; `where` tells people which file."""
    try:
        body: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ContractError(f"{where}: not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ContractError(f"{where}: a contract is a JSON object")
    try:
        contract = _contract(cast("Json", body))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ContractError(f"{where}: {type(error).__name__}: {error}") from error
    if problems := contract.problems():
        raise ContractError("\n".join(f"{where}: {problem}" for problem in problems))
    return contract


_KEYS = {"name", "version", "owner", "purpose", "retention", "granularity", "time", "description", "fields", "examples"}
_FIELD_KEYS = {"kind", "type", "unit", "values", "optional", "description"}


def _contract(body: Json) -> Contract:
    if unknown := body.keys() - _KEYS:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
    texts = {key: str(body[key]) for key in _KEYS - {"version", "fields", "examples"} if key in body}
    if type(body["version"]) is not int:
        raise ValueError("version must be an integer")
    fields = {name: _field(name, one) for name, one in cast("Json", body["fields"]).items()}
    return Contract(version=body["version"], fields=fields, examples=body.get("examples", {}), **texts)


def _field(name: str, body: Json) -> Field:
    if unknown := body.keys() - _FIELD_KEYS:
        raise ValueError(f"fields.{name}: unknown keys: {', '.join(sorted(unknown))}")
    return Field(
        kind=str(body["kind"]),
        type=str(body.get("type", "string")),
        unit=str(body.get("unit", "")),
        values=tuple(map(str, body.get("values", ()))),
        optional=bool(body.get("optional", False)),
        description=str(body.get("description", "")),
    )


def load_contracts(paths: Iterable[Path]) -> dict[tuple[str, int], Contract]:
    """Contracts by (name, version) from files, and from every `*.json` in directories.

    Raises ContractError for a file that cannot be read or used, and for two files of one name and version.
    """
    contracts: dict[tuple[str, int], Contract] = {}
    for path in paths:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            try:
                contract = parse_contract(file.read_bytes(), str(file))
            except OSError as error:
                raise ContractError(f"{file}: {error.strerror}") from error
            key = (contract.name, contract.version)
            if contracts.setdefault(key, contract) != contract:
                raise ContractError(
                    f"{file}: version {contract.version} of {contract.name!r} is declared twice, differently"
                )
    return contracts
