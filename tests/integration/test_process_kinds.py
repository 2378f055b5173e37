"""Every kind of process: what reached the topic is what was called, children count for themselves, nothing is left behind.

The kinds run beside each other, each as a service of its own in one region; then both topics are recounted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.deployment import Deployment
from tests.support.kafka import Broker
from tests.support.process_kinds import KINDS, Ended, Kind, Run
from tests.support.recount import Found, recount

pytestmark = pytest.mark.kafka

AT_ONCE = 4
UNEXPECTED = 999
IN_THE_STORE = "test_what_was_called_is_in_the_store_once"
WRONG = re.compile(
    r"Traceback (?!.*KeyboardInterrupt)|(Deprecation|Resource|Runtime)Warning|not delivered|not sent|not recorded|internal_error",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Results:
    """What became of all kinds that were asked for."""

    deployment: Deployment
    """Their region's; without a worker, a sink and a store where nobody asks it."""
    ended: dict[str, Ended]
    found: dict[str, Found]


@pytest.fixture(scope="module")
def results(
    kafka: Broker, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Results]:
    """Run the kinds that this session has tests of, beside a worker and a sink where the store is asked."""
    names = {item.name for item in request.session.items}
    folder = tmp_path_factory.mktemp("kinds")
    deployment = Deployment(kafka.bootstrap, folder, f"p{secrets.token_hex(4)}")
    with ExitStack() as stack:
        if IN_THE_STORE in names:
            stack.enter_context(deployment)
            deployment.start_worker()
            deployment.start_sink()
        else:
            assert deployment.run("topics").returncode == 0
        environ = {
            "STREAMGAUGE_BROKERS": kafka.bootstrap,
            "STREAMGAUGE_REGION": deployment.region,
            "STREAMGAUGE_PUBLISH_CONTRACTS": "true",
            # how long ends may take is shown elsewhere; here nothing may be lost because the machine is busy
            "STREAMGAUGE_EXIT_TIMEOUT": "30s",
        }

        def run(kind: Kind) -> Ended:
            one = Run(kind.name, folder / re.sub(r"\W+", "-", kind.name), environ)
            try:
                return kind.run(one)
            except (AssertionError, OSError) as error:  # of this kind; the others go on
                return Ended(UNEXPECTED, str(error))
            finally:
                one.kill()

        wanted = [kind for kind in KINDS if any(f"[{kind.name}]" in name for name in names)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ended = dict(zip((kind.name for kind in wanted), pool.map(run, wanted), strict=True))
        yield Results(deployment, ended, recount(kafka.bootstrap, deployment.region))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_was_called_has_reached_the_topic_once(kind: Kind, results: Results) -> None:
    ended, found = results.ended[kind.name], results.found.get(kind.name, Found())
    assert (ended.code, ended.left) == (kind.code, ""), ended.said
    assert found.calls == kind.calls, ended.said
    assert not found.holes
    assert kind.loses or WRONG.search(ended.said) is None, ended.said
    if not kind.talks:
        assert ended.said == kind.says
    if kind.apart:
        senders = [instance for instances in found.instances.values() for instance in instances]
        assert len(set(senders)) == len(senders), "a child speaks as its parent"


@pytest.mark.clickhouse
def test_what_was_called_is_in_the_store_once(results: Results) -> None:
    points = sum(sum(one.points.values()) for one in results.found.values())
    expected = {(name, who): calls for name, one in results.found.items() for who, calls in one.calls.items()}
    results.deployment.wait_for_points(points)
    rows = results.deployment.rows("SELECT service, who, sum(value) FROM calls_1d GROUP BY service, who")
    assert {(service, who): value for service, who, value in rows} == expected
    assert results.deployment.points() == points
