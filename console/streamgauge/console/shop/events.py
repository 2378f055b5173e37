"""Events: what the shop says about its business. Their contracts are the JSON files in `console/contracts`."""

from __future__ import annotations

from typing import Literal

from streamgauge.producers import Dimension, Dropped, Event, IdempotencyKey, Measure, Unique, unit

Segment = Literal["free", "pro", "enterprise"]


class SignUp(Event, owner="storefront", purpose="analytics"):
    """A visitor opened an account."""

    country: Dimension[str]
    segment: Dimension[Segment]
    campaign: Dimension[str | None]
    customer_id: Unique[str]
    email: Dropped[str]


class Login(Event, owner="storefront", purpose="security"):
    """A customer signed in, or tried to."""

    country: Dimension[str]
    method: Dimension[Literal["password", "passkey", "sso"]]
    outcome: Dimension[Literal["ok", "refused"]]
    client: Dimension[str]
    customer_id: Unique[str]


class OrderPlaced(Event, owner="storefront", purpose="analytics", retention="400d"):
    """A customer paid for a basket."""

    country: Dimension[str]
    segment: Dimension[Segment]
    coupon: Dimension[str | None]
    amount: Measure[float, unit("{USD}")]
    items: Measure[int, unit("{item}")]
    customer_id: Unique[str]
    order_id: IdempotencyKey[str]
    note: Dropped[str | None]


class Payment(Event, owner="payments", purpose="analytics", retention="400d"):
    """A payment was attempted."""

    country: Dimension[str]
    method: Dimension[Literal["card", "wallet", "transfer"]]
    outcome: Dimension[Literal["authorized", "declined", "failed"]]
    amount: Measure[float, unit("{USD}")]


class FeatureUsed(Event, owner="storefront", purpose="analytics"):
    """A customer used a feature of the shop."""

    feature: Dimension[Literal["search", "cart", "wishlist", "reviews"]]
    segment: Dimension[Segment]
    query: Dimension[str | None]
    customer_id: Unique[str]


class Cancellation(Event, owner="storefront", purpose="analytics", retention="400d"):
    """A customer took an order back."""

    country: Dimension[str]
    reason: Dimension[str]
    amount: Measure[float, unit("{USD}")]
    customer_id: Unique[str]


EVENTS: tuple[type[Event], ...] = (SignUp, Login, OrderPlaced, Payment, FeatureUsed, Cancellation)
"""Every event of the shop."""
