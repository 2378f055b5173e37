"""What to do with a partition: every cell of both tables, by name."""

from __future__ import annotations

import itertools

import pytest

from streamgauge.schemas.errors import PositionLost, StreamgaugeError
from streamgauge.sinks.decisions import (
    FORGIVING,
    Act,
    Decision,
    InStore,
    IntentUnknown,
    Read,
    StoredBlock,
    StoreView,
    Undecided,
    Why,
    at_start,
    in_store,
    stop,
    when_read,
    would_do,
)
from streamgauge.sinks.ranges import Committed, GroupSays, Place, Range

# In the store:  nothing  other life    behind    same      half      part      overlapping beyond
STARTS = """
NOTHING          FIRST    ANEW          LOST      LOST      LOST      LOST      LOST        LOST
BY_HAND          START    START         START     TWICE     TWICE     TWICE     TWICE       TWICE
STORED           START    START         START     TWICE     TWICE     TWICE     TWICE       TWICE
PENDING          AGAIN    AGAIN         AGAIN     AGAIN     AGAIN     CUT       CUT         TWICE
ASKED            AGAIN    AGAIN         AGAIN     AGAIN     AGAIN     AGAIN     AGAIN       AGAIN
MOVED            MOVED    MOVED         MOVED     MOVED     MOVED     MOVED     MOVED       MOVED
FOREIGN          FOREIGN  FOREIGN       FOREIGN   FOREIGN   FOREIGN   FOREIGN   FOREIGN     FOREIGN
OTHER_LIFE       ANEW     ANEW          ANEW      ANEW      ANEW      ANEW      ANEW        ANEW
UNKNOWN_FORMAT   FORMAT   FORMAT        FORMAT    COMMIT    FORMAT    CUT       CUT         TWICE
"""

READ = """
NEW              new      new           new       new       new       new       new         new
SAME             AGAIN    AGAIN         AGAIN     AGAIN     AGAIN     CUT       CUT         TWICE
CONTAINS         AGAIN    AGAIN         AGAIN     AGAIN     AGAIN     CUT       CUT         TWICE
OVERLAPS         WAIT     WAIT          WAIT      WAIT      WAIT      WAIT      WAIT        WAIT
ASKED            AGAIN    AGAIN         AGAIN     AGAIN     AGAIN     AGAIN     AGAIN       AGAIN
OTHER            AGAIN    AGAIN         AGAIN     COMMIT    CONTENT   CUT       CUT         TWICE
GAP              GONE     GONE          GONE      COMMIT    GONE      CUT       CUT         TWICE
GONE             GONE     GONE          GONE      COMMIT    GONE      CUT       CUT         TWICE
BACKWARD         IGNORE   IGNORE        IGNORE    IGNORE    IGNORE    IGNORE    IGNORE      IGNORE
RECREATED        ANEW     ANEW          ANEW      ANEW      ANEW      ANEW      ANEW        ANEW
"""

UNCOVERED = """
NEW              new      new           new       new       new       new       new         new
SAME             UNCOV    UNCOV         UNCOV     COMMIT    UNCOV     CUT       CUT         TWICE
CONTAINS         UNCOV    UNCOV         UNCOV     COMMIT    UNCOV     CUT       CUT         TWICE
OVERLAPS         WAIT     WAIT          WAIT      WAIT      WAIT      WAIT      WAIT        WAIT
ASKED            UNCOV    UNCOV         UNCOV     UNCOV     UNCOV     UNCOV     UNCOV       UNCOV
OTHER            UNCOV    UNCOV         UNCOV     COMMIT    CONTENT   CUT       CUT         TWICE
GAP              GONE     GONE          GONE      COMMIT    GONE      CUT       CUT         TWICE
GONE             GONE     GONE          GONE      COMMIT    GONE      CUT       CUT         TWICE
BACKWARD         IGNORE   IGNORE        IGNORE    IGNORE    IGNORE    IGNORE    IGNORE      IGNORE
RECREATED        ANEW     ANEW          ANEW      ANEW      ANEW      ANEW      ANEW        ANEW
"""

ACTS = {"new": Act.CUT} | {name: Act[name] for name in ("FIRST", "START", "AGAIN", "COMMIT", "WAIT", "IGNORE")}
STOPS = {name: Why[name] for name in ("ANEW", "TWICE", "CUT", "CONTENT", "GONE", "FOREIGN", "FORMAT", "MOVED")} | {
    "LOST": Why.LOST_OFFSETS,
    "UNCOV": Why.UNCOVERED,
}
PLACE = Place("eu", "sg.eu.rollups.v1", "life", 3)
PENDING = Range(PLACE, 7, 9)


def cells(table: str) -> dict[tuple[str, InStore], Decision]:
    """A table as decisions, by row and column."""
    found: dict[tuple[str, InStore], Decision] = {}
    for line in table.strip().splitlines():
        row, *words = line.split()
        for column, word in zip(InStore, words, strict=True):
            found[row, column] = Decision(ACTS[word]) if word in ACTS else Decision(Act.STOP, STOPS[word])
    return found


def test_no_cell_is_missing() -> None:
    assert set(cells(STARTS)) == set(itertools.product((one.name for one in Committed), InStore))
    for table in (READ, UNCOVERED):
        assert set(cells(table)) == set(itertools.product((one.name for one in Read), InStore))


