"""Compatibility: whether a contract may replace another one, change by change, and why not.

What is in force may grow: optional fields, values of a closed set. It may not take away what somebody reads or change what
a number means; and where it shows more of a person than before, it must say why (`loosens`). Pure; two contracts in, a list
of changes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.keeping import KEPT_PLACES, kept_ms, shorter
from streamgauge.schemas.packing import Json
from streamgauge.schemas.settings import FOR_EVER, duration_ms
from streamgauge.schemas.windows import tier_index

EXPOSURE = {
    "dropped": 0,
    "idempotency_key": 1,
    "unique": 2,
    "generalised": 3,
    "measure": 4,
    "free_text": 5,
    "dimension": 6,
}
"""How much of a field's values each kind shows; a dimension that is made coarse is `generalised`."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: where, whether it is compatible, and what it means."""

    place: str
    compatible: bool
    text: str

    def json(self) -> Json:
        """As a JSON object."""
        return {"place": self.place, "compatible": self.compatible, "text": self.text}


def compare(old: Contract, new: Contract) -> list[Change]:
    """Every difference between what is in force and what is to replace it; empty when there is none."""
    found = [*_heads(old, new), *_law(old, new), *_fields(old, new)]
    if old.name == new.name and old.version == new.version and old.json() != new.json():
        found.insert(
            0,
            _no(
                "version",
                f"version {old.version} says something else already; a version is final, raise it to {old.version + 1}",
            ),
        )
    return found


def compatible(changes: list[Change]) -> bool:
    """Whether nothing stands against it."""
    return all(change.compatible for change in changes)


def _yes(place: str, text: str) -> Change:
    return Change(place, True, text)


def _no(place: str, text: str) -> Change:
    return Change(place, False, text)


def _heads(old: Contract, new: Contract) -> Iterator[Change]:
    if old.name != new.name:
        yield _no("name", f"{old.name} and {new.name} are two events; compare versions of one")
    if new.version < old.version:
        yield _no("version", f"goes back from {old.version} to {new.version}; versions only rise")
    if old.granularity != new.granularity:
        finer = tier_index(new.granularity) < tier_index(old.granularity)
        lost = "windows before it have no such detail" if finer else "detail that is asked for ends"
        yield _no("granularity", f"{old.granularity} becomes {new.granularity}: {lost}; use another event")
    for key in ("time", "time_format"):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            yield Change(
                key, not before, f"{_or_none(before)} becomes {_or_none(after)}: times of files are read otherwise"
            )
    yield from (
        _yes(key, "says something else") for key in ("owner", "description") if getattr(old, key) != getattr(new, key)
    )
    if old.examples != new.examples:
        yield _yes("examples", "others")


def _law(old: Contract, new: Contract) -> Iterator[Change]:
    """Purposes, legal basis, residency and retention: what people were told when it was collected."""
    before, after = old.all_purposes(), new.all_purposes()
    if before != after:
        added = [purpose for purpose in after if purpose not in before]
        text = f"{', '.join(before)} becomes {', '.join(after)}"
        if added:
            yield _looser(new, "purpose", f"{text}: what was collected for one purpose serves another")
        else:
            yield _yes("purpose", text)
    if old.legal_basis != new.legal_basis:
        text = f"{_or_none(old.legal_basis)} becomes {_or_none(new.legal_basis)}"
        if old.legal_basis:
            yield _looser(new, "legal_basis", f"{text}: people were told another one")
        else:
            yield _yes("legal_basis", text)
    if set(old.residency) != set(new.residency):
        text = f"{', '.join(old.residency)} becomes {', '.join(new.residency)}"
        if set(new.residency) - set(old.residency):
            yield _looser(new, "residency", f"{text}: it may be processed where it was not before")
        else:
            yield _yes("residency", text)
    if old.retention != new.retention:
        text = f"{_or_none(old.retention)} becomes {_or_none(new.retention)}"
        longer = _kept_ms(new.retention) > _kept_ms(old.retention)
        yield _looser(new, "retention", f"{text}: it is kept longer") if longer else _yes("retention", text)
    yield from _small_cells(old, new)
    for tier in KEPT_PLACES:
        said, says = old.retention_tiers.get(tier, ""), new.retention_tiers.get(tier, "")
        if said != says:
            place, text = f"retention_tiers.{tier}", f"{_or_none(said)} becomes {_or_none(says)}"
            kept, keeps = kept_ms(old, tier), kept_ms(new, tier)
            # what the retention of everything allows now was told under that place
            longer = shorter(kept, keeps) != keeps and bool(said)
            yield _looser(new, place, f"{text}: it is kept longer there") if longer else _yes(place, text)
    if old.store_events != new.store_events:
        if new.store_events:
            text = "single events are kept: what was counted only can be looked up by person"
            yield _looser(new, "store_events", text)
        else:
            yield _yes(
                "store_events", "no more single events are kept; those that were stay until their retention ends"
            )
    if old.loosens != new.loosens:
        yield _yes("loosens", "says something else")


