"""Whatever is refused, replaying its letters adds just what is missing, once, however often and in whatever order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.processors.accumulator import Accumulator, ContractKey
from streamgauge.processors.outputs import OutputPolicy, outputs
from streamgauge.processors.replayed import replay_of
from streamgauge.processors.replays import Replays
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.again import AGAIN_HEADER, Again, again_of
from streamgauge.schemas.contracts import Contract
from tests.properties.processors.test_rolling_up import Batch, batches, samples, without_last_of_counters
from tests.unit.processors.raw import CONTRACTS, NOW, ORDER, PLACE, Sample, metrics, never, tools
from tests.unit.processors.totals import Totals

OPEN = replace(ORDER, fields={**ORDER.fields, "segment": replace(ORDER.fields["segment"], values=())})
LATER: dict[ContractKey, Contract] = {**CONTRACTS, ("order", 1): OPEN}
Sent = tuple[bytes | None, bytes | None]
"""A raw message: its value and the value of the header of replays."""


class Worker:
    """One raw partition from its first offset on; each call of `commit` is one transaction."""

    def __init__(self) -> None:
        self.log: list[Sent] = []
        self.totals = Totals()
        self.replays = Replays(expiry_s=7 * 86_400)
        self.done = 0

    def commit(self, contracts: Mapping[ContractKey, Contract]) -> Totals:
        """Read what is new in the log; what this transaction adds up to."""
        accumulator = Accumulator(PLACE, tools())
        for offset, (value, header) in enumerate(self.log[self.done :], self.done):
            again = replay_of(None if header is None else [("x", b"y"), (AGAIN_HEADER, header)], offset)
            if isinstance(again, Again) and self.replays.seen(again):
                accumulator.add_repeat(value)
                continue
            assert accumulator.add(offset, value, contracts, NOW, never, again)
            if isinstance(again, Again):
                self.replays.note(again, NOW // 1000)
        made, entry = outputs(accumulator, self.done, len(self.log), SeriesIndex(), OutputPolicy(), NOW)
        assert entry.messages == entry.end - entry.start
        self.done = len(self.log)
        self.totals.read(made)
        return Totals().read(made)

    def replay(self, found: Totals, order: st.DataObject, backfill: bool) -> None:
        """Append the letters of a transaction to the log, in any order, some of them twice."""
        letters = order.draw(st.permutations([*found.dead, *found.dead[:2]]))
        for letter in letters:
            assert letter.topic == PLACE.topic
            self.log.append((self.log[letter.offset][0], again_of(letter, backfill).encode()))


def message(batch: Batch | Sequence[Sample], backfill: bool) -> bytes:
    """A batch as it is sent, exempt from limits on age or not."""
    if isinstance(batch, Batch):
        return replace(batch, backfill=backfill).message()
    return metrics(batch, backfill=backfill)


points = samples().map(lambda one: replace(one, count=max(1, one.count)))
batches_of_all_kinds = st.lists(st.one_of(batches, st.lists(points, min_size=1, max_size=6)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(batches_of_all_kinds, st.data())
def test_replaying_every_letter_adds_just_what_was_missing(
    sent: list[Batch | list[Sample]], data: st.DataObject
) -> None:
    worker = Worker()
    worker.log = [(message(one, backfill=False), None) for one in sent]
    first = worker.commit(CONTRACTS if data.draw(st.booleans()) else {})
    worker.replay(first, data, backfill=False)
    # nothing but the contracts has changed: what is too old is refused again, now as the letter of a replay
    second = worker.commit(LATER)
    assert {letter.reason for letter in second.dead} <= {"too_old", "in_the_future"}
    assert all(letter.again >= len(sent) > letter.offset for letter in second.dead)
    worker.replay(second, data, backfill=True)
    third = worker.commit(LATER)
    assert third.dead == []
    straight = Worker()
    straight.log = [(message(one, backfill=True), None) for one in sent]
    straight.commit(LATER)
    assert without_last_of_counters(worker.totals.cells) == without_last_of_counters(straight.totals.cells)
    assert worker.totals.distinct == straight.totals.distinct
    assert worker.totals.points == straight.totals.points
    repeats = sum(min(2, len(one.dead)) for one in (first, second))
    assert sum(entry.sequence_repeats for entry in worker.totals.ledger) == repeats
    assert worker.totals.refused["repeat"] == 0
