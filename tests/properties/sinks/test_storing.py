"""Whatever the outcomes are, the order of a block's operations keeps its promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.errors import PositionLost
from streamgauge.sinks.ddl import COUNTED_TABLES
from streamgauge.sinks.decisions import Act, Decision, InStore, Read, StoreView, Undecided, when_read
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
from streamgauge.sinks.ranges import Committed, Place, Range, read_commit
from tests.properties.messages import MODERATE

words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=30)
places = st.builds(Place, words, words, words, st.integers(0, 65_535))
offsets = st.integers(0, (1 << 62) - 1)


def range_of(place: Place, start: int, width: int) -> Range:
    return Range(place, start, start + width)


ranges = st.builds(range_of, places, offsets, st.integers(1, 1 << 40))
tables = st.lists(words | st.sampled_from(sorted(COUNTED_TABLES)), unique=True, max_size=4).map(tuple)
views = st.builds(StoreView, st.sampled_from(InStore), st.booleans(), st.integers(0, 99))
begun = st.sampled_from([Read.NEW, Read.SAME, Read.CONTAINS, Read.OTHER, Read.GAP, Read.GONE, Read.ASKED])


@MODERATE
@given(ranges, tables, begun, st.lists(st.tuples(st.sampled_from(Outcome), views), max_size=60))
def test_no_insert_before_an_acknowledged_intent_or_where_it_might_count_twice_no_end_before_every_insert(
    block: Range, names: tuple[str, ...], read: Read, answers: list[tuple[Outcome, StoreView]]
) -> None:
    steps = store_range(block, names, RetryPolicy(), read)
    asked: list[tuple[Operation, Answer]] = []
    step, ended = next(steps), None
    allowed, settled, last = read is Read.NEW, False, Decision(Act.CUT)
    for outcome, view in answers:
        answer = view if isinstance(step, AskStore) and outcome is not Outcome.UNKNOWN else outcome
        asked.append((step, answer))
        if isinstance(answer, StoreView):
            first = not any(isinstance(one, InsertTable) for one, _ in asked)
            last = when_read(read if first or read is Read.ASKED else Read.SAME, view.found, view.covered)
            allowed, settled = last.act is Act.AGAIN, last.act is Act.COMMIT
        elif isinstance(step, InsertTable) and step.table in COUNTED_TABLES and answer is not Outcome.DONE:
            allowed = False
        try:
            step = steps.send(answer)
        except StopIteration as end:
            ended = end.value
            break
        except (Undecided, PositionLost):
            assert last.act is Act.STOP
            assert asked[-1] == (CommitIntent(block), Outcome.DONE), "only the owner says so"
            return
        acknowledged = (CommitIntent(block), Outcome.DONE) in asked
        stored = [one.table for one, answer in asked if isinstance(one, InsertTable) and answer is Outcome.DONE]
        if isinstance(step, InsertTable):
            assert acknowledged
            assert allowed or step.table not in COUNTED_TABLES
            assert step.token == block.token
            assert step.table in names
            assert step.table not in stored, "none a second time once it is done"
        if isinstance(step, CommitDone):
            assert acknowledged
            assert tuple(stored) == tuple(
                name for name in names if not (settled and name in COUNTED_TABLES and name not in stored)
            )
        if isinstance(step, Wait):
            assert 0 < step.seconds <= 15
    if ended is not None:
        assert isinstance(asked[-1][0], CommitIntent | CommitDone)
        assert asked[-1][1] is (Outcome.DONE if ended else Outcome.FENCED)


@MODERATE
@given(ranges)
def test_every_intent_is_read_back(block: Range) -> None:
    assert read_commit(block.place, block.start, block.intent()).pending == block
    assert read_commit(block.place, block.end, block.done()).kind is Committed.STORED


@MODERATE
@given(st.text(min_size=1), ranges)
def test_any_other_text_is_foreign(text: str, block: Range) -> None:
    assert read_commit(block.place, block.start, text).kind is Committed.FOREIGN
