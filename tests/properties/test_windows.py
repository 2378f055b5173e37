"""Windows tile the time line, and tiers nest."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.decoding import MAX_INSTANT_MS
from streamgauge.schemas.windows import DAY_MS, FIRST_MONTHLY_TIER, TIER_NAMES, TIERS, tier_index, window_start
from tests.properties.messages import MODERATE

instants = st.integers(-MAX_INSTANT_MS, MAX_INSTANT_MS)
tiers = st.sampled_from(TIERS)


@MODERATE
@given(instants, tiers.map(lambda tier: tier.width_ms))
def test_every_instant_lies_in_exactly_one_window_of_each_tier(instant: int, width: int) -> None:
    start = window_start(instant, width)
    assert start <= instant < start + width
    assert start % width == 0
    # its neighbours do not hold it, and the window's own instants name the same window
    assert window_start(start - 1, width) == start - width
    assert window_start(start + width, width) == start + width
    assert window_start(start, width) == window_start(start + width - 1, width) == start


@MODERATE
@given(instants, st.sampled_from(list(pairwise(tier.width_ms for tier in TIERS))))
def test_a_window_lies_in_one_window_of_the_next_tier(instant: int, widths: tuple[int, int]) -> None:
    fine, coarse = widths
    inner = window_start(instant, fine)
    outer = window_start(instant, coarse)
    assert window_start(inner, coarse) == outer
    assert outer <= inner
    assert inner + fine <= outer + coarse


def test_widths_divide_one_another_and_the_day() -> None:
    widths = [tier.width_ms for tier in TIERS]
    assert widths == sorted(set(widths))
    assert all(coarse % fine == 0 for fine, coarse in pairwise(widths))
    assert widths[-1] == DAY_MS
    assert all(tier.width_ms >= 3_600_000 for tier in TIERS[FIRST_MONTHLY_TIER:])


def test_tiers_are_found_by_name() -> None:
    assert [tier_index(name) for name in ("10s", "1m", "1h", "1d")] == [0, 1, 2, 3]
    assert TIER_NAMES == ("10s", "1m", "1h", "1d")
    with pytest.raises(ValueError, match="no tier is called '5m'; there are 10s, 1m, 1h, 1d"):
        tier_index("5m")


def test_instants_before_1970_are_floored() -> None:
    assert window_start(-1, 10_000) == -10_000
    assert window_start(-10_000, 10_000) == -10_000
