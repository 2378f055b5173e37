"""What `verify` sees in real tables: nothing where nothing is wrong, and each kind of planted error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streamgauge.console.accounts_store import read_ends, read_verification
from streamgauge.console.verify import EventRows, Verification
from streamgauge.producers import Counter, Histogram
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.contracts import Contract
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.topics import SCRUBBED
from streamgauge.schemas.windows import DAY_MS, TIER_NAMES
from streamgauge.sinks.event_blocks import event_insert
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.retention import Retention
from tests.support.rolled_up import REGION, RolledUp
from tests.unit.sinks.messages import EVENTS_BLOCK, EVENTS_PLACE, single_events

pytestmark = pytest.mark.clickhouse

NOW_MS = 1_800_000_000_000
KEPT = (FOR_EVER,) * 4
EVENTS_AT = replace(EVENTS_PLACE, region=REGION, topic=SCRUBBED.name(REGION))


@pytest.fixture
def region(tmp_path: Path, unique: str) -> Iterator[RolledUp]:
    """A store with three transactions in it."""
    one = RolledUp(tmp_path, unique, [])
    producer, transport, clock = captured_producer()
    requests = Counter("requests", "", ["path"], producer=producer)
    seconds = Histogram("seconds", producer=producer)
    for turn in range(3):
        requests.labels(path=f"/{turn}").inc(2.5)
        seconds.observe(0.25 * (turn + 1))
        producer.flush()
        one.take(transport.delivered, clock.wall_ns() // 1_000_000)
        transport.delivered.clear()
    try:
        yield one
    finally:
        one.close()


def found(region: RolledUp, later_ms: int = 0) -> Verification:
    """The account, now or later."""
    return read_verification(region.store, region.database, REGION, KEPT, 0, NOW_MS + later_ms)


def change(region: RolledUp, tier: str, how: str) -> None:
    """Alter a tier by hand."""
    region.store.command(f"ALTER TABLE `{region.database}`.rollups_{tier} {how} SETTINGS mutations_sync = 2")


def test_nothing_is_found_where_nothing_is_wrong(region: RolledUp) -> None:
    account = found(region)
    assert (account.lost, account.doubled, account.values, account.exact) == (0, 0, (), True)
    assert sum(one.points for one in account.partitions) == 6


@pytest.mark.parametrize("tier", TIER_NAMES)
def test_a_deleted_row_is_lost(region: RolledUp, tier: str) -> None:
    change(region, tier, "DELETE WHERE metric = 'seconds'")
    account = found(region)
    assert (account.lost, account.doubled, account.exact) == (3, 0, False)


def test_a_block_that_was_inserted_past_its_token_is_doubled(region: RolledUp) -> None:
    producer, transport, clock = captured_producer(instance="another")
    Counter("requests", producer=producer).inc()
    producer.flush()
    entries = len(region.entries)
    for _ in range(2):  # the same points in two blocks; the ledger has them once
        region.take(transport.delivered, clock.wall_ns() // 1_000_000)
    ledger = f"`{region.database}`.ledger"
    region.store.command(
        f"ALTER TABLE {ledger} DELETE WHERE offset_from = {region.entries[entries + 1].start} SETTINGS mutations_sync = 2"
    )
    account = found(region)
    assert (account.lost, account.doubled, account.exact) == (0, 1, False)


@pytest.mark.parametrize("tier", TIER_NAMES)
def test_an_edited_value_is_seen_though_points_agree(region: RolledUp, tier: str) -> None:
    change(region, tier, "UPDATE sum = sum + 0.001 WHERE metric = 'seconds'")
    account = found(region)
    assert (account.lost, account.doubled, account.exact) == (0, 0, False)
    assert [one.tier for one in account.values] == [tier]


REQUESTS_DECLARED = Contract("requests", 1, {}, retention_tiers={"10s": "1d"})
"""A contract of the event that has the name of the counter: its rows are an event's as much as any."""


def let_go(region: RolledUp) -> None:
    """Give the first tier the rule of the contract, and let happen what it does after a day."""
    migrate(region.store, Retention(*KEPT), region.database, contracts=[REQUESTS_DECLARED])
    change(region, "10s", "DELETE WHERE metric = 'requests'")


