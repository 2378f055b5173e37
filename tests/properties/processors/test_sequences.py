"""Any order of arrivals and repeats: each batch counts once, and what has come, is missing and is waited for adds up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.processors.accumulator import Place
from streamgauge.processors.broker import Committed
from streamgauge.processors.memory import Memory
from streamgauge.processors.sequences import SequencePolicy, Sequences
from streamgauge.schemas.batches import Origin

PLACE = Place("eu", "sg.eu.events.v1", 2)
arrivals = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=60)


def origin(stream: str, seq: int) -> Origin:
    """A batch."""
    return Origin({"instance": "i"}, stream, 1, seq)


@given(arrivals)
def test_a_batch_is_new_exactly_once_in_any_order(batches: list[tuple[str, int]]) -> None:
    sequences = Sequences()
    seen: set[tuple[str, int]] = set()
    for one in batches:
        assert sequences.first_time(origin(*one), 0) == (one not in seen)
        seen.add(one)
    for state in sequences.all():
        assert [(hole.start < hole.end) for hole in state.holes] == [True] * len(state.holes)
    assert sum(one.next - sum(h.end - h.start for h in one.holes) for one in sequences.all()) == len(seen)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20), st.booleans()), max_size=60))
def test_what_came_what_is_missing_and_what_is_waited_for_add_up(steps: list[tuple[int, int, bool]]) -> None:
    sequences = Sequences(SequencePolicy(horizon_s=30, max_holes=3, expiry_s=10**9))
    now, new, missing, repeats = 0, 0, 0, 0
    for seq, seconds, settle in steps:
        now += seconds
        came = sequences.first_time(origin("a", seq), now)
        new, repeats = new + came, repeats + (not came)
        if settle:
            sequences.settle(now)
    for one in sequences.all():
        found = sequences.take_findings()
        missing += found.missing
        assert found.repeats == repeats
        started = 0 if steps[0][0] <= 3 else steps[0][0]
        assert one.next - started == new + missing + sum(hole.end - hole.start for hole in one.holes)
        assert len(one.holes) <= 3


@given(arrivals, arrivals, st.sets(st.integers(0, 60)), st.integers(1, 4))
def test_a_new_owner_knows_what_was_committed_and_nothing_else(
    committed: list[tuple[str, int]], dropped: list[tuple[str, int]], commits: set[int], snapshot_every: int
) -> None:
    policy = SequencePolicy()
    memory = Memory(PLACE, policy, 8, snapshot_every)
    log: list[bytes] = []
    anchor = 0

    def commit(end: int) -> None:
        nonlocal anchor
        for output in memory.take(end, 0)[1]:
            if output.anchor:
                anchor = len(log)
            log.append(output.value)

    for end, one in enumerate(committed):
        memory.sequences.first_time(origin(*one), 0)
        if end in commits:
            commit(end + 1)
    commit(len(committed))
    for one in dropped:
        memory.sequences.first_time(origin(*one), 0)
    successor = Memory(PLACE, policy, 8, snapshot_every)
    successor.restore(log[anchor:], Committed(len(committed), anchor))
    expected = Sequences(policy)
    for one in committed:
        expected.first_time(origin(*one), 0)
    assert sorted(successor.sequences.all(), key=lambda s: s.digest) == sorted(expected.all(), key=lambda s: s.digest)
    assert len(log) - anchor <= snapshot_every + 1
