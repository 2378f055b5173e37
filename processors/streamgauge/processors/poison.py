"""Poison: messages on which the worker itself fails. Each of them is refused for itself, and those around it count.

Nobody foresaw what such a message does, so nothing of the error's text is shown: it may hold what the message held.
"""

from __future__ import annotations

import logging

from streamgauge.processors.tools import Place
from streamgauge.schemas.errors import place_of

log = logging.getLogger("streamgauge.processors")

INTERNAL_ERROR = "internal_error"


class Poison:
    """What is known of one partition: the offsets that cannot be processed, and up to where messages are tried alone.

    Work on several messages that fails says that one of them is to blame, not which: each is then a transaction of its own.
    """

    def __init__(self, where: Place) -> None:
        self._where = where
        self._places: dict[int, str] = {}
        self._alone_until = 0

    def place(self, offset: int) -> str | None:
        """Where the worker failed on this message; None if it did not."""
        return self._places.get(offset)

    def found(self, start: int, end: int, error: Exception) -> None:
        """Work on the messages from `start` up to, not including, `end` has failed. Raises the error if it is the machine's."""
        if isinstance(error, MemoryError):
            raise error
        log.error(
            "%s/%s: offsets %d-%d cannot be processed (%s). What is to blame is refused as %s; a release that can process it "
            "can have it replayed",
            self._where.topic, self._where.partition, start, end, place_of(error), INTERNAL_ERROR,
        )  # fmt: skip
        if end - start == 1:
            self._places[start] = place_of(error)
        else:
            self._alone_until = max(self._alone_until, end)

    def alone(self, end: int) -> bool:
        """Whether the message before this offset is to be final before another one is added."""
        return end <= self._alone_until

    def settle(self, end: int) -> None:
        """Everything before this offset is final."""
        self._places = {offset: place for offset, place in self._places.items() if offset >= end}
