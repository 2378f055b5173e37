"""Messages of a transaction: to the right partition, small, touching few parts, with labels before they are needed."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from streamgauge.processors.outputs import OutputPolicy
from streamgauge.processors.series import SeriesIndex
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.rollups import RollupRows, decode_rollups, part_keys
from tests.unit.processors.raw import NOW, Sample, committed, events, metrics, tools
from tests.unit.processors.totals import Totals

KIB = 1 << 10
DAY = 86_400_000


def rows(count: int, width: int = 1) -> list[dict[str, object]]:
    """Events of so many series."""
    return [{"country": f"c{number}" + "x" * width, "amount": 1.5, "customer": f"p{number}"} for number in range(count)]


def test_every_row_is_in_the_partition_of_its_series() -> None:
    policy = OutputPolicy(rollup_partitions=3, distinct_partitions=2)
    found = Totals().read(committed([events(rows(200))], policy=policy)[0])
    seen: dict[str, set[int]] = defaultdict(set)
    for output, message in found.messages:
        kind = output.topic.split(".")[2]
        seen[kind].add(output.partition)
        partitions = {"rollups": 3, "distinct": 2}[kind]
        assert np.all(message.rows.series_id % np.uint64(partitions) == output.partition)
    assert seen == {"rollups": {0, 1, 2}, "distinct": {0, 1}}
    assert len(found.cells) == 400
    assert sum(map(len, found.distinct.values())) == 200


@pytest.mark.parametrize("partitions", [1, 2])
def test_messages_stay_small_whatever_fills_them(partitions: int) -> None:
    heads = [
        MetricHead(f"metric_with_a_rather_long_name_{number}", "gauge", "s", ("a", "b")) for number in range(3_000)
    ]
    spread = [{"amount": 1.001**number, "country": f"c{number % 3}"} for number in range(12_000)]
    loads = {
        "rows": [events(rows(8_000))],
        "long labels": [events(rows(3_000, 1_000))],
        "labels beyond ASCII": [events([{"country": f"{number}" + "漢" * 900} for number in range(2_000)])],
        "labels that JSON escapes": [events([{"country": f"{number}" + "\x01" * 900} for number in range(2_000)])],
        "metrics": [metrics([Sample(one, ("x", "y"), NOW) for one in heads])],
        "histograms": [events(spread)] * 2,
    }
    for name, load in loads.items():
        made, entry = committed(load, policy=OutputPolicy(rollup_partitions=partitions, distinct_partitions=1))
        assert max(len(one.value) for one in made) < 768 * KIB, name
        rollups = [decode_rollups(one.value).rows for one in made if ".rollups." in one.topic]
        assert sum(int(some.count.sum()) for some in rollups if isinstance(some, RollupRows)) == entry.total


def test_messages_are_filled_before_the_next_one_is_begun() -> None:
    made, _ = committed([events(rows(20_000))], policy=OutputPolicy(rollup_partitions=1, distinct_partitions=1))
    sizes = [len(one.value) for one in made if ".rollups." in one.topic]
    assert len(sizes) > 3
    assert min(sizes[:-1]) > 256 * KIB


def test_a_message_touches_few_parts_of_the_store() -> None:
    days = [{"time": NOW - day * DAY, "country": f"c{day % 7}", "amount": 1.0} for day in range(100)]
    batches = [events(days[start : start + 40], backfill=True) for start in range(0, 100, 40)]
    policy = OutputPolicy(rollup_partitions=1, distinct_partitions=1, max_parts=32)
    found = Totals().read(committed(batches, policy=policy)[0])
    touched: list[set[int]] = [
        set(part_keys(m.rows.entry, m.rows.window.astype(np.int64)).tolist()) for _, m in found.messages
    ]
    assert [len(parts) for parts in touched] == [32, 32, 32, 4]
    assert len({part for parts in touched for part in parts}) == 100


def test_rows_of_a_message_are_in_the_order_of_the_store() -> None:
    steps = [{"time": NOW - step * 10_000, "country": f"c{step % 5}", "amount": 1.0} for step in range(300)]
    for _, message in Totals().read(committed([events(steps)])[0]).messages:
        if isinstance(message.rows, RollupRows):
            keys = part_keys(message.rows.entry, message.rows.window.astype(np.int64))
            columns = (keys, message.rows.metric, message.rows.series_id, message.rows.window)
            order = list(zip(*(column.tolist() for column in columns), strict=True))
            assert all(one <= next_one for one, next_one in pairwise(order))


def test_labels_travel_with_the_first_row_of_their_series_and_then_not_for_a_minute() -> None:
    shared, index = tools(), SeriesIndex()
    load = events(rows(4_000))

    def labelled(now_ms: int) -> list[int]:
        made, _ = committed([load], now_ms, shared, index)
        totals = Totals()
        totals.labels = dict(known)
        totals.read(made)  # fails when labels come too late
        known.update(totals.labels)
        return [one.series_id for _, message in totals.messages for one in message.labels]

    known: dict[int, tuple[tuple[str, str], ...]] = {}
    first = labelled(NOW)
    assert len(first) == len(set(first)) == 4_000
    assert labelled(NOW + 59_999) == []
    assert sorted(labelled(NOW + 60_000)) == sorted(first)
    index.forget()
    assert sorted(labelled(NOW + 60_001)) == sorted(first)


def test_labels_of_a_commit_that_failed_are_told_anew() -> None:
    index = SeriesIndex()
    made, _ = committed([events(rows(3))], index=index)
    index.forget()  # what a partition does when it starts over
    again, _ = committed([events(rows(3))], index=index)
    assert [one.value for one in again] == [one.value for one in made]


def test_every_message_names_its_offsets_and_the_ledger_comes_last() -> None:
    made, entry = committed([events(rows(2)), b"{", metrics([Sample(MetricHead("m", "counter"), (), NOW)])], start=40)
    found = Totals().read(made)
    assert {(m.raw.topic, m.raw.partition, m.raw.start, m.raw.end) for _, m in found.messages} == {
        (entry.topic, 3, 40, 43)
    }
    assert [one.topic for one in made[-2:]] == ["sg.local.dead.v1", "sg.local.ledger.v1"]
    assert (found.dead[0].offset, found.dead[0].reason) == (41, "bad_json")
    assert found.ledger == [entry]
    assert (entry.start, entry.end, entry.messages, entry.batches, entry.total) == (40, 43, 3, 2, 5)
    assert (entry.min_window, entry.max_window) == (NOW // 10_000 * 10, NOW // 10_000 * 10)


def test_messages_without_a_point_make_a_ledger_entry_all_the_same() -> None:
    made, entry = committed([b"{", None])
    assert [one.topic for one in made] == ["sg.local.dead.v1"] * 2 + ["sg.local.ledger.v1"]
    assert (entry.messages, entry.total, entry.min_window) == (2, 0, 0)
