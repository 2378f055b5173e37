"""The benchmarks' own arithmetic. What they measure is never tested: that would be a timed test."""

from __future__ import annotations

import orjson
import pytest

from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode
from streamgauge.schemas.rollups import RollupRows, decode_rollups
from tests.benchmarks import memory, sink, small_instances
from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.backlog import Progress
from tests.benchmarks.flight_batches import Case, batches, single_events
from tests.benchmarks.latency import Look, latencies
from tests.benchmarks.options import BenchmarkFailed
from tests.benchmarks.processes import cpu_seconds, peak_bytes
from tests.benchmarks.report import Conditions, Figure, json_line, number, table
from tests.benchmarks.spy import hot_frames
from tests.support.flights import ROWS, points

NOW_MS = 1_795_354_000_000
HOURLY = Case(("origin", "dest"), "1h")


def test_a_table_names_a_case_once_and_leaves_out_what_no_figure_has() -> None:
    figures = [
        Figure("dense", "CPU an event", 1.5, "us", 6.0, "bare consumer"),
        Figure("dense", "peak memory", 1234.0, "MiB"),
    ]
    heading, _, first, second = table(figures).splitlines()
    assert heading.split() == ["case", "what", "value", "unit", "floor", "x", "floor", "floor", "is"]
    assert first.split() == ["dense", "CPU", "an", "event", "1.50", "us", "6.00", "0.25", "bare", "consumer"]
    assert second.split() == ["peak", "memory", "1,234", "MiB"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_numbers_show_three_digits_and_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == text


def test_a_line_of_json_holds_the_conditions_and_the_ratio_of_each_figure() -> None:
    conditions = Conditions("2026-11-22T20:00:00+00:00", (4.0, 3.0, 2.0), 2, "3.11.7", quick=True)
    line = json_line(
        "worker", [Figure("dense", "CPU", 3.0, "us", 6.0), Figure("dense", "peak", 1.0, "MiB")], conditions
    )
    assert line.endswith(b"\n")
    body = orjson.loads(line)
    assert (body["benchmark"], body["load"], body["quick"]) == ("worker", [4.0, 3.0, 2.0], True)
    assert [one["ratio"] for one in body["figures"]] == [0.5, None]


def test_cpu_time_is_read_behind_a_name_that_holds_parentheses() -> None:
    assert cpu_seconds("12 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0", 100) == 3.0


def test_peak_memory_of_a_process_that_has_ended_is_zero() -> None:
    assert peak_bytes("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 4 kB\n") == 2 << 20
    assert peak_bytes("Name:\tx\nState:\tZ (zombie)\n") == 0


def test_a_probe_counts_from_its_emission_to_the_first_answer_that_has_it() -> None:
    second = 1_000_000_000
    emitted = [0, 1 * second, 2 * second]
    looks = [Look(1 * second, 0, 0.0), Look(3 * second, 2, 0.0), Look(4 * second, 2, 0.0), Look(7 * second, 3, 0.0)]
    assert latencies(emitted, looks) == [3.0, 2.0, 5.0]


def test_a_probe_that_was_never_seen_has_no_latency() -> None:
    assert latencies([0, 10], [Look(1_000_000_000, 1, 0.0)]) == [1.0]


def test_frames_are_counted_on_top_of_the_stack_and_once_where_they_repeat_below() -> None:
    text = hot_frames("main;roll_up;roll_up;sort 3\nmain;send 1\n", top=1)
    assert text.splitlines() == ["4 samples; own time", "  75.0 %  sort", "with what they call", " 100.0 %  main"]


def test_waiting_ends_when_the_measured_process_has_ended() -> None:
    progress = Progress("the worker", alive=lambda: False)
    assert progress.check(5, 5)
    with pytest.raises(BenchmarkFailed, match="the worker ended by itself at 4 of 5"):
        progress.check(4, 5)


def test_waiting_ends_when_nothing_moves() -> None:
    progress = Progress("the worker", alive=lambda: True, stuck_after_s=0)
    assert not progress.check(1, 5)
    with pytest.raises(BenchmarkFailed, match="stuck at 1 of 5"):
        progress.check(1, 5)


def test_flights_become_batches_with_every_point_and_later_years_repeat_them() -> None:
    first, later = list(batches(HOURLY, 1)), list(batches(HOURLY, 1, first=1))
    assert sum(one.rows for one in first) == ROWS
    assert sum(one.points for one in first) == sum(one.points for one in later) == points()
    earlier, shifted = decode(first[0].value), decode(later[0].value)
    assert isinstance(earlier, EventBatch)
    assert isinstance(shifted, EventBatch)
    assert set(shifted.times - earlier.times) == {365 * 86_400_000}
    assert earlier.origin.stream != shifted.origin.stream


def test_single_events_are_json_with_the_case_s_dimensions_as_key() -> None:
    (key, value), *rest = single_events(HOURLY, 3)
    assert len(rest) == 2
    event = orjson.loads(value)
    assert key.decode() == f"{event['origin']}-{event['dest']}"
    assert event["ts"] % 3_600_000 == 0


def test_a_small_instance_sends_twenty_points_a_flush() -> None:
    batch = decode(small_instances.flush(7, 3, NOW_MS).value)
    assert isinstance(batch, MetricBatch)
    assert len(batch.windows) == 20
    assert batch.origin.seq == 3


def test_messages_of_the_backlog_are_large_and_their_sequence_is_dense() -> None:
    records = list(memory.backlog(8, NOW_MS))
    assert all(90_000 < len(one.value) < 130_000 for one in records)
    decoded = [decode(one.value) for one in records]
    assert all(isinstance(one, EventBatch) and len(one.times) == memory.EVENTS_A_MESSAGE for one in decoded)
    assert sorted((one.origin.stream, one.origin.seq) for one in decoded) == sorted(
        (key.decode(), seq) for key in {one.key for one in records} for seq in (0, 1)
    )


def test_the_sink_s_messages_hold_a_histogram_in_every_row_and_move_in_time_as_a_whole() -> None:
    load = sink.rollups(1, NOW_MS)
    moved = sink.later(load, 6)
    assert load.rows == sink.SERIES * sink.WINDOWS_A_COMMIT
    assert sum(len(decode_rollups(one.value).rows) for one in load.records) == load.rows
    for before, after in zip(load.records, moved.records, strict=True):
        early, late = decode_rollups(before.value).rows, decode_rollups(after.value).rows
        assert isinstance(early, RollupRows)
        assert int(early.hist.per_row.min()) > 0
        assert set(late.window.astype(int) - early.window.astype(int)) == {600}


def test_an_unknown_benchmark_is_refused_with_the_names_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["speed"])
    assert ended.value.code == 2
    assert ", ".join(BENCHMARKS) in capsys.readouterr().err
