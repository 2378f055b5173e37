"""A disk that can be full: memory, mounted where this machine lets us, that the store's directory is a link to.

It is mounted in no directory of a test's own: one that a killed session left could not be cleaned up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HOME = Path(tempfile.gettempdir())
PREFIX = "streamgauge-disk-"


class SmallDisk:
    """Half a gigabyte at `path` while it is mounted. Without the right to mount, `fill` says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place: Path | None = None

    @property
    def mounted(self) -> bool:
        """Whether there is a small disk."""
        return self._place is not None

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def mount(self) -> None:
        """Mount it, if we may. What killed sessions have left is taken away."""
        mount = shutil.which("mount")
        if mount is None or os.geteuid() != 0:
            return
        for left in HOME.glob(f"{PREFIX}*"):
            if not Path(f"/proc/{left.name.split('-')[2]}").exists():
                _take_away(left)
        place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        command = [mount, "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            place.rmdir()
            return
        self._place = place
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.symlink_to(place)

    def unmount(self) -> None:
        """Take it away, with all that is on it, when the last one that uses it ends."""
        if self._place is not None:
            self.path.unlink()
            _take_away(self._place)
            self._place = None

    def fill(self) -> bool:
        """Leave no room, until the store removes something; False where there is no small disk."""
        if self._place is None:
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


def _take_away(place: Path) -> None:
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
    place.rmdir()
