"""The account: every count comes from another place, and what is missing or counted twice shows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamgauge.console.page_accounts import (
    Accounts,
    Emission,
    balance_json,
    emission_of_line,
    emission_of_stats,
    settle,
    status_line,
)
from streamgauge.console.page_lag import LagBook, LagMeter, LagProbe, nearest_rank
from streamgauge.console.page_ledger import (
    LedgerBook,
    LedgerCount,
    StoreCount,
    ledger_count,
    ledger_sql,
    store_count,
    store_sql,
)
from streamgauge.console.shop.events import SignUp
from streamgauge.producers import Counter
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.events import contract_of
from streamgauge.schemas.ledger import LedgerEntry
from streamgauge.schemas.windows import TIER_NAMES
from tests.support.rolled_up import RolledUp

SENT = Emission(1_000, 1_000, {}, {"email": 3}, final=True)
LEDGER = LedgerCount(990, {"too_old": 10}, {"email": 3, "pseudonym": 40}, dict.fromkeys(TIER_NAMES, 990))
STORE = StoreCount(dict.fromkeys(TIER_NAMES, 990), blocks=990, dead=10)


def final(sent: Emission = SENT, ledger: LedgerCount = LEDGER, store: StoreCount = STORE) -> Accounts:
    return settle([sent], ledger, store, (1.1, 2.0), final=True)


def in_tiers(**changed: int) -> dict[str, int]:
    return {**dict.fromkeys(TIER_NAMES, 990), **{name.removeprefix("t"): count for name, count in changed.items()}}


def entry(start: int, end: int, points: int, tier: int = 0, partition: int = 0) -> LedgerEntry:
    return LedgerEntry(
        "eu", "sg.eu.metrics.v1", partition, start, end, end - start, end - start, {(tier, 20_000): points}, 0
    )


def test_an_account_in_which_everything_agrees_is_balanced() -> None:
    accounts = final()
    assert accounts.differences() == []
    assert accounts.balanced
    assert (accounts.lost, accounts.doubled) == (0, 0)


def test_no_account_is_balanced_before_everything_stands_still() -> None:
    accounts = settle([SENT], LEDGER, STORE)
    assert accounts.differences() == []
    assert not accounts.balanced


def test_points_on_their_way_are_neither_lost_nor_doubled() -> None:
    early = settle([SENT], replace(LEDGER, points=700, refused={}), StoreCount(in_tiers(t1d=800)))
    assert (early.lost, early.doubled) == (0, 0)


def test_points_that_the_broker_has_but_no_ledger_entry_counts_are_lost() -> None:
    accounts = final(sent=replace(SENT, emitted=1_007, acknowledged=1_007))
    assert accounts.lost == 7
    assert not accounts.balanced


def test_points_that_were_rolled_up_but_are_in_no_table_are_lost() -> None:
    accounts = final(store=replace(STORE, tiers=in_tiers(t1m=985)))
    assert (accounts.lost, accounts.doubled) == (5, 0)
    assert accounts.differences() == ["due in 1m 990, in 1m 985", "lost 5"]


def test_a_tier_that_holds_more_than_was_rolled_up_is_doubled() -> None:
    accounts = final(store=replace(STORE, tiers=in_tiers(t1h=1_000)))
    assert (accounts.lost, accounts.doubled) == (0, 10)
    assert not accounts.balanced


def test_more_rolled_up_than_was_ever_emitted_is_doubled() -> None:
    accounts = final(sent=replace(SENT, emitted=980, acknowledged=980))
    assert accounts.doubled == 20


def test_a_batch_whose_acknowledgement_never_came_is_not_doubled() -> None:
    assert final(sent=replace(SENT, acknowledged=900)).doubled == 0


def test_what_a_producer_dropped_is_accounted_for_and_not_lost() -> None:
    accounts = final(sent=Emission(1_004, 1_000, {"buffer_full": 4}, {"email": 3}, final=True))
    assert accounts.balanced
    assert accounts.lost == 0
    assert status_line(5, accounts).endswith("dropped 4")


def test_personal_data_that_was_sent_but_not_found_unbalances_the_account() -> None:
    accounts = final(sent=replace(SENT, planted={"email": 4}))
    assert accounts.differences() == ["email sent 4, email scrubbed 3"]
    assert not accounts.balanced


def test_unknown_senders_do_not_stand_in_the_way_of_a_balance() -> None:
    accounts = settle(None, LEDGER, STORE, final=True)
    assert accounts.emitted is None
    assert accounts.balanced


def test_the_json_of_an_account_has_the_agreed_keys() -> None:
    body = balance_json(final())
    agreed = (
        "emitted",
        "rolled_up",
        "in_store",
        "refused",
        "scrubbed",
        "dead",
        "lost",
        "doubled",
        "lag_p50_s",
        "lag_p99_s",
    )
    assert tuple(body)[: len(agreed)] == agreed
    assert body["scrubbed"] == {"email": 3, "pseudonym": 40}
    assert (body["refused"], body["dead"], body["balanced"]) == (10, 10, True)


def test_the_status_line_reads_as_promised() -> None:
    accounts = replace(
        final(), emitted=118_402, rolled_up=118_402, in_store=116_907, scrubbed={"email": 2_310, "pseudonym": 9}, dead=0
    )
    assert status_line(32.9, accounts) == (
        "00:32  emitted 118,402  rolled up 118,402  in store 116,907  lag 1.1 s  scrubbed 2,310  dead 0  lost 0  doubled 0"
    )


def test_a_status_line_says_what_is_not_known_yet() -> None:
    line = status_line(0, settle(None, LedgerCount(), StoreCount()))
    assert line.startswith("00:00  emitted –  rolled up 0  in store 0  lag –  ")


def test_the_books_of_a_producer_and_of_a_line_become_the_same_emission() -> None:
    producer, _, _ = captured_producer()
    Counter("requests", producer=producer).inc()
    producer.flush()
    line: dict[str, Any] = {"emitted": 1, "acknowledged": 1, "dropped": {}, "final": True}
    assert emission_of_stats(producer.stats(), final=True) == emission_of_line(line) == Emission(1, 1, final=True)


def test_a_coarse_metric_is_due_only_in_the_tiers_that_hold_it() -> None:
    book = LedgerBook()
    book.add(entry(0, 5, 50))
    book.add(entry(5, 6, 7, tier=2))
    assert book.count().tiers == {"10s": 50, "1m": 50, "1h": 57, "1d": 57}


def test_a_gap_in_the_ledger_is_lost_at_once() -> None:
    book = LedgerBook()
    book.add(entry(10, 15, 50))
    book.add(entry(18, 20, 20))
    assert book.count().gaps == 3
    assert settle(None, book.count(), StoreCount()).lost == 3


def test_messages_that_two_ledger_entries_cover_are_doubled_at_once() -> None:
    book = LedgerBook()
    book.add(entry(0, 10, 100))
    book.add(entry(5, 15, 200))
    found = book.count()
    assert (found.overlaps, found.repeated, found.gaps) == (5, 100, 0)
    assert settle(None, found, StoreCount()).doubled == 100


def test_partitions_do_not_overlap_each_other() -> None:
    book = LedgerBook()
    book.add(entry(0, 10, 100))
    book.add(entry(0, 10, 100, partition=1))
    assert (book.count().overlaps, book.count().points) == (0, 200)


def test_what_was_in_the_store_before_does_not_count() -> None:
    before = StoreCount({"10s": 5, "1d": 100}, 7, 1)
    assert StoreCount({"10s": 6, "1d": 130}, 17, 1).since(before) == StoreCount({"10s": 1, "1d": 30}, 10, 0)


def test_quantiles_are_of_nearest_rank() -> None:
    assert nearest_rank([], 0.5) is None
    assert [nearest_rank([1.0, 2.0, 3.0, 4.0], q) for q in (0.0, 0.5, 0.51, 0.99, 1.0)] == [1, 2, 3, 4, 4]


def test_a_probe_that_is_visible_counts_with_what_it_took() -> None:
    book = LagBook()
    for at in (10.0, 11.0, 12.0):
        book.sent(at)
    book.visible(11.0, 13.0)
    assert book.quantiles(13.0) == (2.0, 3.0)


def test_a_lag_that_grows_shows_before_the_probe_arrives() -> None:
    book = LagBook()
    book.sent(10.0)
    book.visible(10.0, 11.0)
    book.sent(12.0)
    assert book.quantiles(12.5)[1] == 1.0
    assert book.quantiles(20.0)[1] == 8.0


def test_nothing_is_said_of_the_lag_before_a_probe_has_arrived() -> None:
    book = LagBook()
    book.sent(10.0)
    assert book.quantiles(60.0) == (None, None)


async def test_the_meter_survives_a_store_that_is_away() -> None:
    producer, _, _ = captured_producer()
    asked: list[str] = []

    async def query(sql: str, _: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        asked.append(sql)
        if len(asked) < 3:
            raise OSError("away")
        return [[2e12]]

    meter = LagMeter(producer, query, "streamgauge", every_s=0.001, look_s=0.001)
    running = asyncio.create_task(meter.run())
    async with asyncio.timeout(10):
        while meter.quantiles()[0] is None:  # noqa: ASYNC110  # the meter tells nobody
            await asyncio.sleep(0.001)
    running.cancel()
    assert producer.stats().emitted["lag_probe"] >= 2


@pytest.fixture
def rolled_up(tmp_path_factory: pytest.TempPathFactory, unique: str) -> Iterator[RolledUp]:
    made = RolledUp(tmp_path_factory.mktemp("store"), unique, [contract_of(LagProbe), contract_of(SignUp)])
    yield made
    made.close()


NOW_MS = 1_800_000_000_000


@pytest.mark.clickhouse
def test_the_sql_of_the_accounts_counts_what_ledger_and_tables_hold(rolled_up: RolledUp) -> None:
    producer, transport, _ = captured_producer()
    fine = Counter("fine", producer=producer)
    coarse = Counter("coarse", granularity="1h", producer=producer)
    for _ in range(2):
        fine.inc()
        coarse.inc()
        producer.emit(LagProbe(sent=12.5))
        producer.emit(SignUp(country="NZ", segment="free", campaign=None, customer_id="c-1", email="a@example.com"))
        producer.flush()
        rolled_up.take(transport.delivered, NOW_MS)
        transport.delivered.clear()
    book = LedgerBook()
    for one in rolled_up.entries:
        book.add(one)
    since = {"since_ms": NOW_MS - 1}
    ledger = ledger_count(rolled_up.rows(ledger_sql(rolled_up.database), since))
    store = store_count(rolled_up.rows(store_sql(rolled_up.database), {"since_ms": 0}))
    assert ledger == book.count()
    assert ledger.tiers == {"10s": 8, "1m": 8, "1h": 10, "1d": 10}
    assert settle([emission_of_stats(producer.stats())], ledger, store, final=True).balanced


@pytest.mark.clickhouse
def test_the_sql_of_the_ledger_finds_gaps_and_overlaps_as_the_book_does(rolled_up: RolledUp) -> None:
    starts = random.Random(3).sample(range(0, 200, 2), 50)
    entries = [replace(entry(at, at + 10, 7, partition=at % 3), committed_ms=NOW_MS) for at in sorted(starts)]
    rolled_up.store.insert_ledger(entries, "ledger")
    book = LedgerBook()
    for one in entries:
        book.add(one)
    found = ledger_count(rolled_up.rows(ledger_sql(rolled_up.database), {"since_ms": 0}))
    assert found == book.count()
    assert found.gaps > 0
    assert found.overlaps > 0


@pytest.mark.clickhouse
async def test_the_meter_finds_its_probe_in_the_tables(rolled_up: RolledUp) -> None:
    producer, transport, _ = captured_producer()
    meter = LagMeter(producer, rolled_up.query, rolled_up.database, every_s=0.01, look_s=0.01)
    running = asyncio.create_task(meter.run())
    async with asyncio.timeout(60):
        while meter.quantiles()[0] is None:
            producer.flush()
            if transport.delivered:
                rolled_up.take(transport.delivered, NOW_MS)
                transport.delivered.clear()
            await asyncio.sleep(0.02)
    running.cancel()
    median, _ = meter.quantiles()
    assert median is not None
    assert 0 < median < 60


def test_refused_points_without_a_letter_leave_the_account_balanced() -> None:
    silent = {"repeated_key": 5, "no_consent:analytics": 3, "gpc:advertising": 1, "other_legal_basis:consent": 1}
    ledger = replace(LEDGER, refused={**LEDGER.refused, **silent})
    sent = replace(SENT, emitted=SENT.emitted + 10, acknowledged=SENT.acknowledged + 10)
    assert settle([sent], ledger, STORE, final=True).differences() == []
    for reason in ("duplicate_key", "no_consent_at_all"):
        found = settle([sent], replace(LEDGER, refused={**LEDGER.refused, reason: 10}), STORE, final=True)
        assert found.differences() == ["refused with a letter 20, dead 10"]
