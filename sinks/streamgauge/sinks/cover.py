"""Cover: how long the store's tables know the token of a block. They count parts; replicated ones count seconds too. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MARGIN = 0.5
"""Share of a window that may be used: what was sent may still be on its way when somebody looks."""

PARTS_SETTING = {True: "replicated_deduplication_window", False: "non_replicated_deduplication_window"}
SECONDS_SETTING = "replicated_deduplication_window_seconds"


@dataclass(frozen=True, slots=True)
class Window:
    """How many parts a table remembers, and for how long (None: however long)."""

    parts: int
    seconds: float | None = None

    def covers(self, parts: int, age_s: float) -> bool:
        """Whether a token is surely known after so many parts and so much time."""
        return parts <= MARGIN * self.parts and (self.seconds is None or age_s <= MARGIN * self.seconds)


def window_of(engine: str, defaults: Mapping[str, int]) -> Window:
    """The window of a table, from its engine with settings as the store describes it; `defaults` holds in their absence."""
    replicated = engine.startswith("Replicated")
    parts = int(_setting(PARTS_SETTING[replicated], engine, defaults))
    return Window(parts, _setting(SECONDS_SETTING, engine, defaults) if replicated else None)


def _setting(name: str, engine: str, defaults: Mapping[str, int]) -> int:
    found = re.search(rf"\b{name} = (\d+)", engine)
    return int(found[1]) if found else defaults.get(name, 0)


def smallest(windows: Iterable[Window]) -> Window:
    """What all of them remember; nothing, if there are none."""
    held = list(windows)
    seconds = [one.seconds for one in held if one.seconds is not None]
    return Window(min((one.parts for one in held), default=0), min(seconds, default=None))
