"""aiohttp: prometheus_client's own handler."""

from __future__ import annotations

from typing import Any

import prometheus_client.aiohttp.exposition as library
from prometheus_client.aiohttp.exposition import (
    make_aiohttp_handler,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "make_aiohttp_handler",
]
