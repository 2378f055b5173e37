"""Events: business events declared as Python classes. The contract (`contracts`) is what such a class says.

A class is checked when it is declared and an event when it is built (names only); its values are checked where it is
emitted. Fields are `Dimension`, `Generalised`, `Measure`, `Unique`, `IdempotencyKey`, `FreeText` and `Dropped`; for a
type checker they are the plain types they hold.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType, NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from streamgauge.schemas.contracts import GENERALISE_RULES, WHERE_COLLECTED, Contract, Field
from streamgauge.schemas.errors import ContractError, DeclarationError
from streamgauge.schemas.small_cells import SmallCells

__all__ = [
    "Coarse",
    "Dimension",
    "Dropped",
    "Event",
    "EventArgumentsError",
    "FieldKind",
    "FreeText",
    "Generalised",
    "IdempotencyKey",
    "Measure",
    "Resolver",
    "SmallCells",
    "Unique",
    "Unit",
    "by",
    "check_equal",
    "contract_of",
    "resolvers_of",
    "snake_case",
    "unit",
]

T = TypeVar("T")
MAX_UNIT = 64
_NO_TIERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FieldKind:
    """Marks a field with one of `contracts.FIELD_KINDS`."""

    name: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit in UCUM notation: `s`, `By`, `1`, or a word in braces such as `{USD}`."""

    text: str


def unit(text: str) -> Unit:
    """The unit of a measure: `Measure[float, unit("{USD}")]`; `unit("1")` for plain numbers."""
    return Unit(text)


Resolver = Callable[[str], str]
"""Gives the coarse value of a precise one, such as the country of an address; `""` where it knows none."""


@dataclass(frozen=True, slots=True)
class Coarse:
    """Says by which rule a field is made coarse, and which function of the application helps."""

    rule: str
    resolver: Resolver | None = None


def by(rule: str, resolver: Resolver | None = None) -> Coarse:
    """How a field is made coarse, before it leaves the process: `ip_prefix`, `date`, `age_band`, `user_agent`, `country`
    or `url`.

    `resolver` turns a value into what the rule takes, such as an address into its country. It runs in the flusher, once
    for each different value of a batch; where it raises or knows nothing, the value is unknown.
    """
    return Coarse(rule, resolver)


Dimension = Annotated[T, FieldKind("dimension")]
"""A label to group by. `Dimension[Literal["a", "b"]]` closes its values, `Dimension[str | None]` may be missing."""
Unique = Annotated[T, FieldKind("unique")]
"""Counted distinct through a keyed pseudonym, never stored as it is."""
IdempotencyKey = Annotated[T, FieldKind("idempotency_key")]
"""Recognises repeats: two events of one key count once. At most one field of an event."""
Dropped = Annotated[T, FieldKind("dropped")]
"""May be passed in, never leaves the process."""
FreeText = Annotated[T, FieldKind("free_text")]
"""What people wrote. It is never a label; of an event that is declared with `store_events` it is kept after the detectors,
of any other the worker counts and drops it."""

if TYPE_CHECKING:
    # type checkers know how to read this one form with a second argument, and only under its own identity
    from typing import Annotated as Generalised
    from typing import Annotated as Measure
else:

    class Generalised:
        """A label that many people share: `Generalised[str, by("ip_prefix")]`. The precise value stays in the process."""

        def __class_getitem__(cls, item):
            kind, *rest = item if isinstance(item, tuple) else (item,)
            return Annotated[kind, FieldKind("dimension"), *(rest or [Coarse("")])]

    class Measure:
        """A number that becomes a metric of its own: `Measure[float, unit("{USD}")]`."""

        def __class_getitem__(cls, item):
            kind, *rest = item if isinstance(item, tuple) else (item,)
            return Annotated[kind, FieldKind("measure"), *rest]


class EventArgumentsError(DeclarationError, TypeError):
    """An event was built without a field it needs, or with one it does not declare."""


