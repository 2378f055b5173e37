"""Commits: steps of a block as offsets with metadata, and what the broker answers as outcomes."""

from __future__ import annotations

from confluent_kafka import KafkaError, TopicPartition

from streamgauge.sinks.driver import Commit
from streamgauge.sinks.insertion import CommitIntent, Outcome

FENCED = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._STATE,
    }
)
"""Errors that say that the partition is, or may be, somebody else's. All others are unknown outcomes."""


def offset_of(step: Commit) -> TopicPartition:
    """What to commit for a step. Without the metadata the intent would be erased."""
    if isinstance(step, CommitIntent):
        block, offset, metadata = step.pending, step.pending.start, step.pending.intent()
    else:
        block, offset, metadata = step.done, step.done.end, step.done.done()
    return TopicPartition(block.place.topic, block.place.partition, offset, metadata=metadata)


def answer_of(error: KafkaError | None) -> Outcome:
    """What the answer to a commit means."""
    if error is None:
        return Outcome.DONE
    return Outcome.FENCED if error.code() in FENCED else Outcome.UNKNOWN
