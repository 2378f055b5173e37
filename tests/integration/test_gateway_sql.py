"""What the gateway took, asked for in SQL: through the worker's and the sink's own steps into the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from streamgauge.console.statsd_contracts import ALL
from streamgauge.processors.accumulator import Accumulator, Place, Tools
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.processors.scrub import Scrubber
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.events import contract_of
from tests.support.gateways import NOW_MS, TestGateway
from tests.support.rolled_up import RolledUp

OURS = [contract_of(event) for event in ALL]
ORDERS = Contract("paid", 1, {"order_id": Field("idempotency_key"), "amount": Field("measure", "number", unit="{USD}")})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RolledUp]:
    one = RolledUp(tmp_path, "gateway", OURS)
    yield one
    one.close()


@pytest.mark.clickhouse
def test_sql_answers_what_statsd_clients_sent(store: RolledUp) -> None:
    one = TestGateway()
    one.statsd(
        "hits:1|c",
        "hits:2|c|#route:/a,service:till",
        "hits:4|c|@0.5|#route:/a,method:get,service:till",
        "took:100:200:300|ms|#route:/a",
        "queue:5|g",
        "queue:7|g",
        *[f"visitors:user{i % 30}|s" for i in range(90)],
        "_e{5,4}:title|text|t:error",
        "_sc|db.up|2",
    )
    one.flush()
    store.take([message for message in one.transport.delivered if ".contracts." not in message.topic], NOW_MS)

    assert store.rows(
        "SELECT service, operation, method, sum(value) FROM gateway.hits_10s GROUP BY ALL ORDER BY ALL"
    ) == [
        ("somebody", "", "", 1.0),
        ("till", "/a", "", 2.0),
        ("till", "/a", "get", 8.0),
    ]
    ((count, total, median),) = store.rows(
        "SELECT sum(count), sum(sum), sg_quantile(0.5, sumMap(hist)) FROM gateway.took_seconds_1m"
    )
    assert (count, round(total, 9)) == (3, 0.6)
    assert median == pytest.approx(0.2, rel=0.011)
    assert store.rows("SELECT value FROM gateway.queue_10s") == [(7.0,)]
    assert store.rows("SELECT set_name, count, distinct_members FROM gateway.statsd_set_10s") == [("visitors", 90, 30)]
    assert store.rows("SELECT alert_type, priority, count FROM gateway.statsd_event_10s") == [("error", "normal", 1)]
    assert store.rows("SELECT check, status, count FROM gateway.statsd_service_check_10s") == [("db.up", "critical", 1)]
    assert store.rows("SELECT sum(value) FROM gateway.streamgauge_gateway_received_10s WHERE kind = 'statsd'") == [
        (96.0,)
    ]


def test_workers_take_no_batch_of_two_senders_for_a_repeat() -> None:
    one = TestGateway({("paid", 1): ORDERS})
    for round_ in range(3):
        for service in ("a", "b", "c"):
            one.statsd(f"hits:1|c|#service:{service}")
            context = {"service": service, "instance": "the same for all"}
            event = {"event": "paid", "fields": {"order_id": f"{service}{round_}", "amount": 1}, "context": context}
            assert one.gateway.door.take(orjson.dumps(event), one.gateway.now_ms()).accepted == 1
        one.flush()
    worker = Accumulator(Place("test", "raw", 0), Tools(Scrubber(), DistinctHasher(b"0" * 32, "test")))
    for offset, message in enumerate(one.transport.delivered):
        assert worker.add(offset, message.value, {("paid", 1): ORDERS}, NOW_MS, lambda _: False)

    assert dict(worker.refused) == {}
    assert worker.batches == len(one.transport.delivered)
    assert worker.points == one.gateway.outlet.json()["points"]
