"""Tail: what may be shown of a raw message while it passes. Undeclared fields, personal data and bytes are not.

Pure: contracts, keys and the message are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamgauge.console.dead_letters import Origin, fields_text, instant_text
from streamgauge.processors.cleaner import Cleaner
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.replayed import Headers, replay_of
from streamgauge.processors.samples import UNIQUE, event_sample, metric_sample
from streamgauge.processors.scrub import Scrubber
from streamgauge.processors.series import canonical_context
from streamgauge.schemas.again import Again
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode
from streamgauge.schemas.errors import Refused
from streamgauge.schemas.ledger import SampleRow
from streamgauge.schemas.packing import Json

PSEUDONYM_DIGITS = 8
SHOWN_METRICS = 6


@dataclass(frozen=True, slots=True)
class Passing:
    """A raw message as it comes by. `at_ms` is the broker's time."""

    origin: Origin
    at_ms: int
    value: bytes | None
    headers: Headers = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What is shown of it. `reason` says why it cannot be read; then nothing else of its content is known.

    `names` are the event, or the metrics. `known` tells whether the contract is; metrics need none.
    """

    origin: Origin
    at_ms: int
    size: int
    reason: str = ""
    kind: str = ""
    names: tuple[str, ...] = ()
    service: str = ""
    rows: int = 0
    contract: int = 0
    known: bool = True
    sample: tuple[SampleRow, ...] = ()
    again: Again | None = None

    def json(self, region: str) -> Json:
        """As a JSON object on one line."""
        body: Json = {"origin": self.origin.text(region), "at": self.at_ms, "size": self.size}
        if self.again:
            body["replay_of"] = self.again.offset
        if self.reason:
            return body | {"reason": self.reason}
        body |= {"kind": self.kind, "service": self.service, "rows": self.rows, "names": list(self.names)}
        if self.kind == "events":
            body |= {"contract": self.contract, "known": self.known}
        return body | {"sample": [row.json() for row in self.sample]}

    def lines(self, region: str) -> list[str]:
        """For people: one line, and one for each row that is shown."""
        head = f"{instant_text(self.at_ms)}  {self.origin.text(region):<16}"
        if self.again:
            head += f"  replay of offset {self.again.offset}"
        if self.reason:
            return [f"{head}  not readable: {self.reason}, {self.size:,} bytes"]
        names = ", ".join(self.names[:SHOWN_METRICS])
        more = f" … ({len(self.names)})" if len(self.names) > SHOWN_METRICS else ""
        contract = f" {self.contract}{'' if self.known else ' (contract not known)'}" if self.kind == "events" else ""
        rows = [
            f"    {instant_text(row.at_ms)}  {row.metric}{'  ' if row.metric else ''}{fields_text(row.fields)}"
            for row in self.sample
        ]
        return [f"{head}  {self.service or '-'}  {names}{more}{contract}  {self.rows:,} rows", *rows]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages are shown; what is empty excludes nothing."""

    names: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    def takes(self, seen: Seen) -> bool:
        """Whether it is shown. What cannot be read is nobody's, and only shown when nothing is asked for."""
        return (not self.names or any(name in self.names for name in seen.names)) and (
            not self.services or (not seen.reason and seen.service in self.services)
        )


@dataclass(frozen=True, slots=True)
class Glass:
    """What one looks through: the worker's scrubber, its pseudonyms if the key is at hand, and how many rows are shown."""

    scrubber: Scrubber
    hasher: DistinctHasher | None = None
    rows: int = 3
    cleaner: Cleaner = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cleaner", Cleaner(self.scrubber))

    def look(self, passing: Passing, contracts: Mapping[tuple[str, int], Contract]) -> Seen:
        """What may be shown of a message."""
        origin, value = passing.origin, passing.value
        again = replay_of(passing.headers, origin.offset)
        marked = again if isinstance(again, Again) else None
        try:
            batch = decode(value)
        except Refused as refused:
            return Seen(origin, passing.at_ms, len(value or b""), refused.reason, again=marked)
        context = canonical_context(batch.origin.context)
        service = self.cleaner.label("service", context.get("service", ""))[0]
        if isinstance(batch, MetricBatch):
            total = len(batch.windows)
            names = tuple(dict.fromkeys(self.cleaner.name(head.name) for head in batch.metrics))
            sample = metric_sample(batch, self.cleaner, range(min(self.rows, total)))
            return Seen(
                origin,
                passing.at_ms,
                len(value or b""),
                "",
                "metrics",
                names,
                service,
                total,
                sample=sample,
                again=marked,
            )
        contract = contracts.get((batch.event, batch.contract))
        return Seen(
            origin, passing.at_ms, len(value or b""), "", "events", (self.cleaner.name(batch.event),), service, len(batch.times),
            # a number that no contract has may be anything
            batch.contract if contract or batch.contract < 1 << 16 else 0, contract is not None,
            self._rows(batch, contract, context.get("tenant", "")) if contract else (), marked,
        )  # fmt: skip

    def _rows(self, batch: EventBatch, contract: Contract, tenant: str) -> tuple[SampleRow, ...]:
        def pseudonym(field: str, value: str, at_ms: int) -> str:
            if self.hasher is None:
                return UNIQUE
            (found,) = self.hasher.hashes(f"{contract.name}.{field}", tenant, [value], at_ms)
            return f"~{int(found):016x}"[: PSEUDONYM_DIGITS + 1] if found else ""

        rows = range(min(self.rows, len(batch.times)))
        return event_sample(batch, contract, self.cleaner, rows, pseudonym=pseudonym)