def test_what_a_contract_lets_go_is_forgotten_and_not_lost(region: RolledUp) -> None:
    let_go(region)
    assert (found(region).lost, found(region).forgotten) == (3, 0), "the day is younger"
    account = found(region, 3 * DAY_MS)
    assert (account.lost, account.doubled, account.values, account.exact, account.forgotten) == (0, 0, (), True, 3)


def test_planted_errors_are_still_caught_on_days_that_contracts_let_go_of(region: RolledUp) -> None:
    let_go(region)
    for tier in ("1m", "1h"):
        change(region, tier, "UPDATE sum = sum + 0.001 WHERE metric = 'seconds'")
    account = found(region, 3 * DAY_MS)
    assert ([one.tier for one in account.values], account.exact) == (["1m", "1h"], False)
    change(region, "1m", "DELETE WHERE metric = 'seconds'")
    account = found(region, 3 * DAY_MS)
    assert (account.lost, account.forgotten) == (3, 3)
    change(region, "10s", "UPDATE count = count * 5 WHERE metric = 'seconds'")
    assert found(region, 3 * DAY_MS).doubled == 9


def test_a_skipped_offset_is_lost(region: RolledUp) -> None:
    last = region.entries[-1]
    later = replace(last, start=last.end + 1, end=last.end + 2, messages=1, points={}, sums={})
    region.store.insert_ledger([later], "skips one")
    account = found(region)
    assert (account.lost, account.doubled, account.exact) == (1, 0, False)
    assert [one.gaps for one in account.partitions] == [((last.end, last.end + 1),)]


def test_entries_that_sinks_of_two_releases_stored_with_and_without_a_life_count_once(region: RolledUp) -> None:
    before = found(region)
    region.store.insert_ledger(region.entries, "by the other release", "a-life")
    account = found(region)
    assert (account.lost, account.doubled, account.exact) == (0, 0, True)
    assert sum(one.points for one in account.partitions) == sum(one.points for one in before.partitions)


def test_an_entry_with_fewer_messages_than_offsets_is_lost(region: RolledUp) -> None:
    last = region.entries[-1]
    later = replace(last, start=last.end, end=last.end + 5, messages=3, points={}, sums={})
    region.store.insert_ledger([later], "adds three of five")
    assert (found(region).lost, found(region).exact) == (2, False)


def test_entries_of_before_sums_were_written_are_not_compared(region: RolledUp) -> None:
    ledger = f"`{region.database}`.ledger"
    region.store.command(
        f"ALTER TABLE {ledger} UPDATE day_sums = [], day_magnitudes = [] WHERE 1 SETTINGS mutations_sync = 2"
    )
    change(region, "1h", "UPDATE sum = sum + 1 WHERE metric = 'seconds'")
    assert found(region).exact


def test_ranges_that_meet_have_no_gap_whatever_their_order(region: RolledUp) -> None:
    last = region.entries[-1]
    ends = [(last.end + 5, last.end + 9), (last.end, last.end + 5)]
    for start, end in ends:
        later = replace(last, start=start, end=end, messages=end - start, points={}, sums={})
        region.store.insert_ledger([later], f"from {start}")
    (one,) = found(region).partitions
    assert (one.start, one.end, one.gaps, one.overlaps, one.missing, one.repeated, one.since_ms) == (
        0, last.end + 9, (), (), 0, 0, None,
    )  # fmt: skip


def test_offsets_of_two_transactions_are_doubled_and_it_is_said_since_when(region: RolledUp) -> None:
    last = region.entries[-1]
    later = replace(last, start=last.end, end=last.end + 5, messages=5, points={}, sums={})
    again = replace(later, start=last.end + 4, end=last.end + 9, committed_ms=NOW_MS)
    region.store.insert_ledger([later, again], "again")
    account = found(region)
    assert (account.lost, account.doubled, account.exact) == (0, 1, False)
    assert account.partitions[0].overlaps == ((last.end + 4, last.end + 5),)
    assert account.since_ms == NOW_MS


