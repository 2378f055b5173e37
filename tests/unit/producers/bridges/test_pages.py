"""Pages: every example of the documentation's page on bridges and business events runs, and gives what it says."""

from __future__ import annotations

import importlib
import logging
import re
import time
from typing import Any

import pytest

from streamgauge.producers.bridges.logs import MetricsHandler
from streamgauge.producers.collector import default_collector
from tests.support import documents
from tests.support.documents import ROOT
from tests.support.snippets import events_of, program

BRIDGES = ROOT / "docs" / "how-to" / "bridges.md"
EVENTS = ROOT / "docs" / "how-to" / "business-events.md"
SNIPPETS = documents.snippets(BRIDGES, "python")
OPEN = {
    "bridge": "close",
    "pool": "close",
    "client": "close",
    "session": "close",
    "runtime": "stop",
    "engine": "dispose",
}
"""What examples leave open, and how it is closed."""


def tidy(names: dict[str, Any]) -> None:
    """Close whatever an example leaves open, before its producer is no longer the default one."""
    collector = default_collector()
    collector.close()
    deadline = time.monotonic() + 20
    while not collector.idle and time.monotonic() < deadline:
        time.sleep(0.005)
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, MetricsHandler)]:
        root.removeHandler(handler)
    for name, end in OPEN.items():
        if name in names:
            getattr(names[name], end)()


@pytest.mark.parametrize("number", range(len(SNIPPETS)), ids=[str(one) for one in SNIPPETS])
def test_every_example_of_a_bridge_runs(number: int) -> None:
    if "django" in SNIPPETS[number].text:
        importlib.import_module("tests.unit.producers.bridges.test_wsgi").configure_django()
    with program(BRIDGES, numbers=slice(number, number + 1)) as (names, transport):
        tidy(names)
        sums = transport.sums()
    if "charge_card" in SNIPPETS[number].text:
        assert {"operation_duration", "refund_duration"} <= sums.keys()
    if "MetricsHandler" in SNIPPETS[number].text:
        assert sums["log_rows"] == 1_200.0


def test_events_of_the_business_are_emitted_as_they_are_declared() -> None:
    contracts = {one.name: one for one in events_of(EVENTS)}
    with program(EVENTS) as (_, transport):
        emitted = {name: transport.events(name) for name in contracts}

    assert len(contracts) == 8
    assert {name: len(rows) for name, rows in emitted.items()} == dict.fromkeys(contracts, 1)
    for name, (row,) in emitted.items():
        assert row.keys() == contracts[name].fields.keys()


def test_the_table_of_bridges_names_every_bridge_that_exists() -> None:
    text = BRIDGES.read_text(encoding="utf-8")
    folder = ROOT / "producers" / "streamgauge" / "producers" / "bridges"
    shared = {"__init__", "asgi_routes", "db_client", "http_client", "http_server", "readings", "requirements"}
    parts = {"opentelemetry_forks", "opentelemetry_points"}
    modules = {path.stem for path in folder.glob("*.py")} - shared - parts
    named = set(re.findall(r"bridges(?:\.| import )(\w+)", text)) | set(
        re.findall(r"bridges import \w+ as \w+, (\w+)", text)
    )

    assert modules - named == set()
