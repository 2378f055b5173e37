"""Files of the multiprocess mode: prometheus_client's own. Our instruments write none."""

from __future__ import annotations

from typing import Any

import prometheus_client.mmap_dict as library
from prometheus_client.mmap_dict import (
    MmapedDict,
    mmap_key,
)


def __getattr__(name: str) -> Any:
    return getattr(library, name)


__all__ = [
    "MmapedDict",
    "mmap_key",
]
