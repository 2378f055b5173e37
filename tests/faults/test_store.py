"""A store that is away, refuses, or is full: every point counts once in every tier afterwards."""

from __future__ import annotations

import pytest

from tests.support import scenarios_store as scenarios
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]


def test_a_store_that_is_away_for_a_minute_gets_everything_when_it_is_back(scene: Scene) -> None:
    scenarios.store_away(scene, 60, 65)
    scene.settle()


def test_a_table_that_is_away_gets_everything_when_it_is_back(scene: Scene) -> None:
    scenarios.table_away(scene)
    scene.settle()


def test_a_tier_that_takes_nothing_for_a_while_is_as_whole_afterwards_as_those_that_did(scene: Scene) -> None:
    scenarios.one_tier_refuses(scene)
    scene.settle()


def test_a_full_disk_loses_and_doubles_nothing(scene: Scene) -> None:
    if not scenarios.disk_full(scene):
        scene.settle()
        pytest.skip("no right to mount a small disk here")
    scene.settle()


def test_blocks_of_more_days_than_a_table_takes_at_once_are_cut_and_counted_once(scene: Scene) -> None:
    scenarios.many_days(scene)
    scene.settle()


def test_late_points_of_a_merged_day_and_repeats_of_them_are_counted_once(scene: Scene) -> None:
    scenarios.merged_day(scene)
    scene.settle()
