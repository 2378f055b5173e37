"""Fixtures for the tests of those who emit. In a conftest.py: `pytest_plugins = ["streamgauge.producers.pytest_fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamgauge.producers.testing import Telemetry, capturing


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """What the test's code emits, instead of sending it anywhere."""
    with capturing() as found:
        yield found
