"""Any order of batches, repeats, times and dropped transactions: the table knows what a plain dictionary knows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.processors.keys import SLOT_BYTES, KeyPolicy, KeyTable, RecentKeys
from streamgauge.schemas.columns import Array

HORIZON = 100
numbers = st.lists(st.integers(0, 40), max_size=30)
LOW = np.concatenate([np.arange(1, 15), np.arange(1, 15) << 32, np.arange(1, 15) << 60]).astype(np.uint64)
"""Keys of which many share a slot, at the start of the table, in its middle, and where it wraps around."""


def halves(keys: list[int]) -> tuple[Array, Array]:
    """Of some keys; each pair of neighbours shares one half."""
    index = np.array(keys, np.int64)
    return LOW[index // 2], (index % 2).astype(np.uint64)


class Model:
    """A dictionary of times; and what it was when a transaction began, and when one became final."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        self.begun: dict[int, int] = {}
        self.final: dict[int, int] = {}

    def add(self, keys: list[int], now: int) -> list[bool]:
        """As `KeyTable.add`."""
        found: list[bool] = []
        for key in keys:
            new = self.known.get(key, -HORIZON - 1) < now - HORIZON
            if new:
                self.known[key] = now
            found.append(new)
        return found


steps = st.lists(
    st.tuples(numbers, st.integers(0, 60), st.sampled_from(["", "begin", "settle", "undo", "unseen"])), max_size=20
)


@given(steps)
def test_a_table_knows_what_a_dictionary_knows(steps: list[tuple[list[int], int, str]]) -> None:
    keys, model, now, under_way = RecentKeys(KeyTable(KeyPolicy(HORIZON))), Model(), 1_000, False
    for wanted, seconds, then in steps:
        now += seconds
        assert keys.add(*halves(wanted), now).tolist() == model.add(wanted, now)
        if then == "begin" and not under_way:
            changed = {key for key, at in model.known.items() if model.final.get(key) != at}
            carried = keys.begin()
            assert {*zip(carried.low.tolist(), carried.high.tolist(), strict=True)} == {
                (int(low), int(high)) for low, high in zip(*halves(sorted(changed)), strict=True)
            }
            model.begun, under_way = dict(model.known), True
        elif then in {"settle", "unseen"} and under_way:
            keys.settle()
            model.final, under_way = model.begun, False
        if then in {"undo", "unseen"}:
            keys.undo()
            # what was refreshed is forgotten, not put back: it counted as absent
            model.known = dict(model.final)
            under_way = False


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 3)), max_size=40), st.integers(64, 700))
def test_a_full_table_forgets_only_the_oldest_and_says_how_many(batches: list[tuple[int, int]], slots: int) -> None:
    table = KeyTable(KeyPolicy(10**6, slots * SLOT_BYTES))
    now, first = 10**7, 0
    for n, seconds in batches:
        now += seconds
        number = np.arange(first, first + n, dtype=np.uint64)
        low = number * np.uint64(0x9E37_79B9_7F4A_7C15) + np.uint64(1)
        assert table.add(low, number, now).all()
        first += n
        assert table.nbytes <= slots * SLOT_BYTES
    live = table.since(0)
    assert len(live) + table.crowded_out == first
    if len(live):  # none older than what is kept was kept instead of it
        assert sorted(live.high.tolist()) == list(range(first - len(live), first))
