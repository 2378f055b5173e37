"""Positions: what a person is shown of a partition, and what a word of theirs becomes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamgauge.schemas.errors import InputError
from streamgauge.sinks.decisions import FORGIVING, Act, InStore, StoreView, Why
from streamgauge.sinks.positions import AGAIN, STORED, Position, resolved
from streamgauge.sinks.ranges import Committed, GroupSays, Place, Range, done_in, read_commit

PLACE = Place("eu", "sg.eu.rollups.v1", "life", 3)
PENDING = Range(PLACE, 7, 9, 2, "0123456789abcdef", 5)
FORGOTTEN = StoreView(InStore.BEHIND, covered=False, until=7)


def position(kind: Committed = Committed.PENDING, view: StoreView = FORGOTTEN, offset: int = 7) -> Position:
    named = kind in {Committed.PENDING, Committed.ASKED, Committed.UNKNOWN_FORMAT, Committed.MOVED}
    return Position(PLACE, GroupSays(kind, offset, PENDING if named else None, "old"), view)


def test_a_position_says_what_is_pending_and_what_a_sink_would_do() -> None:
    found = position().json()
    assert found["place"] == "sg.eu.rollups.v1/3"
    assert found["pending"] == {
        "start": 7, "end": 9, "block_format": 2, "content": "0123456789abcdef", "written_ms": 5, "covered": False,
    }  # fmt: skip
    assert (found["does"], found["why"], found["store"]) == ("stop", Why.UNCOVERED.value, "behind")
    assert "--resolve sg.eu.rollups.v1/3" in found["advice"]
    quiet = position(Committed.STORED, FORGIVING).json()
    assert (quiet["does"], quiet["why"], quiet["advice"], quiet["pending"]) == ("start", None, None, None)


def test_insert_again_is_read_back_as_the_same_range_that_a_person_asked_for() -> None:
    offset, metadata = resolved(position(), AGAIN, 99)
    says = read_commit(PLACE, offset, metadata)
    assert (says.kind, says.pending) == (Committed.ASKED, replace(PENDING, content="any", written_ms=99))
    assert Position(PLACE, says, StoreView(InStore.PART)).decision.act is Act.AGAIN
    assert says.pending is not None
    assert says.pending.token == PENDING.token


def test_insert_again_of_format_1_keeps_its_format() -> None:
    old = Range(PLACE, 7, 9, block_format=1)
    offset, metadata = resolved(Position(PLACE, GroupSays(Committed.PENDING, 7, old), FORGOTTEN), AGAIN, 99)
    pending = read_commit(PLACE, offset, metadata).pending
    assert pending is not None
    assert (pending.block_format, pending.token) == (1, old.token)


@pytest.mark.parametrize(
    ("kind", "view", "offset", "to"),
    [
        (Committed.PENDING, FORGOTTEN, 7, 9),
        (Committed.ASKED, FORGOTTEN, 7, 9),
        (Committed.UNKNOWN_FORMAT, FORGOTTEN, 7, 9),
        (Committed.PENDING, StoreView(InStore.BEYOND, until=30), 7, 30),
        (Committed.STORED, StoreView(InStore.BEYOND, until=30), 7, 30),
        (Committed.BY_HAND, StoreView(InStore.OVERLAPPING, until=8), 7, 8),
        (Committed.NOTHING, StoreView(InStore.BEYOND, until=30), -1_001, 30),
    ],
)
def test_stored_goes_on_behind_everything_that_was_begun_or_is_in_the_store(
    kind: Committed, view: StoreView, offset: int, to: int
) -> None:
    assert resolved(position(kind, view, offset), STORED, 99) == (to, done_in(PLACE))
    after = Position(PLACE, read_commit(PLACE, to, done_in(PLACE)), StoreView(InStore.BEHIND, until=to))
    assert after.decision.act is Act.START


@pytest.mark.parametrize("answer", [STORED, AGAIN])
@pytest.mark.parametrize(
    ("kind", "view"),
    [
        (Committed.STORED, FORGIVING),
        (Committed.BY_HAND, FORGIVING),
        (Committed.NOTHING, FORGIVING),
        (Committed.NOTHING, StoreView(InStore.OTHER_LIFE)),
        (Committed.FOREIGN, FORGOTTEN),
        (Committed.OTHER_LIFE, FORGOTTEN),
        (Committed.MOVED, FORGOTTEN),
    ],
)
def test_a_word_that_would_not_help_is_refused(answer: str, kind: Committed, view: StoreView) -> None:
    with pytest.raises(InputError, match=r"sg\.eu\.rollups\.v1/3"):
        resolved(position(kind, view), answer, 99)


def test_a_range_of_an_unknown_format_is_not_inserted_again_here() -> None:
    with pytest.raises(InputError, match="no pending range that could be inserted again here"):
        resolved(position(Committed.UNKNOWN_FORMAT), AGAIN, 99)
