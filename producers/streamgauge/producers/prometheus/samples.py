"""Samples: prometheus_client's own."""

from __future__ import annotations

from typing import Any

import prometheus_client.samples as library
from prometheus_client.samples import (
    BucketSpan,
    Exemplar,
    NativeHistogram,
    Sample,
    Timestamp,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "BucketSpan",
    "Exemplar",
    "NativeHistogram",
    "Sample",
    "Timestamp",
]
