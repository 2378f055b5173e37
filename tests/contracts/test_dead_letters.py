"""Dead letters on the real engine: what is asked for is found, whole, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from streamgauge.console.dead_letters import (
    NEWEST_FIRST,
    Origin,
    ReasonCount,
    Wanted,
    count_letters,
    read_letters,
)
from streamgauge.schemas.ledger import DeadLetter, SampleRow
from streamgauge.schemas.row_sets import RowSet
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.retention import Retention
from tests.support.rolled_up import LocalStore

pytestmark = pytest.mark.clickhouse

AT = 1_796_083_200_000
EVENTS, METRICS = "sg.eu.events.v1", "sg.eu.metrics.v1"
ROWS = RowSet(12, "bits", "BQg=")
SAMPLE = (SampleRow(0, AT, {"country": "it's", "amount": 1.0, "plan": None}),)
ORDER = DeadLetter(
    "eu", EVENTS, 1, 7, "too_old", 3, AT, "order", "", 2, "shop", 99, "ab", ROWS, SAMPLE
)  # fmt: skip
REFUSED_AGAIN = replace(ORDER, again=30, at_ms=AT + 2_000)
VISIT = DeadLetter("eu", EVENTS, 0, 9, "unknown_contract", 5, AT + 1_000, "it's", size=3, hash="cd")
POINT = DeadLetter("eu", METRICS, 3, 1, "too_old", 4, AT + 3_000, size=3, hash="ef")
ELSEWHERE = replace(VISIT, region="us")
ALL = [VISIT, ORDER, REFUSED_AGAIN, POINT]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    """A store that holds them, each inserted twice."""
    one = LocalStore(tmp_path_factory.mktemp("store"), "let`ters")
    migrate(one, Retention(), "let`ters")
    for token in "ab":
        one.insert_dead([*ALL, ELSEWHERE], token)
    yield one
    one.engine.close()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted("eu"), ALL),
        (Wanted("us"), [ELSEWHERE]),
        (Wanted("nowhere"), []),
        (Wanted("eu", reasons=("too_old",)), [ORDER, REFUSED_AGAIN, POINT]),
        (Wanted("eu", reasons=("too_old", "unknown_contract"), topics=(EVENTS,)), [VISIT, ORDER, REFUSED_AGAIN]),
        (Wanted("eu", events=("it's",)), [VISIT]),
        (Wanted("eu", events=("') OR 1 --",)), []),
        (Wanted("eu", since_ms=AT + 1_500), [REFUSED_AGAIN, POINT]),
        (Wanted("eu", origin=Origin(EVENTS, 1, 7)), [ORDER, REFUSED_AGAIN]),
        (Wanted("eu", again=False), [VISIT, ORDER, POINT]),
    ],
)
def test_filters_find_what_they_say_once_and_whole(store: LocalStore, wanted: Wanted, found: list[DeadLetter]) -> None:
    assert read_letters(store, "let`ters", wanted) == found
    assert sum(one.letters for one in count_letters(store, "let`ters", wanted)) == len(found)


def test_the_newest_come_first_and_only_so_many(store: LocalStore) -> None:
    assert read_letters(store, "let`ters", Wanted("eu"), NEWEST_FIRST, 2) == [POINT, REFUSED_AGAIN]


def test_samples_are_left_out_where_nobody_looks_at_them(store: LocalStore) -> None:
    (letter,) = read_letters(store, "let`ters", Wanted("eu", origin=Origin(EVENTS, 1, 7), again=False), samples=False)
    assert letter == replace(ORDER, sample=())


def test_counts_by_reason_add_up(store: LocalStore) -> None:
    assert count_letters(store, "let`ters", Wanted("eu")) == [
        ReasonCount("too_old", 3, 10, 1, AT, AT + 3_000),
        ReasonCount("unknown_contract", 1, 5, 0, AT + 1_000, AT + 1_000),
    ]
