"""Key sources: where a region's key ring comes from: a file, a setting, or a provider such as a key management service.

There is exactly one. Without a key nothing starts, and nothing ever goes on unkeyed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from streamgauge.processors.keyring import Keyring, day_of, ring_of
from streamgauge.processors.keyring_file import read_ring
from streamgauge.processors.pseudonyms import DistinctHasher, pseudonym_key
from streamgauge.schemas.errors import SettingsError, StreamgaugeError
from streamgauge.schemas.settings import Secret

log = logging.getLogger("streamgauge.processors")

PROVIDER = "provider:"


class KeySource(Protocol):
    """Gives the ring as it is now. A provider is one: `STREAMGAUGE_KEYS=provider:package.module:factory` calls `factory()`
    once and `read` at the start and then at every interval, in a thread. What it raises is shown by type only."""

    def read(self) -> Keyring:
        """The ring; the same secret for the same id for as long as the key lives."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A key ring file."""

    path: Path

    def read(self) -> Keyring:
        """See KeySource. Raises SettingsError."""
        return read_ring(self.path)


@dataclass(frozen=True, slots=True)
class SettingSource:
    """One key for ever, from STREAMGAUGE_PSEUDONYM_KEY."""

    secret: Secret = field(repr=False)

    def read(self) -> Keyring:
        """See KeySource. Raises SettingsError."""
        return ring_of(pseudonym_key(self.secret))


class ProviderSource:
    """A provider named in a setting. Raises SettingsError if it cannot be loaded, or fails."""

    def __init__(self, spec: str) -> None:
        self._spec = spec
        module, _, name = spec.removeprefix(PROVIDER).partition(":")
        if not module or not name:
            raise SettingsError([f"STREAMGAUGE_KEYS: {PROVIDER}package.module:factory is what names a provider"])
        try:
            factory: Callable[[], Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise SettingsError([f"STREAMGAUGE_KEYS: {spec} cannot be loaded ({type(error).__name__})"]) from None
        self._provider: Any = self._guarded(factory)

    def read(self) -> Keyring:
        """See KeySource. Raises SettingsError."""
        ring = self._guarded(lambda: self._provider.read())
        if not isinstance(ring, Keyring):
            raise SettingsError([f"STREAMGAUGE_KEYS: {self._spec} gave a {type(ring).__name__}, not a Keyring"])
        return ring

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except StreamgaugeError as error:
            problem = str(error)
        except Exception as error:  # a service's error may hold a key
            problem = type(error).__name__
        raise SettingsError([f"STREAMGAUGE_KEYS: {self._spec} failed: {problem}"])


def key_source(keys: str, secret: Secret) -> KeySource:
    """The one source that is set. Raises SettingsError for none, and for two."""
    if keys and secret:
        raise SettingsError(
            [
                "STREAMGAUGE_KEYS and STREAMGAUGE_PSEUDONYM_KEY are both set: keep one. To go on with the key in a ring, say: "
                "streamgauge keys new --take-over; then unset STREAMGAUGE_PSEUDONYM_KEY"
            ]
        )
    if keys:
        return ProviderSource(keys) if keys.startswith(PROVIDER) else FileSource(Path(keys))
    if secret:
        return SettingSource(secret)
    raise SettingsError(
        [
            "there is no key for pseudonyms, and nothing is counted distinct without one: name a key ring with STREAMGAUGE_KEYS "
            "(`streamgauge keys new` makes one), or set STREAMGAUGE_PSEUDONYM_KEY to 16 to 64 random bytes as hexadecimal"
        ]
    )


def describe(ring: Keyring, now_ms: int) -> str:
    """A ring in a few words for a log: ids, days and fingerprints."""
    said = (
        f"{key.id} {key.fingerprint} {ring.state(key, now_ms)}"
        + (f" from {day_of(key.from_ms)}" if key.from_ms else "")
        for key in ring.keys
    )
    return ", ".join(said)


class KeyUser(Protocol):
    """Works under a ring of keys."""

    def use(self, ring: Keyring, now_ms: int) -> None:
        """Work under this one from now on, and forget what was remembered under the one before."""
        ...


class KeyWatch:
    """Keeps a user of keys at the ring as its source has it. Raises SettingsError when it is made without a usable ring."""

    def __init__(self, source: KeySource, now_ms: Callable[[], int]) -> None:
        self._source = source
        self._now_ms = now_ms
        self.ring = source.read()
        self.ring.check(now_ms())
        self._current = self.ring.at(now_ms())
        log.info("keys: %s", describe(self.ring, now_ms()))

    def hasher(self, region: str, phone_region: str = "") -> DistinctHasher:
        """A hasher under the ring."""
        return DistinctHasher(self.ring, region, phone_region=phone_region, now_ms=self._now_ms())

    def read(self) -> Keyring | None:
        """The ring as it is now, from any thread; None, and it is said, where it cannot be read: then the keys that are
        known stay in use."""
        try:
            return self._source.read()
        except SettingsError as error:
            log.error("the key ring cannot be read again, going on with the keys that are known: %s", error)
            return None

    def adopt(self, ring: Keyring, user: KeyUser) -> bool:
        """Use this ring from now on. True if that changed anything; then, and when the next key comes into force, `user`
        is told."""
        now_ms = self._now_ms()
        changed = ring != self.ring
        known = {key.id: key.fingerprint for key in self.ring.keys}
        if others := [key.id for key in ring.keys if known.get(key.id, key.fingerprint) != key.fingerprint]:
            log.error("the ring has another key by the name of %s: going on with the one that is known", others[0])
            return False
        if not changed and ring.at(now_ms) == self._current:
            return False
        self.ring, self._current = ring, ring.at(now_ms)
        user.use(ring, now_ms)
        log.info("keys: %s", describe(ring, now_ms))
        if self._current is None or not self._current.live:
            log.error("the key in force now was destroyed: until there is another one, nothing is counted distinct")
        return changed

    async def run(self, user: KeyUser, ended: asyncio.Event, every_s: float) -> None:
        """Read the ring at every interval, until `ended`."""
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), every_s)
            if not ended.is_set() and (ring := await asyncio.to_thread(self.read)) is not None:
                self.adopt(ring, user)
