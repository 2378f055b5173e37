"""Event rows: one emitted event as a checked tuple, and tuples of one event type as the packed columns of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamgauge.producers.coarse import Coarsen, coarsen_by
from streamgauge.producers.text import plain
from streamgauge.schemas.batches import MAX_INSTANT_MS
from streamgauge.schemas.consent import NOTHING_GRANTED, Consent, denial, is_gated, pack_consents
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.errors import StreamgaugeError
from streamgauge.schemas.events import Resolver
from streamgauge.schemas.packing import Json, pack_optional, pack_strings

MAX_CHARS = 4096
"""The longest text that a field can hold."""
IK_STREAMS = 64

Row = tuple[Any, ...]
"""The time in ms, then one value per column, in declared order; of a gated contract the consent comes last."""


class EventValueError(StreamgaugeError, ValueError):
    """An event holds a value that its declaration does not allow. `reason` is the word it is counted under."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class _Unfit(Exception):  # internal: becomes EventValueError with the field's name
    pass


def _text(value: Any) -> str:
    if value.__class__ is str:
        text = value
    elif isinstance(value, (str, int)):
        text = plain(value)
    else:
        raise _Unfit("wrong_type")
    if len(text) > MAX_CHARS:
        raise _Unfit("too_long")
    return text


def _precise_text(value: Any) -> str:
    """What is made coarse before it travels may be a text, an integer or a date."""
    if isinstance(value, bool):
        raise _Unfit("wrong_type")
    said = getattr(value, "isoformat", None)
    return _text(said() if said else value)


def _integer_text(value: Any) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Unfit("wrong_type")
    return _text(value)


def _boolean_text(value: Any) -> str:
    if not isinstance(value, bool):
        raise _Unfit("wrong_type")
    return _text(value)


def _one_of(values: frozenset[str]) -> Callable[[Any], str]:
    def closed(value: Any) -> str:
        if value.__class__ is str and value in values:
            return str(value)
        text = _text(value)
        if text not in values:
            raise _Unfit("unknown_value")
        return text

    return closed


def _number(value: Any) -> float:
    if value.__class__ is not float:
        if isinstance(value, (str, bytes, bool)):
            raise _Unfit("wrong_type")
        try:
            value = float(value)
        except (TypeError, ValueError, OverflowError):
            raise _Unfit("wrong_type") from None
    if not math.isfinite(value):
        raise _Unfit("not_finite")
    return value  # type: ignore[no-any-return]  # a float by now


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Unfit("wrong_type")
    if not -(1 << 63) <= value < 1 << 63:
        raise _Unfit("out_of_range")
    return value


def _converter(field: Field) -> Callable[[Any], Any]:
    if field.kind == "measure":
        return _integer if field.type == "integer" else _number
    if field.values:
        return _one_of(frozenset(field.values))
    if field.generalise:
        return _precise_text
    return {"integer": _integer_text, "boolean": _boolean_text}.get(field.type, _text)


