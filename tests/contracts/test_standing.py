"""What the store says of blocks, on the real engine: which are in, of which life, and whether their tokens are still known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from streamgauge.schemas.windows import window_start
from streamgauge.sinks.blocks import MAX_PARTS_OF_A_MESSAGE, rollup_insert
from streamgauge.sinks.cover import Window
from streamgauge.sinks.ddl import INSERT_SETTINGS, MAX_DAYS_PER_BLOCK, ROLLUP_TABLES, table
from streamgauge.sinks.decisions import InStore, Read, at_start, when_read
from streamgauge.sinks.insertion import Outcome
from streamgauge.sinks.migrations import migrate, shipped
from streamgauge.sinks.ranges import BLOCK_FORMAT, Committed, GroupSays, Place, Range
from streamgauge.sinks.standing import Standing
from streamgauge.sinks.store import outcome_of
from tests.support.rolled_up import LocalStore
from tests.support.sink_region import until
from tests.support.tables import KEPT
from tests.unit.sinks.messages import DAY, PLACE, T0, Row, hashes, message

pytestmark = pytest.mark.clickhouse

TIERS = [*ROLLUP_TABLES]
NEXT = replace(PLACE, partition=PLACE.partition + 1)
"""Another partition of the same topic."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    one = LocalStore(tmp_path_factory.mktemp("store"), "default")
    yield one
    one.engine.close()


@pytest.fixture
def store(engine: LocalStore, unique: str) -> LocalStore:
    """A database of its own, migrated."""
    one = engine.beside(f"{unique}-it`s")
    migrate(one, KEPT, one.address.database)
    return one


@pytest.fixture
def standing(store: LocalStore) -> Standing:
    return Standing(store, store.address.database)


def rows_of(store: LocalStore, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.query_rows(sql.replace("db.", table(store.address.database, "")[:-2]))]


def put(store: LocalStore, block: Range, rows: list[Row] | None = None) -> None:
    store.insert_block(rollup_insert([message(rows or [Row()])], block), block.token)


def now_ms(store: LocalStore) -> int:
    return int(rows_of(store, "SELECT toUnixTimestamp64Milli(now64(3))")[0][0])


def counts(store: LocalStore) -> list[int]:
    """Points by tier."""
    return [int(rows_of(store, f"SELECT sum(count) FROM db.{name}")[0][0]) for name in TIERS]


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (7, 9, InStore.SAME),
        (7, 8, InStore.OVERLAPPING),
        (5, 9, InStore.PART),
        (8, 9, InStore.OVERLAPPING),
        (9, 12, InStore.BEHIND),
        (3, 7, InStore.BEYOND),
    ],
)
def test_a_range_is_found_as_what_it_is(
    store: LocalStore, standing: Standing, start: int, end: int, found: InStore
) -> None:
    assert standing.of_range(Range(PLACE, start, end), now_ms(store)).found is InStore.NOTHING
    put(store, Range(PLACE, 7, 9))
    view = standing.of_range(Range(PLACE, start, end), now_ms(store))
    assert (view.found, view.until) == (found, 9)
    for other in (replace(PLACE, partition=4), replace(PLACE, region="us"), replace(PLACE, topic="sg.eu.distinct.v1")):
        assert standing.of_range(Range(other, start, end), now_ms(store)).found is InStore.NOTHING


def test_an_offset_is_found_as_what_it_is(store: LocalStore, standing: Standing) -> None:
    put(store, Range(PLACE, 7, 9))
    found = {offset: standing.of_offset(PLACE, offset).found for offset in (-1, 0, 8, 9, 12)}
    assert found == {
        -1: InStore.BEYOND,
        0: InStore.BEYOND,
        8: InStore.OVERLAPPING,
        9: InStore.BEHIND,
        12: InStore.BEHIND,
    }


def test_blocks_of_another_life_are_never_taken_for_those_of_this_one(store: LocalStore, standing: Standing) -> None:
    put(store, Range(PLACE, 7, 9))
    anew = replace(PLACE, incarnation="next")
    assert standing.of_range(Range(anew, 7, 9), now_ms(store)).found is InStore.OTHER_LIFE
    assert standing.of_offset(anew, 0, by_hand=True).found is InStore.OTHER_LIFE
    assert standing.of_offset(anew, -1).found is InStore.OTHER_LIFE
    put(store, Range(anew, 0, 3))
    assert standing.of_range(Range(anew, 0, 3), now_ms(store)).found is InStore.SAME


