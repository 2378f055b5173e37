"""Sinks on a real broker and a real store: one store a module, a region a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import Deployment
from tests.support.kafka import Broker
from tests.support.sink_region import Region
from tests.support.store_gate import StoreGate


@pytest.fixture(scope="module")
def deployment(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One migrated store for all of these tests; each has a region, and a metric, of its own."""
    one = Deployment(kafka.bootstrap, tmp_path_factory.mktemp("store"), "unused")
    one.directory.mkdir(exist_ok=True)
    one.start_store()
    try:
        assert one.run("migrate").returncode == 0
        yield one
    finally:
        one.end("store")


@pytest.fixture
def region(deployment: Deployment, kafka: Broker, tmp_path: Path, unique: str) -> Iterator[Region]:
    with Region(deployment, kafka.bootstrap, tmp_path, unique) as one:
        yield one


@pytest.fixture
def gate(deployment: Deployment) -> Iterator[StoreGate]:
    with StoreGate(deployment.port) as one:
        yield one
