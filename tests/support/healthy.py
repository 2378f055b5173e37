"""Facts of a region in good health, as the doctor would read them, to be changed by tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamgauge.console.doctor import diagnose
from streamgauge.console.doctor_facts import (
    Clock,
    Column,
    Facts,
    Feed,
    Group,
    KafkaFacts,
    Log,
    Position,
    Reached,
    Replicas,
    ServerSetting,
    StoreFacts,
    Table,
    TopicFacts,
    Wanted,
)
from streamgauge.console.doctor_findings import Finding
from streamgauge.console.doctor_schema import expected_schema
from streamgauge.console.doctor_types import stored_form
from streamgauge.schemas.topics import RAW_TOPICS, STORED_TOPICS, TOPICS, Topic
from streamgauge.sinks.ddl import INSERT_SETTINGS
from streamgauge.sinks.migrations import shipped
from streamgauge.sinks.retention import Retention

DATABASE, REGION = "db", "eu"
NOW = 1_796_083_200_000
MINUTE = 60_000
WANTED = Wanted(REGION, DATABASE, 30 * MINUTE, Retention())
TOPIC_ID = "Nq3v0bXgQ0a7v1mBq8s5Kw"


def healthy_store() -> StoreFacts:
    """Migrated by this version; the busiest tables get two parts a second, which 10,000 parts cover for 83 minutes."""
    schema = expected_schema(shipped(), DATABASE)
    clauses = {rule.table: rule.clause for rule in Retention().rules()}
    tables = tuple(
        Table(
            DATABASE,
            shape.name,
            shape.engine.partition("(")[0],
            f"{shape.engine} ORDER BY {shape.sorting_key}"
            + (f" TTL {clauses[shape.name]}" if clauses.get(shape.name) else "")
            + " SETTINGS non_replicated_deduplication_window = 10000",
            shape.partition_key,
            shape.sorting_key.strip("()"),
            shape.columns,
        )
        for shape in schema.tables.values()
    )
    columns = {one.name: one.columns for one in tables}
    feeds = tuple(
        Feed(
            DATABASE,
            feed.name,
            DATABASE,
            feed.target,
            tuple(Column(one.name, stored_form(one.type)) for one in columns[feed.target]),
            as_shipped=True,
        )
        for feed in schema.feeds.values()
    )
    view = Table(DATABASE, "points_1m", "View", comment="Every metric [1]")
    return StoreFacts(
        address="http://127.0.0.1:8123",
        user="sink",
        version="26.9.2.1",
        tables=(*tables, view),
        feeds=feeds,
        settings=(
            *(ServerSetting(name, str(value)) for name, value in INSERT_SETTINGS.items()),
            ServerSetting("readonly", "0"),
        ),
        applied={one.number: one.checksum for one in shipped()},
        parts_per_second={"rollups_10s": 2.0, "blocks": 1.0},
        planned_views={"points_1m": "Every metric [1]"},
        clock=Clock(-3.0, 4.0),
        reached=tuple(
            Reached(topic.name(REGION), partition, 100, NOW - 2_000)
            for topic in (*RAW_TOPICS, *STORED_TOPICS)
            for partition in range(topic.partitions)
        ),
    )


def healthy_kafka() -> KafkaFacts:
    """Three brokers; every partition holds offsets 0 to 110, and its group has read to 100, then to 108."""
    topics = tuple(
        TopicFacts(
            topic.name(REGION),
            tuple(Replicas(number, 1, 3, 3) for number in range(topic.partitions)),
            topic.config()
            | {
                "min.insync.replicas": "2",
                "max.message.bytes": "1048588",
                "retention.bytes": "-1",
                "unclean.leader.election.enable": "false",
            },
            TOPIC_ID,
        )
        for topic in TOPICS
    )
    places = [(topic.name(REGION), number) for topic in TOPICS for number in range(topic.partitions)]
    return KafkaFacts(
        "127.0.0.1:9092",
        in_process=False,
        brokers=3,
        topics=topics,
        config={
            "transaction.max.timeout.ms": "900000",
            "offsets.retention.minutes": "10080",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
        },
        before=tuple(Log(*place, 0, 105, 105) for place in places),
        after=tuple(Log(*place, 0, 110, 110) for place in places),
        apart_ms=3_000,
        groups=(_group("sg-eu-process", "worker", RAW_TOPICS), _group("sg-eu-sink", "sink", STORED_TOPICS)),
        clock=Clock(-800.0, 1_200.0),
    )


def _group(name: str, role: str, topics: tuple[Topic, ...]) -> Group:
    stored = f"stored topic {TOPIC_ID}" if role == "sink" else ""

    def positions(offset: int) -> tuple[Position, ...]:
        return tuple(
            Position(topic.name(REGION), number, offset, stored, unread=True, unread_since_ms=NOW - 400)
            for topic in topics
            for number in range(topic.partitions)
        )

    return Group(name, role, "stable", 2, positions(100), positions(108))


def region(store: StoreFacts | None, kafka: KafkaFacts | None) -> Facts:
    """Facts at `NOW`."""
    return Facts(
        NOW, kafka, store, "no broker answers" if kafka is None else "", "none answers" if store is None else ""
    )


def bad(facts: Facts, wanted: Wanted = WANTED) -> list[Finding]:
    """The warnings and errors that the doctor has for these facts."""
    return [one for one in diagnose(facts, wanted, shipped()) if one.bad]


def bad_store(store: StoreFacts, wanted: Wanted = WANTED) -> list[Finding]:
    """The same, where Kafka is in good health."""
    return bad(region(store, healthy_kafka()), wanted)


def bad_kafka(kafka: KafkaFacts, wanted: Wanted = WANTED) -> list[Finding]:
    """The same, where the store is in good health."""
    return bad(region(healthy_store(), kafka), wanted)


def with_table(store: StoreFacts, name: str, **changes: Any) -> StoreFacts:
    """The store with one table changed."""
    return replace(store, tables=tuple(replace(one, **changes) if one.name == name else one for one in store.tables))


def with_window(store: StoreFacts, name: str, size: int) -> StoreFacts:
    """The store with another deduplication window of one table."""
    (found,) = [one for one in store.tables if one.name == name]
    return with_table(store, name, engine_full=re.sub(r"window = \d+", f"window = {size}", found.engine_full))


def with_columns(store: StoreFacts, name: str, change: Callable[[Column], Column | None]) -> StoreFacts:
    """The store with changed columns of one table; None drops a column."""
    (found,) = [one for one in store.tables if one.name == name]
    changed = tuple(new for one in found.columns if (new := change(one)) is not None)
    return with_table(store, name, columns=changed)


def with_feed(store: StoreFacts, name: str, **changes: Any) -> StoreFacts:
    """The store with one materialized view changed."""
    return replace(store, feeds=tuple(replace(one, **changes) if one.name == name else one for one in store.feeds))


def with_topic(kafka: KafkaFacts, topic: Topic, **settings: str) -> KafkaFacts:
    """Kafka with other settings of one topic; `_` stands for the dots."""
    own = {name.replace("_", "."): value for name, value in settings.items()}
    name = topic.name(REGION)
    return replace(
        kafka,
        topics=tuple(
            replace(one, config={**(one.config or {}), **own}) if one.name == name else one for one in kafka.topics
        ),
    )


def with_position(kafka: KafkaFacts, role: str, topic: Topic, **changes: Any) -> KafkaFacts:
    """Kafka with another second look at partition 0 of a topic in one group."""
    return replace(
        kafka, groups=tuple(_moved(one, topic, changes) if one.role == role else one for one in kafka.groups)
    )


def _moved(group: Group, topic: Topic, changes: dict[str, Any]) -> Group:
    place = (topic.name(REGION), 0)
    return replace(
        group,
        after=tuple(replace(one, **changes) if (one.topic, one.partition) == place else one for one in group.after),
    )
