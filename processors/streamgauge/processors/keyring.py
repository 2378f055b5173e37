"""Keyrings: the keys of a region's pseudonyms, each in force from a UTC day on. Values only; time and randomness are given.

Which key a value is hashed under is chosen by the time of its event, so a window of a day has one key, and a replay gives
the same hashes. What a destroyed key has hashed can be linked to nobody any more, and is never hashed again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from streamgauge.schemas.columns import Array
from streamgauge.schemas.errors import InputError, SettingsError
from streamgauge.schemas.settings import Secret

DAY_MS = 86_400_000
MIN_KEY_BYTES, MAX_KEY_BYTES = 16, 64
FIRST, RECOGNITION = "k1", "r1"
LEAD_MS = 3_600_000
"""A new key is announced so long before it is in force: workers read the ring far more often, and events may be early."""
TAKEN_OVER_MS = 30 * DAY_MS
"""So long repeats are recognised under a key that was taken over too: longer than idempotency keys are remembered."""
NO_SECRET = Secret("")


class KeyState(StrEnum):
    """What a key is for at some instant."""

    FUTURE = "future"
    CURRENT = "current"
    RETIRED = "retired"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: in force from `from_ms` (midnight UTC) until the next one is. A destroyed one has no secret any more."""

    id: str
    from_ms: int
    created_ms: int
    fingerprint: str
    secret: Secret = field(repr=False)
    destroyed_ms: int = 0

    @property
    def live(self) -> bool:
        """Whether it can hash."""
        return bool(self.secret)

    @property
    def withdrawn(self) -> bool:
        """Destroyed before it ever was in force: the key before it stays in force."""
        return not self.live and self.destroyed_ms < self.from_ms

    @property
    def number(self) -> int:
        """3 of `k3`."""
        return int(self.id[1:])

    def reveal(self) -> bytes:
        """The secret, for the one call that needs it."""
        return bytes.fromhex(self.secret.reveal())


def new_key(key_id: str, from_ms: int, now_ms: int, secret: bytes) -> Key:
    """A live key."""
    return Key(key_id, from_ms, now_ms, fingerprint_of(secret), Secret(secret.hex()))


def fingerprint_of(secret: bytes) -> str:
    """What logs and people may see of a key: it tells keys apart, and nothing of them."""
    return blake2b(key=secret, digest_size=8, person=b"sg fingerprint").hexdigest()


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys in the order of their days. Raises SettingsError for a ring that cannot be one.

    `recognition` recognises idempotency keys and raw messages. It is of no epoch and never rotates, so that no event counts
    twice because of a rotation. `taken_over_ms`: when the first key was taken over from a release that had one key for all.
    """

    keys: tuple[Key, ...]
    recognition: Key
    taken_over_ms: int = 0

    def __post_init__(self) -> None:
        if problems := list(dict.fromkeys(_problems(self.keys, self.recognition))):
            raise SettingsError([f"the key ring is not one: {'; '.join(problems)}"])

    @property
    def epochs(self) -> tuple[Key, ...]:
        """Keys that are, were or will be in force."""
        return tuple(key for key in self.keys if not key.withdrawn)

    @property
    def live(self) -> tuple[Key, ...]:
        """Keys that can hash."""
        return tuple(key for key in self.keys if key.live)

    def at(self, instant_ms: int) -> Key | None:
        """The key in force at an instant; it may be destroyed. None before the first key's day."""
        return next((key for key in reversed(self.epochs) if key.from_ms <= instant_ms), None)

    def codes(self, instants: Array) -> Array:
        """For each instant the position of its key in `epochs`, or -1."""
        starts = np.array([key.from_ms for key in self.epochs], np.int64)
        found: Array = np.searchsorted(starts, instants, side="right") - 1
        return found

    def until_ms(self, key: Key) -> int | None:
        """When the key after it is in force; None if there is none."""
        return next((one.from_ms for one in self.epochs if (one.from_ms, one.number) > (key.from_ms, key.number)), None)

    def state(self, key: Key, now_ms: int) -> KeyState:
        """What a key is for now."""
        if not key.live:
            return KeyState.DESTROYED
        if key.from_ms > now_ms:
            return KeyState.FUTURE
        return KeyState.CURRENT if key == self.at(now_ms) else KeyState.RETIRED

    def recognising(self, now_ms: int) -> tuple[bytes, ...]:
        """Keys by which repeats are recognised; the first one hashes. A key that was taken over is looked up for a while."""
        first = self.keys[0]
        both = self.taken_over_ms and first.live and now_ms < self.taken_over_ms + TAKEN_OVER_MS
        return (self.recognition.reveal(), *((first.reveal(),) if both else ()))

    def named(self, key_id: str) -> Key:
        """The key with this id. Raises InputError, which says what there is."""
        for key in self.keys:
            if key.id == key_id:
                return key
        raise InputError(f"the ring has no key {key_id!r}; it has {', '.join(key.id for key in self.keys)}")

    def check(self, now_ms: int) -> None:
        """Raises SettingsError unless the key that is in force now can hash: a worker never goes on without one."""
        current = self.at(now_ms)
        if current is None:
            first = min(self.epochs, key=lambda key: key.from_ms, default=None)
            when = f"; the first, {first.id}, is from {day_of(first.from_ms)} on" if first else ""
            raise SettingsError(
                [f"no key of the ring is in force yet{when}: give the first key of a ring an earlier day"]
            )
        if not current.live:
            raise SettingsError(
                [
                    f"{current.id}, the key that is in force now, was destroyed on {day_of(current.destroyed_ms)}, and nothing "
                    "may be counted distinct without a key. Say: streamgauge keys rotate --from today"
                ]
            )

    def rotated(self, from_ms: int, now_ms: int, secret: bytes) -> Keyring:
        """With one more key, in force from that day on. Raises InputError for a day whose hashes exist already under a key
        that lives, or which comes before all workers can know."""
        if from_ms % DAY_MS:
            raise InputError("a key is in force from midnight UTC on: windows of a day have one key")
        before, last = self.at(from_ms), max((key.from_ms for key in self.epochs if key.live), default=-1)
        if before is not None and before.live:
            if from_ms < now_ms + LEAD_MS:
                raise InputError(
                    f"{day_of(from_ms)} has begun, or begins within the hour: some workers would hash its values under two keys. "
                    f"The first day that can be is {day_of(next_day(now_ms))}"
                )
            if from_ms <= last:
                raise InputError(f"a key is to be in force from {day_of(last)} on: name a later day")
        elif from_ms < now_ms - now_ms % DAY_MS:
            raise InputError(f"{day_of(from_ms)} is over: the first day that can be is {day_of(now_ms)}")
        elif any(key.live and key.from_ms == from_ms for key in self.epochs):
            raise InputError(f"a key is to be in force from {day_of(from_ms)} on: name another day")
        key_id = f"k{max(key.number for key in self.keys) + 1}"
        keys = (*self.keys, new_key(key_id, from_ms, now_ms, secret))
        return replace(self, keys=tuple(sorted(keys, key=lambda key: (key.from_ms, key.number))))

    def needed_until_ms(self, key: Key, overlap_ms: int) -> int | None:
        """Until when values of its days may still come; None while no later key is to follow it."""
        end = self.until_ms(key)
        return None if end is None else end + overlap_ms

    def destroyed(self, key_id: str, now_ms: int) -> Keyring:
        """With a tombstone in that key's place. Whether it is still needed is the caller's question."""
        key = self.named(key_id)
        if not key.live:
            raise InputError(f"{key.id} was destroyed on {day_of(key.destroyed_ms)}")
        gone = replace(key, secret=NO_SECRET, destroyed_ms=now_ms)
        return replace(self, keys=tuple(gone if one.id == key.id else one for one in self.keys))


