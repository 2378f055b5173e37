"""What every test gets: a clean environment, no network but loopback, and real parts or a reason why not.

A test marked `kafka`, `clickhouse` or `browser` is skipped with a reason where that part is missing.
STREAMGAUGE_TESTS_REQUIRE=kafka,clickhouse,browser turns each such skip into a failure; STREAMGAUGE_TEST_KAFKA=host:port
uses a Kafka that already runs.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Generator, Iterator
from functools import cache
from typing import cast

import hypothesis
import pytest

from tests.support.kafka import (
    Broker,
    KafkaBroker,
    KafkaToolsMissing,
    fetch_jars,
    find_broker,
    find_java,
    have_jars,
)

REQUIRED = pytest.StashKey[frozenset[str]]()
FOUND_KAFKA = pytest.StashKey[str]()
OURS = ("STREAMGAUGE_", "OTEL_")

hypothesis.settings.register_profile("streamgauge", deadline=None)  # the machine may be busy: nothing is timed here
hypothesis.settings.load_profile("streamgauge")


def kafka_missing() -> str | None:
    """Why no real Kafka can be started here, or None."""
    try:
        find_java()
        if not have_jars() and shutil.which("mvn") is None:
            fetch_jars()
    except KafkaToolsMissing as missing:
        return str(missing)
    return None


def clickhouse_missing() -> str | None:
    """Why the embedded ClickHouse engine cannot be used here, or None."""
    return None if importlib.util.find_spec("chdb") else "chDB is not installed: pip install 'streamgauge[embedded]'"


def browser_missing() -> str | None:
    """Why no browser can be driven here, or None."""
    if importlib.util.find_spec("selenium") is None:
        return "selenium is not installed: make test sets it up"
    for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)):
        if not any(shutil.which(name) for name in names):
            return f"no {names[0]} on PATH: apt-get install chromium chromium-driver"
    return None


PARTS: dict[str, Callable[[], str | None]] = {
    "kafka": cache(kafka_missing),
    "clickhouse": cache(clickhouse_missing),
    "browser": cache(browser_missing),
}


def pytest_configure(config: pytest.Config) -> None:
    """Read what the caller asks for, once, before the environment is cleaned for the tests."""
    asked = os.environ.get("STREAMGAUGE_TESTS_REQUIRE", "")
    required = frozenset(name.strip() for name in asked.split(",") if name.strip())
    if unknown := sorted(required - PARTS.keys()):
        raise pytest.UsageError(f"STREAMGAUGE_TESTS_REQUIRE names {unknown}; known are {sorted(PARTS)}")
    config.stash[REQUIRED] = required
    config.stash[FOUND_KAFKA] = os.environ.get("STREAMGAUGE_TEST_KAFKA", "")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who uses a real broker is marked so, which makes `-m "not kafka"` exact."""
    for item in items:
        if {"kafka", "private_kafka"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose real part is missing, and say why."""
    for name, missing in PARTS.items():
        if item.get_closest_marker(name) is None or (name == "kafka" and item.config.stash[FOUND_KAFKA]):
            continue
        if reason := missing():
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip, for whatever reason, of a test on a demanded part is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        demanded = sorted(name for name in item.config.stash[REQUIRED] if item.get_closest_marker(name))
        if demanded:
            report.outcome = "failed"
            report.longrepr = (
                f"skipped although STREAMGAUGE_TESTS_REQUIRE demands {', '.join(demanded)}: {report.longrepr}"
            )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself hides its markers, so it fails too when parts are demanded."""
    report = yield
    if report.outcome == "skipped" and collector.config.stash[REQUIRED]:
        report.outcome = "failed"
        report.longrepr = f"skipped as a whole although STREAMGAUGE_TESTS_REQUIRE is set: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees settings of the person who runs it."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)


def is_local(address: object, allowed: str = "") -> bool:
    """Whether a socket address stays on this machine, or is the one allowed host."""
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = str(cast("tuple[object, ...]", address)[0])
    if host == "localhost" or (allowed and host == allowed):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connecting to anything but this machine raises, and fails the test even when its code swallows the error."""
    refused: list[object] = []
    allowed = request.config.stash[FOUND_KAFKA].rpartition(":")[0]
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(address: object) -> None:
        if not is_local(address, allowed):
            refused.append(address)
            raise PermissionError(f"tests may only connect to loopback, not to {address}")

    def guarded_connect(self: socket.socket, address: tuple[str, int]) -> None:
        check(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: tuple[str, int]) -> int:
        check(address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    yield
    if refused:
        pytest.fail(f"this test tried to leave the machine: {refused}")


@pytest.fixture
def unique() -> str:
    """A short name no other test uses, good in topics, groups and tables."""
    # not from `random`: pytest-randomly seeds it alike for every test
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """One real Kafka for the whole session. Others use it too: name topics and groups with `unique`."""
    if address := request.config.stash[FOUND_KAFKA]:
        yield find_broker(address)
        return
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
def private_kafka() -> Iterator[KafkaBroker]:
    """A real Kafka of this test's own, to kill, stop and restart."""
    if reason := PARTS["kafka"]():
        pytest.skip(reason)
    with KafkaBroker() as broker:
        yield broker
