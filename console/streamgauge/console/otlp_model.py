"""OTLP metrics as values: what both encodings, protobuf and JSON, are read into. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

DELTA, CUMULATIVE = 1, 2
"""Aggregation temporality, as the protocol numbers it; 0 is unspecified."""
NO_VALUE = 1
"""The flag of a point that says only that a series has ended."""

Attributes = tuple[tuple[str, str], ...]
"""Names and values as text, sorted by name."""


class PayloadError(ValueError):
    """A request is not OTLP: it cannot be read at all. The text says where, never a value."""


class NumberPoint(NamedTuple):
    """A point of a sum or a gauge."""

    attributes: Attributes
    start_ns: int
    time_ns: int
    flags: int
    value: float


class HistogramPoint(NamedTuple):
    """A point of an explicit histogram; what is not given is None."""

    attributes: Attributes
    start_ns: int
    time_ns: int
    flags: int
    number: int
    sum: float | None
    min: float | None
    max: float | None
    bounds: tuple[float, ...]
    counts: tuple[int, ...]


class ExponentialPoint(NamedTuple):
    """A point of an exponential histogram. Counts of one sign begin at the index `offset`."""

    attributes: Attributes
    start_ns: int
    time_ns: int
    flags: int
    number: int
    sum: float | None
    min: float | None
    max: float | None
    scale: int
    zero_count: int
    positive_offset: int
    positive: tuple[int, ...]
    negative_offset: int
    negative: tuple[int, ...]


class SummaryPoint(NamedTuple):
    """A point of a summary, of whose quantiles only the number is known."""

    attributes: Attributes
    start_ns: int
    time_ns: int
    flags: int
    number: int
    sum: float
    quantiles: int


Point = NumberPoint | HistogramPoint | ExponentialPoint | SummaryPoint


class Metric(NamedTuple):
    """One metric of one scope of one resource. `kind`: sum, gauge, histogram, exponential_histogram, summary, or empty."""

    resource: Attributes
    scope: str
    name: str
    unit: str
    kind: str
    temporality: int
    monotonic: bool
    points: Sequence[Point]
