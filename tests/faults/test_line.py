"""A line to the broker that breaks, is silent or slow: what was acknowledged counts once, and memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import SEED
from tests.support import scenarios_line as scenarios
from tests.support.line import Line, LinedBroker
from tests.support.scene import Scene

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def broker() -> Iterator[LinedBroker]:
    """A broker behind a line."""
    with Line() as line, LinedBroker(line) as one:
        yield one


@pytest.fixture
def own(broker: LinedBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene whose workers and sinks come by the line."""
    with Scene(broker.bootstrap, tmp_path, SEED, brokers=broker.line.address) as one:
        print(f"STREAMGAUGE_TEST_SEED={SEED}")
        one.begin(request.node.name)
        yield one


def test_connections_that_break_and_are_refused_lose_and_double_nothing(own: Scene, broker: LinedBroker) -> None:
    scenarios.line_cut(own, broker.line)
    own.settle()


def test_a_broker_that_is_unreachable_for_a_minute_loses_and_doubles_nothing(own: Scene, broker: LinedBroker) -> None:
    scenarios.line_silent(own, broker.line)
    own.settle()


def test_a_slow_broker_costs_no_membership_and_no_memory_and_everything_counts_once(
    own: Scene, broker: LinedBroker
) -> None:
    watch = scenarios.back_pressure(own, broker.line)
    own.settle()
    assert watch.left > 0, "there was a backlog all the time"
    assert max(watch.resident) < watch.resident[0] + 64 * scenarios.MIB, watch.text
    assert watch.said.count("Joined group") == 1, watch.said
    assert "commit of offset" not in watch.said
    # those of another worker on a quick line come later
    slow = "SELECT max(points) FROM ledger FINAL WHERE committed_at < fromUnixTimestamp64Milli({until:Int64})"
    most = own.deployment.rows(slow, {"until": watch.until_ms})[0][0]
    assert most < scenarios.SLOW_COMMIT_POINTS + 3 * scenarios.SLOW_EVENTS, "commits are bounded, but for a last batch"
