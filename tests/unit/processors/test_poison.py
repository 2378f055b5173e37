"""Poison: a message on which the worker fails, wherever that is, is refused for itself, and nothing of it is shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from streamgauge.processors import accumulator, event_table
from streamgauge.processors.cleaner import Cleaner
from streamgauge.processors.outputs import outputs
from streamgauge.processors.poison import INTERNAL_ERROR, Poison
from streamgauge.schemas.errors import place_of
from tests.unit.processors.bench import Bench, message, once, opened, within
from tests.unit.processors.raw import PLACE

SECRET = "jane@example.com"
POISON = 3


def holds(thing: object, marker: str, depth: int = 6) -> bool:
    """Whether the marker is somewhere in a value, its attributes and entries included."""
    if isinstance(thing, str | bytes):
        return marker.encode() in (thing.encode() if isinstance(thing, str) else thing)
    if depth == 0 or thing is None or isinstance(thing, int | float):
        return False
    if isinstance(thing, dict):
        thing = list(cast("dict[object, object]", thing).values())
    if isinstance(thing, list | tuple):
        return any(holds(one, marker, depth - 1) for one in cast("list[object]", thing))
    names = [name for one in type(thing).__mro__ for name in getattr(one, "__slots__", ())] + list(
        getattr(thing, "__dict__", ())
    )
    return any(holds(getattr(thing, name, None), marker, depth - 1) for name in names)


def failing(of: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls raise an error that quotes what it was called with, if that holds the poison's country."""
    whole: Callable[..., Any] = getattr(of, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if holds(args, f"o{POISON}") or holds(kwargs, f"o{POISON}"):
            raise ValueError(f"{SECRET}: {args!r}")
        return whole(*args, **kwargs)

    monkeypatch.setattr(of, name, call)


STAGES: dict[str, tuple[Any, str]] = {
    "decode": (accumulator, "decode"),
    "consent": (accumulator, "denied"),
    "admission": (accumulator, "admit"),
    "cleaning": (Cleaner, "dictionary"),
    "rolling up": (event_table.EventTable, "add"),
}


async def deliver(bench: Bench, until: int) -> None:
    """As a consumer does: from where the partition seeks to, on and on, until that many messages are final."""
    for _ in range(4 * until):
        if bench.partition.committed >= until:
            return
        for offset in range(bench.partition.next, until):
            if offset == bench.partition.next:
                await bench.add(offset)
        await bench.commit_when_due()
    raise AssertionError(f"committed up to {bench.partition.committed}")


@pytest.mark.parametrize("stage", STAGES)
async def test_poison_that_raises_in_a_stage_is_refused_and_everything_else_counts_once(
    stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing(*STAGES[stage], monkeypatch)
    bench = await opened()
    await within(deliver(bench, 6))
    assert bench.countries() == once(0, 1, 2, 4, 5)
    refused = bench.store.totals().refused
    assert refused == {INTERNAL_ERROR: 1}
    assert vars(bench.partition)["_poison"].place(POISON) is None  # it is final, and need not be known
    shown = caplog.text + repr(bench.store.totals().dead)
    assert SECRET not in shown
    assert "ValueError in call, test_poison.py" in shown


async def test_poison_in_the_making_of_a_transaction_is_found_among_its_neighbours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def making(one: accumulator.Accumulator, start: int, end: int, *rest: Any) -> Any:
        if start <= POISON < end and not one.refused[INTERNAL_ERROR]:
            raise KeyError(SECRET)
        return outputs(one, start, end, *rest)

    bench = await opened(outputs=making)
    await within(deliver(bench, 6))
    assert bench.countries() == once(0, 1, 2, 4, 5)
    assert bench.ranges() == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    assert bench.store.totals().refused == {INTERNAL_ERROR: 1}
    await bench.add(6, 7)
    await bench.commit_when_due()
    assert bench.ranges()[-1] == (6, 8)  # those after it go together again
    assert SECRET not in caplog.text


async def test_what_was_added_of_poison_before_it_raised_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = event_table.EventTable.add
    bench = await opened()

    def half(self: Any, *args: Any) -> int:
        points = whole(self, *args)
        if holds(args, f"o{POISON}"):
            raise ValueError("after it was added")
        return points

    monkeypatch.setattr(event_table.EventTable, "add", half)
    await bench.add(0, 1, 2)
    await bench.add(POISON)
    await within(deliver(bench, 6))
    assert bench.countries() == once(0, 1, 2, 4, 5)


async def test_a_commit_that_waits_for_another_one_takes_nothing_of_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = event_table.EventTable.add

    def half(self: Any, *args: Any) -> int:
        points = whole(self, *args)
        if holds(args, f"o{POISON}"):
            raise ValueError("after it was added")
        return points

    monkeypatch.setattr(event_table.EventTable, "add", half)
    bench = await opened()
    await bench.add(0, 1)
    bench.block("begin")
    first = asyncio.create_task(bench.partition.commit())
    await within(bench.reached["begin"].wait())
    await bench.add(2)
    second = asyncio.create_task(bench.partition.commit())
    await asyncio.sleep(0)
    poison = asyncio.create_task(bench.add(POISON))
    await asyncio.sleep(0)
    bench.release("begin")
    await within(asyncio.gather(first, second, poison))
    await within(deliver(bench, 6))
    assert bench.countries() == once(0, 1, 2, 4, 5)


async def test_a_refused_batch_that_comes_again_to_a_worker_that_can_process_it_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = message(POISON)
    failing(accumulator, "admit", monkeypatch)
    bench = await opened()
    for _ in range(2):
        await bench.partition.add(0, value)
    await bench.commit_when_due()
    assert bench.store.totals().refused == {INTERNAL_ERROR: 1}
    monkeypatch.undo()
    await bench.partition.add(1, value)
    await bench.commit_when_due()
    assert bench.countries() == once(POISON)


async def test_a_machine_without_memory_is_no_fault_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(accumulator, "admit", call)
    bench = await opened()
    with pytest.raises(MemoryError):
        await bench.add(0)


def test_a_place_says_what_failed_where_and_nothing_of_what_it_said() -> None:
    with pytest.raises(ValueError, match=SECRET) as raised:
        int(SECRET)
    said = place_of(raised.value)
    assert said.startswith("ValueError in test_a_place_says")
    assert "test_poison.py:" in said
    assert SECRET not in said
    assert place_of(KeyError(SECRET)) == "KeyError"


def test_what_is_final_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    poison = Poison(PLACE)
    caplog.set_level(logging.ERROR)
    poison.found(4, 5, KeyError(SECRET))
    poison.found(7, 8, KeyError(SECRET))
    poison.settle(5)
    assert (poison.place(4), poison.place(7)) == (None, "KeyError")
    assert not poison.alone(1)
    poison.found(10, 20, KeyError(SECRET))
    assert poison.alone(20)
    assert not poison.alone(21)
