"""Processes: CPU time and peak memory of a running one, from /proc, and holding it still."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.options import BenchmarkFailed

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used since it started: CPU seconds of all its threads, and the most memory it ever held."""

    cpu_s: float
    peak_bytes: int


def cpu_seconds(stat: str, ticks_per_second: int) -> float:
    """User and system time in the text of /proc/PID/stat. The name in it may hold spaces and parentheses."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks_per_second


def peak_bytes(status: str) -> int:
    """The high-water mark of resident memory in the text of /proc/PID/status; 0 for a process that has ended."""
    _, found, rest = status.partition("VmHWM:")
    return int(rest.split()[0]) << 10 if found else 0


def usage(pid: int) -> Usage:
    """Usage so far of a process that runs."""
    try:
        place = Path("/proc") / str(pid)
        ticks = os.sysconf("SC_CLK_TCK")
        return Usage(cpu_seconds((place / "stat").read_text(), ticks), peak_bytes((place / "status").read_text()))
    except OSError as error:
        raise BenchmarkFailed(f"process {pid} has ended, or there is no /proc here: its CPU time is unknown") from error


def settle(pid: int, within_s: float = 20.0) -> Usage:
    """Wait until a process has nothing to do (less than a tenth of a core for half a second); its usage then."""
    return settled(pid, within_s)[0]


def settled(pid: int, within_s: float = 60.0) -> tuple[Usage, float]:
    """The same, and since when (monotonic seconds)."""
    deadline = time.monotonic() + within_s
    before, since = usage(pid), time.monotonic()
    while True:
        time.sleep(0.5)
        now = usage(pid)
        if now.cpu_s - before.cpu_s <= 0.05 or time.monotonic() > deadline:
            return now, since
        before, since = now, time.monotonic()


@contextlib.contextmanager
def held_still(part: subprocess.Popen[bytes]) -> Generator[None]:
    """The process does nothing inside the block. Its session timeouts must be longer than the block takes."""
    part.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        part.send_signal(signal.SIGCONT)
