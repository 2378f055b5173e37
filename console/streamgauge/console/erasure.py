"""Erasure: one person's rows among the single events: whom a request is about, its receipt, and its steps in their order.

Values stay in this process. The store is given pseudonyms, in a table in memory, and receipts, which hold nothing of a person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as made
from typing import Any, Final, Protocol

from streamgauge.processors.keyring import Keyring, day_of
from streamgauge.processors.pseudonyms import live_pseudonyms
from streamgauge.schemas.errors import InputError, StreamgaugeError
from streamgauge.schemas.topics import RAW_TOPICS, SCRUBBED

FORGET, EXPORT = "forget", "export"
BEGUN, DONE = "begun", "done"
ROUNDS: Final = 3
"""So often rows are deleted that came in while others were."""
COMES_LATE_MS: Final = max(topic.retention_ms for topic in (*RAW_TOPICS, SCRUBBED))
"""So long rows of what was sent before may still come, where topics have the retention they are made with."""
REPLACED: Final = re.compile(r"\[[a-z_0-9]+\]")
"""What stands in a tenant's name for a part that was replaced, because it looked like personal data."""

NOT_SHOWN: Final = "[not shown]"

Tell = Callable[[float, str], None]


class ErasureUnfinished(StreamgaugeError):
    """Rows of the person may still be there. Running the same command again finishes it."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Rows of an event that hold a pseudonym of the field under one key."""

    event: str
    key: str
    rows: int


@dataclass(frozen=True, slots=True)
class Request:
    """Where a person is searched. `events` and `tenants` are those that are meant, by name."""

    field: str
    events: tuple[str, ...]
    tenants: tuple[str, ...]
    region: str
    phone_region: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is kept of a request: nothing of the person. `left`, `old_parts` and `detached_parts` are those at its end;
    None where the store did not tell."""

    id: str
    kind: str
    region: str
    field: str
    events: tuple[str, ...]
    tenants: tuple[str, ...]
    subjects: int
    keys: tuple[str, ...]
    destroyed: tuple[str, ...]
    begun_ms: int
    at_ms: int
    found: Mapping[str, int] = made(default_factory=dict[str, int])
    deleted: Mapping[str, int] = made(default_factory=dict[str, int])
    left: int = 0
    old_parts: int = 0
    detached_parts: int = 0
    state: str = BEGUN

    def json(self) -> dict[str, Any]:
        """As it is printed."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "again_after": day_of(self.at_ms + COMES_LATE_MS + 86_400_000)
        }


@dataclass(frozen=True, slots=True)
class Deletion:
    """How far a deletion is: `parts` are still to be looked at."""

    done: bool
    parts: int
    failed: bool


class PersonStore(Protocol):
    """The single events of a store, and the receipts beside them. Raises StoreUnavailable and InputError."""

    def put(self, receipt: str, tokens: Iterable[str], now_ms: int) -> None:
        """Say whom a request is about, until `clear`. What others forgot to clear is cleared too."""
        ...

    def clear(self, receipt: str) -> None:
        """Forget whom a request is about."""
        ...

    def count(self, receipt: str, name: str) -> dict[str, int]:
        """Rows by event whose field `name` has one of the request's tokens."""
        ...

    def delete(self, receipt: str, name: str) -> None:
        """Begin to delete them."""
        ...

    def deletion(self, receipt: str) -> Deletion:
        """How far all deletions of this request are."""
        ...

    def remains(self) -> tuple[int, int]:
        """Parts that the store will remove by itself, and parts that were detached."""
        ...

    def write(self, receipt: Receipt) -> None:
        """Keep a receipt; of one that is there already, its later state."""
        ...


def tokens_of(ring: Keyring, request: Request, values: Sequence[str], tell: Tell = lambda _, __: None) -> list[str]:
    """All pseudonyms that these values can have, under every live key, in every event and tenant that is meant."""
    found: dict[str, None] = {}
    for number, tenant in enumerate(request.tenants):
        tell(number / len(request.tenants), f"{len(found):,} pseudonyms")
        for event in request.events:
            name = f"{event}.{request.field}"
            for value in values:
                for one in live_pseudonyms(
                    ring, request.region, tenant, name, value, phone_region=request.phone_region
                ):
                    if one.token:
                        found[one.token] = None
    return list(found)


def check_ring(ring: Keyring, holdings: Sequence[Holding]) -> None:
    """Raises InputError where nothing can be found: no key lives, or the rows are of keys that this ring does not have."""
    if not ring.live:
        raise InputError(
            "every key of the ring was destroyed: nobody can tell any more whom a pseudonym stood for, so there is nobody to find"
        )
    known = {key.id for key in ring.keys}
    if strange := sorted({one.key for one in holdings} - known):
        raise InputError(
            f"the store holds pseudonyms of {', '.join(strange)}, and this ring has only {', '.join(sorted(known))}: it is "
            "not the ring that the workers of this region use, and would find nobody. Name theirs with --keys"
        )