@dataclass_transform(kw_only_default=True)
class Event:
    """Base of business events. A subclass declares its fields; its docstring describes it.

    Class arguments: `name` (snake_case of the class name unless given), `version`, `owner`, `purpose` or several
    `purposes`, `legal_basis` (GDPR's six, such as `"consent"`), `residency` (regions that may process it; unless given, the
    one where it was collected), `retention` (`"400d"`, empty: as long as the store keeps), `retention_tiers` (`{"10s": "1d"}`:
    shorter ones), `granularity` (finest window: 10s, 1m, 1h or 1d), `small_cells` (a view in which small groups are hidden),
    `store_events` (each event is also kept by itself, scrubbed).

    A wrong declaration raises DeclarationError, naming everything wrong, when the class is created.
    """

    _contract: ClassVar[Contract]
    _names: ClassVar[frozenset[str]] = frozenset()
    _missing: ClassVar[Mapping[str, Any]] = {}
    _resolvers: ClassVar[Mapping[str, Resolver]] = {}

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        owner: str = "",
        purpose: str = "",
        retention: str = "",
        granularity: str = "10s",
        purposes: tuple[str, ...] = (),
        legal_basis: str = "",
        residency: tuple[str, ...] = WHERE_COLLECTED,
        small_cells: SmallCells | None = None,
        retention_tiers: Mapping[str, str] = _NO_TIERS,
        store_events: bool = False,
    ) -> None:
        super().__init_subclass__()
        problems: list[str] = []
        resolvers: dict[str, Resolver] = {}
        fields = dict(_fields(cls, problems, resolvers))
        contract = Contract(
            name=snake_case(cls.__name__) if name is None else name,
            version=version,
            fields=fields,
            owner=owner,
            purpose=purpose or (purposes[0] if purposes else "analytics"),
            retention=retention,
            granularity=granularity,
            purposes=tuple(purposes),
            legal_basis=legal_basis,
            residency=tuple(residency),
            small_cells=small_cells,
            retention_tiers=dict(retention_tiers),
            store_events=store_events,
            description=inspect.cleandoc(cls.__dict__.get("__doc__") or ""),
        )
        problems += contract.problems()
        if len(contract.of_kind("idempotency_key")) > 1:
            problems.append("fields: an event has at most one IdempotencyKey; join the parts of a longer key into one")
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise DeclarationError(f"event {cls.__qualname__} cannot be declared like this:\n{lines}")
        cls._contract = contract
        cls._names = frozenset(fields)
        cls._resolvers = resolvers
        # what stands for a field that is not passed: its default, or None where it is optional
        defaults = {key: value for base in reversed(cls.__mro__) for key, value in vars(base).items()}
        cls._missing = {key: defaults.get(key) for key, one in fields.items() if one.optional or key in defaults}

    def __init__(self, /, **values: Any) -> None:
        if values.keys() != self._names:
            values = _completed(type(self), values)
        # the keyword dictionary is fresh and ours: taking it over costs less than copying it
        self.__dict__ = values

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]  # values may be anything, as in a dataclass that is not frozen

    def __repr__(self) -> str:
        # no values: an event may hold what must not reach a log
        return f"{type(self).__name__}({', '.join(vars(self))})"


def contract_of(cls: type[Event]) -> Contract:
    """The contract that an event class declares. Raises DeclarationError for `Event` itself."""
    contract: Contract | None = getattr(cls, "_contract", None)
    if contract is None:
        raise DeclarationError("Event itself declares nothing; pass a subclass of it")
    return contract


def resolvers_of(cls: type[Event]) -> Mapping[str, Resolver]:
    """The application's functions that make fields of this class coarse, by field."""
    return cls._resolvers  # pyright: ignore[reportPrivateUsage]  # of this module


def check_equal(cls: type[Event], contract: Contract) -> None:
    """Raise ContractError, naming every difference, unless the class says what the contract says.

    Examples, descriptions of single fields, the time column of files and what `loosens` says are the contract's own and not
    compared.
    """
    if differences := list(_differences(contract_of(cls), contract)):
        lines = "\n".join(f"  {difference}" for difference in differences)
        raise ContractError(
            f"event {cls.__qualname__} and its contract differ:\n{lines}\n"
            "  Change the class back, or write its contract anew and have it reviewed."
        )


