"""What recognises batches that are sent twice: holes are filled, repeats dropped, and what never comes is reported once."""

from __future__ import annotations

import pytest

from streamgauge.processors.sequences import Findings, SequencePolicy, Sequences
from streamgauge.schemas.batches import Origin

HORIZON = SequencePolicy(horizon_s=100, max_holes=4, expiry_s=1_000, max_streams=3)


def origin(seq: int, stream: str = "s", epoch: int = 1, instance: str = "i") -> Origin:
    """A batch of a stream."""
    return Origin({"instance": instance}, stream, epoch, seq)


def come(sequences: Sequences, *seqs: int, now_s: int = 0) -> list[bool]:
    """Batches of one stream; which of them were new."""
    return [sequences.first_time(origin(seq), now_s) for seq in seqs]


def test_what_was_spooled_during_an_outage_comes_behind_newer_batches_and_counts() -> None:
    sequences = Sequences()
    assert come(sequences, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4) == [True] * 10
    assert come(sequences, *range(10)) == [False] * 10
    assert sequences.take_findings() == Findings(repeats=10)
    assert sequences.take_findings() == Findings()


def test_a_batch_is_known_by_instance_epoch_and_stream() -> None:
    sequences = Sequences()
    assert come(sequences, 0) == [True]
    others = [origin(0, stream="t"), origin(0, epoch=2), origin(0, instance="j")]
    assert [sequences.first_time(one, 0) for one in others + others] == [True] * 3 + [False] * 3


def test_names_that_share_their_letters_are_other_streams() -> None:
    sequences = Sequences()
    assert sequences.first_time(origin(0, instance="a", epoch=11, stream="b"), 0)
    assert sequences.first_time(origin(0, instance="a1", epoch=1, stream="b"), 0)
    assert sequences.first_time(origin(0, instance="a", epoch=1, stream="1b"), 0)


def test_a_hole_that_is_older_than_the_horizon_is_reported_once_and_not_waited_for() -> None:
    sequences = Sequences(HORIZON)
    come(sequences, 0, 3, now_s=50)
    sequences.settle(150)
    assert sequences.take_findings() == Findings()
    sequences.settle(151)
    assert sequences.take_findings() == Findings(missing=2)
    sequences.settle(999)
    assert sequences.take_findings() == Findings()
    assert come(sequences, 1, 4, now_s=160) == [False, True]


def test_a_batch_that_fills_a_hole_in_time_is_not_missing() -> None:
    sequences = Sequences(HORIZON)
    come(sequences, 0, 4, now_s=0)
    come(sequences, 2, now_s=90)
    sequences.settle(101)
    assert sequences.take_findings() == Findings(missing=2)


def test_holes_of_a_stream_are_bounded_and_the_lowest_is_reported_early() -> None:
    sequences = Sequences(HORIZON)
    come(sequences, 0, 2, 4, 6, 8)
    assert sequences.take_findings() == Findings()
    come(sequences, 10)
    assert sequences.take_findings() == Findings(missing=1)
    assert come(sequences, 1, 3, 9) == [False, True, True]


@pytest.mark.parametrize(("first", "missing"), [(4, 4), (5, 0)])
def test_a_stream_that_is_heard_of_late_begins_where_it_is(first: int, missing: int) -> None:
    sequences = Sequences(HORIZON)
    come(sequences, first)
    sequences.settle(10_000)
    assert sequences.take_findings() == Findings(missing=missing)


def test_silent_streams_are_forgotten_and_the_most_silent_of_too_many() -> None:
    sequences = Sequences(HORIZON)
    for second, stream in enumerate("abcd"):
        sequences.first_time(origin(0, stream), second)
    sequences.forget(10)
    assert (len(sequences), sequences.take_findings()) == (3, Findings(crowded_out=1))
    sequences.forget(1_002)
    assert (len(sequences), sequences.take_findings()) == (2, Findings())
    assert [sequences.first_time(origin(0, stream), 1_002) for stream in "abcd"] == [True, True, False, False]


def test_what_is_taken_does_not_change_when_more_comes() -> None:
    sequences = Sequences()
    come(sequences, 0)
    (taken,) = sequences.take_touched()
    come(sequences, 1, 5)
    assert (taken.next, taken.holes) == (1, ())
    (later,) = sequences.take_touched()
    assert later.next == 6
    assert sequences.take_touched() == ()
