"""Replayed messages: what their header says is followed once, and what it gets wrong is a dead letter."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from streamgauge.processors.replayed import Headers
from streamgauge.schemas.again import AGAIN_HEADER, Again
from streamgauge.schemas.columns import Array
from streamgauge.schemas.row_sets import RowSet
from tests.unit.processors.bench import Bench, message, opened
from tests.unit.processors.raw import CONTRACTS, NOW, events

OLD = NOW - 30 * 86_400_000
BATCH = events([{"country": "AU", "time": OLD}, {"country": "NZ"}, {"country": "JP", "time": OLD}])
OLD_ROWS = RowSet(3, "bits", "BQ==")


def header(again: Again) -> list[tuple[str, bytes]]:
    """As a client delivers it."""
    return [(AGAIN_HEADER, again.encode())]


async def after(bench: Bench, *messages: tuple[bytes, Headers]) -> Bench:
    """The bench, when messages have been added from offset 0 on and committed."""
    for offset, (value, headers) in enumerate(messages):
        await bench.partition.add(offset, value, headers)
    await bench.commit_when_due()
    return bench


def counted(bench: Bench) -> dict[str, int]:
    """How often each country was counted."""
    return {dict(labels)["country"]: cell.count for (_, labels, _, _), cell in bench.store.totals().cells.items()}


async def test_only_the_rows_that_were_refused_are_added_and_only_once() -> None:
    again = header(Again(0, "too_old", OLD_ROWS, backfill=True))
    bench = await after(await opened(), (BATCH, None), (BATCH, again), (BATCH, dict(again)))
    assert counted(bench) == {"AU": 1, "NZ": 1, "JP": 1}
    (entry,) = bench.store.totals().ledger
    assert (entry.messages, entry.batches, entry.sequence_repeats, entry.refused) == (
        3,
        2,
        1,
        {"too_old": 2, "repeat": 0},
    )
    assert [letter.reason for letter in bench.store.totals().dead] == ["too_old"]


async def test_two_refusals_of_one_message_are_two_replays() -> None:
    mixed = events([{"country": "AU", "time": OLD}, {"country": "NZ", "segment": "gold"}])
    first = header(Again(0, "too_old", RowSet(2, "bits", "AQ=="), backfill=True))
    other = header(Again(0, "bad_value", RowSet(2, "bits", "Ag==")))
    bench = await after(await opened(), (mixed, None), (mixed, first), (mixed, other))
    assert counted(bench) == {"AU": 1}
    assert [(one.reason, one.offset, one.again) for one in bench.store.totals().dead] == [
        ("too_old", 0, 0),
        ("bad_value", 0, 0),
        ("bad_value", 0, 2),
    ]


async def test_what_a_replay_is_refused_for_keeps_its_origin_and_its_row_numbers() -> None:
    again = header(Again(0, "unknown_contract", RowSet(3, "bits", "Bg==")))
    bench = await after(await opened(), (b"{", None), (BATCH, again))
    letter = bench.store.totals().dead[1]
    assert (letter.reason, letter.offset, letter.again, letter.rows) == ("too_old", 0, 1, 1)
    assert letter.which is not None
    assert letter.which.of == 3
    rows: Array = letter.which.rows()
    assert rows.tolist() == [2]
    assert [row.row for row in letter.sample] == [2]
    assert counted(bench) == {"NZ": 1}


async def test_a_replay_that_is_held_for_its_contract_is_no_repeat_of_itself() -> None:
    bench = await opened(contracts={})
    again = header(Again(0, "unknown_contract"))
    bench.clock.now_ms += 1
    await bench.partition.add(0, b"{", None)
    for _ in range(3):
        await bench.partition.add(1, message(1), again)
    bench.contracts = CONTRACTS
    await bench.partition.add(1, message(1), again)
    await bench.partition.add(2, message(1), again)
    await bench.commit_when_due()
    assert bench.countries() == {"o1": 1}
    assert bench.store.totals().ledger[0].sequence_repeats == 1


async def test_a_replay_whose_transaction_failed_counts_when_it_is_read_again() -> None:
    bench = await opened(faults={"begin": 1})
    messages = ((b"{", None), (message(1), header(Again(0, "bad_json"))))
    await after(bench, *messages)
    assert bench.store.transactions == []
    await after(bench, *messages)
    assert bench.countries() == {"o1": 1}


async def test_a_repeat_that_was_waited_for_ends_the_waiting() -> None:
    bench = await opened()
    again = header(Again(0, "bad_json"))
    await bench.partition.add(0, b"{", None)
    await bench.partition.add(1, message(1), again)
    await bench.partition.add(3, message(3), None)
    assert bench.seeks == [2]
    await bench.partition.add(2, message(1), again)
    await bench.partition.add(3, message(3), None)
    await bench.commit_when_due()
    assert bench.ranges() == [(0, 4)]
    assert bench.countries() == {"o1": 1, "o3": 1}


def changed(**changes: object) -> bytes:
    """A header with other keys."""
    return orjson.dumps(orjson.loads(Again(0, "too_old", OLD_ROWS).encode()) | changes)


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b"{"],
        [b"null"],
        [changed(offset=1)],
        [changed(offset=-1)],
        [changed(reason="too old")],
        [changed(reason="bad_value@1")],
        [changed(rows={"of": 3, "u4": "AAAAAAkAAAA="})],
        [changed(rows={"of": 2, "bits": "AQ=="})],
        [changed(rows=[1])],
        [changed(backfill=1)],
        [changed(copy=1)],
        [b'{"offset":0,"reason":"too_old","backfill":false}'],
        [changed(), changed()],
    ],
)
async def test_a_header_that_cannot_be_followed_is_a_dead_letter_and_adds_nothing(values: list[bytes]) -> None:
    bench = await after(await opened(), (message(0), None), (BATCH, [(AGAIN_HEADER, value) for value in values]))
    assert counted(bench) == {"o0": 1}
    (letter,) = bench.store.totals().dead
    assert (letter.reason, letter.offset, letter.again) == ("bad_again", 1, 0) or (
        letter.reason,
        letter.offset,
        letter.again,
    ) == ("bad_again", 0, 1)
    assert bench.ranges() == [(0, 2)]


async def test_other_headers_mean_nothing() -> None:
    bench = await after(await opened(), (message(0), [("traceparent", b"00-1")]), (message(1), []))
    assert counted(bench) == {"o0": 1, "o1": 1}


async def test_the_identity_of_a_replayed_replay_is_another_one() -> None:
    again = Again(0, "bad_value", RowSet(1, "bits", "AQ=="))
    mixed = events([{"country": "AU", "segment": "gold"}])
    third = replace(again, copy=1)
    bench = await after(
        await opened(), (mixed, None), (mixed, header(again)), (mixed, header(third)), (mixed, header(third))
    )
    assert [(one.offset, one.again) for one in bench.store.totals().dead] == [(0, 0), (0, 1), (0, 2)]
    assert bench.store.totals().ledger[0].sequence_repeats == 1
