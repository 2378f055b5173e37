"""OTLP from protobuf. Needs opentelemetry-proto (`pip install 'streamgauge[gateway]'`), which is loaded here only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from streamgauge.console.otlp_model import (
    Attributes,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    NumberPoint,
    PayloadError,
    SummaryPoint,
)


def read(body: bytes) -> list[Metric]:
    """The metrics of a request. Raises PayloadError when it is none."""
    request: Any = ExportMetricsServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise PayloadError("the body is no ExportMetricsServiceRequest") from None
    return list(_metrics(request))


def _metrics(request: Any) -> Iterator[Metric]:
    for resource_metrics in request.resource_metrics:
        resource = _attributes(resource_metrics.resource.attributes)
        for scope_metrics in resource_metrics.scope_metrics:
            scope = f"{scope_metrics.scope.name}@{scope_metrics.scope.version}"
            for one in scope_metrics.metrics:
                kind: str = one.WhichOneof("data") or ""
                data = getattr(one, kind) if kind else None
                yield Metric(
                    resource,
                    scope,
                    one.name,
                    one.unit,
                    kind,
                    getattr(data, "aggregation_temporality", 0),
                    getattr(data, "is_monotonic", False),
                    [_POINTS[kind](point) for point in data.data_points] if data is not None else [],
                )


def _number(point: Any) -> NumberPoint:
    kind = point.WhichOneof("value")
    value = getattr(point, kind) if kind else float("nan")
    return NumberPoint(
        _attributes(point.attributes), point.start_time_unix_nano, point.time_unix_nano, point.flags, value
    )


def _optional(point: Any, name: str) -> float | None:
    value: float | None = getattr(point, name) if point.HasField(name) else None
    return value


def _histogram(point: Any) -> HistogramPoint:
    return HistogramPoint(
        _attributes(point.attributes),
        point.start_time_unix_nano,
        point.time_unix_nano,
        point.flags,
        point.count,
        _optional(point, "sum"),
        _optional(point, "min"),
        _optional(point, "max"),
        tuple(point.explicit_bounds),
        tuple(point.bucket_counts),
    )


def _exponential(point: Any) -> ExponentialPoint:
    return ExponentialPoint(
        _attributes(point.attributes),
        point.start_time_unix_nano,
        point.time_unix_nano,
        point.flags,
        point.count,
        _optional(point, "sum"),
        _optional(point, "min"),
        _optional(point, "max"),
        point.scale,
        point.zero_count,
        point.positive.offset,
        tuple(point.positive.bucket_counts),
        point.negative.offset,
        tuple(point.negative.bucket_counts),
    )


def _summary(point: Any) -> SummaryPoint:
    return SummaryPoint(
        _attributes(point.attributes),
        point.start_time_unix_nano,
        point.time_unix_nano,
        point.flags,
        point.count,
        point.sum,
        len(point.quantile_values),
    )


_POINTS: dict[str, Any] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}


def _attributes(pairs: Any) -> Attributes:
    return tuple(sorted({pair.key: _text(pair.value) for pair in pairs}.items()))


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        text: str = value.string_value
        return text
    plain = _plain(value, kind)
    if plain is True or plain is False:
        return "true" if plain else "false"
    return str(plain) if isinstance(plain, (int, float)) else "" if plain is None else orjson.dumps(plain).decode()


def _plain(value: Any, kind: str | None) -> Any:
    if kind == "array_value":
        return [_plain(one, one.WhichOneof("value")) for one in value.array_value.values]
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values
        return {pair.key: _plain(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
    if kind == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, kind) if kind else None


def response(rejected: int, message: str) -> bytes:
    """What is answered to a request that was taken, perhaps in part."""
    answer: Any = ExportMetricsServiceResponse()
    if rejected or message:
        answer.partial_success.rejected_data_points = rejected
        answer.partial_success.error_message = message
    encoded: bytes = answer.SerializeToString()
    return encoded
