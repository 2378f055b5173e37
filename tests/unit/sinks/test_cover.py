"""Cover: a token counts as known only while half of what the tables remember is not used up."""

from __future__ import annotations

import pytest

from streamgauge.sinks.cover import Window, smallest, window_of

DEFAULTS = {
    "non_replicated_deduplication_window": 0,
    "replicated_deduplication_window": 10_000,
    "replicated_deduplication_window_seconds": 3_600,
}


@pytest.mark.parametrize(("parts", "known"), [(0, True), (5_000, True), (5_001, False), (10_000, False)])
def test_half_of_the_parts_may_be_used(parts: int, known: bool) -> None:
    assert Window(10_000).covers(parts, 1e9) is known


@pytest.mark.parametrize(("age_s", "known"), [(0, True), (1_800, True), (1_801, False)])
def test_half_of_the_seconds_may_be_used_where_a_table_counts_them(age_s: float, known: bool) -> None:
    assert Window(10_000, 3_600).covers(1, age_s) is known


def test_without_a_window_nothing_is_ever_known() -> None:
    assert not Window(0).covers(1, 0)
    assert smallest([]) == Window(0)


@pytest.mark.parametrize(
    ("engine", "window"),
    [
        ("MergeTree ORDER BY x SETTINGS non_replicated_deduplication_window = 700", Window(700)),
        ("MergeTree ORDER BY x SETTINGS replicated_deduplication_window = 700", Window(0)),
        ("ReplicatedMergeTree('/x', '{replica}') ORDER BY x", Window(10_000, 3_600)),
        (
            "ReplicatedAggregatingMergeTree ORDER BY x SETTINGS replicated_deduplication_window_seconds = 604800, "
            "replicated_deduplication_window = 200",
            Window(200, 604_800),
        ),
    ],
)
def test_a_window_is_read_from_the_engine_and_its_defaults(engine: str, window: Window) -> None:
    assert window_of(engine, DEFAULTS) == window


def test_the_smallest_window_counts() -> None:
    assert smallest([Window(9), Window(7, 100), Window(8, 50)]) == Window(7, 50)
