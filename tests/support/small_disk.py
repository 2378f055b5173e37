"""A disk that can be full: memory mounted in the store's directory, where this machine lets us."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


class SmallDisk:
    """Half a gigabyte at `path` while it is mounted. Without the right to mount, `fill` says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mounted = False

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def mount(self) -> None:
        """Mount it, if we may."""
        mount = shutil.which("mount")
        if mount is None or os.geteuid() != 0:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        command = [mount, "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(self.path)]
        self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        """Take it away, with all that is on it, when the last one that uses it ends."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.path)], capture_output=True, check=False)
            self.mounted = False

    def fill(self) -> bool:
        """Leave no room, until the store removes something; False where there is no small disk."""
        if not self.mounted:
            return False
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError:
                    continue
        return True

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)
