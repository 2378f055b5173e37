"""Subject search: what `forget` and `export-subject` have in common: keys, store, tokens, and what was found under them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from streamgauge.console.asking import connect
from streamgauge.console.erasure import (
    BEGUN,
    FORGET,
    REPLACED,
    Receipt,
    Request,
    check_ring,
    choose_events,
    choose_tenants,
    lost,
    resumed,
    shown,
    tokens_of,
)
from streamgauge.console.erasure_store import EventStore
from streamgauge.console.output import note, progress
from streamgauge.console.settings import ConsoleSettings
from streamgauge.processors.key_sources import key_source
from streamgauge.processors.keyring import day_of
from streamgauge.schemas.contracts import load_contracts
from streamgauge.schemas.errors import InputError, StreamgaugeError

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """An open search: its tokens are in the store until it is closed. `receipt` is not written yet."""

    store: EventStore
    receipt: Receipt


def now_ms() -> int:
    """The time of the day, ms since the epoch."""
    return time.time_ns() // 1_000_000


@contextmanager
def search(
    settings: ConsoleSettings,
    kind: str,
    field: str,
    values: Sequence[str],
    events: Names,
    tenants: Names,
    again: str = "",
) -> Generator[Search]:
    """Look for a person's rows; inside, their tokens are known to the store. `again` is a receipt that is continued.

    Raises InputError, SettingsError and StoreUnavailable. What has to be known beside the result is noted on stderr.
    """
    ring = key_source(settings.keys, settings.pseudonym_key).read()
    with closing(connect(settings)) as client:
        store = EventStore(client, settings.store, settings.database)
        _check_region(settings, store.regions())
        holdings = store.holdings(field)
        check_ring(ring, holdings)
        before = next(iter(store.receipts(again)), None) if again else None
        there = store.tenants()
        known = _known(store.fields(), settings.contracts)
        request = Request(
            field,
            _joined(choose_events(field, events, known), before.events if before else ()),
            _joined(choose_tenants(tenants, there), before.tenants if before else ()),
            settings.region,
            settings.phone_region,
        )
        _note_limits(lost(ring, holdings), there, tenants)
        at = now_ms()
        receipt = Receipt(
            again or _receipt_id(at),
            kind, settings.region, field, request.events, shown(request.tenants, there), len(values),
            tuple(key.id for key in ring.live), tuple(key.id for key in ring.keys if not key.live), at, at,
        )  # fmt: skip
        if not again:
            _note_unfinished(store.receipts(), receipt)
        try:
            with progress("search") as tell:
                store.put(receipt.id, tokens_of(ring, request, values, tell), at)
            receipt = replace(receipt, found=store.count(receipt.id, field))
            yield Search(store, resumed(before, receipt) if again else receipt)
        finally:
            with suppress(StreamgaugeError):  # they are in memory only, and the next request clears them
                store.clear(receipt.id)


def receipt_lines(receipt: Receipt) -> list[tuple[str, str]]:
    """A receipt for people: names and values."""
    found, deleted = sum(receipt.found.values()), sum(receipt.deleted.values())
    gone = f", {deleted:,} deleted, {receipt.left:,} left" if receipt.kind == FORGET and receipt.state != BEGUN else ""
    named = [tenant for tenant in receipt.tenants if tenant]
    lines = [
        ("receipt", f"{receipt.id} ({receipt.kind}, {receipt.state})"),
        (
            "searched",
            f"{receipt.field} of {', '.join(receipt.events)}; {receipt.subjects:,} value{'s' * (receipt.subjects > 1)}",
        ),
        ("tenants", f"{', '.join(named[:12])}{' …' if len(named) > 12 else ''} ({len(named):,})" if named else ""),
        (
            "keys",
            f"{', '.join(receipt.keys)}{'; destroyed: ' if receipt.destroyed else ''}{', '.join(receipt.destroyed)}",
        ),
        ("rows", f"{found:,} found{gone}"),
        *(("", f"{count:,} in {event}") for event, count in receipt.found.items()),
    ]
    if receipt.old_parts:
        lines.append(("disk", f"{receipt.old_parts:,} parts from before, which the store removes within minutes"))
    if receipt.detached_parts:
        lines.append(("disk", f"{receipt.detached_parts:,} detached parts, in which nothing is searched: drop them"))
    return [line for line in lines if line[1]]


def _known(stored: Mapping[str, frozenset[str]], places: Sequence[Path]) -> dict[str, frozenset[str]]:
    known = dict(stored)
    for contract in load_contracts(places).values():
        if fields := contract.of_kind("unique"):
            known[contract.name] = known.get(contract.name, frozenset()) | frozenset(fields)
    return known


def _joined(names: Names, others: Names) -> Names:
    return tuple(sorted({*names, *others}))


def _check_region(settings: ConsoleSettings, regions: Sequence[str]) -> None:
    if regions and settings.region not in regions:
        raise InputError(
            f"the store holds data of {', '.join(regions)}, not of {settings.region}: pseudonyms of two regions have nothing in "
            "common, so nobody would be found. Say --region"
        )


def _note_limits(lost_rows: Mapping[str, int], tenants: Sequence[str], wanted: Names) -> None:
    for key, rows in lost_rows.items():
        note(
            f"{key} was destroyed: whom its {rows:,} rows are about can never be told again, and none of them is found"
        )
    if not wanted and (replaced := [name for name in tenants if REPLACED.search(name)]):
        note(
            f"rows of the tenant {replaced[0]}: its name was replaced, for it looks like personal data, and is needed to find "
            "anybody there: say it with --tenant"
        )


def _note_unfinished(receipts: Sequence[Receipt], ours: Receipt) -> None:
    for one in receipts:
        if one.state == BEGUN and (one.kind, one.field) == (ours.kind, ours.field):
            note(
                f"{one.id} ({one.kind} {one.field}, begun {day_of(one.begun_ms)}) was not finished: if it is about the same "
                f"person, say --receipt {one.id}"
            )


def _receipt_id(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(3)}"
