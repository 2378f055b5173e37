"""Spool files: one segment on disk, and of each of its records whether it is still needed."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from streamgauge.producers.spool_claim import Claim
from streamgauge.producers.spool_segment import MAGIC, Record, encode, found_at, is_torn, records

ON_DISK, IN_MEMORY, DONE = 0, 1, 2
"""What a record is: only here; here and in the outbox; acknowledged or given up."""


class SpoolFile:
    """A segment that is written by this process, or was by one that has ended. Methods that touch the disk raise OSError."""

    def __init__(self, claim: Claim, path: Path) -> None:
        self.claim = claim
        self.path = path
        self.size = 0
        self.only_here: Counter[str] = Counter()
        """Points of records that are nowhere else, by name."""
        self.waiting = 0
        """Records that are nowhere else."""
        self.known = False
        """Whether its records have been looked at."""
        self.gone = False
        self._fd = -1
        self._starts = array("Q")
        self._states = bytearray()
        self._needed = 0
        self._cursor = 0

    @classmethod
    def new(cls, claim: Claim, number: int) -> SpoolFile:
        """An empty one, to be written."""
        one = cls(claim, claim.path / f"{number:08d}.seg")
        one.known = True
        one._fd = os.open(one.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            one._write(MAGIC)
        except OSError:
            one.delete()
            raise
        return one

    @classmethod
    def found(cls, claim: Claim, path: Path) -> SpoolFile:
        """One that is there; its records are not looked at yet."""
        one = cls(claim, path)
        one.size = path.stat().st_size
        return one

    def __lt__(self, other: SpoolFile) -> bool:
        return (self.path.parent.name, self.path.name) < (other.path.parent.name, other.path.name)

    @property
    def needed(self) -> bool:
        """Whether there is a record that was not acknowledged."""
        return self._needed > 0 or not self.known

    def look(self) -> tuple[Counter[str], bool]:
        """Read a found one through: the points of its records, and whether damage follows the last."""
        data = self.path.read_bytes()
        end = 0
        for found in records(data):
            self._note(found.start, found.record, ON_DISK)
            end = found.end
        self.known = True
        return self.only_here.copy(), is_torn(data, end)

    def append(self, record: Record, state: int) -> int:
        """Write one record; returns its number. When that fails, the file is as it was before."""
        start = self.size
        self._write(encode(record))
        return self._note(start, record, state)

    def _write(self, data: bytes) -> None:
        before, left = self.size, memoryview(data)
        try:
            while left:
                done = os.write(self._fd, left)
                left = left[done:]
                self.size += done
        except OSError:
            self.size = before
            os.ftruncate(self._fd, before)
            raise

    def _note(self, start: int, record: Record, state: int) -> int:
        self._starts.append(start)
        self._states.append(state)
        self._needed += 1
        if state == ON_DISK:
            self.waiting += 1
            self.only_here.update(record.points)
        return len(self._states) - 1

    def sync(self) -> None:
        """Have the system write what it holds."""
        os.fsync(self._fd)

    def next_on_disk(self) -> int | None:
        """The oldest record that is nowhere else; None when there is none."""
        place = self._states.find(ON_DISK, self._cursor)
        self._cursor = len(self._states) if place < 0 else place
        return None if place < 0 else place

    def read(self, number: int) -> Record | None:
        """A record as it was written; None when it is damaged."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self.size
        found = found_at(os.pread(self._fd, end - start, start), 0)
        return found.record if found else None

    def into_memory(self, number: int, record: Record) -> None:
        """A record that was read is in the outbox now."""
        self._states[number] = IN_MEMORY
        self.waiting -= 1
        self.only_here.subtract(record.points)

    def out_of_memory(self, number: int, points: Mapping[str, int]) -> None:
        """A record is no longer in the outbox."""
        self._states[number] = ON_DISK
        self.waiting += 1
        self.only_here.update(points)
        self._cursor = min(self._cursor, number)

    def done(self, number: int) -> None:
        """A record is needed no longer. If it could not be read, its points stay in `only_here`: whose they are is not known."""
        state = self._states[number]
        if state != DONE:
            self._states[number] = DONE
            self._needed -= 1
            self.waiting -= state == ON_DISK

    def leave(self) -> None:
        """Use it no more, and leave it where it is."""
        self.gone = True
        self.close()

    def close(self) -> None:
        """Let the descriptor go."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def delete(self) -> None:
        """Remove the file, if that can be."""
        self.gone = True
        self.close()
        with suppress(OSError):
            self.path.unlink()
