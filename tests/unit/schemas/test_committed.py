"""Committed offsets whose metadata is no text: they are asked for again."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaException, TopicPartition

from streamgauge.schemas.committed import ASKS, ask_committed


class Answer:
    """As the client gives it: what stands behind the metadata may be no text."""

    def __init__(self, metadata: bytes | None) -> None:
        self._metadata = metadata

    @property
    def metadata(self) -> str | None:
        """Decoded when it is read."""
        return None if self._metadata is None else self._metadata.decode()


class Group:
    """Answers one after the other, the last one for ever."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """As a consumer."""
        self.asked += 1
        metadata = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return cast("list[TopicPartition]", [Answer(metadata) for _ in partitions])


def test_what_cannot_be_read_is_asked_for_again() -> None:
    group = Group(b"state 12\xff\xfe", b"state 12\x80", b"state 12")
    (found,) = ask_committed(group, [TopicPartition("raw", 0)], 5)
    assert (found.metadata, group.asked) == ("state 12", 3)


@pytest.mark.parametrize("metadata", [None, b"", b"state 12"])
def test_what_can_be_read_is_asked_for_once(metadata: bytes | None) -> None:
    group = Group(metadata)
    (found,) = ask_committed(group, [TopicPartition("raw", 0)], 5)
    assert (cast("Any", found).metadata, group.asked) == (None if metadata is None else metadata.decode(), 1)


def test_what_can_never_be_read_is_an_error() -> None:
    group = Group(b"\xff")
    with pytest.raises(KafkaException):
        ask_committed(group, [TopicPartition("raw", 0)], 5)
    assert group.asked == ASKS
