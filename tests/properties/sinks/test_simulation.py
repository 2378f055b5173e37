"""Thousands of lives of sinks that crash, freeze and lose answers: every message is in every table once.

A schedule that fails is named by its seed: `World(seed).run()` is the same again.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import replace

import pytest

from streamgauge.sinks.driver import Driver, Owned, Running, Steps
from streamgauge.sinks.insertion import (
    CommitDone,
    CommitIntent,
    InsertTable,
    Operation,
    Outcome,
    RetryPolicy,
    Wait,
    store_range,
)
from streamgauge.sinks.ranges import Range
from tests.properties.sinks.world import World

Run = Generator[Operation, Outcome, bool]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of fenced sinks would each say so."""
    caplog.set_level(logging.CRITICAL, "streamgauge.sinks")


@pytest.mark.parametrize("first", range(0, 2_000, 500))
def test_every_message_is_stored_once_in_every_table_whatever_happens_when(first: int) -> None:
    for seed in range(first, first + 500):
        try:
            World(seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_a_block_that_is_built_again_by_anybody_has_the_same_bytes() -> None:
    for seed in range(10_000, 10_060):
        World(seed, rollups=True).run()


def test_the_same_seed_is_the_same_life() -> None:
    lives = [World(7), World(7)]
    for life in lives:
        life.run()
    assert lives[0].store.tables == lives[1].store.tables
    assert lives[0].group.generation == lives[1].group.generation > 3


def test_the_lives_are_hard_enough_to_mean_something() -> None:
    worlds = [World(seed) for seed in range(100)]
    for world in worlds:
        for _ in range(150):
            world.step()
    assert sum(len(world.store.content) for world in worlds) > 1_000, "blocks"
    assert sum(world.store.repeats for world in worlds) > 300, "blocks that came again"
    assert sum(world.group.generation for world in worlds) > 1_000, "generations"


def never_waits_for_the_acknowledgement(pending: Range, tables: tuple[str, ...], _: RetryPolicy) -> Run:
    yield CommitIntent(pending)
    yield from inserts(pending, tables)
    yield CommitDone(pending)
    return True


def writes_no_intent(pending: Range, tables: tuple[str, ...], _: RetryPolicy) -> Run:
    yield from inserts(pending, tables)
    yield CommitDone(pending)
    return True


def takes_an_unknown_insert_for_done(pending: Range, tables: tuple[str, ...], policy: RetryPolicy) -> Run:
    yield from acknowledged(CommitIntent(pending))
    for table in tables:
        while (yield InsertTable(table, pending.token)) is Outcome.REFUSED:
            yield Wait(policy.refused_s)
    yield from acknowledged(CommitDone(pending))
    return True


def tries_again_with_another_token(pending: Range, tables: tuple[str, ...], _: RetryPolicy) -> Run:
    if not (yield from acknowledged(CommitIntent(pending))):
        return False
    for table in tables:
        attempt = 0
        while (yield InsertTable(table, replace(pending, block_format=1 + attempt).token)) is not Outcome.DONE:
            attempt += 1
            yield Wait(1.0)
    return (yield from acknowledged(CommitDone(pending)))


def goes_on_when_fenced(pending: Range, tables: tuple[str, ...], _: RetryPolicy) -> Run:
    yield from acknowledged(CommitIntent(pending))
    yield from inserts(pending, tables)
    yield from acknowledged(CommitDone(pending))
    return True


def inserts(pending: Range, tables: tuple[str, ...]) -> Generator[Operation, Outcome, None]:
    for table in tables:
        while (yield InsertTable(table, pending.token)) is not Outcome.DONE:
            yield Wait(1.0)


def acknowledged(step: CommitIntent | CommitDone) -> Generator[Operation, Outcome, bool]:
    while (outcome := (yield step)) is Outcome.UNKNOWN:
        yield Wait(1.0)
    return outcome is Outcome.DONE


def broken(seeds: range, steps: Steps, driver: type[Driver] = Driver, reads_intents: bool = True) -> bool:
    """Whether any of these lives shows it."""
    for seed in seeds:
        try:
            World(seed, steps=steps, driver=driver, reads_intents=reads_intents).run()
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize(
    "steps",
    [
        never_waits_for_the_acknowledgement,
        writes_no_intent,
        takes_an_unknown_insert_for_done,
        tries_again_with_another_token,
        goes_on_when_fenced,
    ],
)
def test_steps_that_are_wrong_are_found_out(steps: Steps) -> None:
    assert broken(range(40), steps)


def test_a_sink_that_does_not_read_intents_is_found_out() -> None:
    assert broken(range(40), store_range, reads_intents=False)


class CutsAnew(Driver):
    """Forgets the range of a fenced block."""

    def _send(self, owned: Owned, running: Running, outcome: Outcome) -> None:
        super()._send(owned, running, outcome)
        if owned.running is None:
            owned.partition.recovering = None


def test_a_fenced_block_that_is_cut_anew_is_found_out() -> None:
    assert broken(range(100), store_range, driver=CutsAnew)
