"""How long topics keep messages, because contracts say so: what is asked, and what the doctor says of it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console.doctor import diagnose
from streamgauge.console.doctor_findings import Severity
from streamgauge.console.topic_retention import FLOOR_MS, USED, asked_by
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.settings import FOR_EVER
from streamgauge.schemas.topics import DAY_MS, DISTINCT, EVENTS, HOUR_MS, METRICS, ROLLUPS
from streamgauge.sinks.migrations import shipped
from tests.support.healthy import REGION, WANTED, bad_kafka, healthy_kafka, healthy_store, region, with_topic

ORDERS = Contract(
    "order_placed",
    1,
    {"customer": Field("unique")},
    retention="5d",
    retention_tiers={"events": "2d"},
    store_events=True,
)
VISITS = Contract("visit", 1, {}, retention="36h", store_events=True)


def asked(*contracts: Contract) -> dict[str, tuple[int, str]]:
    return {kind: (one.retention_ms // HOUR_MS, one.contract) for kind, one in asked_by(contracts).items()}


def test_each_topic_keeps_what_the_shortest_contract_that_uses_it_declares() -> None:
    assert asked(ORDERS) == {
        "rollups": (120, "order_placed"), "distinct": (120, "order_placed"), "events_scrubbed": (48, "order_placed"),
    }  # fmt: skip
    assert asked(ORDERS, VISITS) == {
        "events": (36, "visit"), "rollups": (36, "visit"), "distinct": (120, "order_placed"), "events_scrubbed": (36, "visit"),
    }  # fmt: skip


def test_an_event_that_is_only_counted_does_not_shorten_the_topic_of_single_ones() -> None:
    assert "events_scrubbed" not in asked(replace(ORDERS, store_events=False))


def test_the_newest_version_decides_and_long_ones_change_nothing() -> None:
    assert asked(VISITS, replace(VISITS, version=2, retention="400d")) == {}
    assert (
        asked(replace(VISITS, retention="forever"), replace(ORDERS, retention="", retention_tiers={"10s": "1h"})) == {}
    )


def test_there_is_a_floor_and_what_was_declared_is_told() -> None:
    one = asked_by([replace(VISITS, retention="5m")])["events"]
    assert (one.retention_ms, one.declared_ms, one.config()) == (
        FLOOR_MS, 300_000, {"retention.ms": "3600000", "segment.ms": "600000"},
    )  # fmt: skip


spans = st.sampled_from(["", "forever", "1m", "2h", "30h", "3d", "7d", "400d"])


@given(
    st.lists(st.builds(Contract, st.sampled_from("abc"), st.integers(1, 3), st.just({}), retention=spans), max_size=5)
)
def test_no_topic_is_asked_to_keep_more_than_usual_or_less_than_the_floor(contracts: list[Contract]) -> None:
    usual = {topic.kind: topic.retention_ms for topic in USED}
    for kind, one in asked_by(contracts).items():
        assert FLOOR_MS <= one.retention_ms <= usual[kind]
        assert one.declared_ms != FOR_EVER


def test_a_topic_that_keeps_more_than_a_contract_declares_is_found_with_the_command_that_ends_it() -> None:
    wanted = replace(WANTED, contracts=(ORDERS,))
    found = {one.where: one for one in bad_kafka(healthy_kafka(), wanted) if one.area == "topics"}
    assert set(found) == {f"sg.{REGION}.{kind}.v1" for kind in ("rollups", "distinct", "events_scrubbed")}
    one = found[ROLLUPS.name(REGION)]
    assert (one.severity, one.what) == (Severity.WARNING, "keeps messages for 7 days; order_placed declares 5 days")
    assert one.sql.endswith(f"--add-config retention.ms={5 * DAY_MS},segment.ms={10 * HOUR_MS}")
    kafka = healthy_kafka()
    for topic in USED:
        if topic.kind in (known := asked_by([ORDERS])):
            kafka = with_topic(
                kafka, topic, **{key.replace(".", "_"): value for key, value in known[topic.kind].config().items()}
            )
    assert [one for one in bad_kafka(kafka, wanted) if one.area == "topics"] == []
    assert "not 7 days" in bad_kafka(kafka)[0].what, "drift the other way: nobody declares it any more"
    slow = with_topic(kafka, DISTINCT, segment_ms=str(7 * DAY_MS))
    (late,) = [one for one in bad_kafka(slow, wanted) if one.area == "topics"]
    assert "closes a segment only after 7 days" in late.what


def test_retention_below_a_day_or_an_outage_is_a_warning_because_it_is_what_covers_outages() -> None:
    short = replace(VISITS, retention="6h")
    config = {key.replace(".", "_"): value for key, value in asked_by([short])["events"].config().items()}
    kafka = with_topic(healthy_kafka(), EVENTS, **config)
    wanted = replace(WANTED, contracts=(short,))
    (found,) = [one for one in bad_kafka(kafka, wanted) if one.where == EVENTS.name(REGION)]
    assert (found.severity, "no outage may last longer than 6 hours" in found.what) == (Severity.WARNING, True)
    longer = replace(wanted, outage_ms=10 * HOUR_MS)
    (found,) = [one for one in bad_kafka(kafka, longer) if one.where == EVENTS.name(REGION)]
    assert "an outage of 10 hours loses data" in found.what


def test_a_contract_below_the_floor_is_a_note_and_metrics_have_no_contract() -> None:
    wanted = replace(WANTED, contracts=(replace(VISITS, retention="5m"),))
    findings = diagnose(region(healthy_store(), healthy_kafka()), wanted, shipped())
    assert any("visit declares 5 minutes; topics keep 60 minutes at least" in one.what for one in findings)
    assert not [one for one in findings if one.where == METRICS.name(REGION)]
