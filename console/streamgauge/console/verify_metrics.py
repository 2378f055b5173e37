"""Verify's numbers as metrics of our own, so that they are kept, charted and watched like any other."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from streamgauge.producers import Gauge

if TYPE_CHECKING:
    from streamgauge.console.verify import Verification
    from streamgauge.producers import Producer

COUNTS = {
    "points": ("Points that the ledger knows", "{point}"),
    "lost": ("Points and raw offsets that are missing", "{point}"),
    "doubled": ("Points and raw offsets that are there more than once", "{point}"),
    "moving": ("Points that may be on their way", "{point}"),
    "misplaced": ("Offsets of rolled-up topics that no block has, or more than one", "{offset}"),
    "gaps": ("Raw offsets without a transaction", "{offset}"),
    "overlaps": ("Raw offsets with two transactions", "{offset}"),
    "missing": ("Batches that producers numbered and that never came", "{batch}"),
}


class VerifyMetrics:
    """Gauges `streamgauge_verify_*`, set by every check. The producer is the caller's, and so is its end."""

    def __init__(self, producer: Producer) -> None:
        self._counts = {
            name: Gauge(f"streamgauge_verify_{name}", text, unit=unit, producer=producer)
            for name, (text, unit) in COUNTS.items()
        }
        self._edited = Gauge(
            "streamgauge_verify_edited", "Days of tiers whose values do not add up", unit="{day}", producer=producer
        )
        self._refused = Gauge(
            "streamgauge_verify_refused", "Points that were refused", ["reason"], unit="{point}", producer=producer
        )
        self._wrong = Gauge(
            "streamgauge_verify_wrong_seconds", "For how long checks have found something", unit="s", producer=producer
        )

    def set(self, found: Verification, at: datetime, since: datetime | None) -> None:
        """What one check has found, and since when one found that."""
        for name, gauge in self._counts.items():
            gauge.set(getattr(found, name))
        self._edited.set(len(found.values))
        for reason, points in found.refused.items():
            self._refused.labels(reason).set(points)
        self._wrong.set(0.0 if since is None else (at - since).total_seconds())
