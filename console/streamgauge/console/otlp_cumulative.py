"""Cumulative OTLP series as increments. Bounded memory; never counts anything twice.

A value that is seen for the first time counts in full only if its series began while this gateway was watching. Otherwise
it is a base: who knows what was counted elsewhere before. A series that was forgotten to make room may come back, so no
series that began before the last sight of a forgotten one counts in full any more.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Generic, NamedTuple, TypeVar

import orjson

S = TypeVar("S")


class Seen(NamedTuple, Generic[S]):
    """The last state of a series, its own time, and ours."""

    time_ns: int
    state: S
    at_ms: int


class Gained(NamedTuple, Generic[S]):
    """What a series gained, None for nothing; and a word for what is special: `baseline`, `repeated`, `reset`."""

    state: S | None
    note: str = ""


def identity(*parts: Any) -> bytes:
    """16 bytes that stand for a series."""
    return blake2b(orjson.dumps(parts), digest_size=16).digest()


class Cumulative:
    """The last states of series, at most `capacity` of them, none longer than `age_ms`. One thread only."""

    def __init__(self, capacity: int, age_ms: int, started_ms: int) -> None:
        self._capacity = capacity
        self._age_ms = age_ms
        self._watching_since_ns = started_ms * 1_000_000
        self._seen: dict[tuple[bytes, int], Seen[Any]] = {}

    def advance(
        self,
        series: bytes,
        start_ns: int,
        time_ns: int,
        state: S,
        minus: Callable[[S, S], S | None],
        now_ms: int,
    ) -> Gained[S]:
        """What a series gained by this point. `minus` says what came since a state, None when it fell.

        A series that started anew is another one, since `start_ns` is part of what it is; one that fell without starting
        anew was reset all the same.
        """
        key = (series, start_ns)
        before: Seen[S] | None = self._seen.pop(key, None)
        if before is not None and time_ns <= before.time_ns:
            self._seen[key] = before
            return Gained(None, "repeated")
        if before is None:
            self._make_room(now_ms)
        # at the end of the dictionary: what stands at its beginning was not seen for longest
        self._seen[key] = Seen(time_ns, state, now_ms)
        if before is None:
            return Gained(state) if start_ns >= self._watching_since_ns else Gained(None, "baseline")
        gained = minus(state, before.state)
        return Gained(state, "reset") if gained is None else Gained(gained)

    def _make_room(self, now_ms: int) -> None:
        while self._seen:
            key = next(iter(self._seen))
            oldest = self._seen[key]
            if len(self._seen) < self._capacity and now_ms - oldest.at_ms <= self._age_ms:
                return
            del self._seen[key]
            self._watching_since_ns = max(self._watching_since_ns, oldest.at_ms * 1_000_000 + 1)

    def __len__(self) -> int:
        return len(self._seen)
