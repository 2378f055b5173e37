"""Spool claims: a directory that belongs to one process as long as it lives, by a lock that the system takes off the dead.

A directory appears under its name with its lock taken, so nobody can take it for an orphan before.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LOCK = "lock"
SUFFIX = ".seg"
UNDER_WAY = ".new-"


class Claim:
    """One directory and its lock. Nothing of it is usable after `close` or `remove`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def __repr__(self) -> str:
        return f"Claim({str(self.path)!r})"

    @classmethod
    def new(cls, home: Path, name: str) -> Claim:
        """Make the directory `name` in `home`, which is made too, for the owner's eyes only. Raises OSError."""
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        unready = home / (UNDER_WAY + name)
        unready.mkdir(mode=0o700)
        lock = -1
        try:
            lock = _open(unready / LOCK)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unready.rename(home / name)
        except BaseException:
            if lock >= 0:
                os.close(lock)
            with suppress(OSError):
                (unready / LOCK).unlink(missing_ok=True)
                unready.rmdir()
            raise
        return cls(home / name, lock)

    @classmethod
    def take_over(cls, path: Path) -> Claim | None:
        """The directory of a process that has ended; None when somebody holds it, or it has just gone. Raises OSError."""
        try:
            lock = _open(path / LOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # whoever had it may have removed it between our two calls: then this is the lock of nothing
            if os.path.samestat(os.fstat(lock), (path / LOCK).stat()):
                return cls(path, lock)
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        return None

    def segments(self) -> list[Path]:
        """Files of records, oldest first. Raises OSError."""
        return sorted(one for one in self.path.iterdir() if one.name.endswith(SUFFIX))

    def close(self) -> None:
        """Leave the directory to others. In a forked child this takes nothing from the parent, who still holds the lock."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def remove(self) -> None:
        """Remove the directory, which holds no segment any more, or leave it to others if that cannot be."""
        with suppress(OSError):
            (self.path / LOCK).unlink()
            self.path.rmdir()
        self.close()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def others(home: Path) -> Iterator[Path]:
    """The directories in `home`, oldest first: names begin with the time they were made. Raises OSError."""
    if home.is_dir():
        yield from sorted(one for one in home.iterdir() if not one.name.startswith(".") and one.is_dir())
