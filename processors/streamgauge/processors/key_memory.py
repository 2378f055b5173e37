"""Key memory: the idempotency keys of one raw partition as messages of the state topic, and read back from them.

Each transaction carries the keys that came in it. The first one of a new hour carries instead, as a slice, all that came
since the last slice, and removes the messages which the slice replaces. So every message that a reader needs is the last
one of its record's key: whether and where compaction has run makes no difference.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from streamgauge.processors.accumulator import Place
from streamgauge.processors.keys import KeyPolicy, KeyTable, RecentKeys
from streamgauge.processors.outputs import Output
from streamgauge.schemas.errors import PositionLost, Refused
from streamgauge.schemas.keys import KeysMessage, decode_keys
from streamgauge.schemas.topics import STATE, state_partition

log = logging.getLogger("streamgauge.processors")

SLICE_S = 3_600
FAMILY = b"keys/"
"""How the records of keys are named in the state topic, apart from all others."""


class Abandoned(Exception):
    """Nobody waits for this reading any more."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A finished slice: its messages, and when its last key came."""

    parts: int
    last_s: int


@dataclass(frozen=True, slots=True)
class Journal:
    """What the state topic holds: the additions since `opened_s`, and finished slices by when they were begun."""

    opened_s: int
    additions: int = 0
    slices: Mapping[int, Slice] = field(default_factory=dict[int, Slice])


