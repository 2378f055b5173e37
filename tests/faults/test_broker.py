"""A broker that dies or does not answer: what it acknowledged counts once in every tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import SEED
from tests.support import scenarios_broker as scenarios
from tests.support.kafka import KafkaBroker
from tests.support.kafka_cluster import KafkaCluster
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def own(private_kafka: KafkaBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene on a broker of its own."""
    with Scene(private_kafka.bootstrap, tmp_path, SEED) as one:
        print(f"STREAMGAUGE_TEST_SEED={SEED}")
        one.begin(request.node.name)
        yield one


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    """Three brokers of the test's own."""
    with KafkaCluster() as one:
        yield one


def test_a_killed_broker_loses_and_doubles_nothing(own: Scene, private_kafka: KafkaBroker) -> None:
    scenarios.broker_killed(own, private_kafka)
    own.settle()


def test_a_broker_that_does_not_answer_for_long_loses_and_doubles_nothing(
    own: Scene, private_kafka: KafkaBroker
) -> None:
    scenarios.broker_frozen(own, private_kafka)
    own.settle()


def test_one_of_three_brokers_killed_loses_and_doubles_nothing(
    cluster: KafkaCluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with Scene(cluster.bootstrap, tmp_path, SEED) as scene:
        print(f"STREAMGAUGE_TEST_SEED={SEED}")
        scene.begin(request.node.name)
        scenarios.one_of_three(scene, cluster, kills=1)  # another one each run; `make soak` kills all three
        scene.settle()