def test_many_gaps_are_all_counted_and_the_first_are_named(region: RolledUp) -> None:
    last = region.entries[-1]
    later = [
        replace(last, start=at, end=at + 1, messages=1, points={}, sums={})
        for at in range(last.end + 1, last.end + 301, 2)
    ]
    region.store.insert_ledger(later, "many")
    (one,) = found(region).partitions
    assert (one.missing, len(one.gaps), one.gaps[0]) == (150, 100, (last.end, last.end + 1))


def test_a_topic_that_was_made_anew_neither_overlaps_with_its_earlier_life_nor_leaves_a_gap(region: RolledUp) -> None:
    later = region.entries[-1].committed_ms + 1
    other = replace(region.entries[-1], start=0, end=1, messages=1, points={}, sums={}, committed_ms=later)
    region.store.insert_ledger([other], "another life", "another")
    account = found(region)
    assert account.exact
    assert [one.incarnation for one in account.partitions] == ["", "another"]


def test_releases_that_call_one_life_by_two_names_and_take_turns_leave_no_gap(region: RolledUp) -> None:
    last = region.entries[-1]
    for turn, life in enumerate(["", "another", "", "another", "another"]):
        entry = replace(
            last, start=last.end + turn, end=last.end + turn + 1, messages=1, points={}, sums={},
            committed_ms=NOW_MS + turn,
        )  # fmt: skip
        region.store.insert_ledger([entry], f"turn {turn}", life)
    account = found(region)
    assert account.exact
    assert [(one.start, one.end) for one in account.partitions] == [(0, last.end + 5)]


def test_a_gap_between_releases_that_take_turns_is_seen(region: RolledUp) -> None:
    last = region.entries[-1]
    for turn, life in enumerate(["", "another", ""]):
        entry = replace(
            last, start=last.end + 2 * turn, end=last.end + 2 * turn + 1, messages=1, points={}, sums={},
            committed_ms=NOW_MS + turn,
        )  # fmt: skip
        region.store.insert_ledger([entry], f"turn {turn}", life)
    assert found(region).lost == 2


def test_a_topic_made_anew_after_clocks_were_ahead_is_not_taken_for_releases_that_take_turns(region: RolledUp) -> None:
    last = region.entries[-1]
    now_ms = last.committed_ms + DAY_MS
    for turn, (life, start, at_ms) in enumerate(
        [("first", 0, now_ms), ("first", 1, now_ms + DAY_MS), ("second", 0, now_ms + 5)]
    ):
        entry = replace(last, start=start, end=start + 1, messages=1, points={}, sums={}, committed_ms=at_ms)
        region.store.insert_ledger([entry], f"turn {turn}", life)
    assert found(region).exact


def test_blocks_are_accounted_for_and_a_missing_one_is_seen(region: RolledUp) -> None:
    (rollups,) = found(region).blocks
    assert (rollups.start, rollups.end, rollups.blocks, rollups.points) == (0, 3, 3, 6)
    blocks = f"`{region.database}`.blocks"
    region.store.command(f"ALTER TABLE {blocks} DELETE WHERE block_from = 1 SETTINGS mutations_sync = 2")
    account = found(region)
    assert (account.blocks[0].gaps, account.misplaced, account.exact) == (((1, 2),), 1, False)


def test_a_block_that_is_noted_twice_is_one_and_one_that_reaches_into_another_is_not(region: RolledUp) -> None:
    blocks = f"`{region.database}`.blocks"
    again = f"INSERT INTO {blocks} SELECT * REPLACE (%s AS block_to) FROM {blocks} WHERE block_from = 0"
    region.store.command(again % "block_to")
    assert found(region).exact
    assert (found(region).blocks[0].blocks, found(region).blocks[0].points) == (3, 6)
    region.store.command(again % "2")
    assert (found(region).misplaced, found(region).blocks[0].overlaps) == (2, ((0, 1), (1, 2)))


def test_a_block_of_which_a_message_was_refused_is_not_missing(region: RolledUp) -> None:
    place = region.place
    region.store.command(
        f"ALTER TABLE `{region.database}`.blocks DELETE WHERE block_from = 1 SETTINGS mutations_sync = 2"
    )
    region.store.command(
        f"INSERT INTO `{region.database}`.dead (region, topic, partition, offset, reason, rows, at) "
        f"VALUES ('{REGION}', '{place.topic}', {place.partition}, 1, 'bad_json', 1, now())"
    )
    assert found(region).exact


