"""What a type checker must see of the API. Checked by mypy and pyright in strict mode, never run."""

from __future__ import annotations

from datetime import date
from typing import Literal, assert_type

from streamgauge.producers import (
    Counter,
    Dimension,
    Dropped,
    Event,
    FreeText,
    Gauge,
    Generalised,
    Histogram,
    IdempotencyKey,
    Measure,
    Unique,
    by,
    emit,
    operation,
    set_function,
    unit,
)

REQUESTS = Counter("checkout_requests", "Requests served", ["endpoint", "status"])
LATENCY = Histogram("checkout_latency_seconds", "Time to serve a request", ["endpoint"], unit="s")
QUEUE = Gauge("checkout_queue", "Waiting orders")


class OrderPlaced(Event, version=3, owner="checkout", retention="400d", purpose="analytics"):
    """A customer paid for a basket."""

    country: Dimension[str]
    segment: Dimension[Literal["free", "pro"]]
    coupon: Dimension[str | None] = None
    amount: Measure[float, unit("{USD}")]
    items: Measure[int, unit("1")]
    customer_id: Unique[str]
    order_id: IdempotencyKey[str]
    note: Dropped[str]


event = OrderPlaced(
    country="JP", segment="pro", amount=42.5, items=2, customer_id="c-981", order_id="o-1", note="by noon"
)
assert_type(event.country, str)
assert_type(event.coupon, str | None)
assert_type(event.amount, float)
assert_type(event.items, int)
emit(event)
emit(event, at_ms=1_795_354_000_000)

OrderPlaced(country="JP")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # fields are missing
OrderPlaced(  # an open value for a closed dimension, a text for a number
    country="JP",
    segment="trial",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    amount="42",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    items=2,
    customer_id="c-981",
    order_id="o-1",
    note="",
)
emit("order")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # not an event


def country_of(address: str) -> str:
    """As an application resolves addresses."""
    return "JP" if address else ""


class SignedUp(Event, purposes=("analytics", "fraud"), legal_basis="contract", residency=("eu",), store_events=True):
    """Somebody opened an account."""

    network: Generalised[str, by("ip_prefix")]
    came_from: Generalised[str, by("country", country_of)]
    born: Generalised[date, by("date")]
    age: Generalised[int | None, by("age_band")] = None
    remark: FreeText[str | None] = None


signed_up = SignedUp(network="203.0.113.77", came_from="203.0.113.77", born=date(1987, 4, 12))
assert_type(signed_up.network, str)
assert_type(signed_up.born, date)
assert_type(signed_up.age, int | None)
assert_type(signed_up.remark, str | None)
emit(signed_up)
SignedUp(network=7, came_from="", born=date(1987, 4, 12))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

REQUESTS.labels("/pay", "200").inc()
REQUESTS.labels(endpoint="/pay", status="200").inc(2)
REQUESTS.labels("/pay", "200").observe(1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
QUEUE.set(3)
with LATENCY.labels("/pay").time() as timer:
    assert_type(timer.duration, float)


@LATENCY.labels("/pay").time()
def serve(order: str) -> int:
    """Decorated functions keep their types."""
    return len(order)


@LATENCY.labels("/pay").time()
async def serve_later(order: str) -> int:
    """Coroutine functions too."""
    return len(order)


@operation("serve", queue="orders")
def served(order: str) -> int:
    """As with timers."""
    return len(order)


assert_type(serve("o-1"), int)
assert_type(served("o-1"), int)
set_function(QUEUE, lambda: 3).stop()


async def caller() -> None:
    """Awaiting gives what the function returns."""
    assert_type(await serve_later("o-1"), int)
