"""Processes that die, freeze, come and go: every point counts once in every tier, with its sums, extremes and buckets."""

from __future__ import annotations

import pytest

from tests.support import scenarios
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]


def test_every_part_killed_in_rotation_loses_and_doubles_nothing(scene: Scene) -> None:
    scenarios.kills(scene)
    scene.settle()
