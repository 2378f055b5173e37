"""Intents: what is written beside an offset is read back as the same range, or refused with advice."""

from __future__ import annotations

import pytest

from streamgauge.schemas.errors import PositionLost
from streamgauge.sinks.ranges import IntentUnknown, Place, Range, parse_intent

PLACE = Place("eu", "sg.eu.rollups.v1", "qTSRWOWIQdWDWqHmtBJYUg", 3)
LONGEST = Place("r" * 200, "t" * 249, "i" * 200, 65_535)


@pytest.mark.parametrize("place", [PLACE, LONGEST])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (7, 9_007), ((1 << 63) - 2, (1 << 63) - 1)])
def test_an_intent_is_read_back_as_the_same_range_with_the_same_token(place: Place, start: int, end: int) -> None:
    pending = Range(place, start, end)
    assert parse_intent(place, start, pending.intent()) == pending
    assert len(pending.intent().encode()) < 4_096
    assert len(pending.done().encode()) < 4_096


def test_what_is_done_is_not_pending() -> None:
    assert parse_intent(PLACE, 9, Range(PLACE, 7, 9).done()) is None


@pytest.mark.parametrize("metadata", [None, ""])
def test_an_offset_that_was_set_by_hand_has_nothing_pending(metadata: str | None) -> None:
    assert parse_intent(PLACE, 9, metadata) is None


@pytest.mark.parametrize(
    "metadata",
    [
        "x",
        " ",
        "pending",
        "pending 7-9",
        "pending 7-9 format 1",
        "pending 7-9 format 1 topic",
        "pending 7-9 format 1 topic ",
        "pending  7-9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg more",
        "pending 7-9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg\n",
        "Pending 7-9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending -7-9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7--9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9.0 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending ٧-٩ format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9 format one topic qTSRWOWIQdWDWqHmtBJYUg",
        f"pending 7-{'9' * 4_000} format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "stored",
        "stored topic",
        "stored topic qTSRWOWIQdWDWqHmtBJYUg pending 7-9",
        '{"v":1}',
    ],
)
def test_metadata_of_another_kind_is_refused_and_never_taken_for_nothing(metadata: str) -> None:
    with pytest.raises(IntentUnknown, match="group of its own"):
        parse_intent(PLACE, 7, metadata)


@pytest.mark.parametrize(("start", "end"), [(6, 9), (8, 9), (7, 7), (7, 6), (0, 7)])
def test_a_range_that_does_not_start_at_the_committed_offset_is_refused(start: int, end: int) -> None:
    with pytest.raises(IntentUnknown, match="changed by hand"):
        parse_intent(PLACE, 7, Range(PLACE, start, end).intent())


def test_a_block_of_a_format_that_cannot_be_built_here_is_refused_with_the_way_out() -> None:
    with pytest.raises(IntentUnknown, match="then upgrade"):
        parse_intent(PLACE, 7, Range(PLACE, 7, 9, block_format=2).intent())


@pytest.mark.parametrize("pending", [True, False])
def test_an_offset_of_an_earlier_life_of_the_topic_is_never_a_position_in_this_one(pending: bool) -> None:
    old = Range(Place("eu", "sg.eu.rollups.v1", "another", 3), 7, 9)
    with pytest.raises(PositionLost, match="--to-earliest"):
        parse_intent(PLACE, 7 if pending else 9, old.intent() if pending else old.done())


def test_tokens_differ_in_everything_that_makes_another_block() -> None:
    ranges = [
        Range(PLACE, 7, 9),
        Range(PLACE, 7, 8),
        Range(PLACE, 6, 9),
        Range(PLACE, 7, 9, 2),
        Range(Place("us", PLACE.topic, PLACE.incarnation, 3), 7, 9),
        Range(Place("eu", "sg.eu.distinct.v1", PLACE.incarnation, 3), 7, 9),
        Range(Place("eu", PLACE.topic, "another", 3), 7, 9),
        Range(Place("eu", PLACE.topic, PLACE.incarnation, 4), 7, 9),
    ]
    assert len({one.token for one in ranges}) == len(ranges)
    assert Range(PLACE, 7, 9).token == "sg1:eu:sg.eu.rollups.v1:qTSRWOWIQdWDWqHmtBJYUg:3:7-9"
