"""The doctor's findings of topics and brokers."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from streamgauge.console.doctor import diagnose
from streamgauge.console.doctor_facts import Clock, KafkaFacts, Replicas
from streamgauge.console.doctor_findings import Finding, Severity
from streamgauge.console.doctor_topics import PRODUCER_BYTES, WORKER_BYTES, WORKER_TRANSACTION_MS
from streamgauge.processors.transactions import TransactionalCommitter
from streamgauge.schemas.topics import CONTRACTS, DAY_MS, DISTINCT, METRICS, ROLLUPS, STATE, Topic
from streamgauge.sinks.migrations import shipped
from tests.support.healthy import (
    MINUTE,
    REGION,
    WANTED,
    bad_kafka,
    healthy_kafka,
    healthy_store,
    region,
    with_topic,
)


def only(findings: list[Finding]) -> Finding:
    (one,) = findings
    return one


def with_copies(kafka: KafkaFacts, topic: Topic, leader: int, copies: int, in_sync: int) -> KafkaFacts:
    name = topic.name(REGION)
    partitions = tuple(Replicas(number, leader, copies, in_sync) for number in range(topic.partitions))
    return replace(
        kafka, topics=tuple(replace(one, partitions=partitions) if one.name == name else one for one in kafka.topics)
    )


def test_a_missing_topic_names_the_command_that_makes_it() -> None:
    kafka = healthy_kafka()
    left = tuple(one for one in kafka.topics if one.name != "sg.eu.dead.v1")
    found = only(bad_kafka(replace(kafka, topics=left)))
    assert (found.severity, found.where) == (Severity.ERROR, "sg.eu.dead.v1")
    assert found.sql == "streamgauge topics --brokers 127.0.0.1:9092 --region eu"


def test_a_partition_count_differs_unless_it_was_chosen() -> None:
    kafka = healthy_kafka()
    grown = replace(
        kafka,
        topics=tuple(
            replace(one, partitions=tuple(Replicas(n, 1, 3, 3) for n in range(16)))
            if one.name == METRICS.name(REGION)
            else one
            for one in kafka.topics
        ),
    )
    assert "has 16 partitions, not 4" in only(bad_kafka(grown)).what
    assert bad_kafka(grown, replace(WANTED, partitions={"metrics": 16})) == []


def test_any_number_of_state_partitions_will_do_unless_one_was_chosen() -> None:
    kafka = healthy_kafka()
    few = tuple(Replicas(n, 1, 3, 3) for n in range(4))
    older = replace(
        kafka,
        topics=tuple(replace(one, partitions=few) if one.name == STATE.name(REGION) else one for one in kafka.topics),
    )
    assert bad_kafka(older) == []
    assert "has 4 partitions, not 8" in only(bad_kafka(older, replace(WANTED, partitions={"state": 8}))).what


@pytest.mark.parametrize(
    ("topic", "settings", "severity", "said"),
    [
        (METRICS, {"retention_ms": str(10 * MINUTE)}, Severity.ERROR, "an outage of 30 minutes loses data"),
        (METRICS, {"retention_ms": str(DAY_MS)}, Severity.WARNING, "for 24 hours, not 3 days"),
        (METRICS, {"cleanup_policy": "compact"}, Severity.ERROR, "all but the last vanish"),
        (ROLLUPS, {"cleanup_policy": "compact,delete"}, Severity.ERROR, "all but the last vanish"),
        (CONTRACTS, {"cleanup_policy": "delete"}, Severity.ERROR, "not compacted"),
        (METRICS, {"message_timestamp_type": "CreateTime"}, Severity.WARNING, "senders' times"),
        (METRICS, {"retention_bytes": "1000"}, Severity.WARNING, "cut at 1000 bytes"),
        (METRICS, {"max_message_bytes": str(PRODUCER_BYTES - 1)}, Severity.ERROR, "refuses messages above"),
        (ROLLUPS, {"max_message_bytes": str(WORKER_BYTES - 1)}, Severity.ERROR, "refuses messages above"),
        (ROLLUPS, {"min_insync_replicas": "1"}, Severity.WARNING, "acknowledged by one broker alone"),
        (ROLLUPS, {"min_insync_replicas": "4"}, Severity.ERROR, "nothing can be written"),
        (ROLLUPS, {"unclean_leader_election_enable": "true"}, Severity.WARNING, "may become leader"),
    ],
)
def test_a_topic_that_was_altered_is_found(
    topic: Topic, settings: dict[str, str], severity: Severity, said: str
) -> None:
    found = only(bad_kafka(with_topic(healthy_kafka(), topic, **settings)))
    assert (found.severity, found.where) == (severity, topic.name(REGION))
    assert said in found.what
    assert found.sql.startswith("kafka-configs --bootstrap-server 127.0.0.1:9092 --alter --entity-type topics")
    assert found.sql.split("--add-config ")[1].startswith(next(iter(settings)).replace("_", ".") + "=")


def test_data_of_persons_that_is_kept_for_ever_is_worth_a_note() -> None:
    kafka = with_topic(healthy_kafka(), DISTINCT, retention_ms="-1")
    assert bad_kafka(kafka) == []
    found = diagnose(region(healthy_store(), kafka), WANTED, shipped())
    assert any("for ever" in one.what for one in found if one.severity is Severity.NOTE)


@pytest.mark.parametrize(
    ("leader", "copies", "in_sync", "said"),
    [
        (-1, 3, 0, "no leader for partitions 0, 1"),
        (1, 3, 2, "copies of partitions 0, 1 are not up to date"),
        (1, 2, 2, "has 2 copies on 3 brokers"),
    ],
)
def test_partitions_that_a_broker_may_take_along_are_found(leader: int, copies: int, in_sync: int, said: str) -> None:
    assert said in only(bad_kafka(with_copies(healthy_kafka(), ROLLUPS, leader, copies, in_sync))).what


def test_one_broker_is_worth_a_note() -> None:
    kafka = healthy_kafka()
    for one in kafka.topics:
        kind = one.name.split(".")[2]
        kafka = with_copies(kafka, Topic(kind, len(one.partitions), 0, ""), 1, 1, 1)
        kafka = with_topic(kafka, Topic(kind, 0, 0, ""), min_insync_replicas="1")
    assert bad_kafka(replace(kafka, brokers=1, config={})) == []


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("transaction.max.timeout.ms", str(WORKER_TRANSACTION_MS - 1), "and are refused"),
        ("offsets.retention.minutes", "20", "deleted after 20 minutes"),
        ("offsets.topic.replication.factor", "1", "loses positions"),
        ("transaction.state.log.replication.factor", "1", "loses positions"),
    ],
)
def test_settings_of_the_brokers_are_judged(setting: str, value: str, said: str) -> None:
    kafka = healthy_kafka()
    assert said in only(bad_kafka(replace(kafka, config={**(kafka.config or {}), setting: value}))).what


def test_a_broker_that_tells_no_settings_is_no_finding() -> None:
    kafka = healthy_kafka()
    silent = tuple(replace(one, config=None, id=None) for one in kafka.topics)
    assert bad_kafka(replace(kafka, topics=silent, config=None, clock=None)) == []


def test_an_in_process_broker_has_notes_only() -> None:
    kafka = healthy_kafka()
    topics = tuple(
        replace(one, partitions=tuple(Replicas(n, 1, 1, 1) for n in range(4)), config=None, id=None)
        for one in kafka.topics
    )
    groups = tuple(replace(one, state=None, members=None) for one in kafka.groups)
    assert bad_kafka(replace(kafka, in_process=True, brokers=1, topics=topics, config=None, groups=groups)) == []


def test_a_brokers_clock_is_judged() -> None:
    found = only(bad_kafka(replace(healthy_kafka(), clock=Clock(3_000.0, 6_000.0))))
    assert (found.where, found.what) == ("Kafka", "is 3.0 s ahead of the clock of this machine")


def test_the_limits_that_are_checked_are_those_that_are_used() -> None:
    assert inspect.signature(TransactionalCommitter).parameters["timeout_ms"].default == WORKER_TRANSACTION_MS
    assert "max_request_size=1 << 20," in inspect.getsource(TransactionalCommitter)
    assert WORKER_BYTES == 1 << 20
