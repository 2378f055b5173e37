"""Storing a range, step by step: outcomes go in, operations come out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamgauge.schemas.errors import PositionLost
from streamgauge.sinks.decisions import InStore, Read, StoreView, Undecided
from streamgauge.sinks.insertion import (
    Answer,
    AskStore,
    CommitDone,
    CommitIntent,
    InsertTable,
    Operation,
    Outcome,
    RetryPolicy,
    Wait,
    store_range,
)
from streamgauge.sinks.ranges import Place, Range

BLOCK = Range(Place("eu", "sg.eu.rollups.v1", "life", 0), 7, 9)
DONE, UNKNOWN, REFUSED, FENCED = Outcome.DONE, Outcome.UNKNOWN, Outcome.REFUSED, Outcome.FENCED
INTENT, END = CommitIntent(BLOCK), CommitDone(BLOCK)
SERIES, POINTS = InsertTable("series", BLOCK.token), InsertTable("rollups_landing", BLOCK.token)


ASK = AskStore(BLOCK)
SAFE, FORGOTTEN = StoreView(InStore.BEHIND, covered=True), StoreView(InStore.BEHIND, covered=False)
IN = StoreView(InStore.SAME, covered=False)


def carried_out(outcomes: Sequence[Answer], read: Read = Read.NEW) -> tuple[list[Operation], bool | None]:
    """Every operation that was asked for, and how it ended; None when it goes on."""
    steps = store_range(BLOCK, ("series", "rollups_landing"), RetryPolicy(0.25, 1.0, 15.0), read)
    asked = [next(steps)]
    try:
        for outcome in outcomes:
            asked.append(steps.send(outcome))  # noqa: PERF401  # `extend` would swallow the end
    except StopIteration as end:
        return asked, end.value
    return asked, None


def test_the_intent_comes_first_then_every_table_in_order_then_the_end() -> None:
    assert carried_out([DONE] * 4) == ([INTENT, SERIES, POINTS, END], True)


def test_nothing_is_inserted_before_the_intent_is_acknowledged() -> None:
    assert carried_out([UNKNOWN, DONE, REFUSED, DONE, DONE]) == (
        [INTENT, Wait(0.25), INTENT, Wait(15.0), INTENT, SERIES],
        None,
    )


def test_a_fenced_intent_inserts_nothing() -> None:
    assert carried_out([UNKNOWN, DONE, FENCED]) == ([INTENT, Wait(0.25), INTENT], False)


def test_an_insert_is_tried_again_with_the_same_token_until_it_is_done() -> None:
    outcomes: list[Answer] = [DONE, UNKNOWN, DONE, UNKNOWN, DONE, UNKNOWN, DONE, UNKNOWN, DONE, REFUSED, DONE, DONE]
    assert carried_out(outcomes) == (
        [
            INTENT,
            SERIES, Wait(0.25), SERIES, Wait(0.5), SERIES, Wait(1.0), SERIES, Wait(1.0), SERIES, Wait(15.0), SERIES,
            POINTS,
        ],
        None,
    )  # fmt: skip


def test_points_are_tried_again_only_after_the_store_has_said_that_their_token_is_still_known() -> None:
    assert carried_out([DONE, DONE, UNKNOWN, DONE, UNKNOWN, DONE, SAFE, DONE, DONE]) == (
        [INTENT, SERIES, POINTS, Wait(0.25), ASK, Wait(0.25), ASK, POINTS, END],
        True,
    )


def test_a_begun_range_asks_again_when_names_have_taken_their_time() -> None:
    assert carried_out([DONE, SAFE, UNKNOWN, DONE, DONE, SAFE], Read.SAME)[0] == [
        INTENT, ASK, SERIES, Wait(0.25), SERIES, ASK, POINTS,
    ]  # fmt: skip


def test_points_whose_token_may_be_forgotten_are_not_tried_again_it_stops() -> None:
    with pytest.raises(Undecided, match=r"inserting it again might count twice.*sink-offset --resolve"):
        carried_out([DONE, DONE, UNKNOWN, DONE, FORGOTTEN, DONE])


def test_points_that_turn_out_to_be_in_are_not_inserted_again_when_their_token_may_be_forgotten() -> None:
    assert carried_out([DONE, DONE, UNKNOWN, DONE, IN, DONE]) == (
        [INTENT, SERIES, POINTS, Wait(0.25), ASK, END],
        True,
    )


def test_a_range_that_was_begun_before_is_inserted_only_after_asking() -> None:
    assert carried_out([DONE, SAFE, DONE, DONE, DONE], Read.SAME) == ([INTENT, ASK, SERIES, POINTS, END], True)
    with pytest.raises(Undecided, match="might count twice"):
        carried_out([DONE, FORGOTTEN, DONE], Read.CONTAINS)


def test_a_range_that_is_in_already_is_only_committed_when_its_messages_are_not_what_they_were() -> None:
    for read in (Read.OTHER, Read.GAP, Read.GONE):
        assert carried_out([DONE, IN, DONE, DONE], read) == ([INTENT, ASK, SERIES, END], True), (
            "names replace each other"
        )
    with pytest.raises(PositionLost, match="no longer there"):
        carried_out([DONE, SAFE, DONE], Read.GAP)
    with pytest.raises(Undecided, match="other messages than the topic has now"):
        carried_out([DONE, StoreView(InStore.HALF), DONE], Read.OTHER)


def test_what_a_person_wants_inserted_again_is_inserted_again() -> None:
    cut = StoreView(InStore.PART)
    assert carried_out([DONE, cut, DONE, DONE], Read.ASKED)[0] == [INTENT, ASK, SERIES, POINTS, END]
    assert carried_out([DONE, cut, DONE, UNKNOWN, DONE, cut], Read.ASKED)[0][-1] == POINTS
    with pytest.raises(Undecided, match="might count twice"):
        carried_out([DONE, cut, DONE, UNKNOWN, DONE, FORGOTTEN, DONE], Read.ASKED)


def test_only_the_owner_stops_a_frozen_sink_that_sees_its_successors_blocks_is_fenced() -> None:
    beyond = StoreView(InStore.BEYOND)
    assert carried_out([DONE, beyond, UNKNOWN, DONE, FENCED], Read.SAME) == (
        [INTENT, ASK, INTENT, Wait(0.25), INTENT],
        False,
    )
    assert carried_out([DONE, DONE, UNKNOWN, DONE, beyond, FENCED])[1] is False


def test_a_fenced_range_that_was_begun_before_asks_nothing() -> None:
    assert carried_out([FENCED], Read.SAME) == ([INTENT], False)


def test_the_end_is_committed_until_it_is_acknowledged() -> None:
    asked, ended = carried_out([DONE, DONE, DONE, UNKNOWN, DONE, DONE])
    assert (asked[3:], ended) == ([END, Wait(0.25), END], True)


def test_a_fenced_end_says_that_the_range_is_somebody_elses() -> None:
    asked, ended = carried_out([DONE, DONE, DONE, FENCED])
    assert (asked[-1], ended) == (END, False)


def test_a_block_without_rows_is_still_begun_and_ended() -> None:
    steps = store_range(BLOCK, (), RetryPolicy())
    assert next(steps) == INTENT
    assert steps.send(DONE) == END
    with pytest.raises(StopIteration) as end:
        steps.send(DONE)
    assert end.value.value is True


def test_pauses_grow_to_their_limit_and_no_further() -> None:
    policy = RetryPolicy()
    pauses = [policy.pause(attempt, UNKNOWN) for attempt in range(1, 2_000)]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert max(pauses) == pauses[-1] == policy.longest_s
    assert {policy.pause(attempt, REFUSED) for attempt in (1, 2, 2_000)} == {policy.refused_s}
