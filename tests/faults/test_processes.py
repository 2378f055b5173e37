"""Processes that die, freeze, come and go: every point counts once in every tier, with its sums, extremes and buckets."""

from __future__ import annotations

import pytest

from tests.support import scenarios
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]


def test_every_part_killed_in_rotation_loses_and_doubles_nothing(scene: Scene) -> None:
    scenarios.kills(scene)
    scene.settle()


def test_frozen_workers_and_sinks_that_come_back_as_zombies_double_nothing(scene: Scene) -> None:
    scenarios.zombies(scene)
    scene.settle()


def test_commits_that_fail_at_each_step_in_living_workers_lose_and_double_nothing(scene: Scene) -> None:
    scenarios.failing_commits(scene)
    scene.settle()


def test_a_batch_whose_commits_fail_is_read_again_though_nothing_follows_it(scene: Scene) -> None:
    scenarios.failing_commits_of_idle_partitions(scene)
    scene.settle()


def test_repeats_behind_later_batches_and_behind_the_death_of_a_worker_count_once(scene: Scene) -> None:
    scenarios.repeats(scene)
    scene.settle()


def test_workers_and_sinks_that_come_and_go_lose_and_double_nothing(scene: Scene) -> None:
    scenarios.scaling(scene)
    scene.settle()
