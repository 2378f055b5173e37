"""Blocks on the real engine: every kind of column arrives as it was, counts add up, a repeat counts once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from streamgauge.schemas.key_notes import KeyNote
from streamgauge.schemas.ledger import DeadLetter, LedgerEntry, SampleRow, read_sample
from streamgauge.schemas.rollups import RollupMetric, SeriesLabels
from streamgauge.schemas.row_sets import RowSet, read_row_set
from streamgauge.sinks import native
from streamgauge.sinks.blocks import COUNT_LIMIT, Insert, rollup_insert
from streamgauge.sinks.catalog import Catalog
from streamgauge.sinks.ddl import ROLLUP_TABLES, table
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.ranges import Range
from streamgauge.sinks.retention import Retention
from tests.support.rolled_up import LocalStore
from tests.unit.sinks.messages import BLOCK, DAY, ENTRY, LETTER, PLACE, T0, Row, hashes, message

pytestmark = pytest.mark.clickhouse


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    one = LocalStore(tmp_path_factory.mktemp("store"), "default")
    yield one
    one.engine.close()


@pytest.fixture
def store(engine: LocalStore, unique: str) -> LocalStore:
    """A database of its own, whose name must be quoted."""
    one = engine.beside(f"{unique}-it`s")
    migrate(one, Retention(), one.address.database)
    return one


def rows_of(store: LocalStore, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.query_rows(sql.replace("db.", table(store.address.database, "")[:-2]))]


def arrived(engine: LocalStore, unique: str, columns: Sequence[native.Column], rows: int) -> list[tuple[Any, ...]]:
    """What a table of these columns holds after one block, in the order of the first column."""
    kinds = ", ".join(f"`{column.name}` {column.type}" for column in columns)
    engine.command(f"CREATE TABLE {table('default', unique)} ({kinds}) ENGINE = MergeTree ORDER BY tuple()")
    insert = Insert(unique, tuple(column.name for column in columns), native.block(columns, rows), rows)
    if insert.rows:
        engine.insert_block(insert, "once")
    return [tuple(row) for row in engine.query_rows(f"SELECT * FROM {table('default', unique)}")]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("UInt8", [0, 1, 255]),
        ("UInt16", [0, 256, 65_535]),
        ("UInt32", [0, 65_536, (1 << 32) - 1]),
        ("UInt64", [0, 1 << 32, (1 << 64) - 1]),
        ("Int64", [-(1 << 63), -1, (1 << 63) - 1]),
        ("Float64", [-1.7976931348623157e308, -0.0, 5e-324]),
        ("Date", [0, 20_788, 65_535]),
        ("DateTime('UTC')", [0, T0, (1 << 32) - 1]),
        ("DateTime64(3, 'UTC')", [0, T0 * 1_000 + 7, 4_294_967_295_999]),
    ],
)
def test_numbers_and_times_arrive_as_they_were(engine: LocalStore, unique: str, kind: str, values: list[Any]) -> None:
    column = native.numbers("x", kind, np.array(values, native.NUMBERS[kind]))
    number = {"Date": "toUInt16(x)", "DateTime('UTC')": "toUInt32(x)"}.get(
        kind, "toUnixTimestamp64Milli(x)" if kind.startswith("DateTime64") else "x"
    )
    arrived(engine, unique, [column], len(values))
    found = engine.query_rows(f"SELECT {number} FROM {table('default', unique)}")
    assert [repr(row[0]) for row in found] == [repr(value) for value in values]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 70_000])
def test_a_dictionary_of_any_size_keeps_every_string(engine: LocalStore, unique: str, size: int) -> None:
    keys = ["", *(f"key {n} é\0" for n in range(1, size))]
    index = np.arange(size)[::-1]
    found = arrived(engine, unique, [native.dictionary("x", keys, index)], size)
    assert [row[0] for row in found] == keys[::-1]


def test_a_dictionary_may_hold_keys_that_no_row_has_and_rows_may_share_one(engine: LocalStore, unique: str) -> None:
    column = native.dictionary("x", ["a", "b", "c"], np.array([2, 0, 2, 2]))
    assert [row[0] for row in arrived(engine, unique, [column], 4)] == ["c", "a", "c", "c"]


def test_arrays_keep_their_lengths_the_empty_ones_too(engine: LocalStore, unique: str) -> None:
    arrays = [[], [1, (1 << 64) - 1], [], [7], list(range(1_000)), []]
    flat = np.array([value for one in arrays for value in one], np.uint64)
    lengths = np.array([len(one) for one in arrays])
    found = arrived(engine, unique, [native.arrays("x", "UInt64", lengths, flat)], len(arrays))
    assert [list(row[0]) for row in found] == arrays


def test_arrays_may_all_be_empty(engine: LocalStore, unique: str) -> None:
    column = native.arrays("x", "UInt64", np.zeros(3, np.uint64), np.zeros(0, np.uint64))
    assert arrived(engine, unique, [column], 3) == [([],)] * 3


def test_strings_and_constants_stand_beside_each_other(engine: LocalStore, unique: str) -> None:
    texts = ["", "a" * 127, "b" * 128, "c" * 20_000, "é\n\t'"]
    columns = [native.strings("s", texts), native.constant("n", "UInt16", 65_535, 5)]
    assert arrived(engine, unique, columns, 5) == [(one, 65_535) for one in texts]


def test_rows_beyond_one_byte_of_length_arrive(engine: LocalStore, unique: str) -> None:
    values = np.arange(20_000, dtype=np.uint64)
    found = arrived(engine, unique, [native.numbers("x", "UInt64", values)], len(values))
    assert [row[0] for row in found] == values.tolist()


def test_no_rows_are_no_insert(engine: LocalStore, unique: str) -> None:
    assert arrived(engine, unique, [native.numbers("x", "UInt8", np.zeros(0))], 0) == []


@pytest.mark.parametrize(
    ("number", "encoded"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (1 << 32, "8080808010")]
)
def test_lengths_are_leb128(number: int, encoded: str) -> None:
    assert native.varint(number).hex() == encoded


# ------------------------------------------------------------------------------------------------------------- blocks


def test_a_block_counts_once_in_every_tier_however_often_it_comes(store: LocalStore) -> None:
    rows = [
        Row("latency", series, T0 + 10 * n, 3, 1.5, {5: 2, -7: 1}, last=(T0, 2.0))
        for series in range(9)
        for n in range(40)
    ]
    insert = rollup_insert([message(rows)], BLOCK)
    for _ in range(3):
        store.insert_block(insert, BLOCK.token)
    for name in ROLLUP_TABLES:
        assert rows_of(store, f"SELECT sum(count), sum(sum), sumMap(hist) FROM db.{name}") == [
            (1_080, 540.0, {-7: 360, 5: 720})
        ]
    assert rows_of(store, "SELECT topic, partition, block_from, block_to, rows, points FROM db.blocks") == [
        (PLACE.topic, 3, 7, 9, 360, 1_080)
    ]


def test_equal_points_of_two_ranges_both_count(store: LocalStore) -> None:
    for start in (0, 1):
        block = Range(PLACE, start, start + 1)
        store.insert_block(rollup_insert([message([Row()])], block), block.token)
    assert rows_of(store, "SELECT sum(count) FROM db.rollups_1d") == [(2,)]


@pytest.mark.parametrize("count", [COUNT_LIMIT, COUNT_LIMIT + 1, 3 * COUNT_LIMIT + 7, 1 << 60])
def test_a_bucket_keeps_every_count_before_and_after_the_store_has_merged(store: LocalStore, count: int) -> None:
    for start in (0, 1):
        block = Range(PLACE, start, start + 1)
        store.insert_block(rollup_insert([message([Row(hist={5: count, 6: 1})])], block), block.token)
    for name in ROLLUP_TABLES:
        expected = {5: 2 * count, 6: 2}
        assert rows_of(store, f"SELECT sumMap(hist) FROM db.{name}") == [(expected,)]
        assert rows_of(store, f"SELECT hist FROM db.{name} FINAL") == [(expected,)]
        store.command(f"OPTIMIZE TABLE {table(store.address.database, name)} FINAL")
        assert rows_of(store, f"SELECT hist FROM db.{name}") == [(expected,)]


def test_quantiles_see_a_spread_count_whole(store: LocalStore) -> None:
    row = Row(hist={16_384: 5 * COUNT_LIMIT, 20_000: COUNT_LIMIT, 20_001: 1})
    store.insert_block(rollup_insert([message([row])], BLOCK), BLOCK.token)
    ((half, most),) = rows_of(store, "SELECT sg_quantile(0.5, hist), sg_quantile(0.9, hist) FROM db.rollups_1d FINAL")
    assert half == pytest.approx(1.01, abs=0.01)
    assert most > 1e30


def test_the_most_days_that_a_block_may_touch_are_taken(store: LocalStore) -> None:
    rows = [Row(window=T0 - DAY * day) for day in range(256)]
    store.insert_block(rollup_insert([message(rows)], BLOCK), BLOCK.token)
    assert rows_of(store, "SELECT sum(count) FROM db.rollups_1d") == [(256,)]


def test_hashes_become_sketches_in_every_tier(store: LocalStore) -> None:
    insert = rollup_insert([hashes([(1, n % 50) for n in range(200)])], BLOCK)
    for _ in range(2):
        store.insert_block(insert, BLOCK.token)
    for tier in ("10s", "1m", "1h", "1d"):
        assert rows_of(store, f"SELECT uniqCombined64Merge(state) FROM db.distinct_{tier}") == [(50,)]


def test_ledger_and_dead_letters_of_any_size_and_age_are_one_row_each(store: LocalStore) -> None:
    great = LedgerEntry(
        "eu", "raw", 1, 0, 1, 1, 1, {(0, 1): (1 << 63) - 1, (3, 49_710): (1 << 63) - 1, (2, 7): 9}, ENTRY.committed_ms,
        refused={"a": (1 << 63) - 1, "b": (1 << 63) - 1, "c": 5},
    )  # fmt: skip
    letters = [
        DeadLetter("eu", "raw", 0, n, "bad_json", 1, at_ms=2_678_400_000 * n, detail="it's\n") for n in range(200)
    ]
    for _ in range(2):
        store.insert_ledger([ENTRY, great], "a")
        store.insert_dead([LETTER, *letters], "a")
    assert rows_of(store, "SELECT partition, offset_from, points, refused_points FROM db.ledger FINAL ORDER BY 1") == [
        (0, 10, 7, 0),
        (1, 0, (1 << 64) - 1, (1 << 64) - 1),
    ]
    assert rows_of(store, "SELECT count() FROM (SELECT DISTINCT offset, reason, detail FROM db.dead)")[0][0] <= 201


def test_entries_and_letters_of_another_life_of_their_topic_stand_beside_those_at_the_same_offsets(
    store: LocalStore,
) -> None:
    (now,) = rows_of(store, "SELECT toUnixTimestamp64Milli(now64(3))")[0]
    letter = replace(LETTER, at_ms=now)
    for number, life in enumerate(["first", "second", "", "first"]):
        store.insert_ledger([replace(ENTRY, incarnation=life)], f"{number}", "of the ledger's topic")
        store.insert_dead([replace(letter, incarnation=life)], f"{number}", "of the dead topic")
    stood = {name: rows_of(store, f"SELECT incarnation FROM db.{name} FINAL ORDER BY 1") for name in ("ledger", "dead")}
    assert stood == {
        "ledger": [("first",), ("of the ledger's topic",), ("second",)],
        "dead": [("first",), ("of the dead topic",), ("second",)],
    }


def test_a_dead_letter_of_today_is_kept(store: LocalStore) -> None:
    (now,) = rows_of(store, "SELECT toUnixTimestamp64Milli(now64(3))")[0]
    store.insert_dead([DeadLetter("eu", "raw", 0, 5, "bad_json", 1, now)], "a")
    store.command(f"OPTIMIZE TABLE {table(store.address.database, 'dead')} FINAL")
    assert rows_of(store, "SELECT count() FROM db.dead") == [(1,)]


def test_series_and_metrics_get_their_names_and_views(store: LocalStore) -> None:
    catalog = Catalog(store, dict[Any, Any])
    catalog.load()
    labels = {"endpoint": "/p'ay", "a\\b": "\0é"}
    for _ in range(2):
        catalog.add_series({1: SeriesLabels(1, "requests", labels)})
        catalog.add_metrics(
            {"requests": RollupMetric("requests", "counter", "requests", "{request}", ("endpoint", "a\\b"))}
        )
    store.insert_block(rollup_insert([message([Row()])], BLOCK), BLOCK.token)
    assert rows_of(store, "SELECT labels FROM db.series") == [(labels,)]
    assert rows_of(store, "SELECT endpoint, value FROM db.requests_1m") == [("/p'ay", 1.0)]
    again = Catalog(store, dict[Any, Any])
    again.load()
    assert rows_of(store, "SELECT count() FROM db.metrics") == [(1,)]


def test_a_letter_comes_back_from_the_store_with_everything_it_holds(store: LocalStore) -> None:
    letter = replace(
        LETTER, contract=3, service="shop", size=9, hash="ab", which=RowSet(12, "bits", "BQg="),
        sample=(SampleRow(0, 1_796_083_200_000, {"country": "it's", "amount": 1.0, "plan": None}),),
    )  # fmt: skip
    # the refusal of a replay is a letter of its own, beside the one it comes from
    for one in (letter, letter, replace(letter, again=77, rows=5)):
        store.insert_dead([one], f"{one.again}")
    found = rows_of(
        store, "SELECT rows, contract, service, size, hash, which, sample, again FROM db.dead FINAL ORDER BY again"
    )
    assert [(row[0], row[-1]) for row in found] == [(1, 0), (5, 77)]
    assert found[0][1:5] == (3, "shop", 9, "ab")
    assert read_row_set(orjson.loads(found[0][5])) == letter.which
    assert read_sample(orjson.loads(found[0][6])) == letter.sample


def test_an_entry_says_by_which_policies_its_points_were_cleaned(store: LocalStore) -> None:
    store.insert_ledger([replace(ENTRY, policies=("l1-00ff", "p1-11aa")), replace(ENTRY, start=1_000)], "a")
    found = rows_of(store, "SELECT policies FROM db.ledger FINAL ORDER BY offset_from")
    assert [list(one) for (one,) in found] == [["l1-00ff", "p1-11aa"], []]


def test_keys_that_entries_tell_of_are_in_the_inbox_however_often_they_come(store: LocalStore) -> None:
    note = KeyNote("order", "reply_to", "unknown_field:email", "a+@a+.a+")
    early = replace(ENTRY, noticed=(note, KeyNote("order", "size", "unknown_field")), unnoticed=3)
    late = [
        replace(ENTRY, start=n, committed_ms=ENTRY.committed_ms + n, noticed=(replace(note, shape=f"a{n}"),))
        for n in range(1_000, 1_009)
    ]
    for entries, token in (([early], "a"), (late, "b"), ([early], "c"), (late, "d")):
        store.insert_ledger(entries, token)
    found = rows_of(
        store,
        "SELECT region, family, key, rule, toUnixTimestamp64Milli(min(first_seen)), toUnixTimestamp64Milli(max(last_seen)),"
        " length(groupUniqArrayArray(5)(shapes)) FROM db.key_inbox GROUP BY region, family, key, rule ORDER BY key",
    )
    first = ENTRY.committed_ms
    assert [tuple(row) for row in found] == [
        (ENTRY.region, "order", "reply_to", note.rule, first, first + 1_008, 5),
        (ENTRY.region, "order", "size", "unknown_field", first, first, 0),
    ]
    assert rows_of(store, "SELECT sum(unnoticed) FROM db.ledger FINAL") == [(3,)]
