"""Hashing: the worker's own pseudonyms, for commands that look at what workers saw."""

from __future__ import annotations

import time

from streamgauge.console.settings import ConsoleSettings
from streamgauge.processors.key_sources import key_source
from streamgauge.processors.pseudonyms import DistinctHasher


def hasher_of(settings: ConsoleSettings) -> DistinctHasher:
    """A hasher under the region's keys as they are now. Raises SettingsError without any."""
    ring = key_source(settings.keys, settings.pseudonym_key).read()
    return DistinctHasher(ring, settings.region, phone_region=settings.phone_region, now_ms=time.time_ns() // 1_000_000)
