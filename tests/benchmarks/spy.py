"""Spy: where a running process spends its time, by sampling it with py-spy where that is installed."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path

TOP = 15
PER_SECOND = 200


def hot_frames(raw: str, top: int = TOP) -> str:
    """The frames that were on top most often, and those that were on a stack at all, of py-spy's raw format
    (`frame;frame;frame count` a line, outermost first)."""
    own: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        anywhere.update(dict.fromkeys(frames, int(count)))
    total = own.total() or 1

    def share(found: Counter[str]) -> list[str]:
        return [f"{100 * count / total:6.1f} %  {frame}" for frame, count in found.most_common(top)]

    return "\n".join([f"{total} samples; own time", *share(own), "with what they call", *share(anywhere)])


@contextlib.contextmanager
def spied(pid: int, wanted: bool) -> Generator[list[str]]:
    """Sample the process inside the block; afterwards the list holds one text, or nothing where py-spy is missing."""
    found: list[str] = []
    program = shutil.which("py-spy") if wanted else None
    if program is None:
        yield found
        return
    with tempfile.TemporaryDirectory() as directory:
        raw = Path(directory) / "raw"
        options = ["--format", "raw", "--output", str(raw), "--rate", str(PER_SECOND), "--nolineno", "--nonblocking"]
        spy = subprocess.Popen(
            [program, "record", "--pid", str(pid), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield found
        finally:
            spy.send_signal(signal.SIGINT)
            spy.wait(30)
            if raw.is_file():
                found.append(hot_frames(raw.read_text()))
