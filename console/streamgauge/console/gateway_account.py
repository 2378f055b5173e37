"""Account of the gateway: what came in, what was refused and why, what was taken in another form than sent."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

log = logging.getLogger("streamgauge.gateway")


class Refusal(Exception):
    """This input cannot be used; `reason` is the word it is counted under. No value of it is anywhere in here."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class Account:
    """Running totals by kind (`statsd`, `statsd_event`, `statsd_check`, `statsd_set`, `otlp`, `event`, `http`) and reason."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self.adjusted: Counter[tuple[str, str]] = Counter()
        self.drops: Counter[str] = Counter()

    def refuse(self, kind: str, reason: str, count: int = 1) -> None:
        """Something that came in does not count. Said once for each kind and reason."""
        if (kind, reason) not in self.refused:
            log.warning("%s: some input is refused (%s)", kind, reason)
        self.refused[kind, reason] += count

    def adjust(self, kind: str, reason: str, count: int = 1) -> None:
        """Something counts, in another form than it was sent: in an overflow series, without tags, with a shorter value."""
        if (kind, reason) not in self.adjusted:
            log.info("%s: some input is taken in another form (%s)", kind, reason)
        self.adjusted[kind, reason] += count

    def json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "received": dict(sorted(self.received.items())),
            "refused": _nested(self.refused),
            "adjusted": _nested(self.adjusted),
            "socket_drops": dict(sorted(self.drops.items())),
        }


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (kind, reason), count in sorted(counts.items()):
        found.setdefault(kind, {})[reason] = count
    return found
