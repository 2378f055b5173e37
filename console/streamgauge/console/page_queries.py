"""Queries of the page: every chart is one statement with bound parameters, and what a person needs to read its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streamgauge.schemas.errors import InputError
from streamgauge.schemas.windows import TIERS, Tier
from streamgauge.sinks.ddl import table

SPANS: Final[Mapping[int, str]] = {
    300: "10s",
    900: "10s",
    3_600: "10s",
    21_600: "1m",
    86_400: "1m",
    604_800: "1h",
    7_776_000: "1d",
}
"""Seconds that can be looked back, and the tier that is read for them."""

MAX_ROWS: Final = 20_000
LIMITS: Final = (
    f"\nLIMIT {MAX_ROWS}\nSETTINGS max_execution_time = 5, max_result_rows = {MAX_ROWS}, result_overflow_mode = 'break'"
)
"""What every statement ends with: a page must never be what loads a store."""

SETTLE_S: Final = 3
"""Rates show windows that ended this long ago: what is on its way would look like a fall."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: a statement whose rows are (instant in s, series, value) or, with `names`, (instant, value, value, …).

    `view` must exist before it can be asked. `limit` draws a line that is worth an alarm.
    """

    id: str
    title: str
    says: str
    unit: str
    view: str
    sql: str
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    names: tuple[str, ...] = ()
    limit: float | None = None
    awaits: str = ""

    def json(self) -> dict[str, Any]:
        """What the page needs to draw and explain it, without its rows."""
        return {
            "id": self.id,
            "title": self.title,
            "says": self.says,
            "unit": self.unit,
            "view": self.view,
            "sql": self.sql,
            "params": dict(self.params),
            "names": list(self.names),
            "limit": self.limit,
            "awaits": self.awaits,
        }


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked at: how far back, and which region (empty: all of them)."""

    span_s: int = 300
    region: str = ""

    def __post_init__(self) -> None:
        if self.span_s not in SPANS:
            raise InputError(f"span {self.span_s}: there are {', '.join(map(str, SPANS))}")
        if len(self.region) > 100:
            raise InputError("region: this is longer than any region's name")

    @property
    def tier(self) -> Tier:
        """The tier that is read."""
        return next(tier for tier in TIERS if tier.name == SPANS[self.span_s])

    @property
    def width_s(self) -> int:
        """Seconds of a window."""
        return self.tier.width_ms // 1_000

    @property
    def params(self) -> dict[str, Any]:
        """What every statement binds."""
        return {"span": self.span_s, "region": self.region}


def board(look: Look, database: str) -> list[Chart]:
    """The charts of services that answer requests and of a shop that takes orders."""
    tier, width = look.tier.name, look.width_s
    params, settled = look.params, {**look.params, "settled": width + SETTLE_S}

    def name(base: str) -> str:
        return f"{base}_{tier}"

    requests, seconds, orders = (
        name(base) for base in ("http_server_requests", "http_server_request_duration_seconds", "order_placed")
    )

    def by_region(value: str, view: str, complete: bool) -> str:
        return lines(
            "region", value, table(database, view), complete, "{region:String} = '' OR region = {region:String}"
        )

    http = "a service with the metric http_server_requests"
    shop = "an event order_placed"
    return [
        Chart(
            "requests",
            "Requests",
            "by region, windows that are complete",
            "/s",
            requests,
            by_region(f"sum(value) / {width}", requests, complete=True),
            settled,
            awaits=http,
        ),
        Chart(
            "errors",
            "Error rate",
            "share of requests answered with 5xx",
            "%",
            requests,
            by_region("sumIf(value, status >= '500') / sum(value)", requests, complete=False),
            params,
            limit=0.05,
            awaits=http,
        ),
        Chart(
            "latency",
            "Latency",
            "of all requests, from merged histograms",
            "s",
            seconds,
            quantiles("hist", table(database, seconds), "{region:String} = '' OR region = {region:String}"),
            params,
            names=QUANTILE_NAMES,
            awaits="a service with the histogram http_server_request_duration_seconds",
        ),
        Chart(
            "orders",
            "Orders",
            "by region, windows that are complete",
            "/s",
            orders,
            by_region(f"sum(count) / {width}", orders, complete=True),
            settled,
            awaits=shop,
        ),
        Chart(
            "revenue",
            "Revenue",
            "by region, per minute",
            "USD/min",
            orders,
            by_region(f"sum(amount_sum) * 60 / {width}", orders, complete=True),
            settled,
            awaits=shop,
        ),
        Chart(
            "customers",
            "Customers who ordered",
            f"distinct in each window of {tier}, counted by pseudonym",
            "",
            orders,
            by_region("uniqCombined64Merge(customers)", orders, complete=True),
            settled,
            awaits=shop,
        ),
    ]


QUANTILE_NAMES: Final = ("p50", "p95", "p99")


def lines(by: str, value: str, source: str, complete: bool, condition: str = "") -> str:
    """A statement of rows (instant in s, series, value); `complete` leaves out windows that are still filling."""
    settled = "\n  AND window <= now() - {settled:UInt32}" if complete else ""
    where = f"\n  AND ({condition})" if condition else ""
    return (
        f"SELECT toUnixTimestamp(window) AS t, {by} AS series, {value} AS y\n"
        f"FROM {source}\n"
        f"WHERE window > now() - {{span:UInt32}}{settled}{where}\n"
        f"GROUP BY t, series\nORDER BY t, series{LIMITS}"
    )


def quantiles(hist: str, source: str, condition: str = "") -> str:
    """A statement of rows (instant in s, p50, p95, p99) over the histograms in the column `hist`."""
    where = f"\n  AND ({condition})" if condition else ""
    columns = ", ".join(
        f"sg_quantile({q}, sumMap({hist})) AS {name}" for q, name in zip((0.5, 0.95, 0.99), QUANTILE_NAMES, strict=True)
    )
    return (
        f"SELECT toUnixTimestamp(window) AS t, {columns}\n"
        f"FROM {source}\nWHERE window > now() - {{span:UInt32}}{where}\n"
        f"GROUP BY t\nHAVING p50 IS NOT NULL\nORDER BY t{LIMITS}"
    )
