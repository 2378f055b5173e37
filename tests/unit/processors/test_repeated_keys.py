"""An event whose idempotency key has come counts once, whoever owns the partition when the second one comes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from streamgauge.processors import key_memory
from streamgauge.processors.keys import KeyPolicy
from streamgauge.schemas import keys as key_messages
from streamgauge.schemas.errors import PositionLost
from streamgauge.schemas.keys import KeysMessage
from tests.unit.processors.bench import Bench, once, opened, within
from tests.unit.processors.raw import NOW, PAID, events

HOUR_MS = 3_600_000


def paid(*keys: int) -> bytes:
    """A batch of payments, whose country tells their key."""
    return events([{"order_id": str(key), "country": f"o{key}", "time": NOW - 6 * HOUR_MS} for key in keys], PAID)


class Orders:
    """A bench to which payments are delivered, each batch at the next offset."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    async def add(self, *keys: int) -> None:
        """One batch, delivered as often as it takes."""
        batch, offset = paid(*keys), self.bench.partition.next
        for _ in range(100):
            await self.bench.partition.add(offset, batch)
            if self.bench.partition.next > offset:
                return
            await self.bench.partition.tick()  # it may wait for what reads the keys
            await asyncio.sleep(0.001)
        raise AssertionError("the batch waits for ever")

    async def commit(self, *keys: int) -> None:
        """One batch, committed."""
        await self.add(*keys)
        await self.bench.commit_when_due()

    async def move(self) -> None:
        """Another owner."""
        await self.bench.partition.close()
        self.bench.partition = self.bench.new_partition()
        await self.bench.partition.open()

    @property
    def counts(self) -> dict[str, int]:
        """How often each key was counted."""
        found: Counter[str] = Counter()
        for (metric, labels, _, _), cell in self.bench.store.totals().cells.items():
            found[dict(labels)["country"]] += cell.count if metric == "paid" else 0
        return dict(sorted(found.items(), key=lambda pair: int(pair[0][1:])))

    @property
    def messages(self) -> list[KeysMessage]:
        """About keys, in the order of the log."""
        return self.bench.store.totals().keys

    def forms(self) -> list[tuple[str, int]]:
        """Of these messages, with how many keys are in them."""
        return [(one.form, len(one.keys)) for one in self.messages]


async def orders(**changes: object) -> Orders:
    """A bench with an open partition."""
    return Orders(await opened(**changes))


async def test_a_key_counts_once_over_transactions() -> None:
    one = await orders()
    await one.commit(1, 2, 1)
    await one.commit(2, 3)
    assert one.counts == once(1, 2, 3)
    assert one.bench.store.totals().refused == {"repeated_key": 2}
    assert one.forms() == [("add", 2), ("add", 1)]


async def test_the_next_owner_knows_what_was_committed_and_nothing_else() -> None:
    one = await orders()
    await one.commit(1, 2)
    await one.commit(3)
    await one.add(4)
    await one.move()
    await one.commit(4, 1, 2, 3, 5)
    assert one.counts == once(1, 2, 3, 4, 5)


async def test_what_was_added_and_not_committed_counts_when_it_comes_again_and_nothing_is_read() -> None:
    one = await orders()
    await one.commit(1)
    one.bench.faults["begin"] = 1
    one.bench.block("keys")
    await one.commit(2, 3)
    assert one.counts == once(1)
    await within(one.commit(2, 3, 1))
    assert one.counts == once(1, 2, 3)


async def test_a_commit_that_took_effect_unseen_is_remembered_and_nothing_is_read() -> None:
    one = await orders()
    one.bench.faults["done"] = 1
    one.bench.block("keys")
    await one.commit(1, 2)
    await within(one.commit(2, 1, 3))
    assert one.counts == once(1, 2, 3)
    await one.commit(4)
    assert [(message.part, len(message.keys)) for message in one.messages] == [(0, 2), (1, 1), (2, 1)]


@pytest.mark.parametrize("step", ["begin", "done"])
async def test_what_is_added_during_a_commit_that_fails_comes_again_and_counts(step: str) -> None:
    one = await orders()
    await one.add(1)
    one.bench.clock.now_ms += 2_000
    one.bench.block("begin")
    committing = asyncio.create_task(one.bench.partition.tick())
    await one.bench.reached["begin"].wait()
    await one.add(2)
    one.bench.faults[step] = 1
    one.bench.release("begin")
    await committing
    if step == "begin":
        await one.add(1)
    await one.commit(2)
    assert one.counts == once(1, 2)