def lost(ring: Keyring, holdings: Sequence[Holding]) -> dict[str, int]:
    """Rows under each destroyed key: whether the person is among them can never be told."""
    found: dict[str, int] = {}
    for one in holdings:
        if not ring.named(one.key).live:
            found[one.key] = found.get(one.key, 0) + one.rows
    return found


def choose_events(name: str, wanted: Sequence[str], known: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The events that are searched, where `known` says which unique fields each event has. Raises InputError."""
    having = sorted(event for event, fields in known.items() if name in fields)
    if not having:
        fields = sorted({one for fields in known.values() for one in fields})
        there = f"unique fields are: {', '.join(fields)}" if fields else "no unique field of any event is known"
        raise InputError(
            f"no event has a unique field {name}; {there}. Contracts that are not published: name them with --contracts"
        )
    if unknown := sorted(set(wanted) - set(having)):
        raise InputError(f"{unknown[0]} has no unique field {name}; these have: {', '.join(having)}")
    return tuple(sorted(set(wanted)) or having)


def choose_tenants(wanted: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """The tenants that are searched, of those that rows name; "" stands for none. Raises InputError for an unknown one,
    unless it may stand behind a name that was replaced."""
    if not wanted:
        return tuple(sorted({"", *there}))
    unknown = sorted(set(wanted) - {"", *there})
    if unknown and not any(map(REPLACED.search, there)):
        named = ", ".join(name for name in sorted(there) if name) or "none: leave --tenant out"
        raise InputError(f"no row is of the tenant {unknown[0]}; tenants are: {named}")
    return tuple(sorted(set(wanted)))


def shown(tenants: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """Tenants as a receipt names them: what no row names may be a name that was replaced, and stays out of it."""
    return tuple(sorted({one if one in ("", *there) else NOT_SHOWN for one in tenants}))


def resumed(before: Receipt | None, receipt: Receipt) -> Receipt:
    """This request as the continuation of one that was not finished. Raises InputError if it is another one."""
    if before is None:
        raise InputError(f"there is no receipt {receipt.id}; leave --receipt out for a new one")
    if before.state == DONE:
        raise InputError(f"{before.id} is done; leave --receipt out for a new one")
    for said in ("kind", "region", "field", "subjects"):
        if getattr(before, said) != getattr(receipt, said):
            raise InputError(
                f"{before.id} is a request with {said} {getattr(before, said)}, not {getattr(receipt, said)}: "
                "finish it with what it was begun with, or leave --receipt out"
            )
    found = dict(before.found)
    for event, rows in receipt.found.items():
        found[event] = max(rows, found.get(event, 0))
    return replace(receipt, begun_ms=before.begun_ms, found=found)


def erase(
    store: PersonStore, receipt: Receipt, now_ms: Callable[[], int], wait: Callable[[float], None], tell: Tell
) -> Receipt:
    """Delete the rows of a request whose tokens are put, and look that none is left. Returns the finished receipt.

    A receipt is there before anything is deleted; whatever stops this in between leaves it begun. Raises ErasureUnfinished
    when rows remain.
    """
    store.write(receipt)
    left = store.count(receipt.id, receipt.field)
    found = dict(receipt.found)
    for turn in range(ROUNDS):
        if not left:
            break
        if turn:  # they came in meanwhile
            for event, rows in left.items():
                found[event] = found.get(event, 0) + rows
        store.delete(receipt.id, receipt.field)
        _finish(store, receipt.id, wait, tell)
        left = store.count(receipt.id, receipt.field)
    if left:
        raise ErasureUnfinished(
            f"{sum(left.values()):,} rows remain, for rows of this person keep coming in. Stop what sends them, then say: "
            f"--receipt {receipt.id}"
        )
    return finish(store, replace(receipt, found=found, deleted=found), now_ms())


def finish(store: PersonStore, receipt: Receipt, now_ms: int) -> Receipt:
    """Close a receipt."""
    old, detached = store.remains()
    done = replace(receipt, state=DONE, at_ms=now_ms, old_parts=old, detached_parts=detached)
    store.write(done)
    return done


def _finish(store: PersonStore, receipt: str, wait: Callable[[float], None], tell: Tell) -> None:
    most, pause = 1, 0.02
    while not (how := store.deletion(receipt)).done:
        if how.failed:
            raise ErasureUnfinished(
                "the store could not delete: see latest_fail_reason in system.mutations, put it right, then say: "
                f"--receipt {receipt}"
            )
        most = max(most, how.parts)
        tell(1 - how.parts / most, f"{how.parts:,} parts to go")
        wait(pause)
        pause = min(2 * pause, 1.0)