@dataclass(frozen=True, slots=True)
class _Attempt:
    end: int
    journal: Journal | None
    values: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a transaction must carry: messages, and names of records that are no longer needed. `encode` may run anywhere."""

    messages: tuple[KeysMessage, ...]
    obsolete: tuple[bytes, ...]
    where: tuple[str, int]

    def encode(self) -> list[Output]:
        """As outputs. One without a value removes its record."""
        gone = [Output(*self.where, b"", key) for key in self.obsolete]
        return gone + [Output(*self.where, one.encode(), _record(one)) for one in self.messages]


class Reading:
    """What a read of the state topic has found so far. Lives in one thread until `KeyMemory.install`."""

    def __init__(self, place: Place, policy: KeyPolicy, now_s: int) -> None:
        self.table = KeyTable(policy)
        self.abandoned = False
        self._place = place
        self._now_s = now_s
        self._floor = now_s - policy.horizon_s
        self._last_s = 0
        self._slices: dict[int, Slice] = {}
        self._seen: dict[int, set[int]] = {}
        self._additions: dict[int, int] = {}

    def take(self, key: bytes, value: bytes) -> None:
        """One record, in the order of the log. Raises PositionLost for one that is none of this version."""
        if self.abandoned:
            raise Abandoned
        if not key.startswith(prefix(self._place)):
            return
        try:
            one = decode_keys(value)
        except Refused as refused:
            raise PositionLost(
                f"{key.decode(errors='replace')} in {STATE.name(self._place.region)} is no message of this version "
                f"({refused.reason}). Without it idempotency keys cannot be recognised. Start the version of streamgauge "
                "that wrote it"
            ) from refused
        last_s = int(one.keys.at.max()) if len(one.keys) else 0
        self._last_s = max(self._last_s, last_s)
        if one.form == "slice":
            known = self._slices.get(one.slice_s, Slice(0, 0))
            self._slices[one.slice_s] = Slice(one.parts, max(known.last_s, last_s))
            self._seen.setdefault(one.slice_s, set()).add(one.part)
        else:
            self._additions[one.slice_s] = max(self._additions.get(one.slice_s, 0), one.part + 1)
        self.table.put(one.keys, self._now_s)

    def journal(self) -> Journal:
        """What is in the state topic."""
        for start_s, one in self._slices.items():
            if one.last_s >= self._floor and (missing := one.parts - len(self._seen[start_s])):
                log.warning(
                    "%s/%s: %d of %d messages of idempotency keys from %d on are gone; events with these keys count again",
                    self._place.topic, self._place.partition, missing, one.parts, start_s,
                )  # fmt: skip
        opened = [start_s for start_s in self._additions if start_s not in self._slices]
        start_s = max(opened, default=self.clock_s)
        return Journal(start_s, self._additions.get(start_s, 0) if opened else 0, dict(self._slices))

    @property
    def clock_s(self) -> int:
        """No key came later than this, whatever the clocks of earlier owners showed."""
        return max(self._last_s, self._now_s)


class KeyMemory:
    """Of one raw partition. What is known survives a failed commit, if the committed offset shows what became of it."""

    def __init__(self, place: Place, policy: KeyPolicy, partitions: int) -> None:
        self.where = STATE.name(place.region), state_partition(place.topic, place.partition, partitions)
        self.recent = RecentKeys()
        self._place = place
        self._policy = policy
        self._journal: Journal | None = None
        self._committed: int | None = None
        self._attempt: _Attempt | None = None
        self._reading: Reading | None = None

    def nothing(self, start: int, now_s: int) -> None:
        """Nothing was ever committed: there are no keys to know."""
        self._lose()
        self.recent.clock_s = max(self.recent.clock_s, now_s)
        self.recent.table, self._committed = KeyTable(self._policy), start
        self._journal = Journal(self.recent.clock_s)

    def reopened(self, committed: int, values: Sequence[bytes]) -> None:
        """The partition begins again at `committed`. `values` are the records of keys that end at the latest offsets.

        If the last commit had no effect, its keys come again; if it had, unseen, they stay. After anything else another
        owner may have been at work: all is read again.
        """
        if self._attempt is not None and committed == self._attempt.end and self._took_effect(values):
            self.settle(committed)
        if committed != self._committed:
            self._lose()
            self._committed = committed
        self._attempt = None
        self.recent.undo()

    def _took_effect(self, values: Sequence[bytes]) -> bool:
        """Whether what the attempt carried, and nothing else, stands at its end."""
        attempt, found = self._attempt, set[bytes]()
        if attempt is None:
            return False
        for value in values:
            try:
                one = decode_keys(value)
            except Refused:
                return False
            if (one.topic, one.partition, one.end) == (self._place.topic, self._place.partition, attempt.end):
                found.add(value)
        return frozenset(found) == attempt.values

    def _lose(self) -> None:
        self.abandon()
        self.recent.undo()
        self.recent.table, self._journal, self._committed = None, None, None

    def abandon(self) -> None:
        """Nobody waits for a reading any more."""
        if self._reading is not None:
            self._reading.abandoned = True
        self._reading = None

    def read(self, now_s: int) -> Reading:
        """A reading of all that is committed. The records go to its `take`, in any thread; then `install` it."""
        self.abandon()
        self._reading = Reading(self._place, self._policy, now_s)
        return self._reading

    def install(self, reading: Reading) -> None:
        """Know what was read, unless it was abandoned meanwhile."""
        if reading is not self._reading:
            return
        self._reading = None
        self._journal = reading.journal()
        self.recent.clock_s = max(self.recent.clock_s, reading.clock_s, self._journal.opened_s)
        self.recent.table = reading.table
        self.recent.wanted = False

    def take(self, end: int, now_s: int) -> Taken:
        """What a transaction that ends at the raw offset `end` must carry. Its outcome is told by `settle` or `reopened`."""
        table, journal = self.recent.table, self._journal
        messages: list[KeysMessage] = []
        obsolete: list[bytes] = []
        if table is not None and journal is not None:
            now_s = self.recent.clock_s = max(now_s, self.recent.clock_s)
            added, place = self.recent.begin(), self._place
            message = partial(KeysMessage, place.region, place.topic, place.partition)
            slices = dict(journal.slices)
            if now_s // SLICE_S > journal.opened_s // SLICE_S and (journal.additions or len(added)):
                parts = list(table.since(journal.opened_s).split())
                slices[journal.opened_s] = Slice(len(parts), now_s)
                messages = [
                    message("slice", end, journal.opened_s, keys, part, len(parts)) for part, keys in enumerate(parts)
                ]
                obsolete = [_name(place, "add", journal.opened_s, part) for part in range(journal.additions)]
                opened_s, additions = now_s, 0
            else:
                messages = [
                    message("add", end, journal.opened_s, keys, part, part + 1)
                    for part, keys in enumerate(added.split(), journal.additions)
                ]
                opened_s, additions = journal.opened_s, journal.additions + len(messages)
            for start_s, one in journal.slices.items():
                if one.last_s < now_s - self._policy.horizon_s:
                    del slices[start_s]
                    obsolete += [_name(place, "slice", start_s, part) for part in range(one.parts)]
            journal = Journal(opened_s, additions, slices)
            self._warn(table)
        self._attempt = _Attempt(end, journal, frozenset())
        return Taken(tuple(messages), tuple(obsolete), self.where)

    def carried(self, outputs: Sequence[Output]) -> None:
        """What `Taken.encode` gave, which tells this transaction from one of another owner."""
        if self._attempt is not None:
            values = frozenset(one.value for one in outputs if one.value)
            self._attempt = _Attempt(self._attempt.end, self._attempt.journal, values)

    def settle(self, end: int) -> None:
        """The transaction that ended at `end` is final."""
        if self._attempt is not None and self._attempt.journal is not None:  # else keys were not known when it began
            self._journal = self._attempt.journal
            self.recent.settle()
        self._attempt, self._committed = None, end

    def _warn(self, table: KeyTable) -> None:
        if table.crowded_out:
            log.warning(
                "%s/%s: %d idempotency keys were forgotten before their horizon, for want of room: events with these keys "
                "count again. Raise STREAMGAUGE_KEY_MEMORY",
                self._place.topic, self._place.partition, table.crowded_out,
            )  # fmt: skip
            table.crowded_out = 0


def prefix(place: Place) -> bytes:
    """How the records of a raw partition's keys begin."""
    return FAMILY + f"{place.topic}/{place.partition}/".encode()


def _name(place: Place, form: str, slice_s: int, part: int) -> bytes:
    return prefix(place) + f"{form}/{slice_s}/{part}".encode()


def _record(one: KeysMessage) -> bytes:
    return _name(Place(one.region, one.topic, one.partition), one.form, one.slice_s, one.part)
