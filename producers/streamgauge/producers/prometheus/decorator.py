"""Decorator: prometheus_client's own."""

from __future__ import annotations

from typing import Any

import prometheus_client.decorator as library
from prometheus_client.decorator import (
    decorate,
    decorator,
    getargspec,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "decorate",
    "decorator",
    "getargspec",
]
