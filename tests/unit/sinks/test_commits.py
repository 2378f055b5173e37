"""Commits: what is sent for a step, and what its answer means."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from streamgauge.sinks.commits import answer_of, offset_of
from streamgauge.sinks.insertion import CommitDone, CommitIntent, Outcome
from streamgauge.sinks.ranges import Committed, read_commit
from tests.unit.sinks.messages import BLOCK, PLACE


def test_an_intent_is_committed_at_the_start_of_its_range_and_the_end_at_its_end() -> None:
    intent, end = offset_of(CommitIntent(BLOCK)), offset_of(CommitDone(BLOCK))
    assert (intent.topic, intent.partition, intent.offset) == (PLACE.topic, 3, 7)
    assert (end.topic, end.partition, end.offset) == (PLACE.topic, 3, 9)
    assert read_commit(PLACE, 7, intent.metadata).pending == BLOCK
    assert read_commit(PLACE, 9, end.metadata).kind is Committed.STORED
    assert end.metadata, "a later reader must know the life of the topic"


@pytest.mark.parametrize(
    "code", [KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.FENCED_INSTANCE_ID]
)
def test_a_member_of_another_generation_is_fenced(code: int) -> None:
    assert answer_of(KafkaError(code)) is Outcome.FENCED


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
    ],
)
def test_every_other_error_is_not_known_to_be_anything(code: int) -> None:
    assert answer_of(KafkaError(code)) is Outcome.UNKNOWN


def test_no_error_is_done() -> None:
    assert answer_of(None) is Outcome.DONE
