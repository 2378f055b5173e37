"""Residency: whose data a deployment may process. What names another region is refused, never passed on. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge.schemas.contracts import WHERE_COLLECTED, Contract

WRONG_REGION = "wrong_region"
GROUPS = {
    "amer": ("us-", "ca-", "sa-", "mx-", "northamerica-", "southamerica-"),
    "americas": ("us-", "ca-", "sa-", "mx-", "northamerica-", "southamerica-"),
    "apac": ("ap-", "asia-", "australia-"),
    "emea": ("eu-", "europe-", "me-", "af-", "africa-", "il-"),
    "eu": ("europe-",),
}
"""How clouds begin the names of their regions within the parts of the world that deployments are named after."""


@dataclass(frozen=True, slots=True)
class Residency:
    """The deployment's `region`, and the names of `others` whose data it may process too; `eu-*` stands for all that begin
    so. Its own zones (`eu-west-1` of `eu`, `ap-southeast-2` of `apac`) need no mention. Without a region everything is
    accepted, as in tests."""

    region: str = ""
    others: tuple[str, ...] = ()

    def accepts(self, region: str) -> bool:
        """Whether data that names this region may be processed here. Data that names none was collected here."""
        if not region or not self.region or region == self.region:
            return True
        if region.startswith((f"{self.region}-", *GROUPS.get(self.region, ()))):
            return True
        return any(region == one or (one.endswith("*") and region.startswith(one[:-1])) for one in self.others)

    def may_process(self, contract: Contract) -> bool:
        """Whether a contract lets this region process its events."""
        declared = contract.residency
        return not self.region or declared == WHERE_COLLECTED or "region" in declared or self.region in declared