_MISTAKES = {
    "wrong_type": "this is not a value of its type ({type})",
    "too_long": f"this is longer than {MAX_CHARS} characters; a field is no place for documents",
    "unknown_value": "this value is none of {values}; add it to the declaration, as a new version",
    "not_finite": "NaN and infinity cannot be added up",
    "out_of_range": "this integer needs more than 64 bits; declare the measure as float",
    "missing": "None is no value here; declare `{type} | None` if it may be missing",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A field that travels."""

    name: str
    field: Field
    convert: Callable[[Any], Any]

    def usual(self) -> type | None:
        """The class whose short texts or finite numbers need no conversion; None where every value must be looked at."""
        if self.field.values:
            return None
        return {"string": str, "number": float}.get(self.field.type)

    def mistake(self, event: str, reason: str) -> EventValueError:
        """What is wrong, without the value: it may be one that no log should hold."""
        said = _MISTAKES[reason].format(type=self.field.type, values=", ".join(self.field.values))
        return EventValueError(reason, f"event {event!r}, field {self.name!r}: {said}.")


class EventRows:
    """Turns events of one contract into rows, and rows into columns. Dropped fields never enter a row.

    What is made coarse is so in columns. `resolvers` are the application's functions that help with it, by field. `gated`:
    it depends on the person's consent whether an event may be sent. Then the caller asks `denied`, and appends the consent
    to the row.
    """

    __slots__ = ("_always", "_coarse", "_columns", "_key", "_plan", "_sometimes", "contract", "gated", "name")

    def __init__(self, contract: Contract, resolvers: Mapping[str, Resolver] | None = None) -> None:
        self.contract = contract
        self.name = contract.name
        self.gated = is_gated(contract.all_purposes(), contract.legal_basis)
        kept = {name: field for name, field in contract.fields.items() if field.kind != "dropped"}
        self._columns = tuple(Column(name, field, _converter(field)) for name, field in kept.items())
        self._coarse: dict[str, Coarsen] = {
            name: coarsen_by(field.generalise, (resolvers or {}).get(name))
            for name, field in kept.items()
            if field.generalise
        }
        self._plan: tuple[tuple[str, Any, Callable[[Any], Any], bool, Column], ...] = tuple(
            (one.name, one.usual(), one.convert, one.field.optional, one) for one in self._columns
        )
        kinds = [field.kind for field in kept.values()]
        self._key = kinds.index("idempotency_key") + 1 if "idempotency_key" in kinds else 0
        measures = [
            (place, one.field.optional) for place, one in enumerate(self._columns, 1) if one.field.kind == "measure"
        ]
        self._sometimes = tuple(place for place, optional in measures if optional)
        self._always = 1 + len(measures) - len(self._sometimes)

    def row(self, values: Mapping[str, Any], time_ms: int) -> tuple[Row, int]:
        """The row of one event and about how many bytes it holds. Raises EventValueError."""
        if not 0 <= time_ms < MAX_INSTANT_MS:
            raise EventValueError(
                "time_out_of_range", f"event {self.name!r}: at_ms is in milliseconds since 1970 (UTC)."
            )
        row: list[Any] = [time_ms]
        size = 64
        for name, usual, convert, optional, column in self._plan:
            value = values[name]
            if value.__class__ is usual:
                if usual is str:
                    length = len(value)
                    if length > MAX_CHARS:
                        raise column.mistake(self.name, "too_long")
                    size += length
                elif value - value != 0.0:  # infinity and NaN are the ones that are not zero without themselves
                    raise column.mistake(self.name, "not_finite")
            elif value is not None:
                try:
                    value = convert(value)
                except _Unfit as unfit:
                    raise column.mistake(self.name, str(unfit)) from None
                if value.__class__ is str:
                    size += len(value)
            elif not optional:
                raise column.mistake(self.name, "missing")
            row.append(value)
        return tuple(row), size + 8 * len(row)

    def denied(self, consent: Consent | None) -> str:
        """Why an event with this consent may not be sent, as reason and purpose; empty when it may."""
        return denial(self.contract.all_purposes(), self.contract.legal_basis, consent or NOTHING_GRANTED)

    def points_of(self, row: Row) -> int:
        """One for the event and one for each measure it carries."""
        if not self._sometimes:
            return self._always
        return self._always + sum(row[place] is not None for place in self._sometimes)

    def points(self, rows: Sequence[Row]) -> int:
        """Points of all `rows`."""
        return self._always * len(rows) + sum(row[place] is not None for place in self._sometimes for row in rows)

    def stream(self, row: Row, ordinary: str) -> str:
        """The stream an event belongs to: `ordinary`, or one of 64 by a fixed hash of its idempotency key."""
        if not self._key:
            return ordinary
        from hashlib import blake2b  # loads OpenSSL, which few events need

        digest = blake2b(row[self._key].encode("utf-8", "replace"), digest_size=16).digest()
        return f"ik-{self.name}-{int.from_bytes(digest, 'big') % IK_STREAMS:02d}"

    def columns(self, rows: Sequence[Row]) -> dict[str, Json]:
        """The packed columns of a batch."""
        fields: dict[str, Json] = {}
        values_of = list(zip(*rows, strict=True))[1 : len(self._columns) + 1]
        for column, values in zip(self._columns, values_of, strict=True):
            if coarse := self._coarse.get(column.name):
                fields[column.name] = pack_strings(coarse(values))
            elif column.field.kind != "measure":
                fields[column.name] = pack_strings(values)
            else:
                fields[column.name] = pack_optional("i8" if column.field.type == "integer" else "f8", values)
        return fields

    def consents(self, rows: Sequence[Row]) -> Json | None:
        """The column of consents; None of a contract that does not depend on them."""
        return pack_consents([row[-1] for row in rows]) if self.gated else None