@pytest.fixture
def events(region: RolledUp) -> RolledUp:
    """The same store with two more transactions, whose rows went on as single events: three and four, in two blocks."""
    last = region.entries[-1]
    for turn, rows in enumerate((3, 4)):
        entry = replace(
            last, start=last.end + turn, end=last.end + turn + 1, messages=1, points={}, sums={}, events=rows
        )  # fmt: skip
        region.store.insert_ledger([entry], f"sent {turn}")
        insert_events(region, turn, rows)
    return region


def insert_events(region: RolledUp, at: int, rows: int, token: str = "") -> None:
    """A block of one message with so many rows."""
    block = replace(EVENTS_BLOCK, place=EVENTS_AT, start=at, end=at + 1)
    region.store.insert_block(event_insert([single_events([NOW_MS] * rows)], block), token or block.token)


def test_single_events_that_are_all_there_are_exact(events: RolledUp) -> None:
    account = found(events)
    assert (account.events, account.whole) == (EventRows(7, 7, 0), True)
    (chain,) = [one for one in account.blocks if one.topic == EVENTS_AT.topic]
    assert (chain.start, chain.end, chain.blocks, chain.rows) == (0, 2, 2, 7)


def test_a_missing_block_of_single_events_is_lost(events: RolledUp) -> None:
    insert_events(events, 3, 1)
    change_blocks(events, "DELETE WHERE block_from = 1 AND topic LIKE '%events_scrubbed%'")
    account = found(events)
    assert (account.lost, account.misplaced, account.exact) == (3, 2, False), "four are missing, one is there too many"


def test_the_last_block_of_single_events_is_missed_too_though_it_leaves_no_gap(events: RolledUp) -> None:
    change_blocks(events, "DELETE WHERE block_from = 1 AND topic LIKE '%events_scrubbed%'")
    account = found(events)
    assert (account.lost, account.doubled, account.misplaced, account.exact) == (4, 0, 0, False)


def test_a_block_of_single_events_that_came_again_past_its_token_is_doubled(events: RolledUp) -> None:
    insert_events(events, 1, 4, token="another")
    assert events.store.query_rows(f"SELECT count() FROM `{events.database}`.events") == [(11,)]
    account = found(events)
    assert (account.events, account.lost, account.doubled) == (EventRows(7, 11, 4), 0, 4)
    later = read_verification(events.store, events.database, REGION, KEPT, DAY_MS, NOW_MS)
    assert (later.events, later.doubled) == (EventRows(None, 11, 4), 4), "where not everything is looked at, too"


def test_single_events_that_no_transaction_sent_are_doubled(events: RolledUp) -> None:
    insert_events(events, 2, 5)
    assert (found(events).lost, found(events).doubled) == (0, 5)


def test_forgotten_single_events_are_not_missed(events: RolledUp) -> None:
    events.store.command(f"ALTER TABLE `{events.database}`.events DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert found(events).exact


def test_sums_of_single_events_are_not_compared_once_the_accounts_have_begun_to_forget(events: RolledUp) -> None:
    account = read_verification(events.store, events.database, REGION, KEPT, 0, NOW_MS + 400 * DAY_MS)
    assert account.events == EventRows(None, 7, 0)


def change_blocks(region: RolledUp, how: str) -> None:
    """Alter the list of blocks by hand."""
    region.store.command(f"ALTER TABLE `{region.database}`.blocks {how} SETTINGS mutations_sync = 2")


def test_only_the_days_that_were_asked_for_are_looked_at(region: RolledUp) -> None:
    later = NOW_MS + 90 * DAY_MS
    account = read_verification(region.store, region.database, REGION, KEPT, later, later)
    assert (account.partitions, account.blocks, account.days, account.refused) == ((), (), (), {})


def test_where_the_store_ends_is_told_by_life(region: RolledUp) -> None:
    last = region.entries[-1]
    newer = replace(last, start=0, end=1)
    region.store.insert_ledger([newer], "another life", "another")
    ends = read_ends(region.store, region.database, REGION)
    assert ends[last.topic, last.partition] == {"": last.end, "another": 1}
    assert ends[region.place.topic, 0] == {"test": 3}
