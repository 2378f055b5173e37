"""The home directory of an embedded instance: its data, its key, its contracts, and the file that tells others where it is."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import orjson

from streamgauge.console.settings import DEV_FILE, KEY_FILE
from streamgauge.schemas.errors import InputError

PARTS = ("data", "contracts", KEY_FILE, DEV_FILE.name)
"""What `fresh` removes: nothing that we did not make."""


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

    def pseudonym_key(self) -> tuple[str, bool]:
        """The root key of pseudonyms, and whether it was made just now. Kept for the owner's eyes only."""
        path = self.path / KEY_FILE
        try:
            return path.read_text().strip(), False
        except FileNotFoundError:
            key = secrets.token_hex(32)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(key + "\n")
            return key, True

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
