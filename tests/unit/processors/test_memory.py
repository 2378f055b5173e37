"""What a partition remembers, as messages of the state topic: changes, and a snapshot now and then."""

from __future__ import annotations

import logging

import pytest

from streamgauge.processors import memory as memories
from streamgauge.processors.accumulator import Place
from streamgauge.processors.broker import Committed
from streamgauge.processors.memory import Memory
from streamgauge.processors.sequences import SequencePolicy
from streamgauge.schemas.batches import Origin
from streamgauge.schemas.errors import PositionLost
from streamgauge.schemas.state import decode_state

PLACE = Place("eu", "sg.eu.metrics.v1", 1)


def memory(partition: int = 1) -> Memory:
    """Of a partition; every third transaction carries a snapshot."""
    return Memory(Place("eu", PLACE.topic, partition), SequencePolicy(expiry_s=100), 8, snapshot_every=2)


def note(one: Memory, *streams: str, now_s: int = 0) -> None:
    """A first batch of each stream."""
    for stream in streams:
        assert one.sequences.first_time(Origin({}, stream, 1, 0), now_s)


def test_now_and_then_a_transaction_carries_everything_and_the_others_what_they_touched() -> None:
    one = memory()
    found: list[tuple[str, int, bool]] = []
    for end, stream in enumerate("abcdef"):
        note(one, stream)
        (output,) = one.take(end, 0)[1]
        message = decode_state(output.value)
        assert (message.end, message.topic, message.partition) == (end, PLACE.topic, 1)
        found.append((message.form, len(message.streams), output.anchor))
    change = ("change", 1, False)
    assert found == [("snapshot", 1, True), change, change, ("snapshot", 4, True), change, change]


def test_keys_are_used_once_between_two_snapshots_so_that_compaction_removes_nothing_that_is_needed() -> None:
    one = memory()
    keys = [output.key for end in range(3) for output in one.take(end, 0)[1]]
    assert len(set(keys)) == 3
    assert [output.key for end in range(3) for output in one.take(end, 0)[1]] == keys


def test_a_large_snapshot_travels_in_parts_of_which_the_first_is_the_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "ENTRIES_A_MESSAGE", 2)
    one = memory()
    note(one, "a", "b", "c", "d", "e")
    made = one.take(7, 0)[1]
    assert [(decode_state(output.value).part, output.anchor) for output in made] == [(0, True), (1, False), (2, False)]
    assert len({output.key for output in made}) == 3
    other = memory()
    other.restore([output.value for output in made], Committed(7, 0))
    assert len(other.sequences) == 5


def test_an_older_snapshot_is_replaced_and_silent_streams_are_forgotten_with_it() -> None:
    one = memory()
    note(one, "a")
    log = [output.value for output in one.take(1, 0)[1]]
    note(one, "b", now_s=200)
    for end in (2, 3, 4):
        log += [output.value for output in one.take(end, 200)[1]]
    other = memory()
    other.restore(log, Committed(4))
    assert len(other.sequences) == 1


def test_state_of_another_partition_in_the_same_place_is_left_alone() -> None:
    one, other = memory(1), memory(5)
    note(one, "a")
    note(other, "b")
    log = [output.value for each in (one, other) for output in each.take(1, 0)[1]]
    assert one.where == other.where
    heir = memory(1)
    heir.restore(log, Committed(1))
    assert not heir.sequences.first_time(Origin({}, "a", 1, 0), 0)
    assert heir.sequences.first_time(Origin({}, "b", 1, 0), 0)


def test_what_is_no_state_stops_with_advice() -> None:
    with pytest.raises(PositionLost, match=r"sg\.eu\.state\.v1/2 holds a message that is no state .*unknown_version"):
        memory().restore([b'{"v":2,"kind":"state"}'], Committed(1))


def test_an_offset_that_was_set_by_hand_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    one = memory()
    values = [output.value for output in one.take(9, 0)[1]]
    one.restore(values, Committed(9))
    assert caplog.text == ""
    one.restore(values, Committed(4))
    assert "state is that of offset 9, the committed offset is 4" in caplog.text


def test_streams_that_are_forgotten_for_want_of_room_are_said(caplog: pytest.LogCaptureFixture) -> None:
    one = Memory(PLACE, SequencePolicy(max_streams=2), 8, snapshot_every=2)
    note(one, "a", "b", "c")
    findings, _ = one.take(1, 0)
    assert findings.crowded_out == 1
    assert "1 streams were forgotten for want of room" in caplog.text


def test_what_an_owner_without_a_memory_took_is_waited_for_and_a_day_later_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = memory(), memory()
    note(one, "a")
    values = [output.value for output in one.take(1, 0)[1]]
    other.restore(values, Committed(4))  # an older release was here: its commits name no state
    assert "the state is that of offset 1, the committed offset is 4" in caplog.text
    for seq in (3, 2):  # 1 and 2 may have been counted, or come late: what comes is taken
        assert other.sequences.first_time(Origin({}, "a", 1, seq), 10)
    day = SequencePolicy().horizon_s
    assert other.take(6, 10)[0].missing == 0
    assert other.take(7, 11 + day)[0].missing == 1
