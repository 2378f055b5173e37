"""Residency: whose data a deployment may process. What names another region is refused, never passed on. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge.schemas.contracts import WHERE_COLLECTED, Contract

WRONG_REGION = "wrong_region"


@dataclass(frozen=True, slots=True)
class Residency:
    """The deployment's `region`, and the names of `others` whose data it may process too; `eu-*` stands for all that begin
    so. Its own zones (`eu-west-1` of `eu`) need no mention. Without a region everything is accepted, as in tests."""

    region: str = ""
    others: tuple[str, ...] = ()

    def accepts(self, region: str) -> bool:
        """Whether data that names this region may be processed here. Data that names none was collected here."""
        if not region or not self.region or region == self.region or region.startswith(f"{self.region}-"):
            return True
        return any(region == one or (one.endswith("*") and region.startswith(one[:-1])) for one in self.others)

    def may_process(self, contract: Contract) -> bool:
        """Whether a contract lets this region process its events."""
        declared = contract.residency
        return not self.region or declared == WHERE_COLLECTED or "region" in declared or self.region in declared
