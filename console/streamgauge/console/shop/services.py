"""Services: what the storefront and the payment service of the shop do with a request, and what they measure."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Literal

from streamgauge.console.shop.asgi import Body, Handler
from streamgauge.console.shop.events import Cancellation, FeatureUsed, Login, OrderPlaced, Payment, SignUp
from streamgauge.console.shop.http import Client
from streamgauge.console.shop.incident import Incident
from streamgauge.console.shop.telemetry import Telemetry

Outcome = Literal["authorized", "declined", "failed"]
DECLINED = 0.03
PRODUCTS = 200


class Payments:
    """Authorizes payments. Fails as the incident says; `elapsed_s` is the time since the shop opened."""

    def __init__(self, telemetry: Telemetry, rng: Random, incident: Incident, elapsed_s: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._rng = rng
        self._incident = incident
        self._elapsed_s = elapsed_s

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """Operations by method and path."""
        return {("POST", "/authorize"): self.authorize, ("GET", "/methods"): self.methods}

    async def authorize(self, body: Body) -> tuple[int, Body]:
        """Take the money, or not."""
        failed = await self._work(0.022)
        declined = self._rng.random() < DECLINED
        outcome: Outcome = "failed" if failed else "declined" if declined else "authorized"
        self._telemetry.emit(
            Payment(country=body["country"], method=body["method"], outcome=outcome, amount=body["amount"])
        )
        return (503, {"error": "bank does not answer"}) if failed else (200, {"outcome": outcome})

    async def methods(self, _: Body) -> tuple[int, Body]:
        """Ways to pay."""
        if await self._work(0.008):
            return 503, {"error": "bank does not answer"}
        return 200, {"methods": ["card", "wallet", "transfer"]}

    async def _work(self, typical_s: float) -> bool:
        elapsed = self._elapsed_s()
        failed = self._rng.random() < self._incident.failures(elapsed)
        slowness = 2.2 if self._incident.active(elapsed) else 1.0
        await asyncio.sleep(typical_s * slowness * self._rng.lognormvariate(0, 0.45) + (0.25 if failed else 0.0))
        return failed


class Storefront:
    """What customers see. Asks the payment service, and a catalogue that it holds in memory."""

    def __init__(self, telemetry: Telemetry, rng: Random, payments: Client, distance_ms: float) -> None:
        self._telemetry = telemetry
        self._rng = rng
        self._payments = payments
        self._distance_s = distance_ms / 1_000
        self._catalogue = sqlite3.connect(":memory:")
        self._catalogue.execute("CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
        rows = [(number, f"product {number}", round(rng.lognormvariate(3.3, 0.6), 2)) for number in range(PRODUCTS)]
        self._catalogue.executemany("INSERT INTO product VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Close the catalogue."""
        self._catalogue.close()

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """Operations by method and path."""
        return {
            ("GET", "/home"): self.home,
            ("GET", "/product"): self.product,
            ("GET", "/search"): self.search,
            ("POST", "/cart"): self.cart,
            ("POST", "/checkout"): self.checkout,
            ("POST", "/login"): self.login,
            ("POST", "/sign_up"): self.sign_up,
            ("POST", "/cancel"): self.cancel,
        }

    async def home(self, _: Body) -> tuple[int, Body]:
        """The first page."""
        await self._travel()
        products = self._ask("offers", "SELECT name, price FROM product ORDER BY price LIMIT 10")
        self._ask("count", "SELECT count(*) FROM product")
        return 200, {"offers": products}

    async def product(self, body: Body) -> tuple[int, Body]:
        """One product."""
        await self._travel()
        found = self._ask("product", "SELECT name, price FROM product WHERE id = ?", body["product"])
        self._ask("similar", "SELECT name FROM product WHERE price > ? ORDER BY price LIMIT 4", found[0][1])
        return 200, {"product": found}

    async def search(self, body: Body) -> tuple[int, Body]:
        """Products by name."""
        await self._travel(1.6)
        found = self._ask("search", "SELECT name FROM product WHERE name LIKE ? LIMIT 20", "%1%")
        self._telemetry.emit(
            FeatureUsed(
                feature="search", segment=body["segment"], query=body["query"], customer_id=body["customer_id"]
            ),
            body["query"],
        )
        return 200, {"found": found}

    async def cart(self, body: Body) -> tuple[int, Body]:
        """A product goes into the basket; the page shows the ways to pay."""
        await self._travel()
        self._ask("product", "SELECT name, price FROM product WHERE id = ?", 1)
        status, answer = await self._payments.request("GET", "/methods", {"country": body["country"]})
        if status >= 500:
            return 502, {"error": "payments do not answer"}
        self._telemetry.emit(
            FeatureUsed(feature="cart", segment=body["segment"], query=None, customer_id=body["customer_id"])
        )
        return 200, answer

    async def checkout(self, body: Body) -> tuple[int, Body]:
        """The basket is paid."""
        await self._travel()
        asked = {key: body[key] for key in ("country", "method", "amount")}
        status, answer = await self._payments.request("POST", "/authorize", asked)
        if status >= 500:
            return 502, {"error": "payments do not answer"}
        if answer["outcome"] != "authorized":
            return 402, answer
        self._telemetry.counted.orders += 1
        self._telemetry.emit(
            OrderPlaced(
                **{key: body[key] for key in ("country", "segment", "coupon", "items", "customer_id", "order_id")},
                amount=body["amount"],
                note="leave it with the neighbours",
            ),
            body["coupon"],
        )
        return 201, {"order": body["order_id"]}

    async def login(self, body: Body) -> tuple[int, Body]:
        """A customer signs in."""
        await self._travel()
        outcome: Literal["ok", "refused"] = "refused" if self._rng.random() < 0.08 else "ok"
        self._telemetry.emit(
            Login(**{key: body[key] for key in ("country", "method", "client", "customer_id")}, outcome=outcome),
            body["client"],
        )
        return (200 if outcome == "ok" else 401), {}

    async def sign_up(self, body: Body) -> tuple[int, Body]:
        """An account is opened."""
        await self._travel()
        known = {key: body[key] for key in ("country", "segment", "campaign", "customer_id")}
        self._telemetry.emit(SignUp(**known, email="somebody@example.com"))
        return 201, {}

    async def cancel(self, body: Body) -> tuple[int, Body]:
        """An order is taken back."""
        await self._travel()
        known = {key: body[key] for key in ("country", "reason", "amount", "customer_id")}
        self._telemetry.emit(Cancellation(**known), body["reason"])
        return 200, {}

    async def _travel(self, factor: float = 1.0) -> None:
        await asyncio.sleep(factor * self._distance_s * self._rng.lognormvariate(0, 0.4))

    def _ask(self, operation: str, sql: str, *values: object) -> list[tuple[str, float]]:
        started = time.perf_counter()
        found: list[tuple[str, float]] = self._catalogue.execute(sql, values).fetchall()
        self._telemetry.query_seconds.labels(operation).observe(time.perf_counter() - started)
        return found