def snake_case(name: str) -> str:
    """`OrderPlaced` as `order_placed`, `HTTPCall` as `http_call`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _differences(ours: Contract, theirs: Contract) -> Iterator[str]:
    for key in (
        "name",
        "version",
        "owner",
        "purpose",
        "retention",
        "granularity",
        "description",
        "purposes",
        "legal_basis",
        "residency",
        "small_cells",
        "retention_tiers",
        "store_events",
    ):
        left, right = getattr(ours, key), getattr(theirs, key)
        if left != right:
            yield f"{key}: {left!r} in the class, {right!r} in the contract"
    for name in (*ours.fields, *(name for name in theirs.fields if name not in ours.fields)):
        left, right = ours.fields.get(name), theirs.fields.get(name)
        if left is None or right is None:
            yield f"fields.{name}: only in the {'contract' if left is None else 'class'}"
            continue
        for key in ("kind", "type", "unit", "optional", "generalise"):
            if getattr(left, key) != getattr(right, key):
                yield f"fields.{name}.{key}: {getattr(left, key)!r} in the class, {getattr(right, key)!r} in the contract"
        if set(left.values) != set(right.values):
            yield f"fields.{name}.values: {left.values!r} in the class, {right.values!r} in the contract"


def _completed(cls: type[Event], values: dict[str, Any]) -> dict[str, Any]:
    names, missing = cls._names, cls._missing  # pyright: ignore[reportPrivateUsage]  # of this module
    lacking = [name for name in contract_of(cls).fields if name not in values and name not in missing]
    unknown = [name for name in values if name not in names]
    if lacking or unknown:
        said = [f"lacks {', '.join(lacking)}"] if lacking else []
        said += [f"does not declare {', '.join(unknown)}"] if unknown else []
        raise EventArgumentsError(
            f"{cls.__name__}: this event {' and '.join(said)}. Its fields: {', '.join(contract_of(cls).fields)}. "
            "Pass every field that has no default, and declare what you want to keep."
        )
    return {**missing, **values}


def _fields(cls: type[Event], problems: list[str], resolvers: dict[str, Resolver]) -> Iterator[tuple[str, Field]]:
    try:
        hints = get_type_hints(cls, include_extras=True)
    except Exception as error:  # whatever evaluating an annotation raises is the declaration's fault
        problems.append(f"annotations: {error}; what they name must be importable where the class stands")
        return
    for name, hint in hints.items():
        if get_origin(hint) is ClassVar or hint is ClassVar:
            continue
        try:
            yield name, _field(hint)
            if helping := [one.resolver for one in getattr(hint, "__metadata__", ()) if isinstance(one, Coarse)]:
                resolvers.update({name: helping[0]} if helping[0] else {})
        except ValueError as error:
            problems.append(f"fields.{name}: {error}")


def _field(hint: Any) -> Field:
    held, *metadata = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    kinds = [one.name for one in metadata if isinstance(one, FieldKind)]
    if len(kinds) != 1:
        raise ValueError("say what it is: Dimension[...], Measure[..., unit(...)], Unique[...] or Dropped[...]")
    coarse = [one for one in metadata if isinstance(one, Coarse)]
    units = [one.text for one in metadata if isinstance(one, Unit)]
    held, optional = _without_none(held)
    if coarse:
        return _generalised(held, optional, coarse, units)
    type_name, values = _type_of(held, kinds[0])
    if kinds[0] == "measure":
        if len(units) != 1 or not 0 < len(units[0]) <= MAX_UNIT or not units[0].isprintable():
            raise ValueError('a measure has one unit: Measure[float, unit("s")]; unit("1") where there is none')
    elif units:
        raise ValueError("only a measure has a unit")
    if kinds[0] == "idempotency_key" and optional:
        raise ValueError("an idempotency key cannot be missing; make it IdempotencyKey[str]")
    return Field(kinds[0], type_name, units[0] if units else "", values, optional)


def _generalised(held: Any, optional: bool, coarse: list[Coarse], units: list[str]) -> Field:
    rule = coarse[0].rule
    if len(coarse) != 1 or rule not in GENERALISE_RULES:
        raise ValueError(
            f'say by which rule: Generalised[str, by("ip_prefix")]; there are {", ".join(GENERALISE_RULES)}'
        )
    if units:
        raise ValueError("only a measure has a unit")
    # what travels is the coarse text, whatever it was made of
    if held is not str and held is not {"age_band": int, "date": date}.get(rule):
        raise ValueError(
            f"what {rule} makes coarse is a str" + {"age_band": " or an int", "date": " or a date"}.get(rule, "")
        )
    return Field("dimension", "string", optional=optional, generalise=rule)


def _without_none(held: Any) -> tuple[Any, bool]:
    if get_origin(held) not in (Union, UnionType):
        return held, False
    members = [one for one in get_args(held) if one is not NoneType]
    if len(members) == len(get_args(held)) or len(members) != 1:
        raise ValueError("of several types only `X | None` is possible")
    return members[0], True


_TYPES: dict[str, dict[Any, str]] = {
    "dimension": {str: "string", int: "integer", bool: "boolean"},
    "measure": {float: "number", int: "integer"},
    "unique": {str: "string", int: "integer"},
    "idempotency_key": {str: "string", int: "integer"},
    "free_text": {str: "string"},
    "dropped": {str: "string", int: "integer", float: "number", bool: "boolean"},
}


def _type_of(held: Any, kind: str) -> tuple[str, tuple[str, ...]]:
    if get_origin(held) is Literal and kind == "dimension":
        values = cast("tuple[object, ...]", get_args(held))
        if len({type(value) for value in values}) == 1 and type(values[0]) in (str, int):
            return _TYPES[kind][type(values[0])], tuple(map(str, values))
        raise ValueError("a Literal holds strings only, or integers only; for a missing one write Literal[...] | None")
    known = _TYPES[kind]
    if held in known:
        return known[held], ()
    if kind == "dropped":
        return "string", ()
    names = ", ".join(one.__name__ for one in known) + (", Literal[...]" if kind == "dimension" else "")
    raise ValueError(f"a {kind.replace('_', ' ')} holds one of: {names}")
