"""Topics: their names and broker settings are what is deployed, so they change only with a new version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamgauge.schemas.kafka_config import client_config
from streamgauge.schemas.settings import Secret
from streamgauge.schemas.topics import (
    CONTRACTS,
    EVENTS,
    METRICS,
    RAW_TOPICS,
    STATE,
    STORED_TOPICS,
    TOPICS,
    Topic,
)


def test_names_partitions_and_retention_are_those_of_version_one() -> None:
    days = {topic.name("ap"): (topic.partitions, topic.retention_ms / 86_400_000) for topic in TOPICS}
    forever = -1 / 86_400_000
    assert days == {
        "sg.ap.metrics.v1": (4, 3),
        "sg.ap.events.v1": (4, 3),
        "sg.ap.rollups.v1": (2, 7),
        "sg.ap.distinct.v1": (2, 7),
        "sg.ap.events_scrubbed.v1": (2, 7),
        "sg.ap.ledger.v1": (1, 30),
        "sg.ap.dead.v1": (1, 30),
        "sg.ap.state.v1": (8, forever),
        "sg.ap.contracts.v1": (1, forever),
    }


def test_a_new_version_is_another_topic() -> None:
    assert replace(EVENTS, version=2).name("ap") == "sg.ap.events.v2"


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.kind)
def test_brokers_stamp_records_themselves(topic: Topic) -> None:
    assert topic.config()["message.timestamp.type"] == "LogAppendTime"
    assert topic.purpose


def test_only_what_is_read_by_key_is_compacted() -> None:
    assert {topic for topic in TOPICS if topic.config()["cleanup.policy"] == "compact"} == {STATE, CONTRACTS}
    assert {topic for topic in TOPICS if "segment.ms" in topic.config()} == {STATE, CONTRACTS}
    assert not any(topic.compacted for topic in (*RAW_TOPICS, *STORED_TOPICS))


def test_retention_can_be_set() -> None:
    assert METRICS.config()["retention.ms"] == str(3 * 86_400_000)
    assert METRICS.config(5)["retention.ms"] == "5"
    assert METRICS.config(0)["retention.ms"] == "0"


def test_client_settings_hold_addresses_properties_and_a_given_password() -> None:
    config = client_config(["a:1", "b:2"], [("linger.ms", "5")], Secret("hunter2"))
    assert (config["bootstrap.servers"], config["linger.ms"], config["sasl.password"]) == ("a:1,b:2", "5", "hunter2")
    assert "sasl.password" not in client_config(["a:1"], password=Secret(""))
    assert client_config(["a:1"])["enable.metrics.push"] is False
