"""A range that was begun is built again to the byte, by whoever reads its messages in whatever portions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.ledger import DeadLetter
from streamgauge.schemas.rollups import DistinctRows, RawRange, RollupMessage, RollupMetric, RollupRows, encode
from streamgauge.schemas.scrubbed_events import ScrubbedEvents, encode_scrubbed
from streamgauge.schemas.topics import DISTINCT, ROLLUPS, SCRUBBED
from streamgauge.sinks.blocks import BlockPolicy, Insert, rollup_insert
from streamgauge.sinks.decisions import Read
from streamgauge.sinks.event_blocks import event_insert
from streamgauge.sinks.partition import Cut, Partition
from streamgauge.sinks.ranges import KNOWN_FORMATS, Committed, Place, Range, read_commit
from tests.properties.messages import MODERATE, distinct_rows, rollup_rows, scrubbed_events

PLACE = Place("eu", "sg.eu.rollups.v1", "life", 3)
METRICS = tuple(RollupMetric(name, "histogram", name) for name in ("b", "a", "é\0"))
POLICY = BlockPolicy(every_ms=0)

Rows = RollupRows | DistinctRows
Messages = list[tuple[int, bytes]]


def of_rollups(rows: Rows) -> bytes:
    return encode(RollupMessage("eu", 1, RawRange("raw", 0, 0, 1), METRICS, rows, ()))


VALUES: dict[str, st.SearchStrategy[bytes]] = {
    ROLLUPS.kind: rollup_rows(few_keys=True).map(of_rollups),
    DISTINCT.kind: distinct_rows(few_keys=True).map(of_rollups),
    SCRUBBED.kind: scrubbed_events().map(lambda one: encode_scrubbed(replace(one, version=1))),
}


@st.composite
def topics(draw: st.DrawFn) -> tuple[str, Messages]:
    """A kind of topic, and its messages at offsets with holes."""
    kind = draw(st.sampled_from(list(VALUES)))
    values = draw(st.lists(VALUES[kind], min_size=1, max_size=8))
    found: Messages = []
    offset = draw(st.integers(0, 1 << 40))
    for value in values:
        garbage = draw(st.integers(0, 9)) == 0
        found.append((offset, b"garbage" if garbage else value))
        offset += draw(st.integers(1, 3))
    return kind, found


def read(kind: str, messages: Messages, start: int, pending: Range | None, portions: Sequence[int], early: int) -> Cut:
    """The first block of a partition that gets its messages in portions, some of them again, and is asked after each."""
    one = Partition(PLACE, kind, start, pending)
    position, cut = 0, None
    for portion in [*portions, len(messages)]:
        for offset, value in messages[max(0, position - early) : position + portion]:
            one.offer(offset, value, 7, 0)
        position += portion
        if pending is not None:
            cut = cut or one.take(BlockPolicy(every_ms=0, max_rows=1 + portion), 0)
    cut = cut or one.take(POLICY, 0, flush=True, written_ms=5)
    assert cut is not None
    return cut


def built(cut: Cut) -> Insert | None:
    rollups = [one for one in cut.messages if isinstance(one, RollupMessage)]
    events = [one for one in cut.messages if isinstance(one, ScrubbedEvents)]
    if events:
        return event_insert(events, cut.block)
    return rollup_insert(rollups, cut.block) if rollups else None


@MODERATE
@given(topics(), topics(), st.lists(st.integers(0, 4), max_size=6), st.integers(0, 3), st.sampled_from(KNOWN_FORMATS))
def test_a_begun_range_is_the_same_bytes_again_whatever_portions_it_comes_in(
    topic: tuple[str, Messages], later: tuple[str, Messages], portions: list[int], early: int, block_format: int
) -> None:
    kind, messages = topic
    first = read(kind, messages, messages[0][0], None, [len(messages)], 0)
    first = first._replace(block=Range(PLACE, first.block.start, first.block.end, block_format, first.block.content, 5))
    says = read_commit(PLACE, first.block.start, first.block.intent())
    assert (says.kind, says.pending) == (Committed.PENDING, first.block)
    after = [(first.block.end + n, value) for n, (_, value) in enumerate(later[1])]
    again = read(kind, messages + after, first.block.start, says.pending, portions, early)
    assert again.block == first.block
    assert again.read in {Read.SAME, Read.CONTAINS}
    letters = [[one for one in cut.messages if isinstance(one, DeadLetter)] for cut in (first, again)]
    assert letters[0] == letters[1]
    assert len(again.messages) == len(first.messages)
    assert built(again) == built(first)


@MODERATE
@given(topics(), st.data())
def test_a_range_whose_messages_are_not_what_they_were_is_never_taken_for_the_same(
    topic: tuple[str, Messages], data: st.DataObject
) -> None:
    kind, messages = topic
    first = read(kind, messages, messages[0][0], None, [len(messages)], 0)
    at = data.draw(st.integers(0, len(messages) - 1))
    changed = [*messages[:at], (messages[at][0], messages[at][1] + b" "), *messages[at + 1 :]]
    assert read(kind, changed, first.block.start, first.block, [], 0).read is Read.OTHER
    if at < len(messages) - 1:
        fewer = [*messages[:at], *messages[at + 1 :]]
        assert read(kind, fewer, first.block.start, first.block, [], 0).read is Read.OTHER
