"""Single events on the real engine: every row arrives as it was, once, and people read it in a view with its own columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamgauge.schemas.columns import Strings
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.scrubbed_events import encode_scrubbed
from streamgauge.schemas.topics import SCRUBBED
from streamgauge.sinks.blocks import BlockPolicy
from streamgauge.sinks.catalog import Catalog
from streamgauge.sinks.ddl import table
from streamgauge.sinks.event_blocks import event_insert
from streamgauge.sinks.insertion import Outcome
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.partition import Partition
from streamgauge.sinks.retention import FOR_EVER, Retention
from streamgauge.sinks.views import ensure_views
from streamgauge.sinks.writer import Writer
from tests.support.rolled_up import LocalStore
from tests.unit.sinks.messages import DAY, EVENTS_BLOCK, EVENTS_PLACE, T0, single_events, strings

pytestmark = pytest.mark.clickhouse

AT = T0 * 1_000
KEPT = Retention(events=FOR_EVER)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    one = LocalStore(tmp_path_factory.mktemp("store"), "default")
    migrate(one, KEPT, "default")
    yield one
    one.engine.close()


@pytest.fixture
def store(engine: LocalStore) -> LocalStore:
    """Empty tables, which know no tokens."""
    for name in ("events", "blocks", "dead", "versions"):
        engine.command(f"TRUNCATE TABLE {table('default', name)}")
    return engine


def rows_of(store: LocalStore, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.query_rows(sql.replace("db.", table(store.address.database, "")[:-2]))]


ORDERS = single_events(
    [AT + 7, AT + 5, AT + DAY * 1_000],
    labels={"service": ["shop"] * 3, "country": ["DE", None, "é\0'"], "plan": ["", "", ""]},
    measures={"amount": [1.5, None, -0.0], "items": [None, None, 7.0]},
    pseudonyms={"customer_id": ["em_k3_a", "em_k3_b", None]},
    texts={"remark": [None, "a" * 4_000, "x"]},
)
ROWS: list[tuple[Any, ...]] = [
    (AT + 7, {"service": "shop", "country": "DE"}, {"amount": 1.5}, {"customer_id": "em_k3_a"}, {}),
    (AT + 5, {"service": "shop"}, {}, {"customer_id": "em_k3_b"}, {"remark": "a" * 4_000}),
    (AT + DAY * 1_000, {"service": "shop", "country": "é\0'"}, {"amount": -0.0, "items": 7.0}, {}, {"remark": "x"}),
]
SELECT = "SELECT toUnixTimestamp64Milli(at), labels, measures, pseudonyms, texts FROM db.events"


def test_a_row_holds_what_its_message_says_and_nothing_for_what_is_absent(store: LocalStore) -> None:
    store.insert_block(event_insert([ORDERS], EVENTS_BLOCK), EVENTS_BLOCK.token)
    assert rows_of(store, f"{SELECT} ORDER BY labels['country'] DESC") == [ROWS[2], ROWS[0], ROWS[1]]
    assert rows_of(store, "SELECT DISTINCT materialization_version, event, contract, policy FROM db.events") == [
        (1, "order_placed", 3, "p1-00ff")
    ]


def test_messages_of_several_events_with_other_columns_share_a_block(store: LocalStore) -> None:
    other = single_events([AT], labels={"zone": ["a"], "country": ["FR"]}, event="signed_up")
    bare = single_events([AT + 1, AT + 2], event="bare")
    store.insert_block(event_insert([bare, ORDERS, other], EVENTS_BLOCK), EVENTS_BLOCK.token)
    assert rows_of(store, "SELECT event, labels FROM db.events WHERE event != 'order_placed' ORDER BY event, at") == [
        ("bare", {}),
        ("bare", {}),
        ("signed_up", {"country": "FR", "zone": "a"}),
    ]


def test_events_without_any_field_arrive(store: LocalStore) -> None:
    store.insert_block(event_insert([single_events([AT, AT])], EVENTS_BLOCK), EVENTS_BLOCK.token)
    assert rows_of(store, SELECT) == [(AT, {}, {}, {}, {})] * 2


@pytest.mark.parametrize("distinct", [255, 256, 257, 70_000])
def test_as_many_tokens_as_there_are_rows_arrive(store: LocalStore, distinct: int) -> None:
    tokens = [f"em_k3_{n:020}" for n in range(distinct)]
    names = {f"field_{n}": [str(n)] * distinct for n in range(3)}
    message = single_events([AT] * distinct, labels=names)
    message = replace(message, pseudonyms={"customer": Strings([*tokens], np.arange(distinct))})
    store.insert_block(event_insert([message], EVENTS_BLOCK), EVENTS_BLOCK.token)
    assert rows_of(store, "SELECT uniqExact(pseudonyms['customer']), sum(length(mapKeys(labels))) FROM db.events") == [
        (distinct, 3 * distinct)
    ]


def test_a_block_is_in_once_however_often_it_comes_and_is_in_the_list_of_blocks(store: LocalStore) -> None:
    insert = event_insert([ORDERS, ORDERS], EVENTS_BLOCK)
    for _ in range(3):
        store.insert_block(insert, EVENTS_BLOCK.token)
    assert rows_of(store, "SELECT count() FROM db.events") == [(6,)]
    assert rows_of(
        store, "SELECT region, topic, incarnation, partition, block_from, block_to, rows, points, parts FROM db.blocks"
    ) == [("eu", EVENTS_PLACE.topic, "life", 1, 7, 9, 6, 6, 2)]


def test_equal_rows_of_two_ranges_are_two(store: LocalStore) -> None:
    for start in (0, 1):
        block = replace(EVENTS_BLOCK, start=start, end=start + 1)
        store.insert_block(event_insert([ORDERS], block), block.token)
    assert rows_of(store, "SELECT count() FROM db.events") == [(6,)]


def test_a_person_is_found_by_the_index_of_tokens(store: LocalStore) -> None:
    store.insert_block(event_insert([ORDERS], EVENTS_BLOCK), EVENTS_BLOCK.token)
    where = "SELECT count() FROM db.events WHERE has(mapValues(pseudonyms), 'em_k3_b')"
    assert rows_of(store, where) == [(1,)]
    assert "by_pseudonym" in "\n".join(str(line) for (line,) in rows_of(store, f"EXPLAIN indexes = 1 {where}"))


SALE = Contract(
    "order_placed", 3,
    {
        "country": Field("dimension"), "plan": Field("dimension"), "amount": Field("measure", "number"),
        "items": Field("measure", "integer"), "customer_id": Field("unique"), "remark": Field("free_text"),
    },
    store_events=True,
)  # fmt: skip


def test_people_read_single_events_in_a_view_with_columns_of_their_own(store: LocalStore) -> None:
    ensure_views(store, store.address.database, (), [SALE])
    message = replace(ORDERS, labels={**ORDERS.labels, "region": strings(["ap-southeast-2"] * 3)})
    store.insert_block(event_insert([message, replace(message, event="other")], EVENTS_BLOCK), EVENTS_BLOCK.token)
    assert rows_of(
        store,
        "SELECT toUnixTimestamp64Milli(at), service, region_group, country, plan, amount, items, customer_id, length(remark)"
        " FROM db.order_placed_events ORDER BY at",
    ) == [
        (AT + 5, "shop", "APAC", "", "", None, None, "em_k3_b", 4_000),
        (AT + 7, "shop", "APAC", "DE", "", 1.5, None, "em_k3_a", 0),
        (AT + DAY * 1_000, "shop", "APAC", "é\0'", "", -0.0, 7.0, "", 1),
    ]
    kinds = {
        str(name): str(kind)
        for name, kind in rows_of(
            store, f"SELECT name, type FROM system.columns WHERE database = '{store.address.database}'"
            " AND table = 'order_placed_events'",
        )
    }  # fmt: skip
    assert (kinds["plan"], kinds["amount"], kinds["customer_id"]) == ("String", "Nullable(Float64)", "String")


def test_only_the_current_materialization_of_an_event_shows(store: LocalStore) -> None:
    for version in (1, 2):
        block = replace(EVENTS_BLOCK, start=version, end=version + 1)
        store.insert_block(event_insert([replace(ORDERS, version=version)], block), block.token)
    store.command(
        f"INSERT INTO {table(store.address.database, 'versions')} (metric, from_window, to_window, version)"
        f" VALUES ('order_placed', {T0}, {T0 + DAY}, 2)"
    )
    ensure_views(store, store.address.database, (), [SALE])
    at = "SELECT count(), min(toUnixTimestamp64Milli(at)) FROM db.order_placed_events"
    assert rows_of(store, at) == [(3, AT + 5)]
    store.command(
        f"ALTER TABLE {table(store.address.database, 'events')} DELETE WHERE materialization_version = 2"
        " SETTINGS mutations_sync = 2"
    )
    assert rows_of(store, at) == [(1, AT + DAY * 1_000)]


def test_single_events_are_forgotten_by_their_own_rule(store: LocalStore) -> None:
    (now_ms,) = rows_of(store, "SELECT toUnixTimestamp64Milli(now64(3))")[0]
    store.insert_block(
        event_insert([single_events([now_ms, now_ms - 31 * DAY * 1_000])], EVENTS_BLOCK), EVENTS_BLOCK.token
    )
    assert rows_of(store, "SELECT count() FROM db.events") == [(2,)]
    done = migrate(store, Retention(), store.address.database)
    assert any("events: forgets by 'no rule'" in line for line in done)
    store.command(f"OPTIMIZE TABLE {table(store.address.database, 'events')} FINAL")
    assert rows_of(store, "SELECT count() FROM db.events") == [(1,)]
    migrate(store, KEPT, store.address.database)


def test_a_message_that_is_no_message_of_events_is_a_letter_and_those_beside_it_are_stored(store: LocalStore) -> None:
    partition = Partition(EVENTS_PLACE, SCRUBBED.kind, 7)
    for offset, value in ((7, encode_scrubbed(ORDERS)), (8, b"{}")):
        partition.offer(offset, value, AT, 0)
    cut = partition.take(BlockPolicy(), 1_000, flush=True)
    assert cut is not None
    inserts = Writer(store, Catalog(store, dict[Any, Any])).prepare(cut.block, cut.messages)
    assert list(inserts) == ["events_landing", "dead"]
    for _ in range(2):
        assert {insert(cut.block.token) for insert in inserts.values()} == {Outcome.DONE}
    assert rows_of(store, "SELECT count() FROM db.events") == [(3,)]
    assert rows_of(store, "SELECT topic, partition, offset FROM db.dead FINAL") == [(EVENTS_PLACE.topic, 1, 8)]
