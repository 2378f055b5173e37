"""The doctor's findings of workers and sinks: positions, lags, open transactions."""

from __future__ import annotations

from dataclasses import replace

from streamgauge.console.doctor import diagnose
from streamgauge.console.doctor_facts import Group, KafkaFacts, OpenTransaction
from streamgauge.console.doctor_findings import Finding, Severity
from streamgauge.schemas.topics import METRICS, ROLLUPS
from streamgauge.sinks.migrations import shipped
from tests.support.healthy import (
    MINUTE,
    NOW,
    TOPIC_ID,
    WANTED,
    bad,
    bad_kafka,
    healthy_kafka,
    healthy_store,
    region,
    with_position,
    with_topic,
)


def only(findings: list[Finding]) -> Finding:
    (one,) = findings
    return one


def of_group(kafka: KafkaFacts, role: str, **changes: object) -> KafkaFacts:
    return replace(
        kafka,
        groups=tuple(replace(one, **changes) if one.role == role else one for one in kafka.groups),  # type: ignore[arg-type]  # fields by name
    )


def all_read(group: Group) -> Group:
    return replace(group, after=tuple(replace(one, unread=False, unread_since_ms=None) for one in group.after))


def test_a_missing_offset_of_a_partition_that_the_store_knows_is_an_error_with_the_offset_to_set() -> None:
    found = only(bad_kafka(with_position(healthy_kafka(), "sink", ROLLUPS, offset=None, metadata="")))
    assert (found.severity, found.where) == (Severity.ERROR, "sink sg.eu.rollups.v1/0")
    assert found.sql.endswith("--group sg-eu-sink --topic sg.eu.rollups.v1:0 --reset-offsets --to-offset 100 --execute")


def test_a_missing_offset_of_a_fresh_partition_is_fine() -> None:
    kafka = with_position(healthy_kafka(), "worker", METRICS, offset=None, unread=False, unread_since_ms=None)
    assert bad(region(replace(healthy_store(), reached=()), kafka)) == []


def test_a_partition_that_nobody_ever_read_is_found_when_its_messages_grow_old() -> None:
    kafka = with_position(healthy_kafka(), "worker", METRICS, offset=None, unread_since_ms=NOW - 5 * MINUTE)
    found = only(bad(region(replace(healthy_store(), reached=()), kafka)))
    assert found.what == "nothing was ever read; the first message waits for 5 minutes"


def test_offsets_below_the_start_of_the_log_are_lost() -> None:
    kafka = healthy_kafka()
    cut = replace(kafka, after=tuple(replace(one, start=120, end=130, stable=130) for one in kafka.after))
    found = bad_kafka(with_position(cut, "worker", METRICS, offset=107))
    assert {one.severity for one in found} == {Severity.ERROR}
    (one,) = [one for one in found if one.where == "worker sg.eu.metrics.v1/0"]
    assert one.what.startswith("13 offsets are gone unread")
    assert "offsets_lost" in one.remedy
    assert any("--to-earliest" in one.sql for one in found if one.where.startswith("sink"))


def test_an_offset_behind_the_end_says_that_the_topic_was_made_anew() -> None:
    found = only(bad_kafka(with_position(healthy_kafka(), "worker", METRICS, offset=500)))
    assert "made anew" in found.what


def test_a_commit_of_another_life_of_the_topic_stops_the_sink() -> None:
    found = only(bad_kafka(with_position(healthy_kafka(), "sink", ROLLUPS, metadata="stored topic another")))
    assert "a sink that starts here stops" in found.what
    assert "made anew" in found.remedy
    pending = f"pending 108-120 format 1 topic {TOPIC_ID}"
    assert bad_kafka(with_position(healthy_kafka(), "sink", ROLLUPS, metadata=pending)) == []


def test_a_commit_of_another_life_of_a_raw_topic_stops_the_worker() -> None:
    found = only(bad_kafka(with_position(healthy_kafka(), "worker", METRICS, metadata="state 7 topic another")))
    assert "a worker that starts here stops: the topic was made anew" in found.what
    assert found.sql.endswith(
        "--group sg-eu-process --topic sg.eu.metrics.v1:0 --reset-offsets --to-earliest --execute"
    )
    for metadata in (f"state 7 topic {TOPIC_ID}", "state 7", "by hand"):
        assert bad_kafka(with_position(healthy_kafka(), "worker", METRICS, metadata=metadata)) == []


def test_offsets_that_went_with_their_topic_are_not_set_to_where_the_store_knows_them() -> None:
    kafka = with_position(healthy_kafka(), "worker", METRICS, offset=None, metadata="")
    for life, target in (("another", "--to-earliest"), (TOPIC_ID, "--to-offset 100"), ("", "--to-offset 100")):
        reached = tuple(replace(one, life=life) for one in healthy_store().reached)
        found = only(bad(region(replace(healthy_store(), reached=reached), kafka)))
        assert found.sql.endswith(f"--reset-offsets {target} --execute")


