"""Intents: what is written beside an offset is read back as the same range, or as what it is instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamgauge.sinks.blocks import ORIGIN
from streamgauge.sinks.ranges import (
    ANY_CONTENT,
    BLOCK_FORMAT,
    KNOWN_FORMATS,
    Committed,
    GroupSays,
    Place,
    Range,
    done_in,
    read_commit,
)

PLACE = Place("eu", "sg.eu.rollups.v1", "qTSRWOWIQdWDWqHmtBJYUg", 3)
LONGEST = Place("r" * 200, "t" * 249, "i" * 200, 65_535)


@pytest.mark.parametrize("place", [PLACE, LONGEST])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (7, 9_007), ((1 << 63) - 2, (1 << 63) - 1)])
@pytest.mark.parametrize(("content", "at"), [("0123456789abcdef", 1_796_083_200_123), (ANY_CONTENT, 1), ("", 0)])
def test_an_intent_is_read_back_as_the_same_range_with_the_same_token(
    place: Place, start: int, end: int, content: str, at: int
) -> None:
    pending = Range(place, start, end, content=content, written_ms=at)
    kind = Committed.ASKED if content == ANY_CONTENT else Committed.PENDING
    assert read_commit(place, start, pending.intent()) == GroupSays(kind, start, pending, place.incarnation)
    assert len(pending.intent().encode()) < 4_096
    assert len(pending.done().encode()) < 4_096


def test_an_intent_of_format_1_has_neither_fingerprint_nor_time() -> None:
    found = read_commit(PLACE, 7, f"pending 7-9 format 1 topic {PLACE.incarnation}").pending
    assert found == Range(PLACE, 7, 9, block_format=1)
    assert found is not None
    assert found.intent() == f"pending 7-9 format 1 topic {PLACE.incarnation}"
    assert found.token == "sg1:eu:sg.eu.rollups.v1:qTSRWOWIQdWDWqHmtBJYUg:3:7-9"


def test_the_last_two_formats_can_be_built() -> None:
    assert set(ORIGIN) == set(KNOWN_FORMATS)
    assert {BLOCK_FORMAT, BLOCK_FORMAT - 1} <= set(KNOWN_FORMATS)


def test_what_is_done_is_not_pending() -> None:
    for metadata in (Range(PLACE, 7, 9).done(), done_in(PLACE)):
        assert read_commit(PLACE, 9, metadata) == GroupSays(Committed.STORED, 9, life=PLACE.incarnation)


@pytest.mark.parametrize("metadata", [None, ""])
def test_an_offset_without_metadata_was_set_by_hand_and_none_is_nothing(metadata: str | None) -> None:
    assert read_commit(PLACE, 9, metadata).kind is Committed.BY_HAND
    assert read_commit(PLACE, -1_001, metadata).kind is Committed.NOTHING


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
        "Pending 7-9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending -7-9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7--9 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9.0 format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending ٧-٩ format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9 format one topic qTSRWOWIQdWDWqHmtBJYUg",
        f"pending 7-{'9' * 4_000} format 1 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9 format 2 content 0123456789abcde at 7 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9 format 2 content 0123456789ABCDEF at 7 topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9 format 2 content 0123456789abcdef topic qTSRWOWIQdWDWqHmtBJYUg",
        "pending 7-9 format 2 content any at -7 topic qTSRWOWIQdWDWqHmtBJYUg",
        "stored",
        "stored topic",
        '{"v":1}',
    ],
)
def test_metadata_of_another_kind_is_foreign_and_never_taken_for_nothing(metadata: str) -> None:
    assert read_commit(PLACE, 7, metadata) == GroupSays(Committed.FOREIGN, 7)


@pytest.mark.parametrize(("start", "end"), [(6, 9), (8, 9), (7, 7), (7, 6), (0, 7)])
@pytest.mark.parametrize("block_format", [1, 2, 3])
def test_a_range_that_does_not_start_at_the_committed_offset_was_moved(start: int, end: int, block_format: int) -> None:
    assert read_commit(PLACE, 7, Range(PLACE, start, end, block_format).intent()).kind is Committed.MOVED


def test_a_block_of_a_format_that_cannot_be_built_here_is_known_as_that() -> None:
    pending = Range(PLACE, 7, 9, 3, "0123456789abcdef", 5)
    assert read_commit(PLACE, 7, pending.intent()) == GroupSays(Committed.UNKNOWN_FORMAT, 7, pending, PLACE.incarnation)


@pytest.mark.parametrize("pending", [True, False])
def test_an_offset_of_an_earlier_life_of_the_topic_is_never_a_position_in_this_one(pending: bool) -> None:
    old = Range(replace(PLACE, incarnation="another"), 7, 9)
    found = read_commit(PLACE, 7 if pending else 9, old.intent() if pending else old.done())
    assert (found.kind, found.life, found.pending) == (Committed.OTHER_LIFE, "another", None)


def test_tokens_differ_in_everything_that_makes_another_block() -> None:
    ranges = [
        Range(PLACE, 7, 9),
        Range(PLACE, 7, 8),
        Range(PLACE, 6, 9),
        Range(PLACE, 7, 9, 1),
        Range(Place("us", PLACE.topic, PLACE.incarnation, 3), 7, 9),
        Range(Place("eu", "sg.eu.distinct.v1", PLACE.incarnation, 3), 7, 9),
        Range(Place("eu", PLACE.topic, "another", 3), 7, 9),
        Range(Place("eu", PLACE.topic, PLACE.incarnation, 4), 7, 9),
    ]
    assert len({one.token for one in ranges}) == len(ranges)
    assert Range(PLACE, 7, 9).token == "sg2:eu:sg.eu.rollups.v1:qTSRWOWIQdWDWqHmtBJYUg:3:7-9"
    assert replace(Range(PLACE, 7, 9), content="0123456789abcdef", written_ms=5).token == Range(PLACE, 7, 9).token


def test_what_stands_in_memory_behind_metadata_is_no_other_life() -> None:
    pending = Range(PLACE, 7, 9, content="0123456789abcdef", written_ms=5)
    for behind in ("1", "\x7f", "kU3OEVBNTcwN!", " more of it", "\nstored topic x", "\u00e9"):
        assert read_commit(PLACE, 7, pending.intent() + behind) == GroupSays(
            Committed.PENDING, 7, pending, PLACE.incarnation
        )
        assert read_commit(PLACE, 9, pending.done() + behind).kind is Committed.STORED
