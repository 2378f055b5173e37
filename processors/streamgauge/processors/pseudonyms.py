"""Pseudonyms: what stands for a value that must be counted or joined, under the key of its event's day. Nothing leads back
but the key, and two regions, tenants, fields or keys have none in common.
"""

from __future__ import annotations

import re
from base64 import b32encode
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest
from types import MappingProxyType

import numpy as np

from streamgauge.processors.keyring import MAX_KEY_BYTES, MIN_KEY_BYTES, Key, Keyring, ring_of
from streamgauge.processors.keys import KeyHasher
from streamgauge.processors.normal_forms import kind_of, normal_form
from streamgauge.schemas.columns import Array, Strings
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret

KEY_DESTROYED, NO_KEY = "key_destroyed", "no_key"
"""Rules: a value was not counted distinct because the key of its day was destroyed, or because none was in force yet."""
PREFIXES: Mapping[str, str] = MappingProxyType({"email": "em", "phone": "ph", "ip": "ip", "user": "us", "device": "dv"})
OTHER = "id"
TOKEN = re.compile(r"(?<![A-Za-z0-9_])[a-z]{2}_k[1-9][0-9]{0,5}_[a-h][a-z2-7]{25}(?![A-Za-z0-9_])")
"""Finds tokens. None of them is a word, a number or hexadecimal, so no detector takes one for personal data."""
MAX_TOKENS = 200_000
MANY_DIGITS = re.compile(r"[2-7]{7}")


@dataclass(frozen=True, slots=True)
class Hashed:
    """A column as hashes: `hashes[index[row]]` is that of a row, 0 where it has no value or must not have a hash.
    `lost` counts rows by the rule that took their hash."""

    hashes: Array
    index: Array
    lost: Mapping[str, int] = field(default_factory=dict[str, int])


