"""Infer: the first contract of a data file, from what its columns hold and what a person says of them.

It is a proposal to be reviewed: what is not named stays undeclared, and undeclared means dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from streamgauge.console.datafile import DataFile
from streamgauge.console.instants import instants_ms
from streamgauge.console.rows import canonical
from streamgauge.console.suggest import did_you_mean
from streamgauge.schemas.contracts import RESERVED_COLUMNS, Contract, Field
from streamgauge.schemas.errors import ContractError, InputError
from streamgauge.schemas.key_names import tokens, verdict

MAX_DISTINCT = 10_000
MAX_CLOSED = 20
MANY_LABELS = 1_000
REPEATS = 4
"""A text with many values is proposed for counting only if each occurs this often on average: free text does not."""
TIME_NAMES = frozenset({"time", "timestamp", "ts", "date", "datetime", "at", "when", "epoch"})
PERSONAL_NAMES = frozenset(
    {
        "name",
        "address",
        "user",
        "customer",
        "patient",
        "person",
        "member",
        "mobile",
        "card",
        "login",
        "email",
        "mail",
        "phone",
        "birth",
    }
)
"""Words anywhere in a column's name that make it personal, beside what names say for themselves (`key_names`): a proposal is
careful, a reviewer can always name the column."""
PERSONAL_VALUES = r"@|^\d{1,3}(\.\d{1,3}){3}$"
PERSONAL_SHARE = 0.01
"""Above this share of a column's distinct values that look like an e-mail or a network address, it counts as personal."""
CALENDAR = frozenset({"year", "quarter", "month", "week", "weekday", "day", "hour", "minute", "second"})
IDENTIFIERS = frozenset({"id", "uuid", "guid", "key", "number", "no", "num", "code"})


@dataclass(slots=True)
class Profile:
    """What one column holds, over the whole file. `distinct` stops growing above `MAX_DISTINCT`."""

    name: str
    rows: int = 0
    missing: int = 0
    personal: bool = False
    integers: bool = True
    numbers: bool = True
    booleans: bool = True
    times: bool = True
    time_format: str = ""
    distinct: set[str] = field(default_factory=set[str])

    @property
    def many(self) -> bool:
        """Whether there are more distinct values than were counted."""
        return len(self.distinct) > MAX_DISTINCT

    def add(self, column: pl.Series) -> None:
        """Look at a further slice of the column."""
        self.rows += column.len()
        self.missing += column.null_count()
        if column.dtype.is_nested() or isinstance(column.dtype, (pl.Binary, pl.Object)):
            self.integers = self.numbers = self.booleans = self.times = False
            return
        values = column.unique().drop_nulls()
        texts = values.cast(pl.String)
        if isinstance(values.dtype, (pl.Categorical, pl.Enum)):
            values = texts
        # a code such as 007 is no integer: its zeros mean something
        self.integers &= values.len() == 0 or _whole(values, texts)
        self.numbers &= values.dtype != pl.Boolean and not values.cast(pl.Float64, strict=False).null_count()
        self.booleans &= not canonical(values, "boolean").null_count()
        self.times &= not instants_ms(values, self.time_format).null_count()
        suspicious = texts.str.contains(PERSONAL_VALUES).sum()
        self.personal = self.personal or suspicious > PERSONAL_SHARE * values.len()
        if not self.many:
            self.distinct.update(texts.head(MAX_DISTINCT + 1 + len(self.distinct)).to_list())

    def type_of(self, kind: str) -> str:
        """The contract's type for a field of this kind. Raises InputError when a measure is not numeric."""
        if kind == "measure":
            if not self.numbers:
                raise InputError(f"--measure {self.name}: some of its values are not numbers")
            return "integer" if self.integers else "number"
        if self.integers:
            return "integer"
        return "boolean" if self.booleans and kind == "dimension" else "string"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person says: the columns by kind, and the contract's own words."""

    name: str
    time: str = ""
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    owner: str = ""
    granularity: str = "10s"
    close_values: bool = False
    time_format: str = ""


@dataclass(frozen=True, slots=True)
class Inferred:
    """A proposed contract, the columns it leaves out, and what a reviewer should look at."""

    contract: Contract
    undeclared: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def profile(data: DataFile, time: str = "", time_format: str = "") -> dict[str, Profile]:
    """A profile of every column that holds single values, over the whole file; column `time` has times of this format."""
    found = {name: Profile(name) for name in data.columns if name not in data.nested}
    if time in found:
        found[time].time_format = time_format
    for part in data.slices(list(found)):
        for name in part.frame.columns:
            found[name].add(part.frame[name])
    return found


