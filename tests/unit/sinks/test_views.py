"""Views as text: names, columns and comments that follow from declarations alone."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.windows import DAY_MS, TIER_NAMES
from streamgauge.sinks.ddl import literal, quoted
from streamgauge.sinks.regions import group_of
from streamgauge.sinks.view_queries import VersionRange, plural
from streamgauge.sinks.views import OWN_NAMES, View, planned_views, view_bases

REQUESTS = MetricHead("checkout_requests", "counter", "{request}", ("endpoint", "status"))


def view_of(name: str, **declared: object) -> View:
    heads = declared.get("heads", ())
    contracts = declared.get("contracts", ())
    ranges = declared.get("ranges", ())
    views = planned_views(heads, contracts, "db", ranges=ranges)  # type: ignore[arg-type]  # each test gives one of them
    return next(view for view in views if view.name == name)


def columns(view: View) -> list[str]:
    """The names that a reader sees, in order."""
    return re.findall(r"^    .* AS `(.+?)`,?$", view.query, re.MULTILINE)


def test_every_tier_from_the_granularity_on_has_a_view() -> None:
    names = {view.name for view in planned_views([MetricHead("nightly.runs", "counter", granularity="1h")], [], "db")}
    assert names == {"nightly_runs_1h", "nightly_runs_1d", *(f"points_{tier}" for tier in TIER_NAMES)}


def test_a_metric_has_its_context_its_labels_and_the_values_of_its_type() -> None:
    seen = columns(view_of("checkout_requests_1m", heads=[REQUESTS]))
    assert seen[:4] == ["window", "service", "environment", "region"]
    assert seen[-5:] == ["endpoint", "value", "count", "labels", "series_id"]
    assert {"region_group", "tenant", "country", "status"} <= set(seen)


def test_an_event_has_columns_per_measure_and_unique_field() -> None:
    contract = Contract(
        "order_placed",
        1,
        {
            "country": Field("dimension"),
            "basket": Field("dimension"),
            "amount": Field("measure", "number", unit="{USD}"),
            "customer_id": Field("unique"),
            "order_id": Field("idempotency_key"),
            "note": Field("dropped"),
        },
    )
    view = view_of("order_placed_1d", contracts=[contract])
    measure = [f"amount_{name}" for name in ("count", "sum", "min", "max", "avg", "p50", "p90", "p95", "p99", "hist")]
    assert columns(view)[-16:] == [
        "basket", "count", *measure, "customers", "distinct_customers", "labels", "series_id",
    ]  # fmt: skip
    assert "note" not in view.query
    assert "order_id" not in view.query
    assert "in UTC" in view.comment
    assert "amount in {USD}" in view.comment


def test_columns_never_meet_whatever_the_fields_are_called() -> None:
    fields = {
        "amount": Field("measure", "number"),
        "amount_count": Field("measure", "number"),
        "amount_sum": Field("dimension"),
        "amount_sum_label": Field("dimension"),
        "customer": Field("unique"),
        "customer_id": Field("unique"),
        "customers": Field("dimension"),
        "instance": Field("measure", "number"),
    }
    seen = columns(view_of("trade_1m", contracts=[Contract("trade", 1, fields)]))
    assert len(seen) == len(set(seen))
    assert {"customers", "customers_state", "customers_label", "amount_sum", "amount_sum_label"} <= set(seen)


def test_the_newest_version_of_an_event_makes_the_view_and_heads_of_one_metric_are_united() -> None:
    old = Contract("sale", 1, {"a": Field("dimension")})
    new = Contract("sale", 2, {"a": Field("dimension"), "b": Field("dimension")})
    assert {"a", "b"} <= set(columns(view_of("sale_1m", contracts=[new, old])))
    coarse = MetricHead("hits", "counter", labels=("x",), granularity="1h")
    fine = MetricHead("hits", "counter", labels=("y",), granularity="1m")
    assert {"x", "y"} <= set(columns(view_of("hits_1m", heads=[coarse, fine])))


def test_an_event_goes_before_a_metric_of_its_name() -> None:
    views = planned_views([MetricHead("sale", "counter")], [Contract("sale", 1, {})], "db")
    assert [view.comment.split()[0] for view in views if view.name == "sale_1m"] == ["Event"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)))
def test_no_two_names_have_one_view_and_none_has_a_table_of_ours(names: list[str]) -> None:
    bases = view_bases(names)
    assert bases.keys() == set(names)
    assert len(set(bases.values())) == len(bases)
    assert not OWN_NAMES & set(bases.values())
    assert all(re.fullmatch(r"\w+", base, re.ASCII) for base in bases.values())


def test_a_name_that_is_a_word_keeps_it_and_dots_become_underscores() -> None:
    bases = view_bases(["a.b", "a_b", "http.requests"])
    assert bases["a_b"] == "a_b"
    assert bases["a.b"].startswith("a_b_")
    assert bases["http.requests"] == "http_requests"
    assert view_bases(["points"])["points"] != "points"


def test_a_version_range_shows_in_the_views_it_concerns_only() -> None:
    ranges = [VersionRange("checkout_requests", 0, DAY_MS, 2)]
    heads = [REQUESTS, MetricHead("other", "counter")]
    assert "materialization_version IN (1, 2)" in view_of("checkout_requests_1m", heads=heads, ranges=ranges).query
    assert "materialization_version = 1" in view_of("other_1m", heads=heads, ranges=ranges).query
    assert "materialization_version IN (1, 2)" in view_of("points_1m", heads=heads, ranges=ranges).query


def test_the_fingerprint_changes_with_the_query_and_only_then() -> None:
    first, second = (view_of("checkout_requests_1m", heads=[REQUESTS]) for _ in range(2))
    wider = view_of("checkout_requests_1m", heads=[MetricHead("checkout_requests", "counter", labels=("x",))])
    assert first.full_comment == second.full_comment
    assert first.full_comment != wider.full_comment


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("customer_id", "customers"),
        ("tailnum", "tailnums"),
        ("city", "cities"),
        ("day", "days"),
        ("address", "addresses"),
        ("_id", "_ids"),
    ],
)
def test_a_sketch_is_called_by_the_plural_of_its_field(field: str, column: str) -> None:
    assert plural(field) == column


@pytest.mark.parametrize(
    ("region", "group"),
    [("ap-southeast-2", "APAC"), ("eu", "EMEA"), ("us-east-1", "AMER"), ("europe", ""), ("", ""), ("moon-1", "")],
)
def test_a_region_belongs_to_the_group_of_its_prefix(region: str, group: str) -> None:
    assert group_of(region) == group


def test_the_longest_prefix_of_a_region_wins() -> None:
    assert group_of("us-gov-west-1", {"us": "AMER", "us-gov": "GOV"}) == "GOV"


def test_quotes_end_where_they_must() -> None:
    assert quoted("a`b\\") == "`a\\`b\\\\`"
    assert literal("it's \\") == "'it\\'s \\\\'"


def test_single_events_have_a_view_only_where_the_contract_says_so_with_a_column_per_field() -> None:
    fields = {
        "country": Field("dimension"), "plan": Field("dimension"), "amount": Field("measure", "number"),
        "customer_id": Field("unique"), "remark": Field("free_text"), "secret": Field("dropped"),
        "order_id": Field("idempotency_key"),
    }  # fmt: skip
    kept = Contract("sale", 2, fields, store_events=True)
    view = view_of("sale_events", contracts=[kept, Contract("sale", 1, fields)])
    assert columns(view) == [
        "at", "service", "environment", "region", "region_group", "version", "instance", "country", "tenant", "segment",
        "operation", "status", "error_type", "plan", "amount", "customer_id", "remark", "contract", "policy",
    ]  # fmt: skip
    newer = replace(kept, version=3, store_events=False)
    assert "sale_events" not in {one.name for one in planned_views([], [kept, newer], "db")}


def test_columns_of_single_events_never_meet() -> None:
    fields = {"policy": Field("dimension"), "at": Field("measure", "number"), "contract": Field("unique")}
    seen = columns(view_of("sale_events", contracts=[Contract("sale", 1, fields, store_events=True)]))
    assert len(seen) == len(set(seen))
    assert {"policy_label", "at_measure", "contract_unique"} <= set(seen)