class DistinctHasher:
    """Keyed 64-bit hashes of values that are counted distinct. The values themselves go no further.

    Every field of every event and tenant has a subkey of its own under every key of the ring, so equal values of two of
    them cannot be linked. `keys` hashes idempotency keys, `tokens` makes tokens under the same keys. What is remembered is
    forgotten with `use`. Not thread-safe.
    """

    def __init__(
        self, key: bytes | Keyring, region: str, capacity: int = 1_000_000, phone_region: str = "", now_ms: int = 0
    ) -> None:
        self._region = region
        self._capacity = capacity
        self._phone_region = phone_region
        self._seen: dict[tuple[str, str, str], dict[str | None, int]] = {}
        self.use(ring_of(key) if isinstance(key, bytes) else key, now_ms)

    def use(self, ring: Keyring, now_ms: int) -> None:
        """Hash under this ring from now on. All that was remembered is forgotten: a memory of values must not outlive
        the key."""
        self._ring = ring
        self._epochs = ring.epochs
        self._starts = [key.from_ms for key in ring.epochs]
        self._sole = ring.epochs[0] if len(ring.epochs) == 1 and ring.epochs[0].from_ms == 0 else None
        self._recognising = ring.recognising(now_ms)
        self.keys = KeyHasher(self._recognising[0], self._region, self._recognising[1:])
        self.tokens = Tokens(ring, self._region, self._phone_region)
        self._seen.clear()
        self._size = 0

    def hashes(self, name: str, tenant: str, values: Sequence[str | None], at_ms: int) -> Array:
        """One hash per value, under the key of that instant; 0 for a missing or blank one, for every one if the key was
        destroyed, and for no other."""
        key = self._ring.at(at_ms)
        return self._hashes(key, name, tenant, values) if key and key.live else np.zeros(len(values), np.uint64)

    def column(self, name: str, tenant: str, column: Strings, times: Array) -> Hashed:
        """A field of a batch, each row under the key of its own time."""
        if self._sole is not None:
            return self._of_one_key(self._sole, name, tenant, column)
        first, last = (bisect_right(self._starts, instant) - 1 for instant in (times.min(), times.max()))
        if first == last:
            return self._of_one_key(self._epochs[first] if first >= 0 else None, name, tenant, column)
        return self._of_several(name, tenant, column, self._ring.codes(times))

    def fingerprint(self, message: bytes | None) -> str:
        """The keyed hash of a raw message (128 bits, hexadecimal): whoever lacks the key cannot try contents on it."""
        return self._fingerprint(self._recognising[0], message)

    def recognises(self, message: bytes | None, fingerprint: str) -> bool:
        """Whether this is the message of a fingerprint, also of one from before the ring was made."""
        given = fingerprint.encode("utf-8", "surrogatepass")
        return any(compare_digest(self._fingerprint(key, message).encode(), given) for key in self._recognising)

    def _fingerprint(self, key: bytes, message: bytes | None) -> str:
        return blake2b(message or b"", key=subkey(key, "sg raw message", self._region), digest_size=16).hexdigest()

    def _of_one_key(self, key: Key | None, name: str, tenant: str, column: Strings) -> Hashed:
        if key is not None and key.live:
            return Hashed(self._hashes(key, name, tenant, column.dictionary), column.index)
        lost = int(np.count_nonzero(_present(column.dictionary)[column.index]))
        rule = KEY_DESTROYED if key else NO_KEY
        return Hashed(np.zeros(1, np.uint64), np.zeros(len(column.index), np.uint8), {rule: lost} if lost else {})

    def _of_several(self, name: str, tenant: str, column: Strings, codes: Array) -> Hashed:
        """Entries of the dictionary once for each key that rows with them have."""
        hashes: list[Array] = []
        index = np.zeros(len(codes), np.int64)
        lost: dict[str, int] = {}
        size = 0
        for code in range(int(codes.min()), int(codes.max()) + 1):
            rows = codes == code
            mine = column.index[rows]
            if not len(mine):
                continue
            used = np.bincount(mine, minlength=len(column.dictionary)) > 0
            entries = [column.dictionary[entry] for entry in map(int, np.flatnonzero(used))]
            own: Array = (np.cumsum(used) - 1)[mine]
            key = self._epochs[code] if code >= 0 else None
            part = self._of_one_key(key, name, tenant, Strings(entries, own))
            hashes.append(part.hashes)
            index[rows] = part.index.astype(np.int64) + size
            size += len(part.hashes)
            for rule, count in part.lost.items():
                lost[rule] = lost.get(rule, 0) + count
        return Hashed(np.concatenate(hashes), index, lost)

    def _hashes(self, key: Key, name: str, tenant: str, values: Sequence[str | None]) -> Array:
        try:
            known = self._seen[key.id, name, tenant]
            return np.fromiter(map(known.__getitem__, values), np.uint64, len(values))
        except KeyError:
            known = self._learn(key, name, tenant, values)
            return np.fromiter(map(known.__getitem__, values), np.uint64, len(values))

    def _learn(self, key: Key, name: str, tenant: str, values: Sequence[str | None]) -> dict[str | None, int]:
        if self._size >= self._capacity:
            self._seen.clear()
            self._size = 0
        known = self._seen.setdefault((key.id, name, tenant), {None: 0})
        before = len(known)
        own, kind, region = _distinct_key(key, self._region, tenant, name), kind_of(name), self._phone_region
        for value in values:
            if value not in known:
                # most values are neither addresses nor numbers, and have no other spelling
                plain = value is None or (not kind and value.isascii())
                known[value] = _hash(own, (value or "").strip() if plain else normal_form(kind, value or "", region))
        # one more, so that tenants without values are bounded too
        self._size += len(known) - before + 1
        return known


def _present(values: Sequence[str | None]) -> Array:
    return np.array([bool(value and value.strip()) for value in values], bool)


def _distinct_key(key: Key, region: str, tenant: str, name: str) -> bytes:
    return subkey(key.reveal(), "sg distinct", region, tenant, name)


def _hash(own: bytes, text: str) -> int:
    if not text:
        return 0
    return (
        int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), key=own, digest_size=8).digest(), "little") or 1
    )


def subkey(key: bytes, *purpose: str) -> bytes:
    """A key for one purpose, from the root key. What is hashed under two of them cannot be linked."""
    return blake2b("\0".join(purpose).encode(), key=key, digest_size=32).digest()


def pseudonym(kind: str, value: str, key: Key, region: str, tenant: str, name: str, phone_region: str = "") -> str:
    """A token that stands for a value: what kind it is of, the id of its key, and 128 bits. Empty for a blank value.

    Raises ValueError for a key that was destroyed. Spellings of one address or number have one token.
    """
    if not key.live:
        raise ValueError(f"{key.id} was destroyed")
    return _token(_token_key(key, kind, region, tenant, name), kind, key.id, value, phone_region)


def _token_key(key: Key, kind: str, region: str, tenant: str, name: str) -> bytes:
    return subkey(key.reveal(), "sg token", kind, region, tenant, name)


