"""Committed offsets with their metadata, read so that what is no part of it does no harm.

librdkafka (2.16) copies metadata without its end: now and then what stood in memory follows, which may be no text at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, TopicPartition

ASKS = 20


class Asks(Protocol):
    """A consumer of the group that is asked about."""

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """See confluent_kafka.Consumer."""
        ...


def ask_committed(consumer: Asks, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
    """Offsets in the same order, whose `metadata` can be read. It begins with what was committed; more may follow.

    Raises KafkaException when nobody answers within `timeout` seconds.
    """
    for _ in range(ASKS):
        found = consumer.committed(list(partitions), timeout=timeout)
        if all(_readable(one) for one in found):
            return found
    raise KafkaException(KafkaError(KafkaError._BAD_MSG))


def _readable(one: TopicPartition) -> bool:
    try:
        str(one.metadata)
    except UnicodeDecodeError:
        return False
    return True
