"""Scrubbing: every value of a batch is cleaned before anything is grouped, so series that become equal merge exactly.

It works on the distinct values of a batch, and remembers what it has seen: telemetry repeats itself.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, NoReturn, cast

import numpy as np

from streamgauge.processors.detectors import UNCHECKED, Rules, standard_rules
from streamgauge.processors.detectors_context import HINTS
from streamgauge.processors.detectors_rule import Detector
from streamgauge.processors.keys import KeyHasher
from streamgauge.schemas.columns import Array
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret

Scrubbed = tuple[str, tuple[str, ...]]
MIN_KEY_BYTES = 16
MAX_KEPT = 256
BATCH_VALIDATIONS = 2_000
FAILED = "failed"


class _Verdict(NamedTuple):
    """What became of a value: `clean` is None where it stays as it is. `validations` is what it costs the batch."""

    clean: str | None
    rules: tuple[str, ...]
    validations: int


class Scrubber:
    """Cleans free text by the detectors. Remembers about `capacity` values that are not long, then starts anew.

    What it knows lives in this process only: values in which nothing was found, and of all others a keyed hash with what
    became of them. It cannot be pickled. A value that a detector fails on is dropped, never passed on. One thread at a time.
    """

    def __init__(
        self,
        capacity: int = 200_000,
        detectors: Sequence[Detector] | None = None,
        validations: int = BATCH_VALIDATIONS,
    ) -> None:
        self._capacity = capacity
        self._rules = standard_rules() if detectors is None else Rules(detectors)
        self._validations = validations
        self._left: int | None = None
        self._innocent: dict[str, dict[str | None, str]] = {}
        self._changed: dict[bytes, _Verdict] = {}
        self.forget()

    def forget(self) -> None:
        """Remember nothing. To be called when a key is destroyed, and whenever values must not stay in memory."""
        self._innocent.clear()
        self._changed.clear()
        self._size = 0
        self._salt = os.urandom(32)

    def new_batch(self) -> None:
        """From here on, values cost calls of libraries from a new account. Without one ever, each column has its own.

        When an account is used up, values that would need such a call become `[unchecked]` until the next batch. What is
        remembered costs the same as what is not, so that a batch that comes again becomes what it became.
        """
        self._left = self._validations

    def value(self, text: str, hint: str = "") -> Scrubbed:
        """The clean text and the rules that changed it. `hint`, one of `HINTS`, is what its key's name says about it."""
        known = self._innocent.get(hint) or self._known(hint)
        clean = known.get(text)
        return (clean, ()) if clean is not None else self._look_at(text, hint)

    def dictionary(self, values: Sequence[str | None], index: Array, hint: str = "") -> tuple[list[str], Counter[str]]:
        """Clean values (a missing one is empty) of a dictionary column, and rows changed by rule."""
        changed: Counter[str] = Counter()
        cleaned: list[str | None] = list(map(self._known(hint).get, values))
        if None in cleaned:
            alone = self._left is None
            if alone:
                self.new_batch()
            try:
                self._look_at_column(values, hint, cleaned, index, changed)
            finally:
                if alone:
                    self._left = None
        return cast("list[str]", cleaned), changed

    def __reduce__(self) -> NoReturn:
        raise TypeError("a scrubber remembers what must not leave this process; make one where it is needed")

    def _look_at_column(
        self, values: Sequence[str | None], hint: str, cleaned: list[str | None], index: Array, changed: Counter[str]
    ) -> None:
        rows: list[int] = []
        for position, clean in enumerate(cleaned):
            if clean is None:
                cleaned[position], rules = self._look_at(values[position] or "", hint)
                if rules:
                    rows = rows or np.bincount(index, minlength=len(values)).tolist()
                    for rule in rules:
                        changed[rule] += rows[position]

    def _known(self, hint: str) -> dict[str | None, str]:
        known = self._innocent.get(hint)
        if known is None:
            if hint not in HINTS:
                raise ValueError(f"{hint!r} is no hint; there are {', '.join(sorted(HINTS - {''}))}, and the empty one")
            known = self._innocent[hint] = {None: "", "": ""}
        return known

    def _look_at(self, text: str, hint: str) -> Scrubbed:
        if len(text) > MAX_KEPT:
            return self._charged(self._judge(text, hint), text)
        known = self._known(hint)
        try:
            suspects = self._rules.suspects(text, hint)
        except Exception:  # it is asked again below, where failing has its place
            suspects = None
        if suspects == ():
            if self._size >= self._capacity:
                self.forget()
                known = self._known(hint)
            self._size += 1
            known[text] = text
            return text, ()
        code = text.encode("utf-8", "surrogatepass")
        digest = blake2b(code, digest_size=16, key=self._salt, person=hint.encode()).digest()
        verdict = self._changed.get(digest)
        if verdict is None or (self._left is not None and verdict.validations > self._left):
            verdict = self._judge(text, hint, suspects)
            if self._size >= self._capacity:
                self.forget()  # and the salt, so that this one cannot be remembered
            elif verdict.rules != (UNCHECKED,):
                self._size += 1
                self._changed[digest] = verdict
        return self._charged(verdict, text)

    def _charged(self, verdict: _Verdict, text: str) -> Scrubbed:
        if self._left is not None:
            self._left = max(0, self._left - verdict.validations)
        return text if verdict.clean is None else verdict.clean, verdict.rules

    def _judge(self, text: str, hint: str, suspects: tuple[int, ...] | None = None) -> _Verdict:
        try:
            clean, rules, validations = self._rules.scrub(text, hint, self._left, suspects)
        except Exception:  # whatever is wrong with a detector, its text must not go on
            clean, rules, validations = f"[{FAILED}]", (FAILED,), 0
        return _Verdict(clean if rules else None, rules, validations)


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
