"""Topics as they are made: what one broker acknowledges is never all there is, where there are three."""

from __future__ import annotations

import pytest

from streamgauge.console.topic_admin import created_with
from streamgauge.schemas.topics import METRICS, STATE


@pytest.mark.parametrize(("copies", "in_sync"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_three_copies_are_acknowledged_by_two(copies: int, in_sync: str | None) -> None:
    assert created_with(METRICS, copies).get("min.insync.replicas") == in_sync


def test_the_topics_own_settings_stay() -> None:
    assert created_with(STATE, 3).items() > STATE.config().items()
