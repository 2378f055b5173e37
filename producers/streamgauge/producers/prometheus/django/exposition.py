"""Django: prometheus_client's own view."""

from __future__ import annotations

from typing import Any

import prometheus_client.django.exposition as library
from prometheus_client.django.exposition import (
    PrometheusDjangoView,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "PrometheusDjangoView",
]
