"""Watches: whether certain batches have arrived, for whoever wants to know before it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from streamgauge.producers.batching import Batch


class Watch:
    """Some batches on their way. `left` of them are not settled; `lost` will never arrive."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.lost = 0
        self._settled = asyncio.Event()
        if not left:
            self._settled.set()

    def settled(self, arrived: bool) -> None:
        """One of them has arrived, or never will. Called in the thread that waits."""
        self.left -= 1
        self.lost += not arrived
        if not self.left:
            self._settled.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until all are settled, at most so long; whether all of them have arrived."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), seconds)
        return self.delivered

    @property
    def delivered(self) -> bool:
        """Whether all of them have arrived."""
        return not self.left and not self.lost


class Watches:
    """Batches that somebody waits for. A batch is forgotten when it is settled."""

    def __init__(self) -> None:
        self._of: dict[Batch, Watch] = {}

    def add(self, batches: Iterable[Batch], more: bool = False) -> Watch:
        """Watch these. A batch has one watch. `more`: something that belongs to them has no batch yet."""
        mine = list(batches)
        watch = Watch(len(mine) + more)
        self._of.update(dict.fromkeys(mine, watch))
        return watch

    def settled(self, batch: Batch, arrived: bool) -> None:
        """It has arrived, or never will."""
        if watch := self._of.pop(batch, None):
            watch.settled(arrived)
