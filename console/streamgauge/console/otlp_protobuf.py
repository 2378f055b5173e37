"""OTLP from protobuf. Needs opentelemetry-proto (`pip install 'streamgauge[gateway]'`), which is loaded here only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
from streamgauge.producers.text import attribute_text


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


def _head(point: Any) -> tuple[Attributes, int, int, int]:
    return _attributes(point.attributes), point.start_time_unix_nano, point.time_unix_nano, point.flags


def _number(point: Any) -> NumberPoint:
    kind = point.WhichOneof("value")
    return NumberPoint(*_head(point), getattr(point, kind) if kind else float("nan"))


def _optional(point: Any, name: str) -> float | None:
    value: float | None = getattr(point, name) if point.HasField(name) else None
    return value


def _totals(point: Any) -> tuple[int, float | None, float | None, float | None]:
    return point.count, _optional(point, "sum"), _optional(point, "min"), _optional(point, "max")


def _histogram(point: Any) -> HistogramPoint:
    return HistogramPoint(*_head(point), *_totals(point), tuple(point.explicit_bounds), tuple(point.bucket_counts))


def _exponential(point: Any) -> ExponentialPoint:
    return ExponentialPoint(
        *_head(point),
        *_totals(point),
        point.scale,
        point.zero_count,
        point.positive.offset,
        tuple(point.positive.bucket_counts),
        point.negative.offset,
        tuple(point.negative.bucket_counts),
    )


def _summary(point: Any) -> SummaryPoint:
    return SummaryPoint(*_head(point), point.count, point.sum, len(point.quantile_values))


_POINTS: dict[str, Any] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}


def _attributes(pairs: Any) -> Attributes:
    return tuple(
        sorted({pair.key: pair.value.string_value or attribute_text(_plain(pair.value)) for pair in pairs}.items())
    )


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


def response(rejected: int, message: str) -> bytes:
    """What is answered to a request that was taken, perhaps in part."""
    answer: Any = ExportMetricsServiceResponse()
    if rejected or message:
        answer.partial_success.rejected_data_points = rejected
        answer.partial_success.error_message = message
    encoded: bytes = answer.SerializeToString()
    return encoded
