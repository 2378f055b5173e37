"""Two releases side by side: whoever takes over from whom, and however it ended, every point counts once in every tier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.conftest import SEED
from tests.support import scenarios_releases as scenarios
from tests.support.kafka import Broker
from tests.support.releases import TODAY, Release, frozen, unpack
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The frozen release."""
    return unpack(frozen(), tmp_path_factory.mktemp("older"))


@pytest.fixture
def begun(kafka: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Release], Scene]]:
    """A scene whose topics, tables, workers and sinks are of a release."""
    with ExitStack() as stack:

        def begin(release: Release) -> Scene:
            one = stack.enter_context(Scene(kafka.bootstrap, tmp_path, SEED, release=release))
            print(f"STREAMGAUGE_TEST_SEED={SEED}")
            one.begin(request.node.name)
            return one

        yield begin


def test_a_region_is_upgraded_under_load(begun: Callable[[Release], Scene], older: Release) -> None:
    scene = begun(older)
    scenarios.upgraded(scene)
    scene.settle()
    scene.flow()  # now everybody recognises what comes twice
    scene.until_stored(scenarios.MORE)
    scene.settle()


def test_a_region_is_rolled_back_and_upgraded_again(begun: Callable[[Release], Scene], older: Release) -> None:
    scene = begun(TODAY)
    scenarios.rolled_back(scene, older)
    scene.settle()


def test_workers_of_two_releases_take_over_from_each_other(begun: Callable[[Release], Scene], older: Release) -> None:
    scene = begun(older)
    scenarios.killed_across(scene, older)
    scene.settle()


def test_a_block_that_an_older_sink_began_is_ended_by_a_newer_one(
    begun: Callable[[Release], Scene], older: Release
) -> None:
    scene = begun(older)
    scenarios.only_sink(scene)
    scene.flow(batches=scenarios.once(scene))
    scene.until_stored(scenarios.MORE)
    scenarios.killed_with_a_block_begun(scene, older, "commit")
    scenarios.migrate(scene)  # the repeat of the block meets other tables than the block did
    scenarios.finished_by_the_newer(scene)
    scenarios.killed_with_a_block_begun(scene, older, "insert")
    scenarios.finished_by_the_newer(scene)
    scene.settle()


def test_a_block_that_a_newer_sink_began_stops_an_older_one_until_a_newer_one_is_back(
    begun: Callable[[Release], Scene], older: Release
) -> None:
    scene = begun(TODAY)
    scenarios.only_sink(scene)
    scene.flow(batches=scenarios.once(scene))
    scene.until_stored(scenarios.MORE)
    for at in ("insert", "commit"):
        scenarios.killed_with_a_block_begun(scene, TODAY, at)
        scenarios.refused_by_the_older(scene, older)
        scenarios.finished_by_the_newer(scene)
    scene.settle()
