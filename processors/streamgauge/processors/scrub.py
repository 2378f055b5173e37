"""Scrubbing: every value of a batch is cleaned before anything is grouped, so series that become equal merge exactly.

It works on the distinct values of a batch, and remembers what it has seen: telemetry repeats itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np

from streamgauge.processors.detectors import DETECTORS, Detector, scrub_text
from streamgauge.processors.keys import KeyHasher
from streamgauge.schemas.columns import Array
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret

Scrubbed = tuple[str, tuple[str, ...]]
MIN_KEY_BYTES = 16
MAX_KEPT = 256
FAILED = "failed"


class Scrubber:
    """Cleans free text by the detectors. Remembers about `capacity` values that are not long, then starts anew.

    A value that a detector fails on is dropped, never passed on.
    """

    def __init__(self, capacity: int = 200_000, detectors: Sequence[Detector] = DETECTORS) -> None:
        self._capacity = capacity
        self._detectors = detectors
        self._clean: dict[str | None, str] = {}
        self._rules: dict[str, tuple[str, ...]] = {}
        self._forget()

    def value(self, text: str, hint: str = "") -> Scrubbed:  # these detectors need no hint
        """The clean text and the rules that changed it. `hint` is what the name of the value lets expect."""
        clean = self._clean.get(text)
        return self._learn(text) if clean is None else (clean, self._rules.get(text, ()))

    def dictionary(self, values: Sequence[str | None], index: Array, hint: str = "") -> tuple[list[str], Counter[str]]:
        """Clean values (a missing one is empty) of a dictionary column, and rows changed by rule."""
        changed: Counter[str] = Counter()
        try:
            cleaned = list(map(self._clean.__getitem__, values))
            hits = [(position, value) for position, value in enumerate(values) if value in self._rules]
            found = [(position, self._rules[value or ""]) for position, value in hits]
        except KeyError:
            both = [self.value(value or "", hint) for value in values]
            cleaned = [text for text, _ in both]
            found = [(position, rules) for position, (_, rules) in enumerate(both) if rules]
        if found:
            rows = np.bincount(index, minlength=len(values))
            for position, rules in found:
                changed.update(dict.fromkeys(rules, int(rows[position])))
        return cleaned, changed

    def _learn(self, text: str) -> Scrubbed:
        try:
            clean, rules = scrub_text(text, self._detectors)
        except Exception:  # whatever is wrong with a detector, its text must not go on
            clean, rules = f"[{FAILED}]", (FAILED,)
        if len(text) <= MAX_KEPT:
            if len(self._clean) >= self._capacity:
                self._forget()
            self._clean[text] = clean
            if rules:
                self._rules[text] = rules
        return clean, rules

    def _forget(self) -> None:
        self._rules.clear()
        self._clean.clear()
        self._clean.update({None: "", "": ""})


class DistinctHasher:
    """Keyed 64-bit hashes of values that are counted distinct. The values themselves go no further.

    Every field of every event and tenant has a subkey of its own (keyed BLAKE2b of region, tenant and field), so equal
    values of two fields or tenants cannot be linked. Blanks around a value do not count. `keys` hashes idempotency keys.
    """

    def __init__(self, key: bytes, region: str, capacity: int = 1_000_000) -> None:
        self.keys = KeyHasher(key, region)
        self._key = key
        self._region = region
        self._capacity = capacity
        self._seen: dict[tuple[str, str], dict[str | None, int]] = {}
        self._size = 0

    def hashes(self, field: str, tenant: str, values: Sequence[str | None]) -> Array:
        """One hash per value; a missing or blank one has the hash 0, which no other value gets."""
        try:
            known = self._seen[field, tenant]
            return np.fromiter(map(known.__getitem__, values), np.uint64, len(values))
        except KeyError:
            known = self._learn(field, tenant, values)
            return np.fromiter(map(known.__getitem__, values), np.uint64, len(values))

    def fingerprint(self, message: bytes | None) -> str:
        """The keyed hash of a raw message (128 bits, hexadecimal): whoever lacks the key cannot try contents on it."""
        key = subkey(self._key, "sg raw message", self._region)
        return blake2b(message or b"", key=key, digest_size=16).hexdigest()

    def _learn(self, field: str, tenant: str, values: Sequence[str | None]) -> dict[str | None, int]:
        if self._size >= self._capacity:
            self._seen.clear()
            self._size = 0
        known = self._seen.setdefault((field, tenant), {None: 0})
        before = len(known)
        key = subkey(self._key, "sg distinct", self._region, tenant, field)
        for value in values:
            if value not in known:
                text = (value or "").strip().encode()
                digest = blake2b(text, key=key, digest_size=8).digest()
                known[value] = (int.from_bytes(digest, "little") or 1) if text else 0
        # one more, so that tenants without values are bounded too
        self._size += len(known) - before + 1
        return known


def subkey(key: bytes, *purpose: str) -> bytes:
    """A key for one purpose, from the root key. What is hashed under two of them cannot be linked."""
    return blake2b("\0".join(purpose).encode(), key=key, digest_size=32).digest()


def pseudonym_key(secret: Secret) -> bytes:
    """The region's root key from its setting (hexadecimal). Raises SettingsError: without a key nothing may start."""
    try:
        key = bytes.fromhex(secret.reveal())
    except ValueError:
        key = b""
    if not MIN_KEY_BYTES <= len(key) <= 64:
        raise SettingsError(
            [
                "STREAMGAUGE_PSEUDONYM_KEY: needs 16 to 64 random bytes as hexadecimal, kept secret and the same for every "
                'worker of the region; make one with: python -c "import secrets; print(secrets.token_hex(32))"'
            ]
        )
    return key


def merge_counts(into: Counter[str], more: Mapping[str, int]) -> None:
    """Add counts by name."""
    for name, count in more.items():
        into[name] += count
