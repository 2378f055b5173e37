"""Utils: prometheus_client's own."""

# prometheus_client has types for a part of its own; what it has is handed on as it is
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import prometheus_client.utils as library
from prometheus_client.utils import (
    INF,
    MINUS_INF,
    NaN,
    floatToGoString,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "INF",
    "MINUS_INF",
    "NaN",
    "floatToGoString",
]
