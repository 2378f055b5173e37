"""The tutorial's programs run as they are shown, and send what its page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.processors.testing import RolledUp, rolled_up
from tests.support import documents, tutorial
from tests.support.tutorial import OPENTELEMETRY, PROMETHEUS, TIMING, TUTORIAL

PAGE = TUTORIAL / "three-programs.md"
ROUNDS = 150


def ran(program: Path) -> RolledUp:
    """What a worker makes of a program."""
    if needed := tutorial.missing(program):
        pytest.skip(f"{needed} is not there")
    # port 0: any that is free
    return rolled_up(tutorial.ran(program, str(ROUNDS), "0").delivered)


@pytest.mark.parametrize("program", [TIMING, PROMETHEUS, OPENTELEMETRY], ids=lambda one: one.stem)
def test_the_page_shows_a_program_as_it_is(program: Path) -> None:
    shown = [snippet.text for snippet in documents.snippets(PAGE, "python")]

    assert program.read_text(encoding="utf-8") in shown


def test_the_page_shows_every_program() -> None:
    assert set(TUTORIAL.glob("*.py")) == {TIMING, PROMETHEUS, OPENTELEMETRY}


def test_durations_failures_and_waiting_reports_are_counted() -> None:
    rollup = ran(TIMING)

    daily = rollup.total("report_duration_seconds", kind="daily")
    assert daily.count == ROUNDS
    assert 0.001 <= daily.min <= daily.quantile(0.5) <= daily.quantile(0.99) < 5
    assert rollup.total("report_duration_seconds", kind="weekly").count == len(range(0, ROUNDS, 7))
    printed = tutorial.ran(TIMING, str(ROUNDS), "0").output.count("no data")
    assert sum(row.sum for row in rollup.of("report_failures", kind="daily")) == printed
    assert rollup.total("reports_waiting").last == 1
    assert rollup.refused == {}


def test_the_prometheus_program_counts_every_request() -> None:
    rollup = ran(PROMETHEUS)

    requests = [row for row in rollup.rows if row.metric.startswith("app_requests") and row.type == "counter"]
    assert sum(row.sum for row in requests) == ROUNDS
    assert {row.labels["endpoint"] for row in requests} == {"/", "/orders", "/pay"}
    assert rollup.total("app_request_latency_seconds").count == ROUNDS
    assert rollup.total("app_response_size_bytes").count == ROUNDS
    assert rollup.refused == {}


def test_the_opentelemetry_program_counts_every_order_under_its_own_service() -> None:
    rollup = ran(OPENTELEMETRY)

    orders = rollup.total("shop_orders", operation="/checkout")
    assert orders.sum == ROUNDS
    assert orders.labels["service"] == "shop"
    assert rollup.total("shop_checkout_duration").count == ROUNDS
    assert rollup.total("shop_carts_open").last == 0
    assert 50 <= rollup.total("shop_stock", warehouse="osaka").last <= 60
    assert rollup.refused == {}
