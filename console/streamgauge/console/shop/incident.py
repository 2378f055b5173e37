"""Incident: when and how badly the payment service fails. Pure; time is given."""

from __future__ import annotations

from dataclasses import dataclass

USUAL_FAILURES = 0.005
INCIDENT_FAILURES = 0.10


@dataclass(frozen=True, slots=True)
class Incident:
    """Payments fail more often and slower from `from_s` until `to_s` after the start; never where both are 0."""

    from_s: float = 0.0
    to_s: float = 0.0

    def active(self, elapsed_s: float) -> bool:
        """Whether it is on."""
        return self.from_s <= elapsed_s < self.to_s

    def failures(self, elapsed_s: float) -> float:
        """The share of payment requests that fail."""
        return INCIDENT_FAILURES if self.active(elapsed_s) else USUAL_FAILURES
