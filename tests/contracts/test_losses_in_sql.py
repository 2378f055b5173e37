"""What producers lost is asked for in SQL, by name and reason, in the view of an ordinary counter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgauge.producers import Counter
from streamgauge.producers.outbox import Outcome
from streamgauge.producers.own_metrics import HEADS
from streamgauge.producers.testing import captured_producer
from streamgauge.sinks.views import ensure_views
from tests.support.rolled_up import RolledUp

pytestmark = pytest.mark.clickhouse


@pytest.fixture
def store(tmp_path: Path, unique: str) -> Iterator[RolledUp]:
    one = RolledUp(tmp_path, unique, [])
    try:
        yield one
    finally:
        one.close()


def test_losses_of_an_outage_are_in_the_view_by_name_and_reason(store: RolledUp) -> None:
    producer, transport, clock = captured_producer(environment="production", service="shop")
    transport.outcome = None
    requests = Counter("requests", producer=producer)
    for _ in range(30):
        requests.inc(-1)
        requests.inc(float("inf"))
        requests.inc()
        clock.advance(2)
        producer.step()
    transport.outcome = Outcome.ACKNOWLEDGED
    producer.flush()
    store.take(transport.delivered, clock.wall_ns() // 1_000_000)
    ensure_views(store.store, store.database, HEADS.values())
    for tier in ("10s", "1h"):
        rows = store.rows(
            f"SELECT name, reason, service, sum(value) FROM `{store.database}`.streamgauge_producer_dropped_{tier} "
            "GROUP BY name, reason, service ORDER BY reason"
        )
        assert [tuple(row) for row in rows] == [
            ("requests", "negative_counter", "shop", 30.0),
            ("requests", "not_finite", "shop", 30.0),
        ]
