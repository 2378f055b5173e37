"""Which keys are known, and for how long; what they are hashed with."""

from __future__ import annotations

import numpy as np
import pytest

from streamgauge.processors.keys import LOAD, SLOT_BYTES, KeyHasher, KeyPolicy, KeyTable, RecentKeys
from streamgauge.schemas.columns import Array
from streamgauge.schemas.keys import Keys

DAY = 86_400
NOW = 1_790_000_000


def key(*numbers: int) -> tuple[Array, Array]:
    """Both halves of some keys. Ten neighbours want the same slot."""
    low = np.array(numbers, np.uint64)
    return low // np.uint64(10) * np.uint64(0x9E37_79B9_7F4A_7C15) + low + np.uint64(1), low % np.uint64(3)


def test_a_key_is_new_once_within_the_horizon_and_again_after_it() -> None:
    table = KeyTable()
    assert table.add(*key(1, 2), NOW).tolist() == [True, True]
    assert table.add(*key(2, 1, 3), NOW + DAY).tolist() == [False, False, True]
    assert table.add(*key(1, 3), NOW + DAY + 1).tolist() == [True, False]
    assert table.add(*key(1, 2), NOW + DAY + 2).tolist() == [False, True]


def test_of_equal_keys_in_one_batch_the_first_is_new() -> None:
    assert KeyTable().add(*key(1, 2, 1, 1, 3, 2), NOW).tolist() == [True, True, False, False, True, False]


def test_keys_that_differ_in_one_half_only_are_two() -> None:
    table = KeyTable()
    low, high = np.array([5, 5, 6, 5], np.uint64), np.array([1, 2, 1, 1], np.uint64)
    assert table.add(low, high, NOW).tolist() == [True, True, True, False]


def test_keys_beyond_the_horizon_give_their_room_back() -> None:
    table = KeyTable(KeyPolicy(horizon_s=100))
    for second in range(0, 100_000, 50):
        assert table.add(*key(*range(second, second + 50)), NOW + second).all()
    assert table.nbytes < 50_000
    assert table.crowded_out == 0


def test_a_full_table_forgets_the_oldest_keys_and_counts_them() -> None:
    slots = 1_000
    table = KeyTable(KeyPolicy(max_bytes=slots * SLOT_BYTES))
    for number in range(2_000):
        assert table.add(*key(number), NOW + number).all()
    assert table.nbytes <= slots * SLOT_BYTES
    kept = len(table.since(0))
    assert kept == 2_000 - table.crowded_out
    assert slots * LOAD * 0.8 < kept <= slots * LOAD
    for number in range(2_000 - kept, 2_000):
        assert not table.add(*key(number), NOW + 2_000).any()


def test_a_batch_larger_than_the_table_is_no_danger_to_it() -> None:
    table = KeyTable(KeyPolicy(max_bytes=500 * SLOT_BYTES))
    assert table.add(*key(*range(5_000)), NOW).all()
    assert table.crowded_out >= 5_000 - 500
    assert table.add(*key(6_000, 6_000), NOW).tolist() == [True, False]


def test_a_dropped_transaction_is_undone_and_what_is_final_stays() -> None:
    keys = RecentKeys(KeyTable())
    keys.add(*key(1, 2), NOW)
    assert keys.begin().low.tolist() == key(1, 2)[0].tolist()
    keys.settle()
    keys.add(*key(2, 3), NOW)
    keys.begin()
    keys.add(*key(4), NOW)
    keys.undo()
    assert keys.add(*key(1, 2, 3, 4), NOW).tolist() == [False, False, True, True]


def test_what_was_known_and_not_new_is_not_undone() -> None:
    keys = RecentKeys(KeyTable())
    keys.add(*key(1), NOW)
    keys.begin()
    keys.settle()
    assert not keys.add(*key(1), NOW).any()
    keys.undo()
    assert not keys.add(*key(1), NOW).any()


def test_until_it_is_ready_nothing_may_be_added() -> None:
    keys = RecentKeys()
    assert not keys.ready
    with pytest.raises(RuntimeError):
        keys.add(*key(1), NOW)


def test_putting_a_key_twice_keeps_the_later_time() -> None:
    table = KeyTable()
    for times in ([NOW, NOW + 50], [NOW + 50, NOW]):
        table.put(Keys(*key(1, 1), np.array(times, np.uint32)), NOW + 60)
        assert table.since(0).at.tolist() == [NOW + 50]
    table.put(Keys(*key(2), np.array([NOW - DAY], np.uint32)), NOW + 60)
    assert len(table.since(0)) == 1


def test_hashes_are_those_of_one_secret_region_tenant_and_event() -> None:
    def hashed(secret: bytes, region: str, event: str, tenant: str) -> tuple[int, int]:
        low, high = KeyHasher(secret, region).hashes(event, tenant, ["o-1"])
        return int(low[0]), int(high[0])

    found = {
        hashed(secret, region, event, tenant)
        for secret in (b"0" * 32, b"1" * 32)
        for region in ("eu", "us")
        for event, tenant in (("order", ""), ("order", "a"), ("visit", ""), ("a", "order"))
    }
    assert len(found) == 16
    assert hashed(b"0" * 32, "eu", "order", "a") == hashed(b"0" * 32, "eu", "order", "a")


def test_only_missing_and_blank_keys_have_no_hash() -> None:
    low, high = KeyHasher(b"0" * 32, "eu").hashes("order", "", ["a", None, "", " ", "a", "a ", "é", "\ud800"])
    assert (low == 0).tolist() == [False, True, True, True, False, False, False, False]
    assert (low[0], high[0]) == (low[4], high[4])
    assert len(set(low.tolist())) == 5
    assert len(KeyHasher(b"0" * 32, "eu").hashes("order", "", [])[0]) == 0
