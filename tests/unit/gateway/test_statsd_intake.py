"""StatsD through the whole gateway: sums stay what was sent, senders stay who they are, and nothing is lost unsaid."""

from __future__ import annotations

from collections import defaultdict

import pytest

from streamgauge.console.gateway_settings import GatewaySettings
from streamgauge.producers.outbox import Outcome
from streamgauge.schemas.contracts import parse_contract
from streamgauge.schemas.histogram import bucket_of, quantile
from streamgauge.schemas.windows import window_start
from tests.support.gateways import NOW_MS, TestGateway


def test_counters_add_up_and_a_sampled_one_counts_for_the_others() -> None:
    one = TestGateway()
    one.statsd("hits:1|c", "hits:4|c", "hits:1|c|@0.1", "hits:-2|c")

    (row,) = one.rows("hits")
    assert (row.type, row.sum, row.count) == ("counter", 13.0, 13)


def test_a_rate_that_does_not_divide_is_right_in_the_long_run() -> None:
    one = TestGateway()
    one.statsd(*["t:100|ms|@0.3"] * 300)

    (row,) = one.rows("t_seconds")
    assert row.count == 1000
    assert row.sum == pytest.approx(100.0)
    assert sum(row.buckets.values()) == row.count


def test_milliseconds_become_a_histogram_of_seconds_with_the_unit_in_its_name() -> None:
    one = TestGateway()
    one.statsd("db.query:320|ms", "db.query:80:160|ms", "render_ms:5|ms")

    (row,) = one.rows("db_query_seconds")
    assert (row.type, row.unit, row.count, row.min, row.max) == ("histogram", "s", 3, 0.08, 0.32)
    assert row.sum == pytest.approx(0.56)
    assert quantile(row.buckets, 0.5) == pytest.approx(0.16, rel=0.011)
    assert len(one.rows("render_seconds")) == 1


def test_histograms_and_distributions_are_histograms_as_they_are() -> None:
    one = TestGateway()
    one.statsd("size:10:20|h", "weight:7|d|@0.5")

    (size,) = one.rows("size")
    (weight,) = one.rows("weight")
    assert (size.type, size.unit, size.count, size.sum) == ("histogram", "", 2, 30.0)
    assert (weight.count, weight.sum, dict(weight.buckets)) == (2, 14.0, {bucket_of(7.0): 2})


def test_a_gauge_keeps_its_value_over_windows_for_those_who_move_it_by_steps() -> None:
    one = TestGateway()
    one.statsd("queue:10|g", "queue:+5|g")
    one.flush()
    one.clock.advance(3600)
    one.gateway.step()
    one.statsd("queue:-3|g")

    assert [row.last for row in one.rows("queue")] == [15.0, 12.0]


@pytest.mark.parametrize(
    ("signed", "plain", "tagged"), [("auto", 4.0, -6.0), ("steps", 4.0, 4.0), ("values", -6.0, -6.0)]
)
def test_a_negative_gauge_is_a_step_or_a_value_as_its_dialect_says(signed: str, plain: float, tagged: float) -> None:
    one = TestGateway(statsd_signed_gauges=signed)
    one.statsd("a:10|g", "a:-6|g", "b:10|g|#x:y", "b:-6|g|#x:y")

    assert [row.last for row in one.rows("a")] == [plain]
    assert [row.last for row in one.rows("b")] == [tagged]


def test_one_who_ever_spoke_dogstatsd_means_it_in_plain_lines_too() -> None:
    one = TestGateway()
    one.gateway.packet(b"calls:1|c|#a:b", ("127.0.0.1", 5001))
    for source in (("127.0.0.1", 5001), ("127.0.0.1", 5002)):
        for _ in range(3):
            one.gateway.packet(b"level.%d:-4|g" % source[1], source)

    assert [row.last for row in one.rows("level_5001")] == [-4.0]
    assert [row.last for row in one.rows("level_5002")] == [-12.0]


