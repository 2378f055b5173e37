"""Replay: the rows of a data file as batches of events over several streams, with an account of every row.

Batches are marked as backfill. A stream's batches are numbered densely; `run` makes the streams of each replay its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

import numpy as np
import orjson

from streamgauge.console.datafile import Slice
from streamgauge.console.interrupts import Check
from streamgauge.console.rows import RefusedRows, Rows, Texts, read_rows
from streamgauge.console.sender import Batch, Sender
from streamgauge.schemas.batches import Origin
from streamgauge.schemas.consent import Consent, pack_consents
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.errors import StreamgaugeError

MAX_BATCH_BYTES = 900_000
"""librdkafka refuses messages above 1,000,000 bytes by default, and brokers soon after."""

KEY_STREAMS = 64
CLOSE_WITHIN_S = 90.0
INTERRUPTED_CLOSE_S = 3.0

Refusals = Callable[[RefusedRows, int], None]
"""Is told of refused rows, with the number of their slice's first row."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is cut into batches. `rate` is events a second, 0: as fast as it goes. `consent` holds for every row."""

    contract: Contract
    context: Mapping[str, str]
    streams: Sequence[str]
    epoch_ms: int
    batch_rows: int = 2_000
    rate: float = 0.0
    consent: Consent | None = None

    @property
    def rows_per_batch(self) -> int:
        """At a slow rate no batch holds more than a second of events."""
        return max(1, min(self.batch_rows, int(self.rate))) if self.rate else self.batch_rows


@dataclass(slots=True)
class Account:
    """What became of every row. `problem` is why it ended early, if it did."""

    rows: int = 0
    sent: int = 0
    refused: dict[str, int] = field(default_factory=dict[str, int])
    points: int = 0
    batches: int = 0
    streams: int = 0
    unacknowledged: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    problem: str = ""

    def refuse(self, reason: str, rows: int) -> None:
        """Count refused rows."""
        self.refused[reason] = self.refused.get(reason, 0) + rows

    @property
    def complete(self) -> bool:
        """Whether every row that was read is acknowledged or refused, and the file was read to its end."""
        there = self.sent + sum(self.refused.values())
        return not self.unacknowledged and not self.problem and not self.interrupted and there == self.rows

    def json(self) -> dict[str, Any]:
        """As a JSON object."""
        body: dict[str, Any] = {
            "rows": self.rows,
            "sent": self.sent,
            "refused": dict(sorted(self.refused.items())),
            "points": self.points,
            "batches": self.batches,
            "streams": self.streams,
            "unacknowledged": self.unacknowledged,
            "seconds": round(self.seconds, 3),
        }
        if self.interrupted:
            body["interrupted"] = True
        if self.problem:
            body["problem"] = self.problem
        return body

    def text(self) -> str:
        """As a line for people."""
        refused = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.refused.items()))
        lost = f"   unacknowledged {self.unacknowledged:,} batches" if self.unacknowledged else ""
        return (
            f"rows {self.rows:,}   sent {self.sent:,}   refused {sum(self.refused.values()):,}"
            f"{f' ({refused})' if refused else ''}   points {self.points:,}   batches {self.batches:,}{lost}"
            f"   {self.seconds:,.1f} s"
        )


