"""ASGI: prometheus_client's own application."""

# prometheus_client has types for a part of its own; what it has is handed on as it is
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import prometheus_client.asgi as library
from prometheus_client.asgi import (
    make_asgi_app,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "make_asgi_app",
]