def test_tags_are_labels_in_whatever_order_they_come() -> None:
    one = TestGateway()
    one.statsd("hits:1|c|#route:/a,method:get", "hits:2|c|#method:get,route:/a", "hits,route=/b,method=put:4|c")

    assert one.sums("hits") == {
        (("method", "get"), ("operation", "/a")): 3.0,
        (("method", "put"), ("operation", "/b")): 4.0,
    }


def test_sets_of_tag_names_of_one_metric_travel_side_by_side() -> None:
    one = TestGateway()
    one.statsd("hits:1|c", "hits:2|c|#a:1", "hits:4|c|#a:1,b:2", "hits:8|c|#flag")

    assert one.sums("hits") == {
        (): 1.0,
        (("a", "1"),): 2.0,
        (("a", "1"), ("b", "2")): 4.0,
        (("flag", "true"),): 8.0,
    }
    (batch,) = [batch for batch in one.batches() if batch.origin.context["service"] == "somebody"]
    assert len({head.labels for head in batch.metrics if head.name == "hits"}) == 4


def test_names_and_tags_become_such_as_can_travel() -> None:
    one = TestGateway()
    one.statsd("web/hits per-sec:1|c|#2xx:yes,my-tag:a|b", "web/hits per-sec:1|c|#value:9,__x:1")

    assert one.sums("web_hits_per_sec") == {
        (("_2xx", "yes"), ("my_tag", "a")): 1.0,
        (("exported___x", "1"), ("exported_value", "9")): 1.0,
    }


def test_tags_have_the_names_that_attributes_have() -> None:
    one = TestGateway()
    one.statsd(
        "Web.Hits:1|c|#endpoint:/a,status_code:200,count:9",
        "Web.Hits:2|c|#http.route:/a,status:200,count:9,deployment.environment:prod,service_name:till",
    )

    labels = {"operation": "/a", "status": "200", "exported_count": "9"}
    rows = one.rows("Web_Hits")
    assert {(row.context["service"], row.context["environment"], row.sum) for row in rows} == {
        ("somebody", "test", 1.0),
        ("till", "prod", 2.0),
    }
    assert [dict(row.labels) for row in rows] == [labels, labels]


def test_unified_service_tags_say_who_sends() -> None:
    one = TestGateway()
    one.statsd("hits:1|c|#env:prod,service:till,version:1.2,a:b", "hits:2|c|#a:b")

    rows = {row.context["service"]: row for row in one.rows("hits")}
    assert rows.keys() == {"till", "somebody"}
    till, somebody = rows["till"], rows["somebody"]
    assert (till.context["environment"], till.context["version"], dict(till.labels)) == ("prod", "1.2", {"a": "b"})
    assert (till.sum, somebody.sum, somebody.context["environment"]) == (1.0, 2.0, "test")
    streams = {(batch.origin.context["instance"], batch.origin.stream) for batch in one.batches()}
    assert len(streams) == len({stream for _, stream in streams}) >= 2


def test_beyond_the_budget_of_senders_only_whose_it_was_is_lost() -> None:
    one = TestGateway(gateway_senders=2)
    one.statsd(*[f"hits:1|c|#service:s{i}" for i in range(10)])

    by_service = {row.context["service"]: row.sum for row in one.rows("hits")}
    assert by_service == {"s0": 1.0, "s1": 1.0, "__overflow__": 8.0}
    assert one.adjusted()["statsd", "sender_overflow"] == 8


def test_beyond_the_budget_of_series_sums_stay_exact() -> None:
    one = TestGateway(series_budget=3)
    one.statsd(*[f"hits:1|c|#user:u{i}" for i in range(100)])

    sums = one.sums("hits")
    assert sum(sums.values()) == 100.0
    assert sums[("user", "__overflow__"),] == 97.0
    assert len(sums) == 4