def test_blocks_that_name_no_life_count_until_others_do_and_never_for_an_offset_set_by_hand(
    store: LocalStore, standing: Standing
) -> None:
    put(store, Range(PLACE, 7, 9, block_format=1))
    assert rows_of(store, "SELECT incarnation, parts FROM db.blocks") == [("", 1)]
    assert standing.of_offset(PLACE, 7).found is InStore.BEYOND
    assert standing.of_offset(PLACE, -1).found is InStore.BEYOND
    assert standing.of_offset(PLACE, 7, by_hand=True).found is InStore.OTHER_LIFE
    embedded = Standing(store, store.address.database, unnamed=False)
    assert embedded.of_offset(PLACE, 7).found is InStore.OTHER_LIFE
    assert embedded.of_range(Range(PLACE, 7, 9), now_ms(store)).found is InStore.OTHER_LIFE
    put(store, Range(replace(PLACE, incarnation="next"), 0, 3))
    assert standing.of_offset(replace(PLACE, incarnation="next"), 3).found is InStore.BEHIND
    assert standing.of_range(Range(PLACE, 7, 9, block_format=1), now_ms(store)).found is InStore.SAME


def test_a_block_that_began_before_the_tables_knew_of_lives_counts_once_in_every_tier(
    engine: LocalStore, unique: str
) -> None:
    store = engine.beside(unique)
    known = shipped()
    lives = next(place for place, one in enumerate(known) if one.name == "block_lives")
    migrate(store, KEPT, unique, migrations=known[:lives])
    old = Range(PLACE, 7, 9, block_format=1)
    put(store, old)
    migrate(store, KEPT, unique)
    put(store, old)
    assert counts(store) == [1, 1, 1, 1]
    # the view that feeds `blocks` is another one to the store now: this one table has the row twice, which decides nothing
    assert set(rows_of(store, "SELECT incarnation, block_from, block_to FROM db.blocks")) == {("", 7, 9)}
    assert Standing(store, unique).of_range(old, now_ms(store)).found is InStore.SAME


def test_parts_are_counted_as_the_tier_that_has_most_of_them_does(store: LocalStore) -> None:
    days = [Row(window=T0 + DAY * n) for n in range(5)]
    put(store, Range(PLACE, 0, 1), days)
    put(store, Range(PLACE, 1, 2), [replace(row, entry=2) for row in days])
    put(store, Range(PLACE, 2, 3), [Row(window=T0 + 40 * DAY * n, entry=3) for n in range(3)])
    store.insert_block(rollup_insert([hashes([(1, 2)])], Range(replace(PLACE, topic="d"), 0, 1)), "d")
    found = rows_of(store, "SELECT topic, block_from, parts FROM db.blocks ORDER BY topic, block_from")
    assert found == [("d", 0, 1), (PLACE.topic, 0, 5), (PLACE.topic, 1, 1), (PLACE.topic, 2, 3)]


class JustStarted(Standing):
    """Of a store that ended and has run for a second."""

    def uptime_s(self) -> int:
        return 1


class OfUnknownAge(Standing):
    """Of a store that does not say for how long it has run, as the embedded one."""

    def uptime_s(self) -> int:
        return 0


def test_a_block_that_came_just_before_the_store_ended_is_not_taken_for_whole(store: LocalStore) -> None:
    put(store, Range(PLACE, 7, 9))
    restarted = JustStarted(store, store.address.database)

    def found() -> InStore:
        return restarted.of_range(Range(PLACE, 7, 9), now_ms(store)).found

    assert found() is InStore.SAME, "it came after the start"
    until(lambda: found() is InStore.HALF, 5)
    unknown = OfUnknownAge(store, store.address.database)
    assert unknown.of_range(Range(PLACE, 7, 9), now_ms(store)).found is InStore.SAME


