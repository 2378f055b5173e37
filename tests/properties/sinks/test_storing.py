"""Whatever the outcomes are, the order of a block's operations keeps its promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.sinks.insertion import (
    CommitDone,
    CommitIntent,
    InsertTable,
    Operation,
    Outcome,
    RetryPolicy,
    Wait,
    store_range,
)
from streamgauge.sinks.ranges import IntentUnknown, Place, Range, parse_intent
from tests.properties.messages import MODERATE

words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=30)
places = st.builds(Place, words, words, words, st.integers(0, 65_535))
offsets = st.integers(0, (1 << 62) - 1)


def range_of(place: Place, start: int, width: int) -> Range:
    return Range(place, start, start + width)


ranges = st.builds(range_of, places, offsets, st.integers(1, 1 << 40))
tables = st.lists(words, unique=True, max_size=4).map(tuple)


@MODERATE
@given(ranges, tables, st.lists(st.sampled_from(Outcome), max_size=60))
def test_no_insert_before_an_acknowledged_intent_no_end_before_every_insert(
    block: Range, names: tuple[str, ...], outcomes: list[Outcome]
) -> None:
    steps = store_range(block, names, RetryPolicy())
    asked: list[tuple[Operation, Outcome]] = []
    step, ended = next(steps), None
    for outcome in outcomes:
        asked.append((step, outcome))
        try:
            step = steps.send(outcome)
        except StopIteration as end:
            ended = end.value
            break
        acknowledged = (CommitIntent(block), Outcome.DONE) in asked
        stored = [one.table for one, answer in asked if isinstance(one, InsertTable) and answer is Outcome.DONE]
        if isinstance(step, InsertTable):
            assert acknowledged
            assert step.token == block.token
            assert step.table == names[len(stored)], "in order, and none a second time once it is done"
        if isinstance(step, CommitDone):
            assert acknowledged
            assert tuple(stored) == names
        if isinstance(step, Wait):
            assert 0 < step.seconds <= 15
    if ended is not None:
        assert isinstance(asked[-1][0], CommitIntent | CommitDone)
        assert asked[-1][1] is (Outcome.DONE if ended else Outcome.FENCED)


@MODERATE
@given(ranges)
def test_every_intent_is_read_back(block: Range) -> None:
    assert parse_intent(block.place, block.start, block.intent()) == block
    assert parse_intent(block.place, block.end, block.done()) is None


@MODERATE
@given(st.text(min_size=1), ranges)
def test_any_other_text_is_refused(text: str, block: Range) -> None:
    with pytest.raises(IntentUnknown, match="kafka-consumer-groups"):
        parse_intent(block.place, block.start, text)
