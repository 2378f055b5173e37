"""Gateway: what a StatsD line and an OTLP point cost, from bytes to what a series gained, and until it is on its way to Kafka.

The floors are the least that reading needs: a line split and its number added to a dictionary, a message parsed and left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import orjson

from streamgauge.console import otlp_json, otlp_protobuf
from streamgauge.console.gateway import Gateway
from streamgauge.console.gateway_settings import GatewaySettings
from streamgauge.producers.testing import CapturedTransport
from tests.benchmarks.options import Options
from tests.benchmarks.report import Figure

ROUNDS = 5
SERIES = 500


def _plain(i: int) -> str:
    return f"shop.requests.{i % 50}:1|c"


def _tagged(i: int) -> str:
    return f"shop.requests:1|c|#route:/r{i % SERIES},method:get,status:200"


def _timer(i: int) -> str:
    return f"shop.took:{i % 977}.5|ms|@0.5|#route:/r{i % SERIES},method:get"


def _packed(i: int) -> str:
    return f"shop.size:{':'.join(str(i + k) for k in range(10))}|d|#route:/r{i % SERIES}"


LINES: Mapping[str, Callable[[int], str]] = {
    "plain counter": _plain,
    "DogStatsD counter, 3 tags": _tagged,
    "DogStatsD timer, 3 tags, sampled": _timer,
    "DogStatsD distribution, 10 packed values": _packed,
}


def microseconds(work: Callable[[], object], items: int, after: Callable[[], object] = lambda: None) -> float:
    """CPU of one item, the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
        after()
    return best / items * 1e6


def fresh() -> tuple[Gateway, Callable[[], None]]:
    """A gateway that sends nowhere, and what empties it."""
    transport = CapturedTransport()
    gateway = Gateway(GatewaySettings(service="shop"), transport, dict)

    def empty() -> None:
        gateway.close(1)
        transport.sent.clear()
        transport.delivered.clear()

    return gateway, empty


def feed(gateway: Gateway, packets: Iterable[bytes]) -> None:
    """Hand over packets."""
    for packet in packets:
        gateway.packet(packet)


def split(packets: list[bytes]) -> None:
    """The least that reading lines needs."""
    sums: dict[bytes, float] = {}
    for packet in packets:
        for line in packet.split(b"\n"):
            name, _, rest = line.partition(b":")
            value = float(rest.split(b"|", 1)[0].split(b":", 1)[0])
            sums[name] = sums.get(name, 0.0) + value


def statsd(options: Options) -> Iterator[Figure]:
    """Lines, 20 in a packet as clients pack them."""
    count = options.sized(100_000, 5_000)
    for what, make in LINES.items():
        every = [make(i).encode() for i in range(count)]
        packets = [b"\n".join(every[start : start + 20]) for start in range(0, count, 20)]
        gateway, empty = fresh()
        each = microseconds(partial(feed, gateway, packets), count, empty)
        floor = microseconds(partial(split, packets), count)
        yield Figure(what, "CPU a line", each, "us", floor, "split, float, add")
        yield Figure(what, "lines a second of one core", 1e6 / each, "")
    gateway, _ = fresh()
    names = [f"fresh{i % 1000}:1|c|#id:{i}".encode() for i in range(options.sized(20_000, 2_000))]
    began = time.process_time()
    feed(gateway, names)
    yield Figure("a series never seen", "CPU a line", (time.process_time() - began) / len(names) * 1e6, "us")


def request(points: int, kind: str, round_: int) -> dict[str, Any]:
    """A request of one metric with many points, as an SDK exports it."""
    now = time.time_ns()
    head = {"startTimeUnixNano": str(now - 1), "timeUnixNano": str(now + round_)}
    data: list[dict[str, Any]] = []
    for i in range(points):
        attributes = [
            {"key": "http.route", "value": {"stringValue": f"/r{i}"}},
            {"key": "http.request.method", "value": {"stringValue": "GET"}},
            {"key": "http.response.status_code", "value": {"intValue": "200"}},
        ]
        point: dict[str, Any] = {**head, "attributes": attributes}
        if kind == "histogram":
            counts = [str(round_ + (k + i) % 7) for k in range(15)]
            point |= {"count": str(sum(map(int, counts))), "sum": 12.5 * round_, "bucketCounts": counts}
            point["explicitBounds"] = [0.005 * 2**k for k in range(14)]
        elif kind == "exponentialHistogram":
            counts = [str(round_ + (k + i) % 7) for k in range(60)]
            point |= {"count": str(sum(map(int, counts))), "sum": 12.5 * round_, "scale": 4}
            point["positive"] = {"offset": -40, "bucketCounts": counts}
        else:
            point["asDouble"] = float(round_)
        data.append(point)
    body: dict[str, Any] = {"dataPoints": data, "aggregationTemporality": 2}
    if kind == "sum":
        body["isMonotonic"] = True
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "till"}}]}
    metric = {"name": f"bench.{kind}", "unit": "s", kind: body}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}


def otlp(options: Options) -> Iterator[Figure]:
    """Cumulative points in both encodings, each request later than the one before."""
    from google.protobuf import json_format  # type: ignore[import-untyped]  # it ships no types
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    points = options.sized(1_000, 100)
    for kind in ("sum", "histogram", "exponentialHistogram"):
        bodies = [orjson.dumps(request(points, kind, round_)) for round_ in range(1, 2 * ROUNDS + 1)]
        packed: list[bytes] = [
            json_format.Parse(body, ExportMetricsServiceRequest()).SerializeToString() for body in bodies
        ]
        for name, coding, requests in (("protobuf", otlp_protobuf, packed), ("JSON", otlp_json, bodies)):
            gateway, empty = fresh()
            left = iter(requests)

            def take(coding: Any = coding, gateway: Gateway = gateway, left: Iterator[bytes] = left) -> None:
                gateway.otlp.take(coding.read(next(left)), gateway.now_ms())

            take()
            each = microseconds(take, points, empty)
            parse: Any = ExportMetricsServiceRequest.FromString if name == "protobuf" else orjson.loads
            floor = microseconds(partial(parse, requests[0]), points)
            yield Figure(f"OTLP {kind}, {name}", "CPU a point", each, "us", floor, "parse alone")


def outlet(options: Options) -> Iterator[Figure]:
    """What sending costs a series: encoding, numbering, the outbox; librdkafka is not in it."""
    gateway, _ = fresh()
    count = options.sized(20_000, 2_000)
    packets = [f"m{i % 20}:1|c|#id:{i}".encode() for i in range(count)]
    best = float("inf")
    for _ in range(ROUNDS):
        feed(gateway, packets)
        began = time.process_time()
        gateway.close(5)
        best = min(best, time.process_time() - began)
    yield Figure("a flush", "CPU a series", best / count * 1e6, "us")


def run(options: Options) -> Iterator[Figure]:
    """Lines, points, and a flush."""
    yield from statsd(options)
    yield from otlp(options)
    yield from outlet(options)
