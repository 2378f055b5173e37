"""Releases: an older release, frozen as an archive, whose parts run as processes of their own beside those of this tree.

python -m tests.support.releases COMMIT     freezes the code of a commit; delete the archive that it replaces
"""

from __future__ import annotations

import io
import lzma
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FROZEN = ROOT / "tests" / "golden" / "releases"
PARTS = ("console", "processors", "producers", "schemas", "sinks")
LEFT_OUT = ("console/streamgauge/console/static/", "console/streamgauge/console/shop/")
"""The page and the demo: no deployment needs them."""


@dataclass(frozen=True, slots=True)
class Release:
    """Where processes have their code from: an unpacked release, beside the installed libraries; or this tree (None)."""

    directory: Path | None = None

    def python(self, *words: str) -> list[str]:
        """A command line of Python; for a release without `site`, which would put this tree on the path."""
        return [sys.executable, *(["-S"] if self.directory else []), *words]

    def environ(self, environ: Mapping[str, str], *more: Path) -> dict[str, str]:
        """The environment of its processes; `more` is on their path too."""
        if self.directory is None:
            return dict(environ)
        libraries = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
        parts = [str(self.directory / part) for part in PARTS]
        return dict(environ) | {"PYTHONPATH": ":".join([*parts, *libraries, *map(str, more)])}


TODAY = Release()
"""The code of this tree."""


def frozen() -> Path:
    """The one archive that there is."""
    (archive,) = FROZEN.glob("*.tar.xz")
    return archive


def unpack(archive: Path, directory: Path) -> Release:
    """The release of an archive, unpacked."""
    with tarfile.open(archive) as packed:
        for member in packed:
            if (content := packed.extractfile(member)) is not None:
                path = directory / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    return Release(directory)


def pack(commit: str) -> bytes:
    """The code of a commit as a tar archive: the same bytes each time."""
    paths = ["LICENSE", *(f"{part}/streamgauge" for part in PARTS)]
    asked = subprocess.run(["git", "archive", commit, *paths], cwd=ROOT, capture_output=True, check=True)
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(asked.stdout)) as given,
        tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as packed,
    ):
        for member in sorted(given, key=lambda one: one.name):
            if member.isfile() and not member.name.startswith(LEFT_OUT):
                plain = tarfile.TarInfo(member.name)
                plain.size = member.size
                packed.addfile(plain, given.extractfile(member))
    return made.getvalue()


def main(commit: str) -> None:
    """Freeze a commit."""
    short = subprocess.run(
        ["git", "rev-parse", "--short=7", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.strip()
    FROZEN.mkdir(exist_ok=True)
    archive = FROZEN / f"{short}.tar.xz"
    archive.write_bytes(lzma.compress(pack(short), preset=9 | lzma.PRESET_EXTREME))
    print(f"{archive.relative_to(ROOT)}: {archive.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
