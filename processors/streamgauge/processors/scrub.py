"""Scrubbing: every value of a batch is cleaned before anything is grouped, so series that become equal merge exactly.

It works on the distinct values of a batch, and remembers what it has seen: telemetry repeats itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np

from streamgauge.processors.detectors import scrub_text
from streamgauge.schemas.columns import Array
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret

Scrubbed = tuple[str, tuple[str, ...]]
MIN_KEY_BYTES = 16


class Scrubber:
    """Cleans free text by the detectors. Remembers at most `capacity` values, then starts anew."""

    def __init__(self, capacity: int = 200_000) -> None:
        self._capacity = capacity
        self._seen: dict[str, Scrubbed] = {}

    def value(self, text: str) -> Scrubbed:
        """The clean text and the rules that changed it."""
        found = self._seen.get(text)
        if found is None:
            if len(self._seen) >= self._capacity:
                self._seen.clear()
            found = self._seen[text] = scrub_text(text)
        return found

    def dictionary(self, values: Sequence[str | None], index: Array) -> tuple[list[str], Counter[str]]:
        """Clean values (a missing one is empty) of a dictionary column, and rows changed by rule."""
        cleaned: list[str] = []
        hits: list[tuple[int, tuple[str, ...]]] = []
        for position, value in enumerate(values):
            text, rules = self.value(value or "")
            cleaned.append(text)
            if rules:
                hits.append((position, rules))
        changed: Counter[str] = Counter()
        if hits:
            rows = np.bincount(index, minlength=len(values))
            for position, rules in hits:
                changed.update(dict.fromkeys(rules, int(rows[position])))
        return cleaned, changed


class DistinctHasher:
    """Keyed 64-bit hashes of values that are counted distinct. The values themselves go no further.

    Every field of every event and tenant has a subkey of its own (keyed BLAKE2b, the field in `person`-like position of
    the derivation), so equal values of two fields or tenants cannot be linked.
    """

    def __init__(self, key: bytes, region: str, capacity: int = 1_000_000) -> None:
        self._key = key
        self._region = region
        self._capacity = capacity
        self._subkeys: dict[tuple[str, str], bytes] = {}
        self._seen: dict[tuple[str, str], dict[str, int]] = {}
        self._size = 0

    def hashes(self, field: str, tenant: str, values: Sequence[str | None]) -> list[int]:
        """One hash per value; a missing value has the hash 0, which no other value gets."""
        seen = self._seen.setdefault((field, tenant), {"": 0})
        found = [seen.get(value or "") for value in values]
        return [
            self._add(field, tenant, value or "") if known is None else known
            for known, value in zip(found, values, strict=True)
        ]

    def _add(self, field: str, tenant: str, value: str) -> int:
        if self._size >= self._capacity:
            self._seen.clear()
            self._size = 0
        subkey = self._subkeys.get((field, tenant))
        if subkey is None:
            purpose = "\0".join(("sg distinct", self._region, tenant, field)).encode()
            subkey = self._subkeys[field, tenant] = blake2b(purpose, key=self._key, digest_size=32).digest()
        hashed = int.from_bytes(blake2b(value.strip().encode(), key=subkey, digest_size=8).digest(), "little") or 1
        self._seen.setdefault((field, tenant), {"": 0})[value] = hashed
        self._size += 1
        return hashed


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