def test_beyond_the_budget_of_tag_sets_sums_stay_exact_without_tags() -> None:
    one = TestGateway(gateway_tag_sets=3)
    one.statsd(*[f"hits:1|c|#t{i}:x" for i in range(50)])

    sums = one.sums("hits")
    assert sum(sums.values()) == 50.0
    assert sums[()] == 47.0
    assert one.adjusted()["statsd", "tags_dropped"] == 47


def test_one_name_has_one_type() -> None:
    one = TestGateway()
    one.statsd("load:1|c", "load:5|g", "load:7|ms")

    assert one.refused() == {("statsd", "type_conflict"): 1}
    assert one.sums("load") == {(): 1.0}
    assert len(one.rows("load_seconds")) == 1


def test_names_are_bounded_and_freed_when_they_rest() -> None:
    one = TestGateway(gateway_metrics=2)
    one.statsd("a:1|c", "b:1|c", "c:1|c")
    assert one.refused() == {("statsd", "too_many_metrics"): 1}

    one.flush()
    one.clock.advance(1300)
    one.flush()
    one.clock.advance(1300)
    one.flush()
    one.statsd("c:1|c")
    assert one.sums("c") == {(): 1.0}


def test_a_series_that_rested_and_comes_back_still_counts() -> None:
    one = TestGateway()
    one.statsd("a:1|c|#x:y")
    for _ in range(3):
        one.flush()
        one.clock.advance(1300)
    one.flush()
    one.statsd("a:2|c|#x:y")

    assert one.sums("a") == {(("x", "y"),): 3.0}


def test_a_time_is_honoured_within_bounds() -> None:
    one = TestGateway(gateway_max_age=3_600_000)
    now = NOW_MS // 1000
    one.statsd(f"a:1|c|T{now - 100}", f"a:2|c|T{now}", f"a:4|c|T{now - 4000}", f"a:8|c|T{now + 4000}")

    windows = {row.window_ms: row.sum for row in one.rows("a")}
    assert windows == {window_start(NOW_MS - 100_000, 10_000): 1.0, NOW_MS: 2.0}
    assert one.refused() == {("statsd", "too_old"): 1, ("statsd", "in_the_future"): 1}


def test_one_bad_line_does_not_cost_its_packet() -> None:
    one = TestGateway()
    one.statsd("a:1|c", "broken", b"\xff:1|c", "a:2|c")

    assert one.sums("a") == {(): 3.0}
    assert one.refused() == {("statsd", "no_value"): 1, ("statsd", "not_utf8"): 1}


def test_what_is_refused_travels_as_a_metric_of_the_gateways_own() -> None:
    one = TestGateway()
    one.statsd("broken", "a:1|q", "a:2|q")
    one.flush()

    assert one.sums("streamgauge_gateway_refused") == {
        (("kind", "statsd"), ("reason", "no_value")): 1.0,
        (("kind", "statsd"), ("reason", "unknown_type")): 2.0,
    }
    (row,) = {row.context["service"] for row in one.rows("streamgauge_gateway_received")}
    assert row == "streamgauge"


def test_nobody_else_can_send_the_gateways_own_metrics() -> None:
    one = TestGateway()
    one.statsd("streamgauge_gateway_refused:99|c")

    assert one.refused() == {("statsd", "reserved_name"): 1}


def test_an_event_is_counted_by_its_kind_and_its_words_never_travel() -> None:
    one = TestGateway()
    one.statsd("_e{6,12}:Secret|call me back|s:ci|t:error|p:low|h:web-1|#env:prod,team:core")

    assert one.events("statsd_event") == [{"alert_type": "error", "priority": "low", "source": "ci"}]
    (batch,) = one.event_batches()
    assert batch.origin.context["environment"] == "prod"
    assert not [m for m in one.transport.sent if b"Secret" in m.value or b"call me" in m.value or b"web-1" in m.value]


def test_a_service_check_is_an_event_with_its_state() -> None:
    one = TestGateway()
    one.statsd("_sc|db.up|0|m:all good", "_sc|db.up|2")

    assert one.events("statsd_service_check") == [
        {"check": "db.up", "status": "ok"},
        {"check": "db.up", "status": "critical"},
    ]


