"""The driver: several partitions, one step each a turn; nothing waits, nothing overtakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from streamgauge.schemas.errors import PositionLost
from streamgauge.schemas.topics import DEAD
from streamgauge.sinks.blocks import BlockPolicy
from streamgauge.sinks.decisions import FORGIVING, InStore, StoreView, Undecided
from streamgauge.sinks.driver import Commit, Driver, Inserts
from streamgauge.sinks.insertion import Answer, CommitIntent, Outcome
from streamgauge.sinks.partition import Decoded, Partition, decode_stored
from streamgauge.sinks.ranges import Place, Range
from tests.unit.sinks.messages import LETTER

T = TypeVar("T")
TOPIC = "sg.eu.dead.v1"
A, B = (TOPIC, 0), (TOPIC, 1)
MEMORY = decode_stored(DEAD.kind, Place("eu", TOPIC, "life", 0), 0, LETTER.encode(), 0).memory


class Bench:
    """A driver with hands on everything around it."""

    def __init__(self, **policy: int) -> None:
        self.now = 100.0
        self.tasks: list[tuple[Callable[[], Any], Future[Any]]] = []
        self.commits: list[list[tuple[str, int, int]]] = []
        self.inserted: list[str] = []
        self.asked: list[str] = []
        self.ages: list[float | None] = []
        self.view: Answer = FORGIVING
        self.table = "dead"
        self.outcomes: dict[str, list[Outcome]] = {"intent": [], "done": [], "insert": []}
        self.broken: Exception | None = None
        self.driver = Driver(
            BlockPolicy(**{"every_ms": 500, **policy}),
            self.prepare,
            self.ask,
            self.commit,
            self.submit,
            lambda: self.now,
            lambda: 7,
        )
        for key in (A, B):
            self.driver.own(key, Partition(Place("eu", TOPIC, "life", key[1]), DEAD.kind, 0))

    def prepare(self, block: Range, _: list[Decoded]) -> Inserts:
        if self.broken:
            raise self.broken
        return {self.table: lambda token: self._insert(f"{block.place.partition}:{block.start}-{block.end}", token)}

    def ask(self, pending: Range, age_s: float | None) -> Answer:
        self.asked.append(f"{pending.place.partition}:{pending.start}-{pending.end}")
        self.ages.append(age_s)
        return self.view

    def _insert(self, name: str, token: str) -> Outcome:
        assert token.endswith(name)
        self.inserted.append(name)
        return self._outcome("insert")

    def _outcome(self, kind: str) -> Outcome:
        return self.outcomes[kind].pop(0) if self.outcomes[kind] else Outcome.DONE

    def commit(self, steps: Sequence[Commit]) -> list[Outcome]:
        found: list[tuple[str, int, int]] = []
        outcomes: list[Outcome] = []
        for step in steps:
            if isinstance(step, CommitIntent):
                found.append(("intent", step.pending.place.partition, step.pending.start))
            else:
                found.append(("done", step.done.place.partition, step.done.end))
            outcomes.append(self._outcome(found[-1][0]))
        self.commits.append(found)
        return outcomes

    def submit(self, work: Callable[[], T], /) -> Future[T]:
        future: Future[T] = Future()
        self.tasks.append((work, future))
        return future

    def offer(self, key: tuple[str, int], *offsets: int) -> None:
        for offset in offsets:
            self.driver.offer(key, offset, LETTER.encode(), 0)

    def work(self) -> None:
        """Threads do all they have."""
        while self.tasks:
            work, future = self.tasks.pop(0)
            try:
                result = work()
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

    def turns(self, count: int = 8, flush: bool = False) -> None:
        for _ in range(count):
            self.driver.advance(flush)
            self.work()


def test_blocks_of_several_partitions_go_together_and_commit_together() -> None:
    bench = Bench()
    bench.offer(A, 0, 1)
    bench.offer(B, 5)
    bench.turns()
    assert bench.commits == [], "not due yet"
    bench.now += 0.5
    bench.turns()
    assert bench.commits == [[("intent", 0, 0), ("intent", 1, 0)], [("done", 0, 2), ("done", 1, 6)]]
    assert bench.inserted == ["0:0-2", "1:0-6"]
    assert not bench.driver.busy([A, B])


def test_an_insert_that_takes_long_holds_up_neither_the_turn_nor_the_other_partition() -> None:
    bench = Bench()
    bench.offer(A, 0)
    bench.driver.advance(flush=True)
    bench.work()
    bench.driver.advance()
    bench.driver.advance()
    (slow,) = bench.tasks
    bench.tasks.clear()
    bench.offer(B, 0)
    bench.offer(A, 1)
    bench.turns(flush=True)
    assert bench.commits[-1] == [("done", 1, 1)]
    assert bench.driver.busy([A])
    bench.tasks.append(slow)
    bench.work()
    bench.turns(flush=True)
    assert bench.inserted == ["1:0-1", "0:0-1", "0:1-2"]


def test_a_failed_insert_is_tried_again_after_its_pause_and_not_before() -> None:
    bench = Bench()
    bench.outcomes["insert"] = [Outcome.UNKNOWN, Outcome.REFUSED]
    bench.offer(A, 0)
    bench.turns(flush=True)
    assert len(bench.inserted) == 1
    assert bench.driver.busy([A])
    assert not bench.driver.begun([A])
    assert not bench.driver.moving()
    bench.now += 0.19
    bench.turns()
    assert len(bench.inserted) == 1
    bench.now += 0.02
    bench.turns()
    assert len(bench.inserted) == 2
    bench.now += 14.9
    bench.turns()
    assert len(bench.inserted) == 2
    bench.now += 0.2
    bench.turns()
    assert bench.inserted == ["0:0-1"] * 3
    assert bench.commits[-1] == [("done", 0, 1)]


def test_a_fenced_block_inserts_nothing_and_is_later_the_same_block_whatever_came_since(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.outcomes["intent"] = [Outcome.FENCED, Outcome.DONE]
    bench.offer(A, 0, 1)
    bench.turns(flush=True)
    assert bench.inserted == []
    assert "fenced" in caplog.text
    bench.offer(A, 2, 3)
    bench.turns(flush=True)
    assert len(bench.commits) == 1, "it rests before it asks again"
    bench.now += 1.0
    bench.turns(flush=True)
    assert bench.inserted == ["0:0-2", "0:2-4"]


def test_what_was_taken_away_is_forgotten_and_begins_anew_where_the_group_says() -> None:
    bench = Bench()
    bench.offer(A, 0, 1)
    bench.driver.advance(flush=True)
    bench.driver.forget([A])
    bench.offer(A, 2)
    bench.work()
    bench.turns(flush=True)
    assert bench.commits == []
    place = Place("eu", TOPIC, "life", 0)
    bench.driver.own(A, Partition(place, DEAD.kind, 0, Range(place, 0, 2)))
    bench.offer(A, 0, 1, 2)
    bench.turns(flush=True)
    assert bench.inserted == ["0:0-2", "0:2-3"]
    assert bench.asked == ["0:0-2"], "the store, whether that is safe"
    assert bench.ages == [None], "it was cut in another life, by whatever clock"


def test_a_range_that_is_in_already_is_committed_without_an_insert_and_the_next_one_follows() -> None:
    bench = Bench()
    place = Place("eu", TOPIC, "life", 0)
    bench.driver.own(A, Partition(place, DEAD.kind, 0, Range(place, 0, 2), unread=True))
    bench.view, bench.table = StoreView(InStore.SAME), "rollups_landing"
    bench.offer(A, 2)
    bench.turns(flush=True)
    bench.turns(flush=True)
    assert bench.inserted == ["0:2-3"]
    assert bench.commits == [[("intent", 0, 0)], [("done", 0, 2)], [("intent", 0, 2)], [("done", 0, 3)]]


def test_an_unknown_insert_of_points_asks_the_store_in_a_thread_and_stops_where_it_is_not_safe() -> None:
    bench = Bench()
    bench.table = "rollups_landing"
    bench.outcomes["insert"] = [Outcome.UNKNOWN] * 9
    bench.view = Outcome.UNKNOWN
    bench.offer(A, 0)
    bench.turns(flush=True)
    assert (bench.inserted, bench.asked) == (["0:0-1"], [])
    bench.now += 0.2
    bench.turns()
    assert (bench.inserted, bench.asked) == (["0:0-1"], ["0:0-1"])
    bench.view = FORGIVING
    bench.now += 0.2
    bench.turns()
    assert (bench.inserted, bench.asked) == (["0:0-1"] * 2, ["0:0-1"] * 2)
    assert bench.ages == pytest.approx([0.2, 0.4])
    bench.view = StoreView(InStore.BEHIND, covered=False)
    bench.now += 0.4
    with pytest.raises(Undecided, match="might count twice"):
        bench.turns()
    assert len(bench.inserted) == 2


def test_while_a_block_is_inserted_the_next_one_is_built_if_it_is_full() -> None:
    bench = Bench(max_rows=3)
    bench.offer(A, *range(8))
    bench.driver.advance()
    bench.work()
    bench.driver.advance()
    assert len(bench.tasks) == 1, "the next block is being built"
    bench.work()
    bench.driver.advance()
    assert bench.commits == [[("intent", 0, 0)]], "and begins only when the first one has ended"
    bench.turns()
    assert bench.commits[1:] == [[("done", 0, 3)], [("intent", 0, 3)], [("done", 0, 6)]]
    assert bench.inserted == ["0:0-3", "0:3-6"]


def test_what_was_built_behind_a_fenced_block_is_thrown_away() -> None:
    bench = Bench(max_rows=3)
    bench.outcomes["intent"] = [Outcome.UNKNOWN, Outcome.FENCED]
    bench.offer(A, *range(6))
    bench.turns()
    bench.now += 0.2
    bench.turns()
    assert bench.inserted == []
    bench.now += 1.0
    bench.turns()
    assert bench.inserted == ["0:0-3", "0:3-6"]


def test_without_begin_only_what_is_on_its_way_goes_on() -> None:
    bench = Bench()
    bench.offer(A, 0)
    bench.driver.advance(flush=True)
    bench.work()
    bench.driver.advance()
    assert bench.driver.begun([A])
    bench.offer(B, 0)
    for _ in range(8):
        bench.work()
        bench.driver.advance(flush=True, begin=False)
    assert bench.inserted == ["0:0-1"]


def test_memory_is_bounded_while_the_store_is_away_and_the_partition_reads_again_afterwards() -> None:
    bench = Bench(max_bytes=5 * MEMORY)
    bench.offer(A, *range(20))
    assert bench.driver.overfull() == set()
    bench.offer(A, 20)
    assert bench.driver.overfull() == {A}
    bench.turns(flush=True)
    assert bench.driver.overfull() == set()


def test_a_begun_range_gets_all_its_messages_and_then_no_more_than_any_other() -> None:
    bench = Bench(max_bytes=5 * MEMORY)
    place = Place("eu", TOPIC, "life", 0)
    bench.driver.own(A, Partition(place, DEAD.kind, 0, Range(place, 0, 40)))
    bench.offer(A, *range(39))
    assert bench.driver.overfull() == set(), "else it would wait for ever"
    bench.outcomes["insert"] = [Outcome.UNKNOWN] * 99
    bench.offer(A, 39)
    bench.turns()
    assert bench.driver.overfull() == {A}, "the store is away: nothing more is needed"


def test_what_makes_no_block_is_raised_to_whoever_drives() -> None:
    bench = Bench()
    bench.broken = PositionLost("gone")
    bench.offer(A, 0)
    with pytest.raises(PositionLost, match="gone"):
        bench.turns(flush=True)