def new_ring(now_ms: int, secret: bytes, recognition: bytes, taken_over: bool = False) -> Keyring:
    """A ring whose first key is in force for all times until the first rotation: events may be older than the ring."""
    first, other = new_key(FIRST, 0, now_ms, secret), new_key(RECOGNITION, 0, now_ms, recognition)
    return Keyring((first,), other, now_ms if taken_over else 0)


def ring_of(secret: bytes) -> Keyring:
    """One key for everything and for all times, as a setting gives it."""
    return Keyring((new_key(FIRST, 0, 0, secret),), new_key(RECOGNITION, 0, 0, secret))


def next_day(now_ms: int) -> int:
    """The first midnight (UTC) from which a new key can be in force."""
    earliest = now_ms + LEAD_MS
    return earliest + -earliest % DAY_MS


def day_of(instant_ms: int) -> str:
    """An instant's UTC day."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC).date().isoformat()


def _problems(keys: Sequence[Key], recognition: Key) -> list[str]:
    found = [] if keys else ["it has no keys"]
    ids = [key.id for key in keys]
    # by number: what stands in the place of an id may be anything
    found += [
        f"key {n} has no id like k1" for n, one in enumerate(ids, 1) if not re.fullmatch(r"k[1-9][0-9]{0,5}", one)
    ]
    if not found:
        found += [f"{one} occurs twice" for one in dict.fromkeys(ids) if ids.count(one) > 1]
    if recognition.id != RECOGNITION:
        found.append(f"the key that recognises repeats is not {RECOGNITION}")
    if found:
        return found
    if any((a.from_ms, a.number) > (b.from_ms, b.number) for a, b in pairwise(keys)):
        found.append("its keys are not in the order of their days")
    if not recognition.live:
        found.append("it has no key to recognise repeats by")
    for key in (*keys, recognition):
        if key.from_ms < 0 or key.from_ms % DAY_MS:
            found.append(f"{key.id} is not from midnight UTC on")
        if key.live and not _good(key):
            found.append(
                f"the secret of {key.id} is not {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes as hexadecimal, or not its own"
            )
        if not key.live and not key.destroyed_ms:
            found.append(f"{key.id} has no secret, and was not destroyed")
    secrets = [key.secret for key in keys if key.live]
    if len(set(secrets)) < len(secrets):
        found.append("two keys have one secret")
    return found


def _good(key: Key) -> bool:
    try:
        secret = key.reveal()
    except ValueError:
        return False
    return MIN_KEY_BYTES <= len(secret) <= MAX_KEY_BYTES and fingerprint_of(secret) == key.fingerprint
