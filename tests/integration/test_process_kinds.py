"""Every kind of process: what reached the topic is what was called, children count for themselves, nothing is left behind.

The kinds run beside each other, each as a service of its own in one region; then both topics are recounted.
"""

from __future__ import annotations

import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from streamgauge.schemas.topics import RAW_TOPICS
from tests.support.kafka import Broker, create_topic
from tests.support.process_kinds import KINDS, Ended, Kind, Run
from tests.support.recount import Found, recount

pytestmark = pytest.mark.kafka

AT_ONCE = 4
UNEXPECTED = 999
WRONG = re.compile(
    r"Traceback (?!.*KeyboardInterrupt)|(Deprecation|Resource|Runtime)Warning|not delivered|not sent|not recorded|internal_error",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Results:
    """What became of all kinds that were asked for."""

    region: str
    ended: dict[str, Ended]
    found: dict[str, Found]


@pytest.fixture(scope="module")
def results(kafka: Broker, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run the kinds that this session has tests of."""
    names = {item.name for item in request.session.items}
    wanted = [kind for kind in KINDS if any(f"[{kind.name}]" in name for name in names)]
    region = f"p{secrets.token_hex(4)}"
    for topic in RAW_TOPICS:
        create_topic(kafka.bootstrap, topic.name(region), topic.partitions)
    environ = {
        "STREAMGAUGE_BROKERS": kafka.bootstrap,
        "STREAMGAUGE_REGION": region,
        # how long ends may take is shown elsewhere; here nothing may be lost because the machine is busy
        "STREAMGAUGE_EXIT_TIMEOUT": "30s",
    }
    folder = tmp_path_factory.mktemp("kinds")

    def run(kind: Kind) -> Ended:
        one = Run(kind.name, folder / re.sub(r"\W+", "-", kind.name), environ)
        try:
            return kind.run(one)
        except (AssertionError, OSError) as error:  # of this kind; the others go on
            return Ended(UNEXPECTED, str(error))
        finally:
            one.kill()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = dict(zip((kind.name for kind in wanted), pool.map(run, wanted), strict=True))
    return Results(region, ended, recount(kafka.bootstrap, region))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_was_called_has_reached_the_topic_once(kind: Kind, results: Results) -> None:
    ended, found = results.ended[kind.name], results.found.get(kind.name, Found())
    assert (ended.code, ended.left) == (kind.code, ""), ended.said
    assert found.calls == kind.calls, ended.said
    assert not found.holes
    assert kind.loses or WRONG.search(ended.said) is None, ended.said
    if not kind.talks:
        assert ended.said == kind.says
