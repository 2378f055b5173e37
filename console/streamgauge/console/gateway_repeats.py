"""Repeats: requests that come again, as after a lost answer."""

from __future__ import annotations

MAX_REPEATS, REPEATS_S = 1_024, 300.0


class Repeats:
    """Bodies that were taken in the last minutes: a request that comes again, as after a lost answer, counts once.

    Points hold instants in nanoseconds, so two requests of equal bytes are one; those without times are not compared.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, float] = {}

    def seen(self, digest: bytes, now: float) -> bool:
        """Whether this body was taken."""
        at = self._seen.get(digest)
        return at is not None and now - at <= REPEATS_S

    def add(self, digest: bytes, now: float) -> None:
        """This body was taken."""
        while len(self._seen) >= MAX_REPEATS:
            del self._seen[next(iter(self._seen))]
        self._seen[digest] = now
