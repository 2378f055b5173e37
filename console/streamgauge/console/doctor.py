"""Doctor: facts of a region in, findings out, worst first. Pure; readers and the command are elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streamgauge.console import doctor_deduplication, doctor_groups, doctor_server, doctor_shapes, doctor_topics
from streamgauge.console.doctor_facts import Facts, KafkaFacts, StoreFacts, Wanted
from streamgauge.console.doctor_findings import Finding, error, note, worst_first
from streamgauge.sinks.migrations import Migration

KAFKA, STORE, UNREAD = "kafka", "store", "not read"


def diagnose(facts: Facts, wanted: Wanted, known: Sequence[Migration]) -> tuple[Finding, ...]:
    """Everything that can be said, worst first. `known` are the migrations of this version."""
    return worst_first(_all(facts, wanted, known))


def _all(facts: Facts, wanted: Wanted, known: Sequence[Migration]) -> Iterator[Finding]:
    if facts.store is None:
        yield error(
            STORE, "ClickHouse", facts.store_problem, "put it right and ask again: without it, only Kafka was looked at"
        )
    else:
        yield from _of_store(facts.store, wanted, known)
    if facts.kafka is None:
        yield error(
            KAFKA, "Kafka", facts.kafka_problem, "put it right and ask again: without it, only ClickHouse was looked at"
        )
    else:
        yield from _of_kafka(facts.kafka, wanted)
    yield from doctor_groups.transactions(facts)
    yield from doctor_groups.groups(facts, wanted)


def _of_store(store: StoreFacts, wanted: Wanted, known: Sequence[Migration]) -> Iterator[Finding]:
    yield from doctor_shapes.migrations(store, wanted, known)
    yield from doctor_shapes.shapes(store, wanted, known)
    yield from doctor_deduplication.deduplication(store, wanted)
    yield from doctor_shapes.people_views(store, wanted)
    yield from doctor_shapes.retention(store, wanted)
    yield from doctor_server.version(store)
    yield from doctor_server.settings(store)
    yield from doctor_server.clock(store.clock, "ClickHouse", "the query failed")
    for what in store.unread:
        yield note(UNREAD, "ClickHouse", what)


def _of_kafka(kafka: KafkaFacts, wanted: Wanted) -> Iterator[Finding]:
    yield from doctor_topics.topics(kafka, wanted)
    yield from doctor_topics.brokers(kafka, wanted)
    silent = "brokers tell their time only with new messages, and none came while doctor looked"
    why_not = "an in-process broker does not tell" if kafka.in_process else silent
    yield from doctor_server.clock(kafka.clock, "Kafka", why_not)
    for what in kafka.unread:
        yield note(UNREAD, "Kafka", what)