def test_members_of_a_set_are_events_that_are_counted_distinct() -> None:
    one = TestGateway()
    one.statsd("visitors:ann|s", "visitors:bob|s", "visitors:ann|s")

    assert [row["member"] for row in one.events("statsd_set")] == ["ann", "bob", "ann"]
    assert {row["set_name"] for row in one.events("statsd_set")} == {"visitors"}


def test_contracts_of_the_gateways_own_are_made_known_once_and_only_when_needed() -> None:
    one = TestGateway()
    one.statsd("a:1|c", "visitors:ann|s", "visitors:bob|s")
    one.flush()

    published = [parse_contract(m.value) for m in one.transport.delivered if ".contracts." in m.topic]
    assert [contract.name for contract in published] == ["statsd_set"]
    assert published[0].fields["member"].kind == "unique"

    silent = TestGateway(publish_contracts=False)
    silent.statsd("visitors:ann|s")
    silent.flush()
    assert [m for m in silent.transport.delivered if ".contracts." in m.topic] == []


def test_more_lines_a_second_than_allowed_are_refused_and_counted() -> None:
    one = TestGateway(statsd_lines=5)
    one.statsd(*["a:1|c"] * 8)
    one.clock.advance(1)
    one.statsd("a:1|c")

    assert one.sums("a") == {(): 6.0}
    assert one.refused() == {("statsd", "rate_limited"): 3}


def test_while_the_broker_is_away_sums_wait_in_little_memory_and_all_arrive_without_a_hole() -> None:
    one = TestGateway(outbox_bytes=64_000)
    one.transport.outcome = None
    for _ in range(200):
        one.statsd("a:1|c", *[f"b:1|c|#x:{i}" for i in range(20)], "visitors:ann|s")
        one.flush()
    assert one.gateway.outlet.json()["bytes_waiting"] <= 64_000
    one.transport.outcome = Outcome.ACKNOWLEDGED
    for _ in range(20):
        one.flush()

    assert sum(one.sums("a").values()) == 200
    assert sum(one.sums("b").values()) == 4_000
    assert len(one.transport.events("statsd_set")) == 200
    assert one.gateway.outlet.json()["dropped"] == 0
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for topic, batch in [(".metrics.", b) for b in one.batches()] + [(".events.", b) for b in one.event_batches()]:
        numbers[topic, batch.origin.stream].append(batch.origin.seq)
    assert all(sorted(found) == list(range(len(found))) for found in numbers.values())


def test_sums_that_wait_for_long_lose_their_windows_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamgauge.console.gateway.MAX_CELLS", 50)
    one = TestGateway(outbox_bytes=2_000)
    one.transport.outcome = None
    for _ in range(600):
        one.statsd("a:1|c", "t:100|ms", "g:5|g")
        one.flush()
        one.clock.advance(8)
        assert one.gateway.index.cells() <= 60
    one.transport.outcome = Outcome.ACKNOWLEDGED
    for _ in range(30):
        one.flush()

    rows = one.rows("t_seconds")
    assert sum(one.sums("a").values()) == 600
    assert sum(row.count for row in rows) == sum(sum(row.buckets.values()) for row in rows) == 600
    assert len(rows) < 100
    assert one.adjusted()["metric", "coarsened"] > 0


def test_a_sum_that_leaves_the_range_of_numbers_is_counted_not_sent() -> None:
    one = TestGateway()
    one.statsd("a:1e308|c", "a:1e308|c", "b:1|c")

    assert one.rows("a") == []
    assert one.refused() == {("metric", "not_finite"): 1}
    assert one.sums("b") == {(): 1.0}


def test_settings_that_open_http_to_all_without_a_token_are_refused() -> None:
    from streamgauge.console.gateway_settings import Address
    from streamgauge.schemas.errors import SettingsError

    with pytest.raises(SettingsError, match="GATEWAY_TOKEN"):
        GatewaySettings(gateway_http=Address("0.0.0.0", 4318)).check()
