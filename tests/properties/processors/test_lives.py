"""Tens of thousands of short lives of a raw partition are exact; without any one of its guards some of them are not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from unittest.mock import patch

import pytest

from streamgauge.processors.broker import Committed
from streamgauge.processors.memory import Memory
from streamgauge.processors.outputs import Output
from streamgauge.processors.partition import Partition
from streamgauge.processors.position import Position, Verdict
from streamgauge.processors.sequences import Sequences
from tests.properties.processors.lives import Life, in_place, live
from tests.unit.processors.fakes import FakeCommitter

LIVES = 25_000


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in place of threads, and no log: trouble is wanted here."""
    monkeypatch.setattr(asyncio, "to_thread", in_place)
    logger = logging.getLogger("streamgauge.processors")
    logger.disabled = True
    yield
    logger.disabled = False


def test_every_batch_counts_once_whatever_happens() -> None:
    live(range(LIVES))


def test_a_life_depends_on_its_seed_alone() -> None:
    def transactions(seed: int) -> list[list[Output]]:
        life = Life(seed)
        asyncio.run(life.run())
        return life.store.transactions

    assert [transactions(seed) for seed in range(20)] == [transactions(seed) for seed in range(20)]


def broken(kind: type[Life] = Life) -> None:
    """Some of a few thousand lives shows it."""
    with pytest.raises(AssertionError, match=r"seed \d+"):
        live(range(3_000), kind)


class Unfenced(FakeCommitter):
    """Commits although another owner has opened the partition since, whatever that one committed."""

    def _check(self) -> None:
        if self._epoch is None:
            raise RuntimeError("the committer is not open")


class WithoutFence(Life):
    """Zombies may commit."""

    committer = Unfenced


def test_without_the_fence_a_zombie_is_found_out() -> None:
    broken(WithoutFence)


class WithoutSeeks(Life):
    """The consumer is never sought back."""

    seeks = False


def test_without_seeking_back_what_was_read_before_a_failure_is_missed() -> None:
    broken(WithoutSeeks)


def test_without_the_guard_of_the_position_messages_are_added_out_of_turn() -> None:
    def always_next(_self: Position, _offset: int) -> Verdict:
        return Verdict.NEXT

    with patch.object(Position, "verdict", always_next):
        broken()


class HalfATransaction(FakeCommitter):
    """The offset is committed even where the outputs are not."""

    async def commit(self, outputs: Sequence[Output], end: int, life: str = "") -> None:
        """See Committer."""
        self._check()
        self.store.offset = end
        await super().commit(outputs, end, life)


class WithoutTransactions(Life):
    """Offset and outputs are final one after the other."""

    committer = HalfATransaction


def test_an_offset_that_is_committed_before_its_outputs_loses_them() -> None:
    broken(WithoutTransactions)


class TriesAgain(Partition):
    """Takes an unknown outcome for a failure that left nothing."""

    async def _commit_or_reopen(self, made: list[Output], end: int) -> None:
        for _ in range(2):
            try:
                await self._committer.commit(made, end)
            except Exception:  # that is the mistake
                continue
            self._committed = end
            return
        await self._reopen()


class WithoutDoubt(Life):
    """Its partitions commit the same once more, without asking what became of it."""

    partition = TriesAgain


def test_when_an_unknown_outcome_is_taken_for_a_failure_that_left_nothing_it_shows() -> None:
    broken(WithoutDoubt)


def test_batches_that_come_twice_would_count_twice_without_their_numbers() -> None:
    original = Sequences.first_time

    def always(self: Sequences, *arguments: object) -> bool:
        original(self, *arguments)  # type: ignore[arg-type]  # as it was called
        return True

    with patch.object(Sequences, "first_time", always):
        broken()


def test_a_new_owner_that_knows_nothing_of_what_came_before_counts_repeats() -> None:
    def restore(self: Memory, _values: Sequence[bytes], _committed: Committed) -> None:
        self.forget()

    with patch.object(Memory, "restore", restore):
        broken()


def test_a_high_water_mark_in_place_of_holes_refuses_good_batches() -> None:
    original = Sequences.first_time

    def high_water(self: Sequences, *arguments: object) -> bool:
        before = {one.digest: one.next for one in self.all()}
        new = original(self, *arguments)  # type: ignore[arg-type]  # as it was called
        return new and all(one.next > before.get(one.digest, 0) for one in self.all())

    with patch.object(Sequences, "first_time", high_water):
        broken()
