"""OTLP from JSON: 64-bit integers as text or numbers, enumerations as numbers, unknown keys ignored, as the protocol asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import orjson

from streamgauge.console.otlp_model import (
    Attributes,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    NumberPoint,
    PayloadError,
    Point,
    SummaryPoint,
)
from streamgauge.producers.text import attribute_text

T = TypeVar("T")
Json = Mapping[str, Any]
WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
NAMED = {"AGGREGATION_TEMPORALITY_DELTA": 1, "AGGREGATION_TEMPORALITY_CUMULATIVE": 2}
_INTEGER = re.compile(r"-?[0-9]{1,20}")
KINDS = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponentialHistogram": "exponential_histogram",
    "summary": "summary",
}


def read(body: bytes) -> list[Metric]:
    """The metrics of a request. Raises PayloadError when it is none."""
    try:
        request: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PayloadError(f"the body is not JSON (line {error.lineno}, column {error.colno})") from None
    # all of it before anything counts: what cannot be read is refused as a whole
    return list(_metrics(_object(request, "the request")))


def response(rejected: int, message: str) -> bytes:
    """What is answered to a request that was taken, perhaps in part."""
    if not rejected and not message:
        return b"{}"
    return orjson.dumps({"partialSuccess": {"rejectedDataPoints": str(rejected), "errorMessage": message}})


def _metrics(request: Json) -> Iterator[Metric]:
    for resource_metrics in _objects(request, "resourceMetrics"):
        resource = _attributes(_object(resource_metrics.get("resource") or {}, "resource"))
        for scope_metrics in _objects(resource_metrics, "scopeMetrics"):
            scope = _object(scope_metrics.get("scope") or {}, "scope")
            for one in _objects(scope_metrics, "metrics"):
                yield _metric(resource, f"{_text(scope, 'name')}@{_text(scope, 'version')}", one)


def _metric(resource: Attributes, scope: str, one: Json) -> Metric:
    key = next((key for key in KINDS if one.get(key) is not None), "")
    data = _object(one.get(key) or {}, key)
    temporality = data.get("aggregationTemporality", 0)
    return Metric(
        resource,
        scope,
        _text(one, "name"),
        _text(one, "unit"),
        KINDS.get(key, ""),
        NAMED.get(temporality, 0) if isinstance(temporality, str) else _integer(data, "aggregationTemporality"),
        data.get("isMonotonic") is True,
        [_POINTS[key](point) for point in _objects(data, "dataPoints")] if key else [],
    )


def _head(point: Json) -> tuple[Attributes, int, int, int]:
    return (
        _attributes(point),
        _natural(point, "startTimeUnixNano"),
        _natural(point, "timeUnixNano"),
        _natural(point, "flags"),
    )


def _number(point: Json) -> NumberPoint:
    value: float = float("nan")
    if point.get("asDouble") is not None:
        value = _float(point, "asDouble")
    elif point.get("asInt") is not None:
        value = _integer(point, "asInt")
    return NumberPoint(*_head(point), value)


def _optional(point: Json, key: str) -> float | None:
    return None if point.get(key) is None else _float(point, key)


def _totals(point: Json) -> tuple[int, float | None, float | None, float | None]:
    return _natural(point, "count"), _optional(point, "sum"), _optional(point, "min"), _optional(point, "max")


def _histogram(point: Json) -> HistogramPoint:
    return HistogramPoint(
        *_head(point),
        *_totals(point),
        tuple([_real(one, "explicitBounds") for one in _list(point, "explicitBounds")]),
        _counts(point),
    )


def _exponential(point: Json) -> ExponentialPoint:
    positive = _object(point.get("positive") or {}, "positive")
    negative = _object(point.get("negative") or {}, "negative")
    return ExponentialPoint(
        *_head(point),
        *_totals(point),
        _integer(point, "scale"),
        _natural(point, "zeroCount"),
        _integer(positive, "offset"),
        _counts(positive),
        _integer(negative, "offset"),
        _counts(negative),
    )


def _summary(point: Json) -> SummaryPoint:
    total = _optional(point, "sum")
    return SummaryPoint(*_head(point), _natural(point, "count"), total or 0.0, len(_list(point, "quantileValues")))


_POINTS: Mapping[str, Callable[[Json], Point]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponentialHistogram": _exponential,
    "summary": _summary,
}


def _attributes(holder: Json) -> Attributes:
    found: dict[str, str] = {}
    for pair in _objects(holder, "attributes"):
        found[_text(pair, "key")] = attribute_text(_plain(_object(pair.get("value") or {}, "value")))
    return tuple(sorted(found.items()))


def _plain(value: Json, depth: int = 0) -> Any:
    if depth > 16:
        raise PayloadError("attributes are nested too deeply")
    if value.get("arrayValue") is not None:
        return [_plain(one, depth + 1) for one in _objects(_object(value["arrayValue"], "arrayValue"), "values")]
    if value.get("kvlistValue") is not None:
        pairs = _objects(_object(value["kvlistValue"], "kvlistValue"), "values")
        return {_text(one, "key"): _plain(_object(one.get("value") or {}, "value"), depth + 1) for one in pairs}
    if value.get("intValue") is not None:
        return _integer(value, "intValue")
    if value.get("doubleValue") is not None:
        return _float(value, "doubleValue")
    if value.get("boolValue") is not None:
        return value["boolValue"] is True
    for key in ("stringValue", "bytesValue"):
        if value.get(key) is not None:
            return _text(value, key)
    return None


def _object(value: Any, where: str) -> Json:
    if not isinstance(value, dict):
        raise PayloadError(f"{where} must be an object")
    return cast("dict[str, Any]", value)


def _list(holder: Json, key: str) -> list[Any]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise PayloadError(f"{key} must be a list")
    return cast("list[Any]", value)


def _objects(holder: Json, key: str) -> list[Json]:
    return [_object(one, key) for one in _list(holder, key)]


def _text(holder: Json, key: str) -> str:
    value = holder.get(key, "")
    if not isinstance(value, str):
        raise PayloadError(f"{key} must be a text")
    return value


def _integer(holder: Json, key: str) -> int:
    return _whole(holder.get(key, 0), key)


def _whole(value: Any, key: str) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if type(value) is not int or not -(1 << 63) <= value < 1 << 64:
        raise PayloadError(f"{key} must be an integer of 64 bits")
    return value


def _natural(holder: Json, key: str) -> int:
    return _at_least_0(holder.get(key, 0), key)


def _at_least_0(value: Any, key: str) -> int:
    if (number := _whole(value, key)) < 0:
        raise PayloadError(f"{key} must not be negative")
    return number


def _float(holder: Json, key: str) -> float:
    return _real(holder.get(key), key)


def _real(value: Any, key: str) -> float:
    if isinstance(value, str):
        value = WORDS.get(value, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PayloadError(f"{key} must be a number")
    return float(value)


def _counts(holder: Json) -> tuple[int, ...]:
    return tuple([_at_least_0(one, "bucketCounts") for one in _list(holder, "bucketCounts")])
