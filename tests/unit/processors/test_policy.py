"""Which instants are accepted, where they enter, and when a partition commits: at the boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamgauge.processors.policy import EXPIRED, IN_THE_FUTURE, TOO_OLD, CommitPolicy, TimePolicy
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import TIERS
from tests.unit.processors.raw import NOW, ORDER_2, Sample, committed, events, metrics, tools

DAY = 86_400_000
HOUR = 3_600_000


def reasons(policy: TimePolicy, time: int, backfill: bool = False) -> list[str]:
    """Why an instant is refused."""
    masks = policy.refused(np.array([NOW, time]), NOW, backfill)
    assert not any(mask[0] for mask in masks.values())
    return [reason for reason, mask in masks.items() if mask[1]]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (NOW - 7 * DAY, []),
        (NOW - 7 * DAY - 1, [TOO_OLD]),
        (NOW + 600_000, []),
        (NOW + 600_001, [IN_THE_FUTURE]),
        (0, [TOO_OLD]),
    ],
)
def test_times_are_accepted_a_week_back_and_ten_minutes_ahead(time: int, expected: list[str]) -> None:
    assert reasons(TimePolicy(), time) == expected
    assert reasons(TimePolicy(), time, backfill=True) == []


def test_in_one_batch_each_row_is_judged_by_itself() -> None:
    times = np.array([NOW - 7 * DAY - 1, NOW - 7 * DAY, NOW, NOW + 600_000, NOW + 600_001])
    masks = TimePolicy().refused(times, NOW, backfill=False)
    assert {reason: np.flatnonzero(mask).tolist() for reason, mask in masks.items()} == {
        TOO_OLD: [0],
        IN_THE_FUTURE: [4],
    }


def test_for_ever_bounds_neither_end() -> None:
    endless = TimePolicy(max_age_ms=FOR_EVER, max_future_ms=FOR_EVER)
    for policy, backfill in ((endless, False), (TimePolicy(), True)):
        assert reasons(policy, 0, backfill) == []
        assert reasons(policy, NOW + 1000 * DAY, backfill) == []


def test_what_every_tier_would_drop_at_once_is_expired_even_in_a_backfill() -> None:
    policy = TimePolicy(retention_ms=(DAY, 2 * DAY, 30 * DAY, 20 * DAY))
    assert reasons(policy, NOW - 30 * DAY, backfill=True) == []
    assert reasons(policy, NOW - 30 * DAY - 1, backfill=True) == [EXPIRED]
    assert reasons(policy, NOW - 30 * DAY - 1) == [TOO_OLD]
    kept = TimePolicy(max_age_ms=FOR_EVER, retention_ms=(DAY, 2 * DAY, 30 * DAY, FOR_EVER))
    assert reasons(kept, 0) == []


def test_an_instant_enters_at_the_finest_tier_that_still_keeps_it() -> None:
    policy = TimePolicy(retention_ms=(HOUR, DAY, 3 * DAY, FOR_EVER))
    times = np.array([NOW, NOW - HOUR, NOW - HOUR - 1, NOW - DAY, NOW - DAY - 1, NOW - 3 * DAY, NOW - 3 * DAY - 1])
    assert np.array_equal(policy.entries(times, 0, NOW), [0, 0, 1, 1, 2, 2, 3])
    assert np.array_equal(policy.entries(times, 2, NOW), [2, 2, 2, 2, 2, 2, 3])
    assert policy.entries(times, 3, NOW) == 3
    assert policy.entries(times[:2], 0, NOW) == 0
    # the last tier takes what it keeps or not: that is refused as expired beforehand
    assert np.array_equal(TimePolicy(retention_ms=(HOUR,) * 4).entries(times[2:3], 0, NOW), [3])


def test_a_commit_is_due_after_a_while_and_urgent_when_much_was_added() -> None:
    policy = CommitPolicy(every_ms=1_000, max_points=10, max_bytes=100)
    assert not policy.due(0, 0, 99_999)
    assert not policy.due(1, 1_000, 1_999)
    assert policy.due(1, 1_000, 2_000)
    assert not policy.full(9, 99)
    assert policy.full(10, 0)
    assert policy.full(0, 100)


RETENTION = TimePolicy(retention_ms=(HOUR, DAY, 3 * DAY, FOR_EVER))


def test_the_ledger_names_the_tiers_that_were_skipped_and_the_days_of_those_that_were_not() -> None:
    rows: list[dict[str, Any]] = [
        {"time": NOW, "amount": 1.0},
        {"time": NOW - 2 * HOUR, "amount": 1.0},
        {"time": NOW - 2 * DAY, "country": "AU"},
        {"time": NOW - 5 * DAY, "amount": 1.0},
    ]
    _, entry = committed([events(rows), events(rows, ORDER_2)], with_tools=tools(RETENTION))
    today = NOW // DAY
    assert entry.points == {(0, today): 2, (1, today): 2 + 4, (2, today - 2): 2, (3, today - 5): 4}
    # order keeps 10 s at its finest, its second version 1 m
    assert entry.skipped == {"10s": 2 + 1 + 2, "1m": 1 + 2 + 1 + 2, "1h": 2 + 2}
    assert entry.total == 14


def test_metrics_skip_tiers_by_their_points() -> None:
    requests, latency = MetricHead("requests", "counter"), MetricHead("latency", "histogram", "s", (), "1m")
    samples = [
        Sample(requests, (), NOW - 2 * HOUR, 3),
        Sample(requests, (), NOW - 5 * DAY, 4),
        Sample(latency, (), NOW - 2 * DAY, 5),
        Sample(latency, (), NOW, 6),
    ]
    _, entry = committed([metrics(samples)], with_tools=tools(RETENTION))
    assert entry.skipped == {"10s": 7, "1m": 9, "1h": 4}
    assert sum(points for (tier, _), points in entry.points.items() if TIERS[tier].name == "1h") == 5
    assert entry.total == 18


def test_every_reason_is_counted_in_points_and_named_in_a_letter() -> None:
    policy = TimePolicy(retention_ms=(HOUR, DAY, 3 * DAY, 6 * DAY))
    rows: list[dict[str, Any]] = [
        {"time": NOW - 8 * DAY, "amount": 1.0, "items": 2},
        {"time": NOW + DAY, "amount": 1.0},
        {"time": NOW - 6 * DAY - 1},
        {"time": NOW, "segment": "no such", "amount": 1.0},
        {"time": NOW, "segment": "Pro", "amount": 1.0},
        {"time": NOW - 8 * DAY, "segment": "no such"},
        {"time": NOW, "amount": 1.0},
    ]
    made, entry = committed([events(rows)], with_tools=tools(policy))
    assert entry.refused == {"too_old": 3 + 1, "in_the_future": 2, "expired": 1, "bad_value": 4}
    assert entry.total == 2
    assert len([one for one in made if ".dead." in one.topic]) == 4
