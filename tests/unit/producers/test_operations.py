"""Operations: calls, errors and durations in one metric, of every kind of function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from streamgauge.producers import Histogram, operation, set_default
from streamgauge.schemas.errors import DeclarationError
from tests.unit.producers.bridges.recorded import Recorded

SHARED = "operation_duration"


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    recorded = Recorded()
    set_default(recorded.producer)
    yield recorded
    set_default(None)


def test_calls_errors_by_type_and_durations_are_one_metric(recorded: Recorded) -> None:
    @operation("charge_card")
    def charge(amount: int) -> int:
        """Take the money."""
        if amount < 0:
            raise ValueError("too little")
        return amount

    assert [charge(3), charge(4)] == [3, 4]
    with pytest.raises(ValueError, match="too little"):
        charge(-1)

    assert recorded.counts(SHARED) == {("charge_card", ""): 2, ("charge_card", "ValueError"): 1}
    assert (charge.__name__, charge.__doc__) == ("charge", "Take the money.")


def test_a_block_that_fails_counts_and_its_exception_goes_on(recorded: Recorded) -> None:
    with operation("refund"):
        pass
    with pytest.raises(LookupError), operation("refund"):
        raise KeyError("order")

    assert recorded.counts(SHARED) == {("refund", ""): 1, ("refund", "KeyError"): 1}


def test_labels_make_a_metric_of_its_own_in_any_order(recorded: Recorded) -> None:
    with operation("charge", provider="stripe", test=True):
        pass
    with operation("charge", test=False, provider="stripe"):
        pass

    assert recorded.counts("charge_duration") == {
        ("charge", "", "stripe", "true"): 1,
        ("charge", "", "stripe", "false"): 1,
    }
    with pytest.raises(DeclarationError, match="declared twice"), operation("charge", provider="stripe"):
        pass


async def test_an_async_function_is_measured_until_it_returns(recorded: Recorded) -> None:
    begun = asyncio.Event()

    @operation("fetch")
    async def fetch(wait: bool) -> str:
        begun.set()
        if wait:
            await asyncio.Event().wait()
        return "there"

    assert await fetch(False) == "there"
    task = asyncio.create_task(fetch(True))
    await begun.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert recorded.counts(SHARED) == {("fetch", ""): 1, ("fetch", "CancelledError"): 1}


def test_a_generator_is_measured_until_it_is_exhausted_or_closed(recorded: Recorded) -> None:
    @operation("export")
    def rows(bad: bool = False) -> Iterator[int]:
        yield 1
        if bad:
            raise OSError("disk")
        yield 2

    running = rows()
    assert recorded.counts(SHARED) == {}
    assert next(running) == 1
    assert recorded.counts(SHARED) == {}
    assert list(running) == [2]
    assert recorded.counts(SHARED) == {("export", ""): 1}
    early = rows()
    next(early)
    early.close()  # type: ignore[attr-defined]  # of generators
    with pytest.raises(OSError, match="disk"):
        list(rows(bad=True))

    assert recorded.counts(SHARED) == {("export", ""): 2, ("export", "OSError"): 1}


async def test_an_async_generator_too(recorded: Recorded) -> None:
    @operation("feed")
    async def rows() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert [row async for row in rows()] == [1, 2]
    assert recorded.counts(SHARED) == {("feed", ""): 1}


def test_a_recursive_function_has_a_duration_for_each_of_its_calls(recorded: Recorded) -> None:
    @operation("depth")
    def depth(left: int) -> int:
        return depth(left - 1) + 1 if left else 0

    assert depth(4) == 4
    assert recorded.counts(SHARED) == {("depth", ""): 5}
    assert recorded.found()[SHARED, "depth", ""].max >= recorded.found()[SHARED, "depth", ""].min > 0


def test_one_object_may_measure_nested_blocks(recorded: Recorded) -> None:
    once = operation("outer")
    with once, once:
        pass

    assert recorded.counts(SHARED) == {("outer", ""): 2}


def test_it_follows_the_default_producer_and_takes_another(recorded: Recorded) -> None:
    other = Recorded()

    with operation("here"), operation("there", producer=other.producer):
        pass
    set_default(other.producer)
    with operation("here"):
        pass

    assert recorded.counts(SHARED) == {("here", ""): 1}
    assert other.counts(SHARED) == {("here", ""): 1, ("there", ""): 1}


def test_a_name_that_cannot_be_a_metric_is_refused_where_it_must_be_one() -> None:
    with pytest.raises(DeclarationError, match="is not a name"):
        operation("charge card", provider="stripe")
    assert isinstance(operation("charge card"), object)


def test_the_shared_metric_is_a_histogram_of_seconds(recorded: Recorded) -> None:
    Histogram(SHARED, "", ["operation", "error_type"], unit="s", producer=recorded.producer)
    with operation("x", producer=recorded.producer):
        pass

    assert recorded.counts(SHARED) == {("x", ""): 1}
