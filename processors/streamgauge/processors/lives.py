"""Lives: whether raw topics are the ones that they were, and what to do when one was made anew.

Kafka forgets a group's offsets of a topic with the topic. A worker whose topic was deleted and made anew may stay silent: it
neither read nor ended while it was watched for half a minute (aiokafka 0.14 on Kafka 4.3). So a worker asks by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection

from streamgauge.processors.broker import Broker
from streamgauge.schemas.errors import PositionLost

log = logging.getLogger("streamgauge.processors")

EVERY_S = 10.0


class Lives:
    """The lives of some topics as they are when `run` begins. Topics that are not there yet are known when they are."""

    def __init__(self, broker: Broker, topics: Collection[str]) -> None:
        self._broker = broker
        self._topics = tuple(topics)
        self._known: dict[str, str] = {}

    async def run(self, ended: asyncio.Event, every_s: float = EVERY_S) -> None:
        """Ask now and then, until `ended`. Raises PositionLost when one was made anew."""
        while not ended.is_set():
            for topic in self._topics:
                await self._look(topic)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), every_s)

    async def _look(self, topic: str) -> None:
        try:
            found = await self._broker.life(topic)
        except Exception as error:
            log.warning("whether %s is the same topic is not known: %r", topic, error)
            return
        if (known := self._known.setdefault(topic, found)) != found:
            raise anew(self._broker, topic, known, found)


def anew(broker: Broker, topic: str, earlier: str, life: str) -> PositionLost:
    """What to say of a topic that was made anew."""
    return PositionLost(
        f"{topic} was made anew: its id was {earlier}, now it is {life}. Nothing of the new topic was counted or passed by; what "
        "was not committed of the earlier one is gone with it. Stop all workers, say: "
        f"{broker.reset(topic, '--to-earliest')}; then start again"
    )
