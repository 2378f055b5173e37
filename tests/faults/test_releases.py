"""Two releases side by side: whoever takes over from whom, and however it ended, every point counts once in every tier."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamgauge.schemas.windows import TIER_NAMES
from tests.faults.conftest import SEED
from tests.support import scenarios_releases as scenarios
from tests.support.deployment import Deployment
from tests.support.kafka import Broker
from tests.support.releases import TODAY, Release, frozen, unpack
from tests.support.scene import SINKS, WORKERS, Scene

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]

Begin = Callable[[Release], Scene]
EMITTED = 500


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The frozen release."""
    return unpack(frozen(), tmp_path_factory.mktemp("older"))


@pytest.fixture
def begin(kafka: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Begin]:
    """Makes a scene whose topics, tables, workers and sinks are of a release."""
    with ExitStack() as stack:

        def make(release: Release) -> Scene:
            one = stack.enter_context(Scene(kafka.bootstrap, tmp_path, SEED, release=release))
            print(f"STREAMGAUGE_TEST_SEED={SEED}")
            one.begin(request.node.name)
            return one

        yield make


def test_a_region_is_upgraded_rolled_back_and_upgraded_again_under_load(begin: Begin, older: Release) -> None:
    scene = begin(older)
    scenarios.upgraded(scene)
    scene.settle()
    scenarios.rolled_back(scene, older)
    scene.settle()
    account = json.loads(scene.deployment.run("verify", "--json", release=older).stdout)
    assert account["points"] == scene.truth.points
    for day in account["days"]:
        assert all(day[tier] is None or day[tier]["expected"] == day[tier]["found"] for tier in TIER_NAMES)
    # it takes turns of releases for holes: newer workers name the life of their raw topic
    holes = sum(end - start for one in account["partitions"] for start, end in one["gaps"])
    assert (account["lost"], account["doubled"]) == (holes, 0)
    refused = scene.deployment.run("migrate", release=older)
    assert refused.returncode == 1
    assert b"was migrated by a newer version" in refused.stderr
    for name in (*SINKS, *WORKERS):
        scenarios.end(scene, name)
    for name in (*SINKS, *WORKERS):
        scenarios.start(scene, name, TODAY)
    scene.flow(scenarios.RATE)  # now everybody recognises what comes twice
    scene.until_stored(5 * scenarios.MORE)
    scene.until(lambda: scene.load.repeated, 60, "a batch has come again")
    scene.settle()
    assert any("the state is that of offset" in scene.deployment.log(name) for name in WORKERS)


def test_parts_of_two_releases_take_over_from_each_other_when_they_are_killed(begin: Begin, older: Release) -> None:
    scene = begin(older)
    scenarios.workers_killed_across(scene, older)  # and with older sinks and tables: the wrong order
    unable = scene.deployment.run("verify", "--json")
    assert unable.returncode == 1
    assert b"run `streamgauge migrate`" in unable.stderr
    scenarios.migrate(scene)
    scene.settle()
    scenarios.sinks_killed_across(scene, older)
    scene.settle()


def test_a_begun_block_is_ended_by_a_newer_sink_and_stops_an_older_one(begin: Begin, older: Release) -> None:
    scene = begin(older)
    scenarios.flow(scene)
    scenarios.only_sink(scene)
    scenarios.killed_with_a_block_begun(scene, older, "commit")
    scenarios.migrate(scene)  # the repeat of the block meets other tables than the block did
    scenarios.finished_by_the_newer(scene)
    scenarios.killed_with_a_block_begun(scene, TODAY, "commit")
    scenarios.refused_by_the_older(scene, older)
    scenarios.finished_by_the_newer(scene)
    scene.settle()


def test_producers_of_each_release_are_counted_by_workers_of_the_other(
    kafka: Broker, tmp_path: Path, unique: str, older: Release
) -> None:
    with Deployment(kafka.bootstrap, tmp_path, unique, commit_interval="200ms", block_interval="200ms") as deployment:
        deployment.start_sink()
        emitted = 0
        for producer, worker in ((TODAY, older), (older, TODAY)):
            deployment.releases |= {"worker": worker, "emitter": producer}
            deployment.start_worker()
            service = deployment.start_module(
                "emitter", "tests.support.emitter", COUNT=str(EMITTED), STREAMGAUGE_PUBLISH_CONTRACTS="true"
            )
            assert service.wait(60) == 0, deployment.log("emitter")
            emitted += EMITTED
            deployment.wait_for_points(3 * emitted)
            assert deployment.end("worker") == 0
        for tier in ("10s", "1m", "1h", "1d"):
            metrics = f"SELECT sum(value) FROM emitter_calls_{tier}"
            events = f"SELECT sum(count), sum(amount_sum), uniqCombined64Merge(customers) FROM emitter_order_{tier}"
            assert (deployment.rows(metrics), deployment.rows(events)) == (
                [(emitted,)],
                [(emitted, emitted / 2, EMITTED)],
            )
        account = deployment.verify()
        assert (account["lost"], account["doubled"], account["exit_code"]) == (0, 0, 0)
