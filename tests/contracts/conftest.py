"""An embedded engine a module, and a migrated database of it a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamgauge.sinks.migrations import migrate
from tests.support.tables import KEPT, Engine, Store


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("store"))
    yield engine
    engine.close()


@pytest.fixture
def store(engine: Engine, unique: str) -> Store:
    migrate(engine, KEPT, unique)
    return Store(engine, unique)
