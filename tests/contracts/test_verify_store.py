"""What `verify` sees in real tables: nothing where nothing is wrong, and each kind of planted error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streamgauge.console.accounts_store import read_verification
from streamgauge.console.verify import Verification
from streamgauge.producers import Counter, Histogram
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import TIER_NAMES
from tests.support.rolled_up import REGION, RolledUp

pytestmark = pytest.mark.clickhouse

NOW_MS = 1_800_000_000_000
KEPT = (FOR_EVER,) * 4


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


def found(region: RolledUp) -> Verification:
    """The account."""
    return read_verification(region.store, region.database, REGION, KEPT, 0, NOW_MS)


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


def test_a_skipped_offset_is_lost(region: RolledUp) -> None:
    last = region.entries[-1]
    later = replace(last, start=last.end + 1, end=last.end + 2, messages=1, points={}, sums={})
    region.store.insert_ledger([later], "skips one")
    account = found(region)
    assert (account.lost, account.doubled, account.exact) == (1, 0, False)
    assert [one.gaps for one in account.partitions] == [((last.end, last.end + 1),)]


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
