"""One scene for all scenarios, made anew after one that failed. STREAMGAUGE_TEST_SEED repeats the choices of an earlier run."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.kafka import Broker
from tests.support.scene import Scene

SEED = int(os.environ.get("STREAMGAUGE_TEST_SEED") or secrets.randbelow(1 << 31))
"""Read before tests run: they see no settings of ours."""


@pytest.fixture(scope="session")
def scenes(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Scene]]:
    """A scene that is in order: the last one, or a new one."""
    with ExitStack() as stack:
        last: list[Scene] = []

        def get() -> Scene:
            if not last or not last[0].clean:
                stack.close()
                last[:] = [stack.enter_context(Scene(kafka.bootstrap, tmp_path_factory.mktemp("scene"), SEED))]
            return last[0]

        yield get


@pytest.fixture
def scene(scenes: Callable[[], Scene], request: pytest.FixtureRequest) -> Scene:
    """Two workers, two sinks and a store, with a load of the test's own."""
    one = scenes()
    print(f"STREAMGAUGE_TEST_SEED={SEED}")
    one.begin(request.node.name)
    return one