async def test_after_another_owner_has_committed_everything_is_read_again() -> None:
    one = await orders()
    await one.commit(1)
    stale = one.bench.partition
    one.bench.partition = one.bench.new_partition()
    await one.bench.partition.open()
    await one.commit(2)
    one.bench.partition = stale  # it has slept, and believes that it is the owner
    await one.bench.partition.add(1, paid(2))
    await one.bench.commit_when_due()  # refused: it has been fenced
    await one.commit(2, 1, 3)
    assert one.counts == once(1, 2, 3)


async def test_another_owner_that_ended_where_the_last_attempt_ended_is_noticed() -> None:
    one = await orders()
    await one.commit(1)
    stale = one.bench.partition
    one.bench.partition = one.bench.new_partition()
    await one.bench.partition.open()
    await one.commit(2)
    one.bench.partition = stale
    await one.bench.partition.add(1, paid(3))  # it has read something else at this offset
    await one.bench.commit_when_due()
    assert one.bench.partition.committed == one.bench.store.offset == 2
    await one.commit(2, 1, 3)
    assert one.counts == once(1, 2, 3)


async def test_until_the_keys_are_read_everything_else_is_added_up_to_the_first_batch_that_has_some() -> None:
    one = await orders()
    await one.commit(7)
    await one.move()
    bench = one.bench
    bench.block("keys read")
    await bench.partition.add(1, events([{"country": "o1"}]))
    bench.seeks.clear()
    await bench.partition.add(2, paid(8, 7))
    await bench.partition.add(3, events([{"country": "o3"}]))
    for _ in range(3):
        await bench.commit_when_due()
    assert bench.store.offset == 2
    assert set(bench.seeks) == {2}
    await within(bench.reached["keys read"].wait())
    bench.release("keys read")
    bench.seeks.clear()
    async with asyncio.timeout(5):
        while not bench.seeks:  # at once, not after a second
            await bench.partition.tick()
            await asyncio.sleep(0)
    await bench.partition.add(2, paid(8, 7))
    await bench.partition.add(3, events([{"country": "o3"}]))
    await bench.commit_when_due()
    assert one.counts == once(7, 8) | {"o1": 0, "o3": 0}
    assert bench.store.offset == 4


async def test_a_commit_that_began_before_the_keys_were_read_does_not_forget_them() -> None:
    one = await orders()
    await one.commit(1)
    await one.move()
    bench = one.bench
    bench.block("begin")
    await bench.partition.add(1, events([{"country": "o9"}]))
    bench.clock.now_ms += 2_000
    committing = asyncio.create_task(bench.partition.tick())
    await bench.reached["begin"].wait()
    await one.add(1, 2)
    bench.release("begin")
    await committing
    await bench.commit_when_due()
    assert one.counts == once(1, 2) | {"o9": 0}
    await one.move()
    await one.commit(1, 2)
    assert one.counts == once(1, 2) | {"o9": 0}


@pytest.mark.parametrize("step", ["keys", "keys read"])
async def test_reading_the_keys_is_tried_again_until_it_works(step: str, caplog: pytest.LogCaptureFixture) -> None:
    one = await orders()
    await one.commit(1)
    await one.move()
    one.bench.faults[step] = 2
    await one.commit(1, 2)
    assert one.counts == once(1, 2)
    assert caplog.text.count("idempotency keys cannot be read") == 2


@pytest.mark.parametrize("step", ["keys read", "keys done"])
async def test_what_was_being_read_when_another_owner_committed_is_not_used(step: str) -> None:
    one = await orders()
    bench, other = one.bench, Orders(Bench(store=one.bench.store))
    await bench.partition.add(0, events([{"country": "o9"}]))
    await bench.commit_when_due()
    await one.move()
    bench.block(step)
    await bench.partition.add(1, events([{"country": "o9"}]))
    await bench.partition.add(2, paid(2))
    await bench.partition.tick()
    await within(bench.reached[step].wait())  # it has found none
    await other.bench.partition.open()
    await other.bench.partition.add(1, events([{"country": "o9"}]))
    await other.commit(2)
    await bench.commit_when_due()  # refused: it has been fenced
    assert bench.partition.committed == 3
    bench.release(step)
    await one.commit(2, 3)
    assert one.counts == once(2, 3) | {"o9": 0}


async def test_a_message_that_is_none_of_this_version_stops_with_advice() -> None:
    one = await orders()
    await one.commit(1)
    await one.move()
    offset, key, value = one.bench.store.state[-1]
    one.bench.store.state[-1] = offset, key, value.replace(b'"v":1', b'"v":2')
    with pytest.raises(PositionLost, match=r"keys/.*unknown_version.*Start the version"):
        await one.commit(1)


async def test_a_partition_that_is_closed_while_it_reads_its_keys_leaves_nothing_behind() -> None:
    one = await orders()
    await one.commit(1)
    await one.move()
    one.bench.block("keys read")
    await one.bench.partition.add(1, paid(1))
    await one.bench.partition.tick()
    await within(one.bench.reached["keys read"].wait())
    await within(one.bench.partition.close())
    assert len(asyncio.all_tasks()) == 1


