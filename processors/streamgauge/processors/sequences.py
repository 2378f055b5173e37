"""Sequences: which batches of each stream have come, so that one that is sent twice counts once. Pure; time is given.

A high-water mark would refuse good batches: after an outage those that wait in a producer's spool arrive behind newer ones.
So of every stream the numbers that are missing below the highest one are kept, as ranges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b

from streamgauge.schemas.batches import Origin
from streamgauge.schemas.state import DIGEST_BYTES, Hole, StreamState


@dataclass(frozen=True, slots=True)
class SequencePolicy:
    """`horizon_s`: how long a missing batch may still come, which is how long producers keep it; then it is reported.
    `max_holes`: ranges of missing numbers kept of a stream; beyond them the lowest is reported early.
    `expiry_s`: how long a stream is remembered after its last batch; `max_streams`: beyond them the most silent are forgotten.
    """

    horizon_s: int = 86_400
    max_holes: int = 1_024
    expiry_s: int = 7 * 86_400
    max_streams: int = 200_000


@dataclass(frozen=True, slots=True)
class Findings:
    """What came to light: batches seen before, numbers given up as missing, streams forgotten for want of room."""

    repeats: int = 0
    missing: int = 0
    crowded_out: int = 0


NOTHING_FOUND = Findings()


class Sequences:
    """The streams of one raw partition."""

    def __init__(self, policy: SequencePolicy | None = None) -> None:
        self.policy = policy or SequencePolicy()
        self._streams: dict[bytes, StreamState] = {}
        self._digests: dict[tuple[str, int, str], bytes] = {}
        self._touched: set[bytes] = set()
        self._holed: set[bytes] = set()
        self._repeats = self._missing = self._crowded_out = 0

    def __len__(self) -> int:
        return len(self._streams)

    def first_time(self, origin: Origin, now_s: int) -> bool:
        """Note a batch; False if it has come before, or was given up as missing."""
        digest = self._digest(origin)
        known = self._streams.get(digest) or _new(digest, origin.seq, self.policy.max_holes)
        after = _with(known, origin.seq, now_s)
        if after is None:
            self._repeats += 1
            return False
        if len(after.holes) > self.policy.max_holes:
            self._missing += _width(after.holes[:1])
            after = replace(after, holes=after.holes[1:])
        self._put(after)
        self._touched.add(digest)
        return True

    def _digest(self, origin: Origin) -> bytes:
        key = (origin.context.get("instance", ""), origin.epoch, origin.stream)
        digest = self._digests.get(key)
        if digest is None:
            text = "\0".join((key[0], str(key[1]), key[2])).encode("utf-8", "surrogatepass")
            digest = self._digests[key] = blake2b(text, digest_size=DIGEST_BYTES).digest()
        return digest

    def _put(self, stream: StreamState) -> None:
        self._streams[stream.digest] = stream
        if stream.holes:
            self._holed.add(stream.digest)
        else:
            self._holed.discard(stream.digest)

    def settle(self, now_s: int) -> None:
        """Report holes that are older than the horizon; forget streams that are silent for too long, or too many."""
        oldest = now_s - self.policy.horizon_s
        for one in [self._streams[digest] for digest in self._holed]:
            kept = tuple(hole for hole in one.holes if hole.since_s >= oldest)
            if len(kept) < len(one.holes):
                self._missing += _width(one.holes) - _width(kept)
                self._put(replace(one, holes=kept))
                self._touched.add(one.digest)
        if len(self._digests) > 2 * self.policy.max_streams:
            self._digests.clear()

    def forget(self, now_s: int) -> None:
        """Forget streams that are silent for too long, or too many. Looks at every stream: not for each transaction."""
        silent = [one.digest for one in self._streams.values() if one.heard_s < now_s - self.policy.expiry_s]
        if (crowd := len(self._streams) - len(silent) - self.policy.max_streams) > 0:
            by_silence = sorted(self._streams.values(), key=lambda one: one.heard_s)
            self._crowded_out += crowd
            silent = [one.digest for one in by_silence[: len(silent) + crowd]]
        for digest in silent:
            del self._streams[digest]
            self._touched.discard(digest)
            self._holed.discard(digest)

    def take_findings(self) -> Findings:
        """What came to light since the last call."""
        found = Findings(self._repeats, self._missing, self._crowded_out)
        self._repeats = self._missing = self._crowded_out = 0
        return found

    def take_touched(self) -> tuple[StreamState, ...]:
        """The streams that changed since the last call, as they are now. A value each: what comes later does not change it."""
        touched = tuple(self._streams[digest] for digest in sorted(self._touched))
        self._touched.clear()
        return touched

    def all(self) -> tuple[StreamState, ...]:
        """Every stream."""
        return tuple(self._streams.values())

    def restore(self, streams: Iterable[StreamState]) -> None:
        """Know these streams as they are given, whatever was known of them."""
        for one in streams:
            self._put(one)


def _new(digest: bytes, seq: int, reach: int) -> StreamState:
    """A stream of which nothing is known. One that is heard of late begins where it is: what was before is not missing."""
    return StreamState(digest, 0 if seq <= reach else seq, 0)


def _with(stream: StreamState, seq: int, now_s: int) -> StreamState | None:
    """The stream after this number came; None if it had come before, or is waited for no longer."""
    if seq >= stream.next:
        holes = stream.holes if seq == stream.next else (*stream.holes, Hole(stream.next, seq, now_s))
        return StreamState(stream.digest, seq + 1, now_s, holes)
    for position, hole in enumerate(stream.holes):
        if hole.start <= seq < hole.end:
            parts = (Hole(hole.start, seq, hole.since_s), Hole(seq + 1, hole.end, hole.since_s))
            left = tuple(part for part in parts if part.start < part.end)
            holes = (*stream.holes[:position], *left, *stream.holes[position + 1 :])
            return StreamState(stream.digest, stream.next, now_s, holes)
    return None


def _width(holes: Iterable[Hole]) -> int:
    return sum(hole.end - hole.start for hole in holes)