def small_window(store: LocalStore, size: int) -> None:
    for name in [*ROLLUP_TABLES, "blocks"]:
        store.command(
            f"ALTER TABLE {table(store.address.database, name)} MODIFY SETTING non_replicated_deduplication_window = {size}"
        )


def test_cover_ends_while_the_store_still_knows_the_token(store: LocalStore, standing: Standing) -> None:
    assert standing.window() == Window(10_000)
    small_window(store, 8)
    assert standing.window() == Window(8)
    block = Range(PLACE, 0, 1, written_ms=now_ms(store))
    put(store, block)
    covered: list[bool] = []
    for n in range(1, 8):
        covered.append(standing.covers(block, now_ms(store)))
        put(store, Range(PLACE, n, n + 1))
    assert covered == [True] * 4 + [False] * 3
    put(store, block)
    assert counts(store) == [8] * 4, "still known"
    for n in range(8, 16):
        put(store, Range(PLACE, n, n + 1))
    put(store, block)
    assert counts(store) == [17] * 4, "forgotten: this is what the cover is for"


def test_cover_counts_every_partition_that_a_block_touched(store: LocalStore, standing: Standing) -> None:
    small_window(store, 8)
    block = Range(PLACE, 0, 1, written_ms=now_ms(store))
    put(store, block, [Row(window=T0 + DAY * n) for n in range(4)])
    assert standing.covers(block, now_ms(store))
    put(store, Range(PLACE, 1, 2))
    assert not standing.covers(block, now_ms(store))


def test_cover_counts_from_when_the_range_was_written(store: LocalStore, standing: Standing) -> None:
    small_window(store, 8)
    now = now_ms(store)
    for n in range(6):
        put(store, Range(PLACE, n, n + 1))
    later = now_ms(store) + 10
    assert not standing.covers(Range(NEXT, 6, 7, written_ms=now), later)
    assert not standing.covers(Range(NEXT, 6, 7, written_ms=later), later), "clocks may differ"
    time.sleep(1.1)
    assert standing.covers(Range(NEXT, 6, 7, written_ms=later), later, age_s=0.0), "who cut it knows when"
    assert not standing.covers(Range(NEXT, 6, 7, written_ms=later), later, age_s=60.0)
    exact = Standing(store, store.address.database, clocks_differ_ms=0)
    assert not exact.covers(Range(NEXT, 6, 7, written_ms=now), now_ms(store))
    assert exact.covers(Range(NEXT, 6, 7, written_ms=now_ms(store)), now_ms(store))


@pytest.mark.parametrize("block_format", [1, BLOCK_FORMAT])
def test_cover_counts_from_the_block_before_at_the_earliest(
    store: LocalStore, standing: Standing, block_format: int
) -> None:
    small_window(store, 8)
    for n in range(6):
        put(store, Range(PLACE, n, n + 1))
    pending = Range(PLACE, 6, 7, block_format, written_ms=now_ms(store) if block_format > 1 else 0)
    assert standing.covers(pending, now_ms(store)), "what came before it is older"
    assert not standing.covers(replace(pending, start=0), now_ms(store)), "nothing before it: all count"
    for n in range(5):
        put(store, Range(NEXT, n, n + 1))
    assert not standing.covers(pending, now_ms(store)), "what came after it counts, of every partition"


def test_a_block_before_that_a_clock_dates_after_now_says_nothing(store: LocalStore, standing: Standing) -> None:
    small_window(store, 8)
    for n in range(6):
        put(store, Range(PLACE, n, n + 1))
    blocks = f"{table(store.address.database, 'blocks')}"
    ahead = "* REPLACE (now64(3, 'UTC') + toIntervalHour(1) AS inserted_at, 5 AS block_from, 6 AS block_to)"
    store.command(f"INSERT INTO {blocks} SELECT {ahead} FROM {blocks} LIMIT 1")
    assert not standing.covers(Range(PLACE, 6, 7, written_ms=now_ms(store)), now_ms(store))


def test_without_a_window_nothing_is_covered(store: LocalStore, standing: Standing) -> None:
    small_window(store, 0)
    view = standing.of_range(Range(PLACE, 6, 7, written_ms=now_ms(store)), now_ms(store))
    put(store, Range(PLACE, 6, 7))
    assert not standing.covers(Range(PLACE, 6, 7, written_ms=now_ms(store)), now_ms(store))
    assert view.found is InStore.NOTHING