def stream_names(prefix: str, count: int, partitions: int) -> tuple[str, ...]:
    """Names of `count` streams whose keys spread evenly over the partitions (librdkafka places a key by its CRC-32)."""
    most = -(-count // partitions)
    load = [0] * partitions
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = f"{prefix}-{number}"
        partition = zlib.crc32(name.encode()) % partitions
        if load[partition] < most:
            load[partition] += 1
            found.append(name)
        number += 1
    return tuple(found)


def key_stream(event: str, key: str) -> str:
    """The stream of an idempotency key, the same for every sender."""
    digest = blake2b(key.encode("utf-8", "replace"), digest_size=16).digest()
    return f"ik-{event}-{int.from_bytes(digest, 'big') % KEY_STREAMS:02d}"


class Encoder:
    """Rows into batches, round-robin over the streams. Numbers are given out once, so it serves one replay.

    Rows with an idempotency key go to the stream of their key, where they meet their repeats from whatever sender.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._next_seq = dict.fromkeys(plan.streams, 0)
        self._turn = 0
        self._keys = plan.contract.of_kind("idempotency_key")
        self.too_large = 0

    @property
    def used(self) -> int:
        """How many streams have a batch."""
        return sum(seq > 0 for seq in self._next_seq.values())

    def batches(self, rows: Rows) -> Iterator[Batch]:
        """The rows as encoded batches. A batch that is too large is halved; a row that is too large alone is counted."""
        size = self._plan.rows_per_batch
        for stream, same in self._by_stream(rows):
            for group in same.by_span():
                for start in range(0, len(group), size):
                    yield from self._cut(stream, group, slice(start, min(start + size, len(group))))

    def _by_stream(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """The rows of each stream that their keys prescribe; all of them, for no stream in particular, without a key."""
        if not self._keys:
            yield "", rows
            return
        column = cast("Texts", rows.fields[self._keys[0]])
        names = [key_stream(self._plan.contract.name, word or "") for word in column.dictionary]
        known = sorted(set(names))
        place = {name: position for position, name in enumerate(known)}
        streams = np.array([place[name] for name in names], dtype=np.int64)[column.codes]
        order = np.argsort(streams, kind="stable")
        borders = np.flatnonzero(np.diff(streams[order])) + 1
        for index in np.split(order, borders) if len(order) else ():
            yield known[int(streams[index[0]])], rows.take(index)

    def _cut(self, prescribed: str, rows: Rows, part: slice) -> Iterator[Batch]:
        stream = prescribed or self._plan.streams[self._turn]
        value = encode(self._plan, stream, self._next_seq.get(stream, 0), rows, part)
        count = part.stop - part.start
        if len(value) <= MAX_BATCH_BYTES:
            self._next_seq[stream] = self._next_seq.get(stream, 0) + 1
            self._turn = (self._turn + 1) % len(self._plan.streams)
            yield Batch(stream, value, count, rows.points(part))
        elif count == 1:
            self.too_large += 1
        else:
            middle = part.start + count // 2
            yield from self._cut(prescribed, rows, slice(part.start, middle))
            yield from self._cut(prescribed, rows, slice(middle, part.stop))


def encode(plan: Plan, stream: str, seq: int, rows: Rows, part: slice) -> bytes:
    """These rows as the next batch of a stream; the same envelope as `batches.encode_events`, from columns."""
    message = Origin(plan.context, stream, plan.epoch_ms, seq, backfill=True).head("events")
    message |= {"event": plan.contract.name, "contract": plan.contract.version, **rows.body(part)}
    if plan.consent is not None:
        message["consent"] = pack_consents([plan.consent] * (part.stop - part.start))
    return orjson.dumps(message)


def replay(
    slices: Iterable[Slice],
    plan: Plan,
    sender: Sender,
    clock: Callable[[], float],
    report: Callable[[float, str], None],
    refusals: Refusals,
    check: Check = lambda: None,
) -> Account:
    """Send every row and wait until all is acknowledged. Ends early on Ctrl-C or when the broker fails; the account says so."""
    account = Account()
    encoder = Encoder(plan)
    started = clock()
    try:
        for part in slices:
            rows, refused = read_rows(part.frame, plan.contract, part.broken)
            account.rows += part.frame.height
            for one in refused:
                account.refuse(one.reason, len(one.positions))
                refusals(one, part.first)
            handed = account.rows - part.frame.height
            for batch in encoder.batches(rows):
                check()
                sender.send(batch)
                handed += batch.rows
                if plan.rate:
                    sender.wait(max(0.0, handed / plan.rate - (clock() - started)))
                report(part.share, f"{handed:,} rows, {sender.delivered.rows:,} acknowledged")
        sender.close(CLOSE_WITHIN_S)
    except KeyboardInterrupt:
        account.interrupted = True
        sender.close(INTERRUPTED_CLOSE_S)
    except StreamgaugeError as error:
        account.problem = str(error)
        sender.close(INTERRUPTED_CLOSE_S)
    if encoder.too_large:
        account.refuse("too_large", encoder.too_large)
    done = sender.delivered
    account.sent, account.points, account.batches = done.rows, done.points, done.batches
    account.unacknowledged, account.streams = done.failed_batches, encoder.used
    account.seconds = clock() - started
    return account