@pytest.mark.parametrize(
    ("committed", "found", "decision"),
    [pytest.param(*cell, decision, id=f"{cell[0]}-{cell[1].name}") for cell, decision in cells(STARTS).items()],
)
def test_where_a_partition_starts_follows_from_what_is_committed_and_what_is_stored(
    committed: str, found: InStore, decision: Decision
) -> None:
    assert at_start(Committed[committed], found) == decision


@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("read", Read)
@pytest.mark.parametrize("found", InStore)
def test_what_becomes_of_a_range_follows_from_what_is_read_and_stored_and_whether_its_token_is_known(
    read: Read, found: InStore, covered: bool
) -> None:
    assert when_read(read, found, covered) == cells(READ if covered else UNCOVERED)[read.name, found]


@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        ([], InStore.BEHIND),
        ([(3, 7)], InStore.BEHIND),
        ([(7, 9)], InStore.SAME),
        ([(7, 8)], InStore.PART),
        ([(8, 9)], InStore.PART),
        ([(7, 8), (8, 9)], InStore.PART),
        ([(6, 8)], InStore.OVERLAPPING),
        ([(8, 10)], InStore.OVERLAPPING),
        ([(6, 10)], InStore.OVERLAPPING),
        ([(7, 10)], InStore.OVERLAPPING),
        ([(9, 10)], InStore.BEYOND),
        ([(7, 9), (9, 12)], InStore.BEYOND),
        ([(7, 9), (8, 9)], InStore.PART),
        ([(7, 9), (7, 9)], InStore.SAME),
    ],
)
def test_blocks_are_something_to_a_range_and_the_worst_counts(blocks: list[tuple[int, int]], found: InStore) -> None:
    assert in_store([StoredBlock(*one) for one in blocks], 7, 9, InStore.BEHIND) is found


@pytest.mark.parametrize(
    ("blocks", "found"),
    [([], InStore.NOTHING), ([(3, 7)], InStore.NOTHING), ([(6, 8)], InStore.OVERLAPPING), ([(7, 8)], InStore.BEYOND)],
)
def test_blocks_are_something_to_an_offset(blocks: list[tuple[int, int]], found: InStore) -> None:
    assert in_store([StoredBlock(*one) for one in blocks], 7, 7, InStore.NOTHING) is found


def test_a_block_that_came_when_the_store_ended_is_half_in_unless_it_came_again() -> None:
    half = StoredBlock(7, 9, half=True)
    assert in_store([half], 7, 9, InStore.BEHIND) is InStore.HALF
    assert in_store([half, StoredBlock(7, 9)], 7, 9, InStore.BEHIND) is InStore.SAME


@pytest.mark.parametrize("why", Why)
@pytest.mark.parametrize("pending", [PENDING, None])
@pytest.mark.parametrize("life", ["", "old"])
def test_every_stop_names_the_place_and_a_command(why: Why, pending: Range | None, life: str) -> None:
    text = str(stop(why, PLACE, GroupSays(Committed.PENDING, 7, pending, life), FORGIVING))
    assert str(PLACE) in text
    assert any(word in text for word in ("--reset-offsets", "sink-offset --resolve", "then upgrade"))
    assert "None" not in text


def test_stops_are_of_three_kinds_and_say_what_is_the_matter() -> None:
    says, view = GroupSays(Committed.PENDING, 7, PENDING, "old"), StoreView(InStore.BEYOND, until=30)
    kinds: list[tuple[Why, type[StreamgaugeError], str]] = [
        (Why.LOST_OFFSETS, PositionLost, "has its blocks up to offset 30"),
        (Why.ANEW, PositionLost, "its id was old, now it is life.*--to-earliest"),
        (Why.GONE, PositionLost, "offsets 7-9 was begun, but its messages are no longer there.*verify"),
        (Why.FOREIGN, IntentUnknown, "group of its own"),
        (Why.FORMAT, IntentUnknown, "format 2; finish it with the version.*then upgrade"),
        (Why.MOVED, IntentUnknown, "changed by hand"),
        (Why.TWICE, Undecided, "up to offset 30, but the group's offset is 7.*resolve .*/3 stored"),
        (Why.CUT, Undecided, "cut in another way"),
        (Why.CONTENT, Undecided, "other messages than the topic has now"),
        (Why.UNCOVERED, Undecided, "may have forgotten its token.*insert-again"),
    ]
    assert {why for why, *_ in kinds} == set(Why)
    for why, kind, text in kinds:
        with pytest.raises(kind, match=text):
            raise stop(why, PLACE, says, view)


def test_what_a_sink_would_do_is_what_it_does_at_its_start_and_after_reading() -> None:
    says = GroupSays(Committed.PENDING, 7, PENDING)
    assert would_do(says, StoreView(InStore.BEHIND)) == Decision(Act.AGAIN)
    assert would_do(says, StoreView(InStore.BEHIND, covered=False)) == Decision(Act.STOP, Why.UNCOVERED)
    assert would_do(says, StoreView(InStore.PART)) == Decision(Act.STOP, Why.CUT)
    asked = GroupSays(Committed.ASKED, 7, PENDING)
    assert would_do(asked, StoreView(InStore.PART)) == Decision(Act.AGAIN)
    assert would_do(asked, StoreView(InStore.PART, covered=False)) == Decision(Act.STOP, Why.UNCOVERED)
    assert would_do(GroupSays(Committed.STORED, 7), StoreView(InStore.BEHIND, covered=False)) == Decision(Act.START)
