"""The home directory of an embedded instance: its data, its keys, its contracts, and the file that tells others where it is."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from streamgauge.console.settings import DEV_FILE, RING_FILE
from streamgauge.processors.keyring import new_ring
from streamgauge.processors.keyring_file import audit_path, create_ring, erase, read_ring
from streamgauge.processors.pseudonyms import pseudonym_key
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.settings import Secret

KEY_FILE = "pseudonym.key"
"""Where older releases kept one key for ever."""

PARTS = ("data", "contracts", RING_FILE, audit_path(Path(RING_FILE)).name, KEY_FILE, DEV_FILE.name)
"""What `fresh` removes: nothing that we did not make."""


@dataclass(frozen=True, slots=True)
class RingFile:
    """Where the key ring is, and what was done just now: it was `made`, `taken over`, or nothing."""

    path: Path
    done: str = ""


class Home:
    """A directory that one embedded instance owns. Raises InputError when it cannot, saying what to do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def data(self) -> Path:
        """Where the engine keeps its tables."""
        return self.path / "data"

    @property
    def contracts(self) -> Path:
        """Contract files that worker and sink load at their start."""
        return self.path / "contracts"

    def open(self, fresh: bool) -> None:
        """Take the directory; `fresh` empties it first."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            self._take_lock()
            if fresh:
                self._empty()
            self.contracts.mkdir(exist_ok=True)
        except OSError as error:
            self.close()
            raise InputError(
                f"{self.path}: {error.strerror}; the embedded mode keeps its data there. Run it in a directory that you may "
                "write, or name another one with --directory"
            ) from error

    def _take_lock(self) -> None:
        if self._lock is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self._lock, 32, 0).decode().strip()
            os.close(self._lock)
            self._lock = None
            raise InputError(
                f"{self.path}: process {owner or '?'} is using this directory; end it, or name another one with --directory"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _empty(self) -> None:
        for name in PARTS:
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def keys(self, now_ms: int) -> RingFile:
        """The key ring of pseudonyms, made the first time. The one key of an older release becomes its first, so that its
        hashes stay."""
        path, old = self.path / RING_FILE, self.path / KEY_FILE
        if path.exists():
            read_ring(path)  # says what is wrong with it
            return RingFile(path)
        if old.exists():
            ring = new_ring(now_ms, pseudonym_key(Secret(old.read_text())), secrets.token_bytes(32), taken_over=True)
            create_ring(path, ring, now_ms)
            erase(old)
            return RingFile(path, "taken over")
        create_ring(path, new_ring(now_ms, secrets.token_bytes(32), secrets.token_bytes(32)), now_ms)
        return RingFile(path, "made")

    def announce(self, addresses: dict[str, Any]) -> None:
        """Tell other commands and producers below this directory's parent where everything is."""
        target = self.path / DEV_FILE.name
        draft = target.with_suffix(".draft")
        draft.write_bytes(orjson.dumps(addresses, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        draft.replace(target)

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            (self.path / DEV_FILE.name).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None