def infer(profiles: Mapping[str, Profile], wish: Wish) -> Inferred:
    """The contract that a person wishes for this file, or one guessed from it when no field is named.

    Raises InputError for a column that does not exist or cannot be what is asked, ContractError when the result is none.
    """
    named = [wish.time, *(name for names in wish.kinds.values() for name in names)]
    _check_names([name for name in named if name], profiles)
    notes: list[str] = []
    time = wish.time or guess_time(profiles.values())
    if not time:
        raise InputError(f"no column looks like a time; name one with --time: {', '.join(profiles)}")
    if not wish.time:
        notes.append(f"guessed: --time {time}")
    if not profiles[time].times:
        raise InputError(
            f"--time {time}: some of its values are not times (ISO 8601, or a number since 1970)."
            " Say how they are written, for instance --time-format '%d.%m.%Y %H:%M'"
        )
    kinds = dict(wish.kinds)
    if not any(kinds.get(kind) for kind in ("dimension", "measure", "unique")):
        taken = {time, *named}
        kinds |= guess_kinds([one for name, one in profiles.items() if name not in taken])
        notes += [f"guessed: --{kind} {','.join(names)}" for kind, names in kinds.items() if names]
    columns = [(column, kind) for kind in kinds for column in kinds[kind]]
    names = field_names([column for column, _ in columns])
    fields = {
        names[column]: _field(profiles[column], names[column], kind, wish.close_values) for column, kind in columns
    }
    notes += [f"column {column!r} becomes the field {name}" for column, name in names.items() if name != column]
    contract = Contract(
        wish.name, 1, fields, owner=wish.owner, granularity=wish.granularity, time=time, time_format=wish.time_format
    )
    if problems := contract.problems():
        raise ContractError("\n".join(problems))
    left = tuple(name for name in profiles if name not in names and name != time)
    return Inferred(contract, left, tuple(_warnings(profiles, contract)), tuple(notes))


def field_names(columns: Sequence[str]) -> dict[str, str]:
    """A field's name for each column: its own where that is a name and free, else what is left of it in snake_case."""
    names: dict[str, str] = {}
    for column in columns:
        name = column
        if not (name.isidentifier() and name.isascii()):
            name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_") or "field"
            name = f"field_{name}" if name[0].isdigit() else name
        if name in RESERVED_COLUMNS:
            name = f"{name}_value"
        base, number = name, 1
        while name in names.values():
            number += 1
            name = f"{base}_{number}"
        names[column] = name
    return names


def guess_time(profiles: Iterable[Profile]) -> str:
    """The column that looks most like the event's time; empty when none does."""
    times = [
        one
        for one in profiles
        if one.times and one.rows > one.missing and (not one.numbers or _tokens(one) & TIME_NAMES)
    ]
    times.sort(key=lambda one: (one.missing, one.numbers, not _tokens(one) & TIME_NAMES))
    return times[0].name if times else ""


def guess_kinds(profiles: Sequence[Profile]) -> dict[str, tuple[str, ...]]:
    """Kinds for columns that nobody named. What looks personal, or is unclear, is left out."""
    kinds: dict[str, list[str]] = {"dimension": [], "measure": [], "unique": []}
    for one in profiles:
        if looks_personal(one) or one.rows == one.missing:
            continue
        if one.numbers and not one.booleans:
            # numbers that only say when, or which one, mean nothing when they are added up
            if not _tokens(one) & (IDENTIFIERS | TIME_NAMES | CALENDAR):
                kinds["measure"].append(one.name)
        elif one.times and not one.numbers:
            continue
        elif len(one.distinct) <= MANY_LABELS:
            kinds["dimension"].append(one.name)
        elif not one.many and one.rows - one.missing >= REPEATS * len(one.distinct):
            kinds["unique"].append(one.name)
    return {kind: tuple(names) for kind, names in kinds.items()}


def looks_personal(one: Profile) -> bool:
    """Whether the name or the values of a column suggest that it is about one person."""
    return one.personal or bool(verdict(one.name).rule) or bool(_tokens(one) & PERSONAL_NAMES)


def _whole(values: pl.Series, texts: pl.Series) -> bool:
    if values.dtype == pl.Boolean:
        return False
    whole = canonical(values, "integer")
    if whole.null_count():
        return False
    return values.dtype != pl.String or bool((texts.str.strip_chars() == whole).all())


def _tokens(one: Profile) -> set[str]:
    return set(tokens(one.name))


def _check_names(names: Sequence[str], profiles: Mapping[str, Profile]) -> None:
    lacking = [name for name in names if name not in profiles]
    if lacking:
        hints = "".join(did_you_mean(name, profiles) for name in lacking)
        raise InputError(f"no column {', '.join(lacking)}.{hints}\n  There are: {', '.join(profiles)}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"named twice: {', '.join(twice)}; a column is one thing")


def _field(one: Profile, name: str, kind: str, close_values: bool) -> Field:
    optional = one.missing > 0 and kind != "idempotency_key"
    found = Field(kind, one.type_of(kind), optional=optional, column="" if name == one.name else one.name)
    if close_values and kind == "dimension" and 0 < len(one.distinct) <= MAX_CLOSED:
        return replace(found, values=tuple(sorted(one.distinct)))
    return found


def _warnings(profiles: Mapping[str, Profile], contract: Contract) -> Iterable[str]:
    for name in contract.of_kind("dimension"):
        one = profiles[contract.column(name)]
        if one.many:
            yield (
                f"dimension {name} has more than {MAX_DISTINCT:,} values; each is a series of its own. "
                f"To count them use --unique {name}"
            )
        if looks_personal(one):
            yield f"dimension {name} looks like personal data; to count people use --unique {name}, else leave it out"
    for name in contract.of_kind("measure"):
        if looks_personal(profiles[contract.column(name)]):
            yield f"measure {name} looks like personal data"
    for name in contract.of_kind("idempotency_key"):
        if profiles[contract.column(name)].missing:
            yield f"idempotency key {name} is missing in {profiles[contract.column(name)].missing:,} rows; they will be refused"
    if profiles[contract.time].missing:
        yield f"time {contract.time} is missing in {profiles[contract.time].missing:,} rows; they will be refused"
