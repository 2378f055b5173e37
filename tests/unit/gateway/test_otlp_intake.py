"""OTLP through the whole gateway: increments are exact, resets are understood, nothing counts twice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from streamgauge.console import otlp_json, otlp_protobuf
from streamgauge.console.otlp_model import PayloadError
from streamgauge.schemas.histogram import quantile
from tests.support.gateways import NOW_MS, TestGateway

NOW_NS = NOW_MS * 1_000_000
SECOND = 1_000_000_000


def attributes(**values: str) -> list[dict[str, Any]]:
    return [{"key": key.replace("__", "."), "value": {"stringValue": value}} for key, value in values.items()]


def request(*metrics: Mapping[str, Any], **resource: str) -> bytes:
    body = {
        "resourceMetrics": [
            {
                "resource": {"attributes": attributes(**(resource or {"service__name": "till"}))},
                "scopeMetrics": [{"scope": {"name": "lib", "version": "1"}, "metrics": list(metrics)}],
            }
        ]
    }
    return orjson.dumps(body)


def total(name: str, value: float, at_s: float = 0, start_s: float = 1, temporality: int = 2, **labels: str) -> Any:
    point = {
        "attributes": attributes(**labels),
        "startTimeUnixNano": str(NOW_NS + int(start_s * SECOND)),
        "timeUnixNano": str(NOW_NS + int(at_s * SECOND)),
        "asDouble": value,
    }
    return {
        "name": name,
        "unit": "1",
        "sum": {"aggregationTemporality": temporality, "isMonotonic": True, "dataPoints": [point]},
    }


def send(one: TestGateway, body: bytes) -> Any:
    return one.gateway.otlp.take(otlp_json.read(body), one.gateway.now_ms())


def test_a_cumulative_sum_counts_what_came_since_its_last_point() -> None:
    one = TestGateway()
    for value, at_s in ((5, 2), (5, 12), (9, 22)):
        send(one, request(total("calls", value, at_s, route="/a")))

    rows = one.rows("calls")
    assert sum(row.sum for row in rows) == 9.0
    assert {(row.type, row.unit, row.context["service"]) for row in rows} == {("counter", "1", "till")}
    assert {tuple(row.labels.items()) for row in rows} == {(("operation", "/a"),)}


def test_a_series_that_began_before_the_gateway_gives_a_base_first() -> None:
    one = TestGateway()
    send(one, request(total("calls", 1000, 2, start_s=-500)))
    send(one, request(total("calls", 1007, 12, start_s=-500)))

    assert one.sums("calls") == {(): 7.0}
    assert one.adjusted()["otlp", "baseline"] == 1


def test_a_series_that_started_anew_or_fell_counts_from_nothing() -> None:
    one = TestGateway()
    send(one, request(total("calls", 10, 2)))
    send(one, request(total("calls", 3, 12, start_s=5)))
    send(one, request(total("calls", 4, 22, start_s=5)))
    send(one, request(total("calls", 2, 32, start_s=5)))

    assert one.sums("calls") == {(): 10.0 + 4.0 + 2.0}
    assert one.adjusted()["otlp", "reset"] == 1


def test_two_workers_that_do_not_say_who_they_are_are_told_apart_by_their_start() -> None:
    one = TestGateway()
    for at_s, left, right in ((2, 10, 100), (12, 11, 105), (22, 12, 110)):
        send(one, request(total("calls", left, at_s, start_s=1)))
        send(one, request(total("calls", right, at_s, start_s=1.5)))

    assert one.sums("calls") == {(): 122.0}


def test_a_point_that_comes_again_or_late_counts_once() -> None:
    one = TestGateway()
    for value, at_s in ((5, 2), (8, 12), (8, 12), (5, 2)):
        send(one, request(total("calls", value, at_s)))

    assert one.sums("calls") == {(): 8.0}
    assert one.adjusted()["otlp", "repeated"] == 2


def test_deltas_are_passed_on() -> None:
    one = TestGateway()
    send(one, request(total("calls", 5, 2, temporality=1)))
    send(one, request(total("calls", 5, 12, temporality=1)))

    assert one.sums("calls") == {(): 10.0}


def test_resources_are_contexts_and_not_labels() -> None:
    one = TestGateway()
    resource = {
        "service__name": "till",
        "service__version": "2.1",
        "deployment__environment": "old spelling",
        "deployment__environment__name": "prod",
        "tenant__id": "acme",
        "host__name": "web-1",
        "process__pid": "77",
        "process__command_args": "--secret",
    }
    send(one, request(total("calls", 5, 2), **resource))

    (row,) = one.rows("calls")
    assert dict(row.context) == {
        "service": "till",
        "version": "2.1",
        "environment": "prod",
        "tenant": "acme",
        "instance": "web-1-77",
        "region": "local",
    }
    assert dict(row.labels) == {}


def test_gauges_of_two_instances_stay_apart() -> None:
    one = TestGateway()
    gauge = {"name": "temp", "gauge": {"dataPoints": [{"timeUnixNano": str(NOW_NS), "asInt": "21"}]}}
    for instance in ("a", "b"):
        send(one, request(gauge, service__name="till", service__instance__id=instance))

    assert {row.context["instance"] for row in one.rows("temp")} == {"a", "b"}


def test_a_sum_that_may_fall_is_a_gauge() -> None:
    one = TestGateway()
    for at_s, value, temporality in ((1, 5, 2), (2, 3, 2)):
        metric = total("open", value, at_s, temporality=temporality)
        metric["sum"]["isMonotonic"] = False
        send(one, request(metric))
    for at_s, value in ((1, 5), (2, -2)):
        metric = total("moved", value, at_s, temporality=1)
        metric["sum"]["isMonotonic"] = False
        send(one, request(metric))

    assert [(row.type, row.last) for row in one.rows("open")] == [("gauge", 3.0)]
    assert [row.last for row in one.rows("moved")] == [3.0]


def histogram(name: str, values: list[float], bounds: list[float], at_s: float = 2, temporality: int = 1) -> Any:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[sum(value > bound for bound in bounds)] += 1
    point = {
        "startTimeUnixNano": str(NOW_NS + SECOND),
        "timeUnixNano": str(NOW_NS + int(at_s * SECOND)),
        "count": str(len(values)),
        "sum": sum(values),
        "min": min(values),
        "max": max(values),
        "explicitBounds": bounds,
        "bucketCounts": [str(count) for count in counts],
    }
    return {
        "name": name,
        "unit": "s",
        "histogram": {"aggregationTemporality": temporality, "dataPoints": [point]},
    }


def test_count_sum_and_extremes_of_an_explicit_histogram_are_exact_and_quantiles_stay_in_their_bucket() -> None:
    one = TestGateway()
    values = [0.003, 0.02, 0.03, 0.2, 0.21, 0.22, 0.9, 7.0]
    send(one, request(histogram("took", values, [0.005, 0.05, 0.25, 1.0])))

    (row,) = one.rows("took")
    assert (row.type, row.unit, row.count, row.min, row.max) == ("histogram", "s", 8, 0.003, 7.0)
    assert row.sum == pytest.approx(sum(values))
    assert sum(row.buckets.values()) == 8
    assert 0.05 < quantile(row.buckets, 0.5) <= 0.25 * 1.02


def test_a_cumulative_histogram_counts_what_came_since() -> None:
    one = TestGateway()
    bounds = [1.0, 2.0]
    send(one, request(histogram("took", [0.5, 1.5], bounds, 2, 2)))
    send(one, request(histogram("took", [0.5, 1.5, 1.6, 9.0], bounds, 12, 2)))

    rows = one.rows("took")
    assert sum(row.count for row in rows) == 4
    assert sum(row.sum for row in rows) == pytest.approx(12.6)


def test_a_sum_that_the_sender_leaves_out_is_estimated_and_said_so() -> None:
    one = TestGateway()
    metric = histogram("took", [2.0, 2.0, 4.0], [1.0, 3.0])
    del metric["histogram"]["dataPoints"][0]["sum"]
    send(one, request(metric))

    (row,) = one.rows("took")
    assert row.count == 3
    assert row.sum == pytest.approx(8.0, rel=0.15)
    assert one.adjusted()["otlp", "sum_estimated"] == 1


def test_a_sum_that_no_number_is_costs_its_point_and_not_those_after_it() -> None:
    one = TestGateway()
    for at_s, told in ((2, 1.0), (12, "NaN"), (22, 3.0)):
        metric = histogram("took", [0.5] * at_s, [1.0], at_s, 2)
        metric["histogram"]["dataPoints"][0]["sum"] = told
        send(one, request(metric))

    assert (sum(row.count for row in one.rows("took")), one.sums("took")) == (22, {(): 3.0})
    assert one.refused() == {("otlp", "not_finite"): 1}


def test_a_histogram_that_contradicts_itself_is_rejected_and_the_rest_counts() -> None:
    one = TestGateway()
    bad = histogram("took", [0.5], [1.0])
    bad["histogram"]["dataPoints"][0]["count"] = "7"
    taken = send(one, request(bad, total("calls", 5, 2)))

    assert (taken.points, dict(taken.rejected)) == (1, {"bad_histogram": 1})
    assert taken.message() == "rejected: 1 bad_histogram (of took)"
    assert one.sums("calls") == {(): 5.0}


def test_a_summary_is_its_sum_and_count_and_its_quantiles_are_counted_away() -> None:
    one = TestGateway()
    for at_s, count, seconds in ((2, 4, 1.0), (12, 6, 3.0)):
        point = {
            "startTimeUnixNano": str(NOW_NS + SECOND),
            "timeUnixNano": str(NOW_NS + int(at_s * SECOND)),
            "count": str(count),
            "sum": seconds,
            "quantileValues": [{"quantile": 0.5, "value": 1}],
        }
        send(one, request({"name": "took", "unit": "s", "summary": {"dataPoints": [point]}}))

    assert one.sums("took_sum") == {(): 3.0}
    assert one.sums("took_count") == {(): 6.0}
    assert one.adjusted()["otlp", "quantiles_dropped"] == 2


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        (total("a", math.nan), "not_finite"),
        (total("a", -1), "negative_counter"),
        (total("a", 1, temporality=0), "no_temporality"),
        (total("a", 1, at_s=-100_000), "too_old"),
        (total("a", 1, at_s=4_000), "in_the_future"),
        (total("", 1), "bad_name"),
        (total("streamgauge_gateway_x", 1), "reserved_name"),
    ],
)
def test_a_point_that_cannot_be_used_is_rejected_with_a_reason(metric: Any, reason: str) -> None:
    one = TestGateway()
    if isinstance(metric["sum"]["dataPoints"][0]["asDouble"], float) and math.isnan(
        metric["sum"]["dataPoints"][0]["asDouble"]
    ):
        metric["sum"]["dataPoints"][0]["asDouble"] = "NaN"
    taken = send(one, request(metric))

    assert dict(taken.rejected) == {reason: 1}


def test_names_and_attributes_are_those_of_our_own_exporter() -> None:
    one = TestGateway()
    metric = total(
        "Shop.Calls-Made", 5, 2, http__response__status_code="200", service="other", db__system="b", db_system="a"
    )
    send(one, request(metric))

    assert one.sums("shop_calls_made") == {
        (("db_system", "b;a"), ("exported_service", "other"), ("status", "200")): 5.0
    }


def test_one_unit_a_name() -> None:
    one = TestGateway()
    send(one, request(total("calls", 5, 2)))
    taken = send(one, request({**total("calls", 5, 2, x="y"), "unit": "ms"}))

    assert dict(taken.rejected) == {"unit_conflict": 1}


def test_the_protobuf_and_the_json_of_one_request_say_the_same() -> None:
    from google.protobuf import json_format  # type: ignore[import-untyped]  # it ships no types
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    exponential = {
        "name": "spread",
        "exponentialHistogram": {
            "aggregationTemporality": 2,
            "dataPoints": [
                {
                    "timeUnixNano": "5",
                    "count": "6",
                    "sum": 3.5,
                    "scale": 3,
                    "zeroCount": "1",
                    "positive": {"offset": -2, "bucketCounts": ["1", "0", "2"]},
                    "negative": {"offset": 4, "bucketCounts": ["2"]},
                }
            ],
        },
    }
    typed = total("calls", 5, 2)
    typed["sum"]["dataPoints"][0]["attributes"] = [
        {"key": "i", "value": {"intValue": "-7"}},
        {"key": "d", "value": {"doubleValue": 2.5}},
        {"key": "b", "value": {"boolValue": True}},
        {"key": "l", "value": {"arrayValue": {"values": [{"stringValue": "x"}, {"intValue": "1"}]}}},
        {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": False}}]}}},
        {"key": "n", "value": {}},
        {"key": "y", "value": {"bytesValue": "AP8="}},
        {"key": "z", "value": {"arrayValue": {"values": [{"bytesValue": "AP8="}, {"doubleValue": 1e16}, {}]}}},
    ]
    body = request(typed, histogram("took", [0.5, 2.0], [1.0]), exponential)
    message: Any = json_format.Parse(body, ExportMetricsServiceRequest())

    assert list(otlp_protobuf.read(message.SerializeToString())) == list(otlp_json.read(body))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"resourceMetrics": 5}', b'{"resourceMetrics": [{"scopeMetrics": [5]}]}']
)
def test_json_that_is_no_request_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(PayloadError):
        list(otlp_json.read(body))


def test_bytes_that_are_no_protobuf_are_refused_as_a_whole() -> None:
    with pytest.raises(PayloadError):
        otlp_protobuf.read(b"\xff\xff\xff")
