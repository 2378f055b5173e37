"""Messages, contracts, offsets and clocks that are wrong: everything good counts once, all else is accounted for."""

from __future__ import annotations

import pytest

from tests.support import scenarios_messages as scenarios
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]


def test_poisonous_messages_become_dead_letters_with_reasons_and_stop_nothing(scene: Scene) -> None:
    refused = scenarios.poison(scene)
    scene.settle()
    assert scenarios.dead_reasons(scene) >= refused.keys()


def test_a_contract_that_is_published_after_its_events_counts_them_all(scene: Scene) -> None:
    scenarios.new_contract_in_flight(scene)
    scene.settle()


def test_workers_whose_offsets_are_gone_stop_with_advice_that_doubles_nothing(scene: Scene) -> None:
    scenarios.lost_worker_offsets(scene)
    scene.settle()


def test_messages_that_expired_unread_stop_workers_with_advice_and_are_accounted_for_afterwards(scene: Scene) -> None:
    scenarios.expired_messages(scene)
    account = scene.settle()
    assert sum(one["passed"] for one in account["partitions"]) == 50


def test_sinks_whose_offsets_are_gone_stop_with_advice_that_doubles_nothing(scene: Scene) -> None:
    scenarios.lost_sink_offsets(scene)
    scene.settle()


def test_workers_whose_topic_is_made_anew_stop_with_advice_that_loses_and_doubles_nothing(scene: Scene) -> None:
    scenarios.recreated_topic(scene)
    scene.settle()


def test_clocks_that_step_while_workers_run_hold_up_and_lose_nothing(scene: Scene) -> None:
    scenarios.clock_steps(scene)
    scene.settle()
