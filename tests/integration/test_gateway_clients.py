"""Real clients at the gateway's doors: what they count is what is delivered, to the last call."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from streamgauge.console.gateway_settings import Address
from streamgauge.producers.outbox import Outcome
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.errors import InputError
from streamgauge.schemas.histogram import quantile
from streamgauge.schemas.settings import Secret
from tests.support.gateways import Row, RunningGateway

ORDERS = Contract(
    "order_placed", 1, {"country": Field("dimension"), "amount": Field("measure", "number", unit="{USD}")}
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path, {("order_placed", 1): ORDERS}) as one:
        yield one


def total(rows: list[Row]) -> float:
    return sum(row.sum for row in rows)


def dogstatsd(**where: Any) -> Any:
    from datadog.dogstatsd.base import DogStatsd

    return DogStatsd(disable_telemetry=True, constant_tags=["service:till", "env:prod", "version:1.2"], **where)


def use_dogstatsd(client: Any) -> int:
    """Every call of the client; returns how many lines that are."""
    with client as batch:
        for i in range(20):
            batch.increment("pay.requests", tags=[f"method:{'get' if i % 2 else 'post'}"])
        batch.decrement("pay.requests", 3, tags=["method:get"])
        batch.gauge("pay.queue", 7)
        batch.gauge("pay.queue", -5)
        batch.histogram("pay.size", 12)
        batch.distribution("pay.weight", 4)
        batch.timing("pay.took", 320)
        batch.set("pay.users", "ann")
    client.event("Title, with ünicode | and bars", "Some text\nof two lines", alert_type="error", priority="low")
    client.service_check("pay.up", 1, message="slow | very")
    return 27


def check_dogstatsd(one: RunningGateway) -> None:
    assert one.gateway.account.refused == {}
    requests_ = one.rows("pay_requests")
    assert total(requests_) == 17.0
    assert {(tuple(row.labels.items()), row.context["service"], row.context["environment"]) for row in requests_} == {
        ((("method", "get"),), "till", "prod"),
        ((("method", "post"),), "till", "prod"),
    }
    assert [row.last for row in one.rows("pay_queue")][-1] == -5.0
    assert [(row.count, row.sum) for row in one.rows("pay_size")] == [(1, 12.0)]
    assert [(row.count, row.sum) for row in one.rows("pay_weight")] == [(1, 4.0)]
    assert [(row.unit, row.sum) for row in one.rows("pay_took_seconds")] == [("s", 0.32)]
    assert one.transport.events("statsd_event") == [{"alert_type": "error", "priority": "low", "source": None}]
    assert one.transport.events("statsd_service_check") == [{"check": "pay.up", "status": "warning"}]
    assert one.transport.events("statsd_set") == [{"set_name": "pay.users", "member": "ann"}]


def lines(one: RunningGateway) -> int:
    return sum(count for kind, count in one.gateway.account.received.items() if kind.startswith("statsd"))


def test_datadogs_client_over_udp(running: RunningGateway) -> None:
    client = dogstatsd(host="127.0.0.1", port=running.port("udp"))
    sent = use_dogstatsd(client)
    running.wait_for(lambda: lines(running) >= sent)
    client.close_socket()

    check_dogstatsd(running)


@pytest.mark.parametrize("name", ["unix", "stream"])
def test_datadogs_client_over_unix_sockets(running: RunningGateway, name: str) -> None:
    scheme = {"unix": "unixgram", "stream": "unixstream"}[name]
    client = dogstatsd(socket_path=f"{scheme}://{running.addresses[name]}")
    sent = use_dogstatsd(client)
    running.wait_for(lambda: lines(running) >= sent)
    client.close_socket()

    check_dogstatsd(running)


def test_a_negative_gauge_of_datadogs_client_is_its_value_though_it_has_no_tags(running: RunningGateway) -> None:
    from datadog.dogstatsd.base import DogStatsd

    # what it tells of itself, usually every 10 s, is how it is recognised
    client = DogStatsd(host="127.0.0.1", port=running.port("udp"), telemetry_min_flush_interval=0)
    for _ in range(5):
        client.gauge("pay.balance", -5)
    running.wait_for(lambda: running.gateway.account.received["statsd"] >= 5 + 5 * 11)
    client.close_socket()

    assert running.rows("pay_balance")[-1].last == -5.0


def test_datadogs_client_that_adds_up_by_itself(running: RunningGateway) -> None:
    client = dogstatsd(
        host="127.0.0.1", port=running.port("udp"), disable_aggregation=False, max_metric_samples_per_context=2_000
    )
    now = int(time.time())
    client.count_with_timestamp("pay.late", 5, now - 60)
    for i in range(1_000):
        client.increment("pay.requests", tags=["a:b"])
        client.distribution("pay.size", i)
    assert client.stop()
    client.close_socket()
    running.wait_for(lambda: running.gateway.account.received["statsd"] >= 3)

    rows = running.rows("pay_size")
    assert running.gateway.account.refused == {}
    assert total(running.rows("pay_requests")) == 1_000.0
    assert (sum(row.count for row in rows), total(rows)) == (1_000, 499_500.0)
    assert [row.window_ms for row in running.rows("pay_late")] == [(now - 60) // 10 * 10_000]


@pytest.mark.parametrize("name", ["udp", "tcp", "stream"])
def test_the_classic_client(running: RunningGateway, name: str) -> None:
    import statsd  # type: ignore[import-untyped]  # it ships no types

    makers: dict[str, Any] = {
        "udp": lambda: statsd.StatsClient("127.0.0.1", running.port("udp"), prefix="shop"),
        "tcp": lambda: statsd.TCPStatsClient("127.0.0.1", running.port("tcp"), prefix="shop", timeout=5),
        "stream": lambda: statsd.UnixSocketStatsClient(running.addresses["stream"], prefix="shop", timeout=5),
    }
    client = makers[name]()
    with client.pipeline() as pipe:
        for _ in range(10):
            pipe.incr("calls")
        pipe.decr("calls", 4)
        pipe.gauge("queue", 10)
        pipe.gauge("queue", 5, delta=True)
        pipe.gauge("queue", -3, delta=True)
        pipe.gauge("below", -8)
        pipe.timing("took", 250)
        pipe.set("users", "ann")
    running.wait_for(lambda: lines(running) >= 17)
    client.close()

    assert running.gateway.account.refused == {}
    assert total(running.rows("shop_calls")) == 6.0
    assert running.rows("shop_queue")[-1].last == 12.0
    assert running.rows("shop_below")[-1].last == -8.0
    (took,) = running.rows("shop_took_seconds")
    assert quantile(took.buckets, 0.5) == pytest.approx(0.25, rel=0.011)


def meters(one: RunningGateway, temporality: Any, **more: Any) -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    exporter = OTLPMetricExporter(
        endpoint=f"{one.addresses['http']}/v1/metrics",
        preferred_temporality={Counter: temporality, Histogram: temporality, ObservableCounter: temporality},
        **more,
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    resource = Resource({"service.name": "till", "service.instance.id": "i-1", "deployment.environment.name": "prod"})
    return MeterProvider([reader], resource, shutdown_on_exit=False)


@pytest.mark.parametrize("temporality", ["DELTA", "CUMULATIVE"])
@pytest.mark.parametrize("exponential", [False, True])
def test_opentelemetrys_sdk_counts_what_it_counted(
    running: RunningGateway, temporality: str, exponential: bool
) -> None:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.sdk.metrics import Histogram
    from opentelemetry.sdk.metrics.export import AggregationTemporality
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

    aggregation = {Histogram: ExponentialBucketHistogramAggregation()} if exponential else None
    provider = meters(
        running,
        AggregationTemporality[temporality],
        compression=Compression.Gzip,
        preferred_aggregation=aggregation,
    )
    meter = provider.get_meter("shop")
    calls = meter.create_counter("http.calls", unit="{call}")
    took = meter.create_histogram("http.took", unit="s", explicit_bucket_boundaries_advisory=[0.1, 0.2, 0.5, 1.0])
    busy = meter.create_up_down_counter("http.busy")
    level = meter.create_gauge("http.level")
    for round_ in range(3):
        for i in range(10):
            calls.add(2, {"http.route": "/a", "ok": True})
            took.record(0.05 * (i + 1), {"http.route": "/a"})
        busy.add(2)
        level.set(20 + round_)
        assert provider.force_flush()
    provider.shutdown()

    rows = running.rows("http_calls")
    assert running.gateway.account.refused == {}
    assert total(rows) == 60.0
    assert {tuple(row.labels.items()) for row in rows} == {(("ok", "true"), ("operation", "/a"))}
    assert {(row.context["service"], row.context["environment"], row.unit) for row in rows} == {
        ("till", "prod", "{call}")
    }
    took_rows = running.rows("http_took")
    assert sum(row.count for row in took_rows) == 30
    assert total(took_rows) == pytest.approx(3 * 0.05 * 55)
    assert sum(sum(row.buckets.values()) for row in took_rows) == 30
    assert (min(row.min for row in took_rows), max(row.max for row in took_rows)) == (0.05, 0.5)
    assert running.rows("http_busy")[-1].last == 6.0
    assert running.rows("http_level")[-1].last == 22.0
    assert {row.context["instance"] for row in running.rows("http_level")} == {"i-1"}


def point(name: str, value: float | str) -> dict[str, Any]:
    return {"name": name, "gauge": {"dataPoints": [{"timeUnixNano": str(time.time_ns()), "asDouble": value}]}}


def otlp_body(*metrics: dict[str, Any]) -> bytes:
    return orjson.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": list(metrics)}]}]})


def test_otlp_in_json_is_answered_in_json_and_says_what_is_rejected(running: RunningGateway) -> None:
    url = f"{running.addresses['http']}/v1/metrics"
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = otlp_body(point("a", 1.0), point("b", "NaN"))
    good = requests.post(url, gzip.compress(body), headers=headers, timeout=5)
    again = requests.post(url, gzip.compress(body), headers=headers, timeout=5)
    bad = requests.post(url, b"{", headers={"Content-Type": "application/json"}, timeout=5)
    strange = requests.post(url, b"x", headers={"Content-Type": "text/plain"}, timeout=5)
    proto = requests.post(url, b"\xff", headers={"Content-Type": "application/x-protobuf"}, timeout=5)

    assert (good.status_code, good.headers["Content-Type"].partition(";")[0]) == (200, "application/json")
    assert good.json() == {
        "partialSuccess": {"rejectedDataPoints": "1", "errorMessage": "rejected: 1 not_finite (of b)"}
    }
    assert (again.status_code, again.json()) == (200, {})
    assert (bad.status_code, strange.status_code, proto.status_code) == (400, 415, 400)
    assert b"no ExportMetricsServiceRequest" in proto.content
    assert [row.count for row in running.rows("a")] == [1]


def test_events_that_are_posted_come_in(running: RunningGateway) -> None:
    url = f"{running.addresses['http']}/v1/events"
    good = requests.post(url, json={"event": "order_placed", "fields": {"country": "JP", "amount": 42.5}}, timeout=5)
    bad = requests.post(url, json={"event": "order_placed", "fields": {"country": "JP", "amount": "SECRET"}}, timeout=5)
    running.stop()

    assert (good.status_code, good.json()["accepted"]) == (202, 1)
    assert bad.status_code == 400
    assert "field 'amount'" in bad.json()["problems"][0]["why"]
    assert "SECRET" not in bad.text
    assert running.transport.events("order_placed") == [{"country": "JP", "amount": 42.5}]


def test_whoever_wants_to_know_hears_whether_the_broker_has_its_events(running: RunningGateway) -> None:
    url = f"{running.addresses['http']}/v1/events"
    event = {"event": "order_placed", "fields": {"country": "JP", "amount": 1}}
    arrived = requests.post(url, json=[event, event], params={"wait": "5s"}, timeout=10)
    at_once = len(running.transport.events("order_placed"))
    running.transport.outcome = None
    away = requests.post(url, json=event, params={"wait": "100ms"}, timeout=10)
    strange = requests.post(url, json=event, params={"wait": "soon"}, timeout=10)
    running.transport.outcome = Outcome.REFUSED
    refused = requests.post(url, json=event, params={"wait": "5s"}, timeout=10)
    running.transport.outcome = Outcome.ACKNOWLEDGED

    assert (arrived.status_code, arrived.json()["delivered"], at_once) == (200, True, 2)
    assert (away.status_code, away.json()["delivered"]) == (202, False)
    assert (strange.status_code, strange.json()["error"]) == (400, "bad_wait")
    assert (refused.status_code, refused.json()["delivered"]) == (202, False)


def test_otlp_without_times_is_never_taken_for_a_repeat(running: RunningGateway) -> None:
    delta = {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [{"asInt": "2"}]}
    for _ in range(3):
        answer = requests.post(
            f"{running.addresses['http']}/v1/metrics",
            json=orjson.loads(otlp_body({"name": "a", "sum": delta})),
            timeout=5,
        )
        assert answer.status_code == 200

    assert total(running.rows("a")) == 6.0


def test_whoever_does_not_show_the_token_stays_outside(tmp_path: Path) -> None:
    with RunningGateway(tmp_path, {("order_placed", 1): ORDERS}, gateway_token=Secret("let me in")) as one:
        url = one.addresses["http"]
        event = {"event": "order_placed", "fields": {"country": "JP", "amount": 1}}

        def status(path: str, **headers: str) -> int:
            return requests.post(f"{url}{path}", json=event, headers=headers, timeout=5).status_code

        assert status("/v1/events") == 401
        assert status("/v1/metrics") == 401
        assert status("/v1/events", Authorization="Bearer let me") == 401
        assert status("/v1/events", Authorization="Basic let me in") == 401
        assert status("/v1/events", Authorization="Bearer let me in") == 202
        assert requests.get(f"{url}/health", timeout=5).status_code == 200
        assert one.gateway.account.refused["http", "unauthorized"] == 4


def test_a_page_of_elsewhere_cannot_write_through_its_visitors_browser(running: RunningGateway) -> None:
    url = f"{running.addresses['http']}/v1/events"

    assert requests.post(url, b"{}", headers={"Host": "evil.example"}, timeout=5).status_code == 400 + 3
    assert requests.post(url, b"{}", headers={"Sec-Fetch-Site": "cross-site"}, timeout=5).status_code == 400 + 3


def test_bodies_and_requests_are_bounded(tmp_path: Path) -> None:
    with RunningGateway(tmp_path, gateway_body=10_000, gateway_requests=4) as one:
        url = f"{one.addresses['http']}/v1/events"
        bomb = gzip.compress(b" " * 10_000_000)

        assert requests.post(url, b" " * 20_000, timeout=5).status_code == 413
        assert requests.post(url, bomb, headers={"Content-Encoding": "gzip"}, timeout=5).status_code == 413
        answers = [requests.post(url, b"[]", timeout=5) for _ in range(4)]
        assert [answer.status_code for answer in answers][:2] == [400, 400]
        assert answers[-1].status_code == 429
        assert answers[-1].headers["Retry-After"] == "1"


def test_health_says_what_came_in_and_what_was_refused(running: RunningGateway) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.sendto(b"a:1|c\nbroken", ("127.0.0.1", running.port("udp")))
    running.received("statsd", 2)
    body = requests.get(f"{running.addresses['http']}/health", timeout=5).json()

    assert (body["status"], body["received"], body["refused"]) == ("ok", {"statsd": 2}, {"statsd": {"no_value": 1}})


def test_what_the_kernel_drops_shows_as_a_metric(tmp_path: Path) -> None:
    with RunningGateway(tmp_path, statsd_buffer=1, statsd_unix="", statsd_stream="", statsd_tcp=None) as one:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            line = b"\n".join([b"a:1|c"] * 100)
            for _ in range(3_000):
                own.sendto(line, ("127.0.0.1", one.port("udp")))
        one.wait_for(lambda: one.gateway.account.drops["udp"] > 0)

        dropped = one.rows("streamgauge_gateway_socket_drops")
        assert {tuple(row.labels.items()) for row in dropped} == {(("socket", "udp"),)}
        # each of 100 lines; what is dropped after the last look at the kernel's table is not known
        assert total(one.rows("a")) + 100 * total(dropped) == 300_000
        buffers = one.rows("streamgauge_gateway_socket_buffer")
        assert 0 < buffers[0].last < 10_000


def test_frames_and_lines_that_are_too_long_or_torn_cost_only_themselves(tmp_path: Path) -> None:
    with RunningGateway(tmp_path) as one:
        stream = one.addresses["stream"]
        for sent in (
            (5).to_bytes(4, "little") + b"a:1|c" + (1 << 20 | 1).to_bytes(4, "little"),
            (5).to_bytes(4, "little") + b"a:2|c" + (9).to_bytes(4, "little") + b"a:4",
            b"a:8|c\n" + b"x" * 100_000,
            b"a:16|c\na:32|c",
        ):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as own:
                own.connect(stream)
                own.sendall(sent)
        one.wait_for(lambda: one.gateway.account.received["statsd"] >= 5)
        one.wait_for(lambda: one.gateway.account.refused.total() >= 3)

        assert total(one.rows("a")) == 1 + 2 + 8 + 16 + 32
        assert dict(one.gateway.account.refused) == {
            ("statsd", "frame_too_large"): 1,
            ("statsd", "torn_frame"): 1,
            ("statsd", "line_too_long"): 1,
        }


def test_a_second_gateway_is_told_that_the_place_is_taken_and_a_dead_ones_socket_is_taken_over(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.bind(str(tmp_path / "d.sock"))
    left.close()
    with RunningGateway(tmp_path) as one:
        port = one.port("udp")
        with pytest.raises(InputError, match="somebody listens"), RunningGateway(tmp_path):
            pass
        taken = RunningGateway(tmp_path / "other", statsd_udp=Address("127.0.0.1", port))
        with pytest.raises(InputError, match="cannot listen"), taken:
            pass
    assert not (tmp_path / "d.sock").exists()
