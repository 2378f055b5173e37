"""Event intake: events of all senders, checked against their contracts and waiting to be sent. Bounded in number and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from streamgauge.console.gateway_account import Refusal
from streamgauge.console.gateway_senders import Sender, Senders
from streamgauge.console.statsd_contracts import ALL
from streamgauge.producers.event_rows import EventRows, EventValueError, Row
from streamgauge.schemas.consent import Consent
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.events import contract_of

Known = Mapping[tuple[str, int], Contract]
Pairs = Iterable[tuple[str, str]]
ROWS = 2_000
MAX_WAITING = 100_000
MAX_WAITING_BYTES = 32 << 20


class EventIntake:
    """Takes events. `contracts` says what is in force, `publish` makes a contract of ours known before its first event."""

    def __init__(
        self, senders: Senders, contracts: Callable[[], Known], publish: Callable[[Contract], None] | None = None
    ) -> None:
        self._senders = senders
        self._contracts = contracts
        self._publish = publish
        self._kinds: dict[tuple[str, int], EventRows] = {}
        self._ours = {contract.name: EventRows(contract) for contract in map(contract_of, ALL)}
        self._published: set[str] = set()
        self._rows: dict[tuple[Sender, EventRows], list[Row]] = {}
        self._waiting = self._bytes = 0

    def ours(self, name: str, values: Mapping[str, Any], context: Pairs, at_ms: int, now_ms: int) -> bool:
        """Take an event of a contract of ours; whether it is under its own sender. Raises Refusal."""
        kind = self._ours[name]
        itself = self._add(kind, values, context, at_ms, now_ms)
        if self._publish is not None and name not in self._published:
            self._published.add(name)
            self._publish(kind.contract)
        return itself

    def kind(self, name: str, version: int | None) -> EventRows | None:
        """How events of this contract are read; the newest version where none is named. None when it is not in force."""
        known = self._contracts()
        if version is None:
            version = max((number for known_name, number in known if known_name == name), default=0)
        contract = known.get((name, version))
        if contract is None:
            return None
        kind = self._kinds.get((name, version))
        if kind is None or kind.contract != contract:
            kind = self._kinds[name, version] = EventRows(contract)
        return kind

    def theirs(
        self,
        kind: EventRows,
        fields: Mapping[str, Any],
        context: Pairs,
        at_ms: int,
        now_ms: int,
        consent: Consent | None = None,
    ) -> bool:
        """Take an event of somebody else's contract; whether it is under its own sender.

        Raises Refusal: `undeclared_field`, `missing_field`, `buffer_full`, what is wrong with a value, or what the person
        it is about has not granted.
        """
        contract = kind.contract
        if reason := kind.denied(consent):
            raise Refusal(reason, f"the contract {contract.name} needs the person's consent; see 'consent' in the docs")
        if extra := [name for name in fields if name not in contract.fields]:
            raise Refusal("undeclared_field", f"{contract.name} has no field {', '.join(map(repr, sorted(extra)[:5]))}")
        if lacking := [name for name, one in contract.fields.items() if name not in fields and _needed(one)]:
            raise Refusal("missing_field", f"{contract.name} needs {', '.join(lacking)}")
        return self._add(kind, {**dict.fromkeys(contract.fields), **fields}, context, at_ms, now_ms, consent)

    def _add(
        self,
        kind: EventRows,
        values: Mapping[str, Any],
        context: Pairs,
        at_ms: int,
        now_ms: int,
        consent: Consent | None = None,
    ) -> bool:
        try:
            row, size = kind.row(values, at_ms)
        except EventValueError as error:
            raise Refusal(error.reason, str(error)) from error
        if kind.gated:
            row = (*row, consent)
        if self._waiting >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            raise Refusal("buffer_full", "too many events wait to be sent; try again later")
        sender, itself = self._senders.find(context, now_ms)
        self._rows.setdefault((sender, kind), []).append(row)
        self._waiting += 1
        self._bytes += size
        return itself

    def take(self) -> Iterator[tuple[Sender, EventRows, list[Row]]]:
        """What waits, some thousand rows at a time. What is not asked for stays where it is."""
        while self._rows:
            place = next(iter(self._rows))
            rows = self._rows[place]
            some, rest = rows[:ROWS], rows[ROWS:]
            if rest:
                self._rows[place] = rest
            else:
                del self._rows[place]
            self._bytes -= round(self._bytes * len(some) / self._waiting)
            self._waiting -= len(some)
            yield *place, some

    def __len__(self) -> int:
        return self._waiting


def _needed(field: Any) -> bool:
    return not field.optional and field.kind != "dropped"