def _small_cells(old: Contract, new: Contract) -> Iterator[Change]:
    """Whether groups show that were hidden. What is decided stays; what another tier or field would decide, compared with
    it, shows the difference."""
    before, after = old.small_cells, new.small_cells
    if before == after:
        return
    if before is None or after is None:
        if after is not None:
            yield _yes("small_cells", f"groups of fewer than {after.k} are hidden in a view of its own")
        else:
            yield _looser(new, "small_cells", "small groups are no longer hidden")
        return
    if before.k != after.k:
        text = f"{before.k} becomes {after.k}"
        lower = after.k < before.k
        yield (
            _looser(new, "small_cells", f"{text}: smaller groups show", ".k") if lower else _yes("small_cells.k", text)
        )
    for key in ("contributors", "tier"):
        a, b = getattr(before, key), getattr(after, key)
        if a != b:
            yield _looser(
                new, "small_cells", f"{a} becomes {b}: compared with what is out, small groups may show", f".{key}"
            )
    if before.after != after.after:
        text = f"{before.after} becomes {after.after}"
        if _kept_ms(after.after) < _kept_ms(before.after):
            yield _looser(new, "small_cells", f"{text}: more comes late, and shows by itself", ".after")
        else:
            yield _yes("small_cells.after", text)


def _looser(new: Contract, place: str, text: str, what: str = "") -> Change:
    """A change that shows more of people than before: fine when the new contract says why."""
    if reason := new.loosens.get(place, "").strip():
        return _yes(place + what, f"{text}. Stated: {reason}")
    return _no(place + what, f'{text}. If it is meant, say why in the contract: "loosens": {{"{place}": "…"}}')


def _kept_ms(text: str) -> float:
    """How long; what cannot be read counts as for ever."""
    try:
        kept = duration_ms(text)
    except ValueError:
        return float("inf")
    return float("inf") if kept == FOR_EVER else kept


def _or_none(text: str) -> str:
    return repr(text) if text else "nothing"


def _fields(old: Contract, new: Contract) -> Iterator[Change]:
    for name, before in old.fields.items():
        if name in new.fields:
            yield from _field(f"fields.{name}", before, new.fields[name], new)
        else:
            yield _no(
                f"fields.{name}", f"is removed ({before.kind}): whoever reads it finds nothing. Keep it, as optional"
            )
    for name, added in new.fields.items():
        if name not in old.fields:
            yield _added(f"fields.{name}", added)


def _added(place: str, field: Field) -> Change:
    if field.optional or field.kind == "dropped":
        return _yes(place, f"is added as {field.kind}")
    return _no(
        place, f"is added as {field.kind} and required: services that do not send it yet are refused. Make it optional"
    )


def _field(place: str, old: Field, new: Field, contract: Contract) -> Iterator[Change]:
    if old.kind != new.kind:
        if EXPOSURE[_class(new)] > EXPOSURE[_class(old)]:
            text = f"{old.kind} becomes {new.kind}: it would show more of its values than before"
            yield _looser(contract, place, text, ".kind")
            if old.kind != "dropped" and place in contract.loosens:
                yield _no(f"{place}.kind", f"{old.kind} becomes {new.kind}: what is read today ends. Add another field")
        else:
            yield _no(f"{place}.kind", f"{old.kind} becomes {new.kind}: what is read today ends. Add another field")
    elif old.generalise != new.generalise:
        text = f"{_or_none(old.generalise)} becomes {_or_none(new.generalise)}"
        if old.generalise:
            yield _looser(contract, place, f"{text}: it would show more of its values than before", ".generalise")
        else:
            yield _no(f"{place}.generalise", f"{text}: the values that are read today end. Add another field")
    if old.type != new.type:
        yield _no(f"{place}.type", f"{old.type} becomes {new.type}: add a field with the new type")
    if old.unit != new.unit:
        yield _no(f"{place}.unit", f"{_or_none(old.unit)} becomes {_or_none(new.unit)}: sums of two units mean nothing")
    if old.optional != new.optional:
        if new.optional:
            yield _yes(f"{place}.optional", "may be missing now")
        else:
            yield _no(f"{place}.optional", "optional becomes required: what leaves it out is refused")
    yield from _values(place, old, new, contract)
    for key in ("description", "column"):
        if getattr(old, key) != getattr(new, key):
            yield _yes(f"{place}.{key}", "says something else")


def _class(field: Field) -> str:
    return "generalised" if field.generalise else field.kind


def _values(where: str, old: Field, new: Field, contract: Contract) -> Iterator[Change]:
    place = f"{where}.values"
    before, after = set(old.values), set(new.values)
    if before == after or new.generalise:  # that has been told
        return
    if not after:
        text = "the set of values is opened: any text would pass, personal ones too. Add the values that are missing"
        yield _looser(contract, where, text, ".values")
    elif not before:
        yield _no(place, "free text becomes a closed set: other values, which pass today, are refused")
    else:
        for value in sorted(before - after):
            yield _no(place, f"{value!r} is removed: rows with it are refused")
        for value in sorted(after - before):
            yield _yes(place, f"{value!r} is added")
