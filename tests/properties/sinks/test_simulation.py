"""Thousands of lives of sinks that crash, freeze and lose answers: every message is in every table once.

A schedule that fails is named by its seed: `World(seed).run()` is the same again.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from streamgauge.schemas.topics import ROLLUPS, SCRUBBED
from streamgauge.sinks.decisions import FORGIVING, Read
from streamgauge.sinks.driver import Driver, Owned, Running
from streamgauge.sinks.insertion import (
    Answer,
    AskStore,
    CommitDone,
    CommitIntent,
    InsertTable,
    Operation,
    Outcome,
    RetryPolicy,
    Run,
    Wait,
    store_range,
)
from streamgauge.sinks.ranges import Range
from tests.properties.sinks.surroundings import ReadOnce
from tests.properties.sinks.world import World

SHORT: dict[str, Any] = {"trouble": 0.02, "partitions": 2}
"""Settings of a short life: as much trouble as in a long one, sooner."""

SHORT_STEPS = 14

FORGETFUL: dict[str, Any] = {"window": 15, "dark": True, "trouble": 0.003}
"""Settings of a life in which tables soon forget tokens, and the outcomes of one partition's inserts are unknown."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of fenced sinks would each say so."""
    caplog.set_level(logging.CRITICAL, "streamgauge.sinks")


def live(first: int, lives: int, moves: int, **settings: Any) -> int:
    """So many lives; how many sinks stopped with advice."""
    stops = 0
    for seed in range(first, first + lives):
        world = World(seed, **settings)
        try:
            world.run(moves)
        except AssertionError as error:
            raise AssertionError(f"World({seed}, **{settings}).run({moves}): {error}") from error
        stops += world.stops
    return stops


def test_every_message_is_stored_once_in_every_table_in_100_000_short_lives() -> None:
    assert live(0, 100_000, SHORT_STEPS, **SHORT) == 0


@pytest.mark.parametrize("first", range(0, 1_000, 250))
def test_every_message_is_stored_once_in_every_table_whatever_happens_when(first: int) -> None:
    assert live(first, 250, 150) == 0


def test_where_tables_forget_tokens_a_sink_stops_with_advice_rather_than_doubling_anything() -> None:
    assert 100 < live(20_000, 300, 200, **FORGETFUL) < 600


def test_single_events_are_not_sent_again_either_once_tables_may_have_forgotten_their_token() -> None:
    assert 10 < live(20_000, 30, 200, kind=SCRUBBED.kind, **FORGETFUL) < 100


@pytest.mark.parametrize("kind", [ROLLUPS.kind, SCRUBBED.kind])
def test_a_block_that_is_built_again_by_anybody_has_the_same_bytes(kind: str) -> None:
    for seed in range(10_000, 10_060):
        World(seed, kind=kind).run()


def test_the_same_seed_is_the_same_life() -> None:
    lives = [World(7), World(7)]
    for life in lives:
        life.run()
    rows, again = ({tier: table.rows for tier, table in life.store.tables.items()} for life in lives)
    assert rows == again
    assert lives[0].group.generation == lives[1].group.generation > 3


def test_the_lives_are_hard_enough_to_mean_something() -> None:
    worlds = [World(seed) for seed in range(100)]
    for world in worlds:
        for _ in range(150):
            world.step()
    assert sum(len(world.store.content) for world in worlds) > 1_000, "blocks"
    assert sum(world.store.repeats for world in worlds) > 300, "blocks that came again"
    assert sum(world.group.generation for world in worlds) > 1_000, "generations"


def never_waits_for_the_acknowledgement(pending: Range, tables: tuple[str, ...], _: RetryPolicy, __: Read) -> Run:
    yield CommitIntent(pending)
    yield from inserts(pending, tables)
    yield CommitDone(pending)
    return True


def writes_no_intent(pending: Range, tables: tuple[str, ...], _: RetryPolicy, __: Read) -> Run:
    yield from inserts(pending, tables)
    yield CommitDone(pending)
    return True


def takes_an_unknown_insert_for_done(pending: Range, tables: tuple[str, ...], policy: RetryPolicy, _: Read) -> Run:
    yield from acknowledged(CommitIntent(pending))
    for table in tables:
        while (yield InsertTable(table, pending.token)) is Outcome.REFUSED:
            yield Wait(policy.refused_s)
    yield from acknowledged(CommitDone(pending))
    return True


def tries_again_with_another_token(pending: Range, tables: tuple[str, ...], _: RetryPolicy, __: Read) -> Run:
    if not (yield from acknowledged(CommitIntent(pending))):
        return False
    for table in tables:
        attempt = 0
        while (yield InsertTable(table, replace(pending, block_format=1 + attempt).token)) is not Outcome.DONE:
            attempt += 1
            yield Wait(1.0)
    return (yield from acknowledged(CommitDone(pending)))


def goes_on_when_fenced(pending: Range, tables: tuple[str, ...], _: RetryPolicy, __: Read) -> Run:
    yield from acknowledged(CommitIntent(pending))
    yield from inserts(pending, tables)
    yield from acknowledged(CommitDone(pending))
    return True


def inserts(pending: Range, tables: tuple[str, ...]) -> Generator[Operation, Answer, None]:
    for table in tables:
        while (yield InsertTable(table, pending.token)) is not Outcome.DONE:
            yield Wait(1.0)


def acknowledged(step: CommitIntent | CommitDone) -> Run:
    while (outcome := (yield step)) is Outcome.UNKNOWN:
        yield Wait(1.0)
    return outcome is Outcome.DONE


def never_asks_the_store(pending: Range, tables: tuple[str, ...], policy: RetryPolicy, read: Read) -> Run:
    steps = store_range(pending, tables, policy, read)
    step = next(steps)
    while True:
        answer = FORGIVING if isinstance(step, AskStore) else (yield step)
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return bool(end.value)


def broken(seeds: range, moves: int = 150, **settings: Any) -> bool:
    """Whether any of these lives shows it."""
    for seed in seeds:
        try:
            World(seed, **settings).run(moves)
        except AssertionError:
            return True
    return False


class CutsAnew(Driver):
    """Forgets the range of a fenced block."""

    def _send(self, owned: Owned, running: Running, outcome: Answer) -> None:
        super()._send(owned, running, outcome)
        if owned.running is None:
            owned.partition.recovering = None


class TakesAnything(ReadOnce):
    """Does not look where it is."""

    def offer(self, offset: int, value: bytes, instant_ms: int, now_ms: int) -> None:
        if not self._waiting:
            self.since_ms = now_ms
        self._waiting.append(self.decoded(offset, value, instant_ms))


MISTAKES: dict[str, dict[str, Any]] = {
    "fence removed": {"steps": goes_on_when_fenced},
    "acknowledgement not waited for": {"steps": never_waits_for_the_acknowledgement},
    "token removed": {"steps": tries_again_with_another_token},
    "intent not written": {"steps": writes_no_intent},
    "intent not read": {"reads_intents": False},
    "unknown taken for done": {"steps": takes_an_unknown_insert_for_done},
    "position guard removed": {"partition": TakesAnything},
    "fenced block cut anew": {"driver": CutsAnew},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_out_in_long_lives_and_in_short_ones(mistake: str) -> None:
    assert broken(range(100), **MISTAKES[mistake])
    assert broken(range(5_000), SHORT_STEPS, **SHORT, **MISTAKES[mistake])


def test_a_sink_that_never_asks_the_store_is_found_out_where_tables_forget_tokens() -> None:
    assert broken(range(20_000, 20_300), 200, steps=never_asks_the_store, **FORGETFUL)