def test_what_is_committed_is_looked_up_as_what_it_is(store: LocalStore, standing: Standing) -> None:
    put(store, Range(PLACE, 7, 9, block_format=1))
    for kind, found in ((Committed.BY_HAND, InStore.OTHER_LIFE), (Committed.STORED, InStore.BEYOND)):
        assert standing.beside(GroupSays(kind, 7), PLACE, now_ms(store)).found is found
    pending = Range(PLACE, 7, 9, block_format=1)
    assert standing.beside(GroupSays(Committed.PENDING, 7, pending), PLACE, now_ms(store)).found is InStore.SAME


def test_a_block_over_more_partitions_than_the_store_takes_never_ends_and_ours_stay_below(
    store: LocalStore,
) -> None:
    assert int(INSERT_SETTINGS["max_partitions_per_insert_block"]) >= 2 * MAX_DAYS_PER_BLOCK
    days = int(INSERT_SETTINGS["max_partitions_per_insert_block"]) + 1
    with pytest.raises(ClickHouseError) as caught:
        put(store, Range(PLACE, 0, 1), [Row(window=DAY * n) for n in range(days)])
    assert outcome_of(caught.value) is Outcome.UNKNOWN
    assert sorted(counts(store))[:2] == [0, 0], "some tiers may have taken some of it"
    assert rows_of(store, "SELECT count() FROM db.blocks") == [(0,)]
    assert days > MAX_PARTS_OF_A_MESSAGE, "such a message is a dead letter before it is in any block"
    most = [Row("most", window=DAY * n) for n in range(MAX_PARTS_OF_A_MESSAGE)]
    put(store, Range(PLACE, 1, 2), most)
    found = [rows_of(store, f"SELECT sum(count) FROM db.{name} WHERE metric = 'most'")[0][0] for name in TIERS]
    assert found == [len(most)] * 4


def test_a_late_point_whose_day_was_merged_counts_and_its_block_is_still_recognised(
    store: LocalStore, standing: Standing
) -> None:
    blocks = [Range(PLACE, n, n + 1) for n in range(4)]
    for block in blocks[:3]:
        put(store, block)
    for name in TIERS:
        store.command(f"OPTIMIZE TABLE {table(store.address.database, name)} FINAL")
    put(store, blocks[3], [Row(window=T0), Row(window=window_start(T0 - 90 * DAY, DAY))])
    for block in blocks[:3]:
        put(store, block)  # their parts are gone, their tokens are not
    put(store, blocks[3], [Row(window=T0), Row(window=window_start(T0 - 90 * DAY, DAY))])
    assert counts(store) == [5, 5, 5, 5]
    for name in TIERS:
        store.command(f"OPTIMIZE TABLE {table(store.address.database, name)} FINAL")
    assert rows_of(store, f"SELECT count FROM db.rollups_1d WHERE window = {T0}") == [(4,)]


def test_a_range_that_is_in_decides_every_case_that_is_not_sure_otherwise(
    store: LocalStore, standing: Standing
) -> None:
    small_window(store, 2)
    block = Range(PLACE, 0, 2, written_ms=now_ms(store))
    put(store, block)
    for n in range(2, 5):
        put(store, Range(replace(PLACE, partition=9), n, n + 1))
    view = standing.of_range(block, now_ms(store))
    assert (view.found, view.covered) == (InStore.SAME, False)
    for read in (Read.SAME, Read.OTHER, Read.GAP, Read.GONE):
        assert when_read(read, view.found, view.covered).act.name == "COMMIT"
    assert at_start(Committed.UNKNOWN_FORMAT, view.found).act.name == "COMMIT"


def test_a_place_may_have_any_name(store: LocalStore, standing: Standing) -> None:
    odd = Place("it's", "a`b\\", "li'fe", 65_535)
    put(store, Range(odd, 0, (1 << 63) - 1))
    assert standing.of_range(Range(odd, 0, (1 << 63) - 1), now_ms(store)).found is InStore.SAME
