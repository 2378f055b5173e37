"""ASGI: prometheus_client's own application."""

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
