"""Rules of tables: what settings and contracts make of them, and what differs from what a table has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.windows import DAY_MS, TIER_NAMES
from streamgauge.sinks.ddl import StoreSchemaError
from streamgauge.sinks.retention import Retention
from streamgauge.sinks.table_ttl import (
    LONGEST,
    Ttl,
    TtlDrift,
    expected_ttl,
    live_ttl,
    longer_than_kept,
    own_rules,
    shortest_kept,
    ttl_drift,
    undeclared,
)

FIELDS = {"amount": Field("measure", "number"), "customer": Field("unique"), "country": Field("dimension")}
ORDERS = Contract("order_placed", 1, FIELDS, retention="30d", retention_tiers={"10s": "1d"})
VISITS = Contract("visit", 1, {}, retention="12h")
KEPT = Retention(3 * DAY_MS, 30 * DAY_MS, 400 * DAY_MS, FOR_EVER)
ENGINE = "AggregatingMergeTree ORDER BY metric{ttl} SETTINGS index_granularity = 8192, ttl_only_drop_parts = {parts}"


def engine(ttl: Ttl | str = "", parts: int = 1) -> str:
    clause = ttl if isinstance(ttl, str) else ttl.clause
    return ENGINE.format(ttl=f" TTL {clause}" if clause else "", parts=parts)


def wanted(table: str, *contracts: Contract, live: Ttl | None = None, retention: Retention = KEPT) -> Ttl:
    (rule,) = [one for one in retention.rules() if one.table == table]
    return expected_ttl(rule, contracts, live)


def drift(table: str, found: str, *contracts: Contract, retention: Retention = KEPT) -> list[TtlDrift]:
    return list(ttl_drift(retention.rules(), {table: found}, contracts, "db"))


def test_a_contract_shortens_a_tier_for_its_own_metrics() -> None:
    assert wanted("rollups_10s", ORDERS, VISITS).clause == (
        "window + toIntervalSecond(259200), window + toIntervalSecond(43200) WHERE metric IN ('visit'), "
        "window + toIntervalSecond(86400) WHERE metric IN ('order_placed', 'order_placed.amount')"
    )
    assert wanted("distinct_10s", ORDERS, VISITS).names == {"order_placed.customer": 86_400}
    assert wanted("rollups_1d", ORDERS).clause == (
        "greatest(window, toDateTime(4291747200)), "
        "window + toIntervalSecond(2592000) WHERE metric IN ('order_placed', 'order_placed.amount')"
    )


def test_a_contract_never_lengthens_what_the_tier_keeps_and_the_deployment_is_told() -> None:
    longer = replace(ORDERS, retention="", retention_tiers={"10s": "4d", "1m": "30d", "1d": "40d"})
    assert wanted("rollups_10s", longer).clause == wanted("rollups_10s").clause
    assert list(longer_than_kept(KEPT, [longer])) == ["order_placed declares 4 d for tier 10s, which keeps 3 d only"]
    assert list(longer_than_kept(KEPT, [ORDERS, VISITS])) == []


def test_the_newest_version_decides_and_measures_of_all_versions_go() -> None:
    newer = replace(ORDERS, version=2, fields={"net": Field("measure", "number")}, retention_tiers={"10s": "2d"})
    for order in ((ORDERS, newer), (newer, ORDERS)):
        assert wanted("rollups_10s", *order).names == dict.fromkeys(
            ("order_placed", "order_placed.amount", "order_placed.net"), 2 * 86_400
        )
    assert wanted("rollups_10s", ORDERS, replace(newer, retention="", retention_tiers={})).names == {}


def test_nothing_is_said_of_tiers_that_are_finer_than_an_event_is_kept_in() -> None:
    hourly = replace(VISITS, granularity="1h")
    assert [wanted(f"rollups_{tier}", hourly).names for tier in TIER_NAMES] == [{}, {}, *[{"visit": 43_200}] * 2]


def test_what_was_declared_elsewhere_stays_until_its_contract_is_known() -> None:
    live = wanted("rollups_10s", ORDERS, VISITS)
    assert wanted("rollups_10s", live=live) == live
    assert wanted("rollups_10s", replace(VISITS, version=2, retention=""), live=live).names == {
        "order_placed": 86_400, "order_placed.amount": 86_400,
    }  # fmt: skip
    (told,) = undeclared({"rollups_10s": engine(live, 0)}, [VISITS], "db")
    assert told.finding == "forgets order_placed, order_placed.amount after 1 d, and no contract given here says so"
    assert told.statement.endswith("toIntervalSecond(43200) DELETE WHERE metric IN ('visit')")


def test_drift_is_told_both_ways_with_the_statement_that_ends_it() -> None:
    late, parts = drift("rollups_10s", engine(wanted("rollups_10s")), ORDERS)
    assert late.finding == "keeps order_placed, order_placed.amount longer than declared (1 d)"
    assert late.statement == (
        "ALTER TABLE `db`.`rollups_10s` MODIFY TTL window + toIntervalSecond(259200), window + toIntervalSecond(86400) "
        "DELETE WHERE metric IN ('order_placed', 'order_placed.amount')"
    )
    assert "would stay" in parts.finding
    assert "ttl_only_drop_parts = 0" in parts.statement
    early, _ = drift("rollups_10s", engine(wanted("rollups_10s", ORDERS), 0), replace(ORDERS, retention_tiers={}))
    assert early.finding == "forgets order_placed, order_placed.amount after 1 d, earlier than declared"
    assert drift("rollups_10s", engine(wanted("rollups_10s", ORDERS), 0), ORDERS) == []
    assert drift("rollups_10s", engine(wanted("rollups_10s"))) == []
    assert [one.finding for one in drift("rollups_10s", engine(wanted("rollups_10s"), 0))] == [
        "rewrites parts to forget rows, and no contract asks for that"
    ]


def test_a_rule_of_somebody_else_is_told_and_never_taken_over_by_a_sink() -> None:
    foreign = "window + toIntervalDay(3)"
    assert live_ttl(engine(foreign)) is None
    assert "window + toIntervalDay(3)" in drift("rollups_10s", engine(foreign), ORDERS)[0].finding
    assert list(own_rules(Retention(), {"rollups_10s": engine(foreign)})) == []


def test_a_sink_leaves_the_time_for_all_rows_as_the_table_has_it() -> None:
    tables = {"rollups_10s": engine("window + toIntervalSecond(7)"), "rollups_1m": engine(), "blocks": engine()}
    assert [(one.table, one.ms) for one in own_rules(Retention(), tables)] == [
        ("rollups_10s", 7_000),
        ("rollups_1m", FOR_EVER),
    ]


def test_a_thousand_contracts_fit_and_too_many_are_refused_with_advice() -> None:
    many = [replace(ORDERS, name=f"event_number_{one:04}_of_a_large_shop") for one in range(1_000)]
    ttl = wanted("rollups_10s", *many)
    assert (len(ttl.names), ttl.clause.count("WHERE")) == (2_000, 1)
    assert len(ttl.statement("db", "rollups_10s")) < LONGEST / 2
    with pytest.raises(StoreSchemaError, match="longer than the store parses"):
        wanted("rollups_10s", *[replace(one, name=one.name * 4) for one in many]).statement("db", "rollups_10s")


def test_rows_may_be_gone_as_soon_as_any_version_let_them_go() -> None:
    newer = replace(ORDERS, version=2, retention_tiers={"10s": "2d"})
    tables = {"rollups_1m": engine(Ttl("metric", "window", None, {"other": 60}), 0)}
    assert shortest_kept(tables, [newer, ORDERS]) == {
        "10s": DAY_MS, "1m": 60_000, "1h": 30 * DAY_MS, "1d": 30 * DAY_MS,
    }  # fmt: skip
    assert shortest_kept({}, []) == {}


spans = st.sampled_from(["", "1h", "36h", "7d", "30d", "36500d", "forever"])
names = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True)
contracts = st.builds(
    Contract, names, st.integers(1, 3), st.dictionaries(names, st.sampled_from([*FIELDS.values()]), max_size=3),
    retention=spans, retention_tiers=st.dictionaries(st.sampled_from([*TIER_NAMES, "events"]), spans.filter(bool)),
    granularity=st.sampled_from(TIER_NAMES),
)  # fmt: skip
settings_ms = st.sampled_from([FOR_EVER, DAY_MS, 3 * DAY_MS, 400 * DAY_MS])


@given(st.lists(contracts, max_size=6), settings_ms)
def test_a_rule_is_read_back_as_it_was_made_and_never_keeps_longer_than_anybody_says(
    declared: list[Contract], ms: int
) -> None:
    for rule in Retention(ms, ms, ms, ms).rules():
        ttl = expected_ttl(rule, declared, None)
        found = live_ttl(engine(ttl))
        assert found is not None
        assert (found.clause, dict(found.names), found.whole) == (ttl.clause, dict(ttl.names), ttl.whole)
        assert expected_ttl(rule, declared, found).clause == ttl.clause
        assert all(ttl.whole is None or seconds < ttl.whole for seconds in ttl.names.values())
        assert ttl.clause.count(" WHERE ") == len(set(ttl.names.values()))