def _token(own: bytes, kind: str, key_id: str, value: str, phone_region: str) -> str:
    text = normal_form(kind, value, phone_region)
    if not text:
        return ""
    head = f"{PREFIXES.get(kind, OTHER)}_{key_id}_"
    for attempt in range(256):
        digest = blake2b(text.encode("utf-8", "surrogatepass"), key=own, digest_size=16, salt=bytes([attempt])).digest()
        body = _letters(digest)
        if not MANY_DIGITS.search(body):  # one in five thousand: it could be taken for a number
            return head + body
    raise RuntimeError("no token without a run of digits")


def _letters(digest: bytes) -> str:
    """128 bits in 26 characters; the two bits that are over stand first, so the first one is a letter."""
    return b32encode(bytes(4) + digest)[6:].decode().lower()


class Tokens:
    """Tokens of columns, each row's under the key of its own time: what `pseudonym` makes, and `live_pseudonyms` finds.

    Remembers about `capacity` of them, for one ring only: whoever uses another ring makes another one. Not thread-safe.
    """

    def __init__(self, ring: Keyring, region: str, phone_region: str = "", capacity: int = MAX_TOKENS) -> None:
        self._ring = ring
        self._region = region
        self._phone_region = phone_region
        self._capacity = capacity
        self._seen: dict[tuple[str, str, str], dict[str | None, str | None]] = {}
        self._size = 0

    def column(self, name: str, tenant: str, column: Strings, times: Array) -> Strings:
        """A field's tokens; None where a row has no value, or where the key of its time was destroyed or not in force."""
        width = len(column.dictionary)
        pairs, index = np.unique((self._ring.codes(times) + 1) * width + column.index, return_inverse=True)
        codes, entries = np.divmod(pairs, width)
        keys = (None, *self._ring.epochs)
        tokens: list[str | None] = []
        for code in map(int, np.unique(codes)):
            values = [column.dictionary[entry] for entry in map(int, entries[codes == code])]
            tokens += self._tokens(keys[code], name, tenant, values)
        return Strings(tokens, index)

    def _tokens(self, key: Key | None, name: str, tenant: str, values: Sequence[str | None]) -> list[str | None]:
        if key is None or not key.live:
            return [None] * len(values)
        known = self._seen.get((key.id, name, tenant), {})
        try:
            return list(map(known.__getitem__, values))
        except KeyError:
            known = self._learn(key, name, tenant, values)
            return list(map(known.__getitem__, values))

    def _learn(self, key: Key, name: str, tenant: str, values: Sequence[str | None]) -> dict[str | None, str | None]:
        if self._size >= self._capacity:
            self._seen.clear()
            self._size = 0
        known = self._seen.setdefault((key.id, name, tenant), {None: None})
        before = len(known)
        kind = kind_of(name)
        own = _token_key(key, kind, self._region, tenant, name)
        for value in values:
            if value not in known:
                known[value] = _token(own, kind, key.id, value or "", self._phone_region) or None
        # one more, so that tenants without values are bounded too
        self._size += len(known) - before + 1
        return known


@dataclass(frozen=True, slots=True)
class LivePseudonym:
    """A person's value under one key: `hash` among distinct hashes, `token` where tokens are kept."""

    key_id: str
    from_ms: int
    until_ms: int | None
    hash: int
    token: str


def live_pseudonyms(
    ring: Keyring, region: str, tenant: str, name: str, value: str, kind: str | None = None, phone_region: str = ""
) -> tuple[LivePseudonym, ...]:
    """All pseudonyms that a value of the field `name` (`event.field`) can have: one under each key that lives.

    Under destroyed keys there is nothing to find: nobody can tell any more whom their pseudonyms stood for.
    """
    own_kind = kind_of(name) if kind is None else kind
    text = normal_form(kind_of(name), value, phone_region)
    return tuple(
        LivePseudonym(
            key.id,
            key.from_ms,
            ring.until_ms(key),
            _hash(_distinct_key(key, region, tenant, name), text),
            pseudonym(own_kind, value, key, region, tenant, name, phone_region),
        )
        for key in ring.live
    )


def pseudonym_key(secret: Secret) -> bytes:
    """The region's root key from its setting (hexadecimal). Raises SettingsError: without a key nothing may start."""
    try:
        key = bytes.fromhex(secret.reveal())
    except ValueError:
        key = b""
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise SettingsError(
            [
                "STREAMGAUGE_PSEUDONYM_KEY: needs 16 to 64 random bytes as hexadecimal, kept secret and the same for every "
                "worker of the region; or make a ring of keys with `streamgauge keys new` and name it with STREAMGAUGE_KEYS"
            ]
        ) from None
    return key
