"""Spool: encoded batches on disk while no broker takes them, bounded in bytes, and back again at a bounded pace.

Every process writes a directory of its own; those of processes of the same service that have ended are taken over. What
is sent from here is byte for byte what it was, so that readers recognise what had arrived after all. Nothing raises: a
disk that fails is said once, counted, and tried again later. Not thread-safe.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from urllib.parse import quote

from streamgauge.producers.accounts import Accounts
from streamgauge.producers.batching import Batch
from streamgauge.producers.clock import Clock
from streamgauge.producers.spool_claim import Claim, others
from streamgauge.producers.spool_file import IN_MEMORY, ON_DISK, SpoolFile
from streamgauge.producers.spool_segment import HEAD, Record

log = logging.getLogger(__name__)

HORIZON_MS = 23 * 3_600_000
"""Workers wait a day for a number that is missing; a record that is nearly as old could come too late for them."""
LEFT = "It is left for later"
UNKNOWN = "__spool__"
"""Stands for points of which the disk no longer says whose they were."""


@dataclass(frozen=True, slots=True)
class SpoolPolicy:
    """Bounds, pace and patience: bytes, bytes a second, seconds.

    What waits longer than `patience` for its acknowledgement is on disk too; `sync_every` bounds what a power cut costs.
    """

    max_bytes: int = 64 << 20
    pace: int = 1 << 20
    patience: float = 1.0
    sync_every: float = 1.0
    adopt_every: float = 60.0
    retry_after: float = 30.0

    @property
    def segment_bytes(self) -> int:
        """Size at which a new file is begun: what is dropped at once when the spool is full."""
        return min(4 << 20, max(64 << 10, self.max_bytes // 16))


def home_of(spool: str, region: str, environment: str, service: str) -> Path:
    """The directory of all processes of a service that send to one place."""
    name = "@".join(quote(part, safe="") for part in (region, environment, service))
    if len(name) > 200:
        name = name[:160] + blake2b(name.encode(), digest_size=8).hexdigest()
    return Path(spool) / f"to-{name}"


class Spool:
    """The spool of one process. `name` is the process's own, in `home`; numbers of `clock` order files and pace replays."""

    def __init__(self, home: Path, name: str, policy: SpoolPolicy, accounts: Accounts, clock: Clock) -> None:
        self._home = home
        self._name = f"{clock.wall_ns() // 1_000_000:013d}-{quote(name, safe='')[-100:]}"
        self._policy = policy
        self._accounts = accounts
        self._clock = clock
        self._claim: Claim | None = None
        self._numbers = 0
        self._files: list[SpoolFile] = []
        self._current: SpoolFile | None = None
        self._unsynced_since: float | None = None
        self._places: dict[Batch, tuple[SpoolFile, int]] = {}
        self._replaying: dict[Batch, int] = {}
        self._credit = 0.0
        self._credited = self._adopt_at = clock.monotonic()
        self._broken_until: float | None = None
        self._said: set[str] = set()
        self._order = -(1 << 60)
        self._ending = self._closed = False

    # what the outbox's owner asks

    @property
    def patience(self) -> float:
        """Seconds after which what is not acknowledged belongs on disk too."""
        return self._policy.patience

    @property
    def usable(self) -> bool:
        """Whether the disk took what it was last given, or it is time to try again."""
        if self._closed:
            return False
        return self._broken_until is None or self._clock.monotonic() >= self._broken_until

    def copy(self, batch: Batch) -> bool:
        """Have a batch on disk that stays in memory. False when the disk cannot take it."""
        known = self._places.get(batch)
        return (known is not None and not known[0].gone) or self._write(batch, IN_MEMORY)

    def park(self, batch: Batch) -> bool:
        """Have a batch on disk that leaves memory. False when the disk cannot take it."""
        self._replaying.pop(batch, None)
        if (place := self._places.pop(batch, None)) is not None and not place[0].gone:
            place[0].out_of_memory(place[1], batch.points)
            return True
        return self._write(batch, ON_DISK)

    def settled(self, batch: Batch, acknowledged: bool) -> None:
        """A batch needs no copy any more."""
        if self._replaying.pop(batch, None) is not None and acknowledged:
            self._accounts.replayed(batch.points)
        if (place := self._places.pop(batch, None)) is not None and not place[0].gone:
            self._done(*place)

    def points(self) -> Counter[str]:
        """Points that are on disk only, by name, as far as files have been looked at."""
        found: Counter[str] = Counter()
        for one in self._files:
            found.update(one.only_here)
        return +found

    def lent(self) -> set[Batch]:
        """Batches in memory that are other processes': they are on disk too, and nobody here waits for them."""
        return {batch for batch in self._replaying if self._places[batch][0].claim is not self._claim}

    def holds_own(self) -> bool:
        """Whether records of this process are on disk only."""
        return any(one.claim is self._claim and one.waiting for one in self._files)

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(one.size for one in self._files)

    def next_due(self) -> float | None:
        """When `work` has something to do, as monotonic seconds."""
        dues = [self._adopt_at]
        if self._unsynced_since is not None:
            dues.append(self._unsynced_since + self._policy.sync_every)
        if self._replayable():
            dues.append(self._credited + max(0.05, -self._credit / self._policy.pace))
        return min(dues)

    def work(self, room: int) -> Iterator[Batch]:
        """Do what is due: write back, take over, and give batches to send again, at most `room` bytes."""
        now = self._clock.monotonic()
        if self._closed:
            return
        if self._unsynced_since is not None and now - self._unsynced_since >= self._policy.sync_every:
            self.sync()
        if now >= self._adopt_at and not self._ending:
            self._adopt_at = now + self._policy.adopt_every
            self._adopt()
        yield from self._load(now, room)

    def sync(self) -> None:
        """Have the system write everything to the disk itself."""
        self._unsynced_since = None
        if self._current is not None:
            try:
                self._current.sync()
            except OSError as error:
                self._trouble(error)
                self._end_current()

    def ending(self) -> None:
        """Begin nothing any more for others: the end of a process must not wait for what another one left."""
        self._ending = True

    def close(self) -> None:
        """Leave what there is to later processes; remove what is empty."""
        self.sync()
        self._closed = True
        for one in self._files:
            one.close()
        claims = {id(one.claim): one.claim for one in self._files}
        for claim in claims.values():
            claim.close()
        if self._claim is not None and id(self._claim) not in claims:
            self._claim.remove()
        # the files stay known: the books say what is in them
        self._current = self._claim = None
        self._places.clear()
        self._replaying.clear()

    def after_fork(self) -> None:
        """In a forked child: touch nothing of the parent's, whose lock would else outlive it in our descriptors."""
        for one in self._files:
            one.close()
            one.claim.close()
        if self._claim is not None:
            self._claim.close()

    # writing

    def _write(self, batch: Batch, state: int) -> bool:
        if not self.usable:
            return False
        record = Record(self._clock.wall_ns() // 1_000_000, batch.topic, batch.key, batch.value, batch.points)
        size = HEAD.size + len(batch.value) + len(batch.key) + 1_000
        if size > self._policy.max_bytes:
            return False
        try:
            file = self._file_for(size)
            number = file.append(record, state)
        except OSError as error:
            self._trouble(error)
            self._end_current()
            return False
        if state == IN_MEMORY:
            self._places[batch] = (file, number)
        self._accounts.spooled(batch.points)
        if self._unsynced_since is None:
            self._unsynced_since = self._clock.monotonic()
        if self._broken_until is not None:
            self._broken_until = None
            self._said.clear()
            log.warning("the spool in %s takes batches again", self._home)
        return True

    def _file_for(self, size: int) -> SpoolFile:
        if self._current is not None and self._current.size + size > self._policy.segment_bytes:
            self._current.sync()
            self._end_current()
        self._make_room(size)
        if self._current is None:
            if self._claim is None:
                self._claim = Claim.new(self._home, self._unused_name())
            self._numbers += 1
            self._current = SpoolFile.new(self._claim, self._numbers)
            self._files.append(self._current)
            self._files.sort()
        return self._current

    def _unused_name(self) -> str:
        # an instance that was named by hand may have left a directory of this very name
        names = (f"{self._name}-{number}" if number else self._name for number in count())
        return next(name for name in names if not (self._home / name).exists())

    def _end_current(self) -> None:
        # its descriptor stays open for reading; a file that failed is not written to again
        one, self._current = self._current, None
        if one is not None and not one.needed:
            self._forget(one)
        if self._claim is not None and not self._claim.path.is_dir():  # somebody has removed it: begin another
            self._claim.close()
            self._claim = None

    def _make_room(self, size: int) -> None:
        while self._files and self.bytes + size > self._policy.max_bytes:
            self._give_up(self._files[0], "spool_full")

    def _give_up(self, one: SpoolFile, reason: str) -> None:
        self._look(one)
        if one.gone:
            return
        if lost := +one.only_here:
            self._lose(lost, reason)
        self._forget(one)

    def _lose(self, points: Counter[str], reason: str) -> None:
        if self._accounts.dropped(points, reason):
            log.warning("dropped points of %s from the spool in %s (%s)", ", ".join(points), self._home, reason)

    def _done(self, file: SpoolFile, number: int) -> None:
        file.done(number)
        if not file.needed:
            if damaged := +file.only_here:
                self._lose(damaged, "spool_damaged")
            self._forget(file)

    def _forget(self, one: SpoolFile) -> None:
        if one is self._current:
            self._current = None
        if one in self._files:
            self._files.remove(one)
        one.delete()
        if one.claim is not self._claim and not any(other.claim is one.claim for other in self._files):
            one.claim.remove()

    def _trouble(self, error: OSError) -> None:
        self._broken_until = self._clock.monotonic() + self._policy.retry_after
        self._say(error, "Batches wait in memory; the disk is tried again in a while")

    def _say(self, error: OSError, then: str) -> None:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        self._accounts.spool_failed(name)
        if name not in self._said:
            self._said.add(name)
            said = os.strerror(error.errno) if error.errno else error
            log.warning("the spool in %s cannot be used: %s. %s", error.filename or self._home, said, then)

    # reading

    def _adopt(self) -> None:
        try:
            found = [path for path in others(self._home) if self._claim is None or path != self._claim.path]
        except OSError as error:
            self._say(error, LEFT)
            return
        for path in found:
            try:
                if (claim := Claim.take_over(path)) is not None:
                    self._take_in(claim)
            except OSError as error:
                self._say(error, LEFT)
        self._make_room(0)

    def _take_in(self, claim: Claim) -> None:
        try:
            found = [SpoolFile.found(claim, path) for path in claim.segments()]
        except OSError:
            claim.close()
            raise
        if not found:
            claim.remove()
            return
        log.info("sending what a process that has ended left in %s", claim.path)
        self._files = sorted([*self._files, *found])

    def _look(self, one: SpoolFile) -> None:
        if one.known:
            return
        try:
            points, torn = one.look()
        except OSError as error:
            self._say(error, LEFT)
            self._leave(one)
            return
        for name, found in points.items():
            self._accounts.emitted(name, found)
        if torn:
            self._accounts.refused(UNKNOWN, "torn_record")
            log.warning("%s ends in a record that is not whole; what is before it is kept", one.path)

    def _leave(self, one: SpoolFile) -> None:
        one.leave()
        self._files.remove(one)
        if not any(other.claim is one.claim for other in self._files):
            one.claim.close()

    def _replayable(self) -> bool:
        in_flight = sum(self._replaying.values())
        return in_flight < self._policy.pace and any(one.waiting or not one.known for one in self._files)

    def _load(self, now: float, room: int) -> Iterator[Batch]:
        pace = self._policy.pace
        self._credit = min(pace / 4, self._credit + (now - self._credited) * pace)
        self._credited = now
        # what comes late anyway must not crowd out what is new
        in_flight = sum(self._replaying.values())
        for one in list(self._files):
            if self._credit <= 0:
                return
            if self._ending and one.claim is not self._claim:
                continue
            self._look(one)
            while not one.gone and (number := one.next_on_disk()) is not None:
                if self._credit <= 0 or in_flight >= pace or room <= 0:
                    return
                batch = self._read(one, number, now)
                if batch is not None:
                    size = len(batch.value)
                    self._credit -= size
                    in_flight += size
                    room -= size
                    yield batch
            if not one.gone and not one.needed and one is not self._current:
                self._forget(one)

    def _read(self, one: SpoolFile, number: int, now: float) -> Batch | None:
        try:
            record = one.read(number)
        except OSError as error:
            self._say(error, "What cannot be read is lost")
            record = None
        if record is None:
            # whose it was is known when the rest of the file has been read
            self._done(one, number)
            return None
        one.into_memory(number, record)
        if self._clock.wall_ns() // 1_000_000 - record.written_ms > HORIZON_MS:
            self._lose(Counter(record.points), "too_old")
            self._done(one, number)
            return None
        self._order += 1
        batch = Batch(record.topic, record.key, record.value, record.points, self._order)
        self._places[batch] = (one, number)
        self._replaying[batch] = len(record.value)
        return batch