def test_a_partition_that_stands_still_is_an_error() -> None:
    stuck = with_position(healthy_kafka(), "sink", ROLLUPS, offset=100, unread_since_ms=NOW - 2 * MINUTE)
    found = only(bad_kafka(stuck))
    assert found.severity is Severity.ERROR
    assert found.what == "does not move: offset 100 waits for 2 minutes, 10 offsets behind"


def test_a_partition_that_stands_still_for_a_moment_is_fine() -> None:
    assert bad_kafka(with_position(healthy_kafka(), "sink", ROLLUPS, offset=100)) == []


def test_a_lag_that_shrinks_is_worth_a_note_and_one_that_grows_a_warning() -> None:
    shrinking = with_position(healthy_kafka(), "sink", ROLLUPS, offset=108, unread_since_ms=NOW - 2 * MINUTE)
    assert bad_kafka(shrinking) == []
    found = diagnose(region(healthy_store(), shrinking), WANTED, shipped())
    assert any("catching up: 2 offsets" in one.what for one in found if one.severity is Severity.NOTE)
    growing = with_position(healthy_kafka(), "sink", ROLLUPS, offset=101, unread_since_ms=NOW - 2 * MINUTE)
    assert only(bad_kafka(growing)).what == "2 minutes behind and not catching up: 9 offsets"


def test_unread_messages_that_retention_reaches_within_an_outage_are_an_error() -> None:
    kafka = with_topic(healthy_kafka(), METRICS, retention_ms=str(METRICS.retention_ms))
    old = with_position(kafka, "worker", METRICS, unread_since_ms=NOW - METRICS.retention_ms + 10 * MINUTE)
    found = only(bad_kafka(old))
    assert "is deleted in 10 minutes" in found.what
    assert "retention.ms=518400000" in found.sql


def test_a_group_without_members_is_an_error_when_messages_wait_and_a_warning_when_not() -> None:
    waiting = of_group(healthy_kafka(), "worker", state="empty", members=0)
    found = only(bad_kafka(waiting))
    assert (found.severity, found.what) == (
        Severity.ERROR,
        "no worker is running, and 8 partitions have unread messages",
    )
    assert found.remedy.endswith("streamgauge process --brokers 127.0.0.1:9092 --region eu")
    idle = replace(waiting, groups=tuple(map(all_read, waiting.groups)))
    assert only(bad_kafka(idle)).severity is Severity.WARNING


def test_offsets_of_a_group_without_members_that_expire_soon_are_an_error() -> None:
    kafka = of_group(healthy_kafka(), "sink", state="empty", members=0)
    short = replace(kafka, config={**(kafka.config or {}), "offsets.retention.minutes": "31"})
    assert bad_kafka(short)[-1].severity is Severity.ERROR  # nobody is running
    expiring = replace(
        healthy_store(),
        reached=tuple(replace(one, at_ms=NOW - 20 * MINUTE) for one in healthy_store().reached),
    )
    found = bad(region(expiring, short))
    assert any("committed offsets are deleted in 11 minutes" in one.what for one in found)


def test_a_hanging_transaction_is_an_error_and_a_young_one_is_not() -> None:
    kafka = healthy_kafka()
    hanging = OpenTransaction("sg.eu.rollups.v1", 0, 95, NOW - 10 * MINUTE)
    found = only(bad_kafka(replace(kafka, open_transactions=(hanging,))))
    assert (found.severity, found.where) == (Severity.ERROR, "sg.eu.rollups.v1/0")
    assert "find-hanging --topic sg.eu.rollups.v1 --partition 0" in found.sql
    young = replace(hanging, since_ms=NOW - 3_000)
    assert bad_kafka(replace(kafka, open_transactions=(young,))) == []


def test_one_of_both_is_reported_when_the_other_does_not_answer() -> None:
    missing = only(bad(region(None, healthy_kafka())))
    assert (missing.area, missing.what) == ("store", "none answers")
    missing = only(bad(region(healthy_store(), None)))
    assert (missing.area, missing.what) == ("kafka", "no broker answers")


def test_the_worst_stands_first() -> None:
    # transactions are looked at after topics
    hanging = OpenTransaction("sg.eu.rollups.v1", 0, 95, NOW - 10 * MINUTE)
    kafka = replace(with_topic(healthy_kafka(), METRICS, retention_bytes="1000"), open_transactions=(hanging,))
    found = diagnose(region(healthy_store(), kafka), WANTED, shipped())
    order = [Severity.ERROR, Severity.WARNING, Severity.NOTE, Severity.OK]
    assert [order.index(one.severity) for one in found] == sorted(order.index(one.severity) for one in found)
    assert [one.area for one in found[:2]] == ["transactions", "topics"]
