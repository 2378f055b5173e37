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
ROOM = "size=4g"  # memory is taken for what is written only


class SmallDisk:
    """A disk at `path` while it is mounted, that shrinks to what is on it. Without the right to mount, `fill` says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place: Path | None = None

    @property
    def mounted(self) -> bool:
        """Whether there is a small disk."""
        return self._place is not None

    def mount(self) -> None:
        """Mount it, if we may. What killed sessions have left is taken away."""
        if shutil.which("mount") is None or os.geteuid() != 0:
            return
        for left in HOME.glob(f"{PREFIX}*"):
            if not Path(f"/proc/{left.name.split('-')[2]}").exists():
                _take_away(left)
        place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        if not _mount("-t", "tmpfs", "-o", ROOM, "tmpfs", str(place)):
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

    def fill(self, leave: int = 0) -> bool:
        """Leave so many bytes, until the store removes something; False where there is no small disk."""
        if self._place is None:
            return False
        while True:
            now = os.statvfs(self._place)
            used = (now.f_blocks - now.f_bfree) * now.f_frsize
            if _mount("-o", f"remount,size={used + leave}", str(self._place)):
                return True  # else more was written meanwhile

    def empty(self) -> None:
        """Give the room back."""
        if self._place is not None:
            _mount("-o", f"remount,{ROOM}", str(self._place))


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def _take_away(place: Path) -> None:
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
    place.rmdir()
