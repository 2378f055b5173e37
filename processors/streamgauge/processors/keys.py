"""Keys: which idempotency keys have come within a horizon, so that an event that is sent twice counts once. Pure; time is given.

A key is its 128-bit keyed hash. 20 bytes a slot in three flat arrays, because a day can hold millions of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from streamgauge.schemas.columns import Array
from streamgauge.schemas.keys import Keys, joined

SLOT_BYTES = 20
FIRST_SLOTS = 1_024
LOAD = 0.7
"""Share of the slots in use at most: beyond it, chains grow long."""
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """`horizon_s`: how long a key is known after it first came. `max_bytes`: of the table of one raw partition; beyond
    them the oldest keys are forgotten early. While it is rebuilt, up to twice as much is in use."""

    horizon_s: int = 86_400
    max_bytes: int = 128 << 20


class KeyTable:
    """Open addressing with linear probing, a batch at a time. Not thread-safe.

    A slot whose `low` is 0 is free; one whose time is 0, or beyond the horizon, holds a key that counts as absent.
    """

    def __init__(self, policy: KeyPolicy | None = None) -> None:
        self.policy = policy or KeyPolicy()
        self._most = max(64, min(self.policy.max_bytes // SLOT_BYTES, (1 << 32) - 1))
        self.crowded_out = 0
        self._empty(min(FIRST_SLOTS, self._most))

    def _empty(self, slots: int) -> None:
        self._low = np.zeros(slots, np.uint64)
        self._high = np.zeros(slots, np.uint64)
        self._at = np.zeros(slots, np.uint32)
        self._used = 0

    @property
    def used(self) -> int:
        """Slots in use, by keys that count and by others that are gone at the next rebuild."""
        return self._used

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        return self._low.nbytes + self._high.nbytes + self._at.nbytes

    def _floor(self, now_s: int) -> int:
        return max(1, now_s - self.policy.horizon_s)

    def _chunk(self) -> int:
        return min(CHUNK, max(1, int(self._most * LOAD) // 8))

    def add(self, low: Array, high: Array, now_s: int) -> Array:
        """Note the keys of some rows; True for each row whose key had not come, or not within the horizon. Of equal
        keys the first row is the new one. No `low` may be 0."""
        new = np.zeros(len(low), bool)
        size = self._chunk()
        for start in range(0, len(low), size):
            part = slice(start, start + size)
            new[part] = self._add(low[part], high[part], now_s)
        return new

    def _add(self, low: Array, high: Array, now_s: int) -> Array:
        self._make_room(len(low), now_s)
        slots = self._claim(low, high)
        new = np.zeros(len(low), bool)
        rows = np.flatnonzero(self._at[slots] < self._floor(now_s))
        if len(rows):
            mine = slots[rows]
            new[rows[self._first(mine)]] = True
            self._at[mine] = now_s
        return new

    def put(self, keys: Keys, now_s: int) -> None:
        """Know these keys since when they came, or later if that is known; those beyond the horizon are left out."""
        size = self._chunk()
        live = keys.at >= self._floor(now_s)
        if not live.all():
            keys = Keys(keys.low[live], keys.high[live], keys.at[live])
        for part in keys.split(size):
            self._make_room(len(part), now_s)
            slots = self._claim(part.low, part.high)
            np.maximum.at(self._at, slots, part.at.astype(np.uint32))

    def forget(self, keys: Keys) -> None:
        """Know these keys no longer."""
        for part in keys.split(self._chunk()):
            self._make_room(len(part), int(part.at.max()))
            self._at[self._claim(part.low, part.high)] = 0

    def since(self, start_s: int) -> Keys:
        """The keys that came at `start_s` or later."""
        found = np.flatnonzero(self._at >= max(1, start_s))
        return Keys(self._low[found], self._high[found], self._at[found])

    def _first(self, slots: Array) -> Array:
        """Of rows with equal slots the first. Leaves the times of these slots in disorder."""
        rows = np.arange(len(slots), dtype=np.uint32)
        self._at[slots[::-1]] = rows[::-1]  # of repeated indexes the last assignment stays
        first: Array = self._at[slots] == rows
        return first

    def _claim(self, low: Array, high: Array) -> Array:
        """The slot of each key. A key that has none gets one, with a time of 0."""
        size = np.uint64(len(self._low))
        slots = ((low >> np.uint64(32)) * size >> np.uint64(32)).astype(np.int64)
        left = np.arange(len(low))
        while len(left):
            at = slots[left]
            there = self._low[at]
            free = np.flatnonzero(there == 0)
            if len(free):
                rows, wanted = left[free], at[free]
                self._used += int(np.count_nonzero(self._first(wanted)))
                self._at[wanted] = 0
                # where two want one slot, the last gets it, in both arrays; the other looks further
                self._low[wanted] = low[rows]
                self._high[wanted] = high[rows]
                there = self._low[at]
            other = there != low[left]
            same = np.flatnonzero(~other)
            other[same] = self._high[at[same]] != high[left[same]]
            left = left[other]
            slots[left] = (at[other] + 1) % len(self._low)
        return slots

    def _make_room(self, n: int, now_s: int) -> None:
        if self._used + n <= len(self._low) * LOAD:
            return
        live = self.since(self._floor(now_s))
        most = int(self._most * LOAD)
        if len(live) + n > most:
            live = self._youngest(live, most - n - most // 8)
        # half full or less afterwards, if it may: what has just been rebuilt should not be full again soon
        self._empty(min(self._most, max(FIRST_SLOTS, int(2 * (len(live) + n) / LOAD))))
        for part in live.split(CHUNK):
            self._at[self._claim(part.low, part.high)] = part.at

    def _youngest(self, live: Keys, size: int) -> Keys:
        """At most `size` keys: what came in one second is kept or forgotten together."""
        oldest = np.partition(live.at, -size)[-size]
        kept = live.at > oldest
        self.crowded_out += len(live) - int(np.count_nonzero(kept))
        return Keys(live.low[kept], live.high[kept], live.at[kept])


class RecentKeys:
    """The keys of one raw partition: those that are final, those of a transaction under way, and those added since.

    Not `ready` until what earlier owners committed is known; until then nothing may be added. `wanted`: somebody waits.
    `clock_s` never goes back, whatever the machine's clock does.
    """

    def __init__(self, table: KeyTable | None = None) -> None:
        self.table = table
        self.wanted = False
        self.clock_s = 0
        self._added: list[Keys] = []
        self._under_way: list[Keys] = []

    @property
    def ready(self) -> bool:
        """Whether keys can be recognised."""
        return self.table is not None

    def add(self, low: Array, high: Array, now_s: int) -> Array:
        """True for each row whose key is new; see `KeyTable.add`."""
        if self.table is None:
            raise RuntimeError("keys are not known yet")
        now_s = self.clock_s = max(self.clock_s, now_s)
        new = self.table.add(low, high, now_s)
        if new.any():
            self._added.append(Keys(low[new], high[new], np.full(int(new.sum()), now_s, np.uint32)))
        return new

    def begin(self) -> Keys:
        """A transaction begins: what was added since the last one, which it must carry."""
        self._under_way, self._added = self._added, []
        return joined(self._under_way)

    def settle(self) -> None:
        """The transaction is final."""
        self._under_way = []

    def undo(self) -> None:
        """What is not final was dropped, and will come again."""
        if self.table is not None:
            for keys in (*self._under_way, *self._added):
                self.table.forget(keys)
        self._under_way, self._added = [], []


Halves = tuple[Array, Array]
"""Both halves of 128-bit hashes."""


class KeyHasher:
    """Keyed 128-bit hashes of idempotency keys, under subkeys used for nothing else. Equal keys of two events or of two
    tenants are two keys. Nothing is remembered: a key that came once hardly comes again.

    The key is of no epoch: whatever is rotated, a repeat has the hash of its first. `earlier` keys are looked up as well.
    """

    def __init__(self, key: bytes, region: str, earlier: Sequence[bytes] = ()) -> None:
        self._key = key
        self._region = region
        self._earlier = tuple(earlier)

    def hashes(self, event: str, tenant: str, values: Sequence[str | None]) -> Halves:
        """Two halves for each value; the first is 0 for a missing or blank one, and for no other."""
        return self._under(self._key, event, tenant, values)

    def earlier(self, event: str, tenant: str, values: Sequence[str | None]) -> tuple[Halves, ...]:
        """The same under keys by which repeats were recognised before."""
        return tuple(self._under(key, event, tenant, values) for key in self._earlier)

    def _under(self, key: bytes, event: str, tenant: str, values: Sequence[str | None]) -> Halves:
        purpose = "\0".join(("sg idempotency", self._region, tenant, event)).encode("utf-8", "surrogatepass")
        base = blake2b(key=blake2b(purpose, key=key, digest_size=32).digest(), digest_size=16)
        digests: list[bytes] = []
        for value in values:
            one = base.copy()
            one.update((value or "").encode("utf-8", "surrogatepass"))
            digests.append(one.digest())
        halves = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
        low = np.maximum(halves[:, 0], 1)
        low[[not (value and value.strip()) for value in values]] = 0
        return low, halves[:, 1].copy()
