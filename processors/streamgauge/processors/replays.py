"""Replays: which refusals of which messages were counted after all, so that replaying one twice counts once. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from streamgauge.schemas.again import Again
from streamgauge.schemas.state import Replay


class Replays:
    """Of one raw partition. Remembered for `expiry_s`, which is longer than raw messages are kept."""

    def __init__(self, expiry_s: int) -> None:
        self._expiry_s = expiry_s
        self._seen: dict[tuple[int, str], int] = {}
        self._new: list[Replay] = []

    def seen(self, again: Again) -> bool:
        """Whether this refusal of this message was counted before."""
        return (again.offset, again.refusal) in self._seen

    def note(self, again: Again, now_s: int) -> None:
        """It is being counted now."""
        self._seen[again.offset, again.refusal] = now_s
        self._new.append(Replay(again.offset, again.refusal, now_s))

    def take_new(self) -> tuple[Replay, ...]:
        """Those noted since the last call."""
        new, self._new = tuple(self._new), []
        return new

    def all(self, now_s: int) -> tuple[Replay, ...]:
        """All that may come again; the others are forgotten."""
        self._seen = {key: at for key, at in self._seen.items() if at >= now_s - self._expiry_s}
        return tuple(Replay(*key, at) for key, at in self._seen.items())

    def restore(self, replays: Iterable[Replay]) -> None:
        """Know these."""
        self._seen |= {(one.offset, one.refusal): one.at_s for one in replays}
