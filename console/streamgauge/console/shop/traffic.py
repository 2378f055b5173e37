"""Traffic: which requests customers of one region make, and when. From a seed: the same seed, the same visits."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from streamgauge.console.shop import texts

STOREFRONT_PER_S: Final = 150.0
"""Requests to the storefront, all regions together. With the payment requests that they cause: 240 a second."""
SWING, SWING_S = 0.12, 47.0
"""Load goes up and down by this share, in this many seconds."""
CUSTOMERS: Final = 1_500

ACTIONS: Final[Mapping[str, float]] = {
    "home": 14.0,
    "product": 20.0,
    "search": 15.0,
    "cart": 54.0,
    "checkout": 36.5,
    "login": 6.5,
    "sign_up": 3.0,
    "cancel": 1.0,
}
"""Weights of what a visitor does. A cart and a checkout cause one payment request each."""
_NAMES: Final = tuple(ACTIONS)
_WEIGHTS: Final = tuple(ACTIONS.values())


@dataclass(frozen=True, slots=True)
class Market:
    """A region: its share of the load, its countries with their weights, and how far away its customers are."""

    share: float
    countries: Mapping[str, float]
    distance_ms: float


MARKETS: Final[Mapping[str, Market]] = {
    "us-east-1": Market(0.40, {"US": 8, "CA": 2, "MX": 1, "BR": 1}, 9.0),
    "eu-central-1": Market(0.34, {"DE": 4, "FR": 3, "GB": 3, "NL": 1, "ES": 1}, 12.0),
    "ap-southeast-2": Market(0.26, {"AU": 5, "NZ": 2, "SG": 1, "JP": 1}, 17.0),
}
"""The regions that the shop can be in."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a customer: when (seconds after the start), what, and what it says."""

    at_s: float
    action: str
    body: dict[str, Any] = field(default_factory=dict[str, Any])


def seeded(*parts: object) -> Random:
    """A generator that gives the same numbers for the same parts in every process."""
    return Random(":".join(map(str, parts)))  # noqa: S311  # a demo's customers are no secret


def visits(region: str, seed: int, scale: float = 1.0) -> Iterator[Visit]:
    """Endless visits of one region in order of time, arriving at random around a load that slowly swings."""
    market, rng = MARKETS[region], seeded(seed, region, "visits")
    people = _people(region, seed)
    at_s = 0.0
    while True:
        rate = STOREFRONT_PER_S * market.share * scale * (1 + SWING * math.sin(2 * math.pi * at_s / SWING_S))
        at_s += rng.expovariate(rate)
        action = rng.choices(_NAMES, _WEIGHTS)[0]
        yield Visit(at_s, action, _body(action, rng, rng.choice(people)))


def _people(region: str, seed: int) -> list[dict[str, str]]:
    rng, market = seeded(seed, region, "people"), MARKETS[region]
    countries, weights = tuple(market.countries), tuple(market.countries.values())
    return [
        {
            "customer_id": f"c-{region}-{number}",
            "country": rng.choices(countries, weights)[0],
            "segment": rng.choices(("free", "pro", "enterprise"), (6, 3, 1))[0],
        }
        for number in range(max(1, round(CUSTOMERS * market.share)))
    ]


def _body(action: str, rng: Random, person: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = dict(person)
    match action:
        case "product":
            body["product"] = rng.randrange(200)
        case "search":
            body["query"] = texts.choose(rng, texts.SEARCHES, texts.PLANTED_SEARCHES, 0.15)
        case "cart" | "checkout":
            body["items"] = rng.choices((1, 2, 3, 4, 5), (50, 25, 12, 8, 5))[0]
            body["amount"] = round(body["items"] * rng.lognormvariate(3.3, 0.6), 2)
            body["method"] = rng.choices(("card", "wallet", "transfer"), (7, 2, 1))[0]
            if action == "checkout":
                body["coupon"] = _coupon(rng)
                body["order_id"] = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        case "login":
            body["client"] = texts.choose(rng, texts.CLIENTS, texts.PLANTED_CLIENTS, 0.4)
            body["method"] = rng.choices(("password", "passkey", "sso"), (6, 3, 1))[0]
        case "sign_up":
            body["campaign"] = rng.choice(("search", "newsletter", None))
        case "cancel":
            body["reason"] = texts.choose(rng, texts.REASONS, texts.PLANTED_REASONS, 0.2)
            body["amount"] = round(rng.lognormvariate(3.6, 0.6), 2)
        case _:
            pass
    return body


def _coupon(rng: Random) -> str | None:
    return texts.choose(rng, texts.COUPONS, texts.PLANTED_COUPONS, 0.3) if rng.random() < 0.3 else None