async def test_an_hour_becomes_a_slice_and_its_additions_are_removed() -> None:
    one = await orders()
    await one.commit(1, 2)
    await one.commit(3)
    one.bench.clock.now_ms += HOUR_MS
    await one.commit(4)
    await one.commit(5, 1)
    assert one.forms() == [("add", 2), ("add", 1), ("slice", 4), ("add", 1)]
    one.bench.store.compact(one.bench.store.end)
    assert [key for _, key, _ in one.bench.store.state if b"/add/" in key] == [one.bench.store.state[-1][1]]
    await one.move()
    await one.commit(1, 2, 3, 4, 5, 6)
    assert one.counts == once(1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("compact", [False, True])
async def test_what_is_beyond_the_horizon_is_removed_and_counts_again(compact: bool) -> None:
    one = await orders(key_policy=KeyPolicy(horizon_s=2 * 3_600))
    for hour in range(6):
        await one.commit(hour)
        one.bench.clock.now_ms += HOUR_MS
        if compact:
            one.bench.store.compact(one.bench.store.end)
    if compact:
        slices = [key for _, key, _ in one.bench.store.state if b"/slice/" in key]
        assert 2 <= len(slices) <= 3
    await one.move()
    one.bench.clock.now_ms -= HOUR_MS
    await one.commit(5, 4, 0)
    assert one.counts == once(1, 2, 3, 4, 5) | {"o0": 2}


async def test_a_transaction_of_many_keys_and_a_slice_travel_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_messages.Keys.split, "__defaults__", (2,))
    one = await orders()
    await one.commit(1, 2, 3, 4, 5)
    await one.commit(6)
    one.bench.clock.now_ms += HOUR_MS
    await one.commit(7)
    parts = [(message.form, message.part, message.parts) for message in one.messages]
    assert parts[:4] == [("add", 0, 1), ("add", 1, 2), ("add", 2, 3), ("add", 3, 4)]
    assert parts[4:] == [("slice", part, 4) for part in range(4)]
    records = [key for _, key, value in one.bench.store.state if key.startswith(b"keys/") and value]
    assert len(set(records)) == 8
    one.bench.store.compact(one.bench.store.end)
    await one.move()
    await one.commit(1, 2, 3, 4, 5, 6, 7)
    assert one.counts == once(1, 2, 3, 4, 5, 6, 7)


async def test_a_slice_of_which_a_part_is_gone_is_named(caplog: pytest.LogCaptureFixture) -> None:
    one = await orders()
    await one.commit(1)
    one.bench.clock.now_ms += HOUR_MS
    await one.commit(2)
    store = one.bench.store
    store.state = [(at, key, value.replace(b'"parts":1', b'"parts":3')) for at, key, value in store.state]
    await one.move()
    await one.commit(3)
    assert "2 of 3 messages of idempotency keys" in caplog.text


async def test_slices_of_owners_whose_clock_runs_ahead_are_not_overwritten() -> None:
    one = await orders()
    for _ in range(3):
        await one.commit(1)
        one.bench.clock.now_ms += HOUR_MS
    await one.commit(2)
    one.bench.clock.now_ms -= 3 * HOUR_MS
    await one.move()
    for key in range(3, 8):
        await one.commit(key)
        one.bench.clock.now_ms += HOUR_MS // 2
    one.bench.store.compact(one.bench.store.end)
    await one.move()
    await one.commit(*range(1, 9))
    assert one.counts == once(*range(1, 9))


async def test_keys_that_come_after_the_clock_was_set_back_are_in_the_next_slice() -> None:
    one = await orders()
    await one.commit(1)
    one.bench.clock.now_ms += HOUR_MS
    await one.commit(2)
    one.bench.clock.now_ms -= 2 * HOUR_MS
    await one.commit(3)
    one.bench.clock.now_ms += 4 * HOUR_MS
    await one.commit(4)
    one.bench.store.compact(one.bench.store.end)
    await one.move()
    await one.commit(1, 2, 3, 4)
    assert one.counts == once(1, 2, 3, 4)


async def test_keys_that_are_forgotten_early_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    one = await orders(key_policy=KeyPolicy(max_bytes=0))
    for start in range(0, 200, 5):
        await one.commit(*range(start, start + 5))
    assert "idempotency keys were forgotten before their horizon" in caplog.text
    assert "STREAMGAUGE_KEY_MEMORY" in caplog.text


def test_a_slice_is_an_hour() -> None:
    assert key_memory.SLICE_S == HOUR_MS // 1000
