"""The doctor on a real Kafka and a real store: a healthy region has no finding, and what is altered by hand is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from streamgauge.console.doctor import diagnose
from streamgauge.console.doctor_facts import Facts, KafkaFacts, Wanted
from streamgauge.console.doctor_findings import Finding, Severity
from streamgauge.console.doctor_kafka_reader import BROKER_SETTINGS, TOPIC_SETTINGS, KafkaReader
from streamgauge.console.doctor_store_reader import StoreReader
from streamgauge.console.topic_admin import ensure_topics
from streamgauge.console.topic_retention import USED, asked_by, shorten
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contract_topic import publish
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.settings import Secret
from streamgauge.schemas.topics import DEAD, DISTINCT, LEDGER, METRICS, ROLLUPS, Topic
from streamgauge.sinks.ddl import DEDUPLICATED_TABLES, table
from streamgauge.sinks.migrations import migrate, shipped
from streamgauge.sinks.retention import Retention
from streamgauge.sinks.store import Store, StoreAddress
from streamgauge.sinks.views import ensure_views
from tests.support.deployment import DATABASE, KEY, Deployment
from tests.support.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse]

OUTAGE = 1_800_000
POINTS = 200
LOAD = """
import os, time
from streamgauge.producers import Counter
hits = Counter("hits", "Hits", ["page"])
for _ in range(int(os.environ["POINTS"])):
    hits.labels("a").inc()
"""
EMPTY = Retention(-1, -1, -1, -1)


@pytest.fixture(scope="module")
def deployment(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A region with a worker, a sink and some points."""
    with Deployment(kafka.bootstrap, tmp_path_factory.mktemp("doctor"), f"d{os.getpid()}") as one:
        one.start_worker()
        one.start_sink()
        yield one


@pytest.fixture
def store(deployment: Deployment, unique: str) -> Iterator[Store]:
    """A database of its own behind the deployment's door, migrated."""
    one = Store(StoreAddress(deployment.environ["STREAMGAUGE_STORE"], "default", Secret(""), unique))
    migrate(one, EMPTY, unique)
    ensure_views(one, unique)
    yield one
    one.command(f"DROP DATABASE {table(unique, 'x').split('.')[0]}")


def examined(store: Store) -> list[Finding]:
    """Warnings and errors of a store alone, without the one that Kafka is missing."""
    name = store.address.database
    facts = StoreReader(store, store.address.url, "default", name, "nowhere").read(shipped(), ())
    assert facts.unread == ()
    findings = diagnose(Facts(time.time_ns() // 1_000_000, store=facts), wanted("nowhere", name), shipped())
    return [one for one in findings if one.bad and one.area != "kafka"]


def wanted(region: str, database: str = DATABASE) -> Wanted:
    return Wanted(region, database, OUTAGE, EMPTY)


class Region:
    """Topics of one region, without anybody who reads them."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.name = name
        self.bootstrap = bootstrap
        self.admin: Any = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})  # its futures have no types
        ensure_topics(self.admin, name)
        roles = {"worker": f"sg-{name}-process", "sink": f"sg-{name}-sink"}
        self.reader = KafkaReader({"bootstrap.servers": bootstrap, "log_level": 0}, bootstrap, name, roles)

    def read(self, during: Any = None) -> KafkaFacts:
        """Facts, with something done between the two looks."""
        return self.reader.read(0.0, lambda _: during() if during else None)

    def examined(self) -> list[Finding]:
        """Warnings and errors of Kafka alone, without those of missing members and of the store."""
        facts = self.read()
        assert facts.unread == ()
        findings = diagnose(Facts(time.time_ns() // 1_000_000, kafka=facts), wanted(self.name), shipped())
        return [one for one in findings if one.bad and one.area != "store" and "is running" not in one.what]

    def commit(self, group: str, topic: Topic, offset: int) -> None:
        """Set a group's offset of partition 0; a coordinator that is just chosen refuses it by partition."""
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic.name(self.name), 0, offset)])
        deadline = time.monotonic() + 20
        while True:
            (answer,) = self.admin.alter_consumer_group_offsets([wanted]).values()
            (found,) = answer.result(20).topic_partitions
            if found.error is None:
                return
            assert time.monotonic() < deadline, found.error
            time.sleep(0.05)

    def produce(self, topic: Topic) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
        producer.produce(topic.name(self.name), b"x", partition=0)
        assert producer.flush(20) == 0


@pytest.fixture
def region(kafka: Broker, unique: str) -> Region:
    return Region(kafka.bootstrap, unique)


def settled(asked: object) -> None:
    for future in cast("Mapping[object, Future[object]]", asked).values():
        future.result(20)


def bad(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["area"], one["where"]) for one in document["findings"] if one["severity"] in ("warning", "error")}


def test_a_healthy_region_has_no_warning_and_a_spoilt_one_has_each(deployment: Deployment) -> None:
    secrets = {"STREAMGAUGE_KAFKA_PASSWORD": "hush-kafka"}
    hidden = ("PSEUDONYM_KEY", "STORE", "DATABASE")
    environ = {k: v for k, v in deployment.environ.items() if k.removeprefix("STREAMGAUGE_") not in hidden}
    subprocess.run(
        [sys.executable, "-c", LOAD],
        env=environ | {"POINTS": str(POINTS), "OTEL_SERVICE_NAME": "shop"},
        check=True,
        timeout=60,
    )
    deployment.wait_for_points(POINTS)
    before = dict(deployment.environ)
    deployment.environ |= secrets
    result = deployment.run("doctor", "--json", "--apart", "500ms")
    document = json.loads(result.stdout)
    assert (bad(document), result.returncode) == (set(), 0), result.stderr
    assert {"deduplication", "tables", "views", "retention", "version", "settings", "topics", "lag"} <= {
        one["area"] for one in document["findings"] if one["severity"] == "ok"
    }
    assert document["facts"]["store"]["parts_per_second"]["rollups_10s"] > 0
    assert document["facts"]["store"]["unread"] == document["facts"]["kafka"]["unread"] == []
    said = result.stdout + result.stderr

    for statement in (
        "ALTER TABLE rollups_1m MODIFY SETTING non_replicated_deduplication_window = 0",
        "ALTER TABLE blocks MODIFY COLUMN points UInt32",
        "DROP VIEW hits_1m",
    ):
        deployment.rows(statement)
    assert deployment.end("sink") == 0
    sink = f"sg-{deployment.region}-sink"
    admin: Any = AdminClient({"bootstrap.servers": deployment.environ["STREAMGAUGE_BROKERS"]})
    settled(admin.delete_consumer_groups([sink]))
    found = deployment.run("doctor", "--json", "--apart", "500ms")
    spoilt = json.loads(found.stdout)
    assert found.returncode == 1
    assert {
        ("deduplication", "rollups_1m"),
        ("tables", "blocks"),
        ("views", "rollups_blocks_feed"),
        ("views", "hits_1m"),
        ("lag", sink),
    } <= bad(spoilt)
    # the store has blocks of one partition of rollups at least, and the group knows nothing of it
    assert any("though the store knows it" in one["what"] for one in spoilt["findings"])
    said += found.stdout + found.stderr
    assert b"hush" not in said
    assert KEY.encode() not in said

    deployment.start_sink()  # the deployment ends what it has
    deployment.environ["STREAMGAUGE_STORE"] = "http://127.0.0.1:1"
    alone = deployment.run("doctor", "--json", "--apart", "100ms")
    assert ("store", "ClickHouse") in bad(json.loads(alone.stdout))
    assert json.loads(alone.stdout)["facts"]["kafka"]["brokers"] == 1
    deployment.environ = before


def test_a_migrated_store_is_healthy(store: Store) -> None:
    assert examined(store) == []


def test_windows_that_were_taken_away_are_found_and_the_remedies_heal_them(store: Store) -> None:
    for name in DEDUPLICATED_TABLES:
        where = table(store.address.database, name)
        store.command(f"ALTER TABLE {where} MODIFY SETTING non_replicated_deduplication_window = 0")
    found = examined(store)
    assert {(one.severity, one.area) for one in found} == {(Severity.ERROR, "deduplication")}
    assert sorted(one.where for one in found) == sorted(DEDUPLICATED_TABLES)
    for one in found:
        store.command(one.sql)
    assert examined(store) == []


def test_what_was_altered_by_hand_is_found_and_the_remedies_heal_it(store: Store) -> None:
    database = table(store.address.database, "x").partition(".")[0]
    altered = {
        ("tables", "blocks"): "ALTER TABLE db.blocks MODIFY COLUMN points UInt32",
        ("retention", "distinct_1h"): "ALTER TABLE db.distinct_1h MODIFY TTL window + INTERVAL 1 DAY",
        ("retention", "events"): "ALTER TABLE db.events REMOVE TTL",
        ("tables", "series"): "ALTER TABLE db.series DROP COLUMN tenant",
        ("views", "rollups_1d_feed"): "DROP VIEW db.rollups_1d_feed",
        ("tables", "dead"): "DROP TABLE db.dead",
        ("views", "rollups_1h_feed"): "ALTER TABLE db.rollups_1h_feed MODIFY QUERY SELECT * FROM db.rollups_landing",
    }
    for statement in altered.values():
        store.command(statement.replace("db.", f"{database}."))
    found = {(one.area, one.where): one for one in reversed(examined(store))}
    assert altered.keys() <= found.keys()
    # the rest of what is said follows from these
    assert {one.where for one in found.values()} - {where for _, where in altered} == {
        "rollups_blocks_feed",
        "distinct_blocks_feed",
        "events_blocks_feed",
    }
    for one in (found[key] for key in altered):
        for statement in one.sql.split(";\n"):
            store.command(statement)
    for one in examined(store):  # a table that is made anew has no retention yet
        assert (one.area, one.where) == ("retention", "dead")
        store.command(one.sql)
    assert examined(store) == []


def test_a_view_for_people_that_was_dropped_is_found(store: Store) -> None:
    store.command(f"DROP VIEW {table(store.address.database, 'points_1h')}")
    (found,) = examined(store)
    assert (found.severity, found.area, found.where) == (Severity.WARNING, "views", "points_1h")
    ensure_views(store, store.address.database, [MetricHead("other", "counter", "", ())])
    assert examined(store) == []


def test_a_migration_that_was_not_applied_is_found(store: Store) -> None:
    migrations = table(store.address.database, "migrations")
    store.command(
        f"INSERT INTO {migrations} (number, name, checksum, applied) SELECT number, name, checksum, 0"
        f" FROM {migrations} WHERE number = 4"
    )
    assert [one.remedy for one in examined(store)] == ["streamgauge migrate"]


def test_whatever_is_fed_by_our_tables_is_found_in_other_databases_too(store: Store) -> None:
    database = table(store.address.database, "x").partition(".")[0]
    other = f"other_{store.address.database}"
    store.command(f"CREATE DATABASE {other}")
    try:
        for name, source in (("copy", f"{database}.rollups_10s"), ("deep", f"{other}.copy")):
            store.command(
                f"CREATE TABLE {other}.{name} (metric String, count UInt64) ENGINE = MergeTree ORDER BY metric"
            )
            query = f"SELECT metric, count FROM {source}"
            store.command(f"CREATE MATERIALIZED VIEW {other}.{name}_feed TO {other}.{name} AS {query}")
        found = examined(store)
        assert {(one.severity, one.area) for one in found} == {(Severity.WARNING, "deduplication")}
        assert [one.where for one in found] == [f"{other}.copy", f"{other}.deep"]
        for one in found:
            store.command(one.sql)
        assert examined(store) == []
    finally:
        store.command(f"DROP DATABASE {other}")


def test_topics_as_they_are_made_are_healthy(region: Region) -> None:
    assert region.examined() == []


def test_of_the_brokers_settings_only_those_that_are_judged_are_read(region: Region) -> None:
    facts = region.read()
    assert set(facts.config or {}) == BROKER_SETTINGS
    assert all(set(one.config or {}) == TOPIC_SETTINGS for one in facts.topics)


def test_a_topic_that_was_altered_by_hand_is_found(region: Region) -> None:
    resource = ConfigResource(
        ResourceType.TOPIC,
        METRICS.name(region.name),
        incremental_configs=[ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)],
    )
    settled(region.admin.incremental_alter_configs([resource]))
    deadline = time.monotonic() + 20
    while not (findings := region.examined()) and time.monotonic() < deadline:
        time.sleep(0.05)  # brokers learn of it a little later
    (found,) = findings
    assert (found.severity, found.area, found.where) == (Severity.ERROR, "topics", METRICS.name(region.name))
    assert "--add-config retention.ms=259200000" in found.sql


def told(region: Region, contracts: tuple[Contract, ...]) -> set[str]:
    """Topics that the doctor has warnings about, given these contracts."""
    facts = Facts(time.time_ns() // 1_000_000, kafka=region.read())
    findings = diagnose(facts, replace(wanted(region.name), contracts=contracts), shipped())
    return {one.where for one in findings if one.bad and one.area == "topics"}


def test_a_contract_that_declares_less_shortens_the_topics_that_hold_its_rows(region: Region) -> None:
    declared = (Contract("visit", 1, {}, retention="2d", store_events=True),)
    late = {topic.name(region.name) for topic in USED if topic is not DISTINCT}
    assert told(region, declared) == late
    asked = asked_by(declared)
    dry = shorten(region.admin, region.name, asked, dry_run=True)
    assert {one.topic for one in dry if one.before_ms and not one.changed} == late
    assert told(region, declared) == late
    assert {one.topic for one in shorten(region.admin, region.name, asked, dry_run=False) if one.changed} == late
    deadline = time.monotonic() + 20
    while told(region, declared) and time.monotonic() < deadline:
        time.sleep(0.05)  # brokers learn of it a little later
    assert told(region, declared) == set()
    assert not any(one.changed for one in shorten(region.admin, region.name, asked, dry_run=False))
    longer = asked_by([replace(declared[0], version=2, retention="60h")])
    assert not any(one.changed for one in shorten(region.admin, region.name, longer, dry_run=False)), "never lengthened"
    assert told(region, ()) == late, "nobody declares it any more"


def test_the_command_for_topics_shortens_them_and_says_which_contract_asked(
    region: Region, deployment: Deployment
) -> None:
    declared = Contract(
        "visit", 1, {"page": Field("dimension")}, retention="2d", retention_tiers={"events": "1d"}, store_events=True
    )
    publish(Producer({"bootstrap.servers": region.bootstrap}), region.name, [declared])
    dry = deployment.run("topics", "--region", region.name, "--dry-run", "--json")
    made = deployment.run("topics", "--region", region.name, "--json")
    assert (dry.returncode, made.returncode) == (1, 0), dry.stderr + made.stderr
    kept = {one["asked"]["topic"] for one in json.loads(made.stdout) if one["asked"] and one["asked"]["changed"]}
    assert kept == {topic.name(region.name) for topic in USED if topic is not DISTINCT}
    assert b"rollups.v1 keeps messages for 2 days, not 7 days: visit declares 2 days" in made.stderr
    assert b"events_scrubbed.v1 keeps messages for 24 hours, not 7 days: visit declares 24 hours" in made.stderr


def of_retention(store: Store, contracts: tuple[Contract, ...]) -> list[Finding]:
    """What the doctor says of how tables forget and has a remedy for, given these contracts."""
    name = store.address.database
    facts = StoreReader(store, store.address.url, "default", name, "nowhere").read(shipped(), ())
    expected = replace(wanted("nowhere", name), contracts=contracts)
    findings = diagnose(Facts(time.time_ns() // 1_000_000, store=facts), expected, shipped())
    return [one for one in findings if one.area == "retention" and one.sql]


def test_tables_that_forget_otherwise_than_contracts_declare_are_found_and_the_remedies_heal_them(store: Store) -> None:
    visit = Contract("visit", 1, {"who": Field("unique")}, retention="30d", retention_tiers={"10s": "1d"})
    later = replace(visit, version=2, retention_tiers={"10s": "2d"})
    for contracts, severity, said in (
        ((visit,), Severity.WARNING, "keeps visit longer than declared (1 d)"),
        ((visit, later), Severity.WARNING, "forgets visit after 1 d, earlier than declared"),
        ((), Severity.NOTE, "forgets visit after 2 d, and no contract given here says so"),
    ):
        found = of_retention(store, contracts)
        assert (severity, "rollups_10s", said) in {(one.severity, one.where, one.what) for one in found}
        for _ in range(2):  # a table without such a rule drops whole parts again
            for one in of_retention(store, contracts):
                store.command(one.sql)
        assert of_retention(store, contracts) == []
    assert examined(store) == []


def test_a_topic_that_was_deleted_is_found(region: Region) -> None:
    settled(region.admin.delete_topics([DEAD.name(region.name)]))
    deadline = time.monotonic() + 20
    while DEAD.name(region.name) in region.admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (found,) = region.examined()
    assert (found.severity, found.area, found.where) == (Severity.ERROR, "topics", DEAD.name(region.name))


def test_an_open_transaction_is_seen_with_its_age_and_a_committed_one_is_not(region: Region) -> None:
    place = ROLLUPS.name(region.name)
    producer = Producer({"bootstrap.servers": region.bootstrap, "transactional.id": region.name, "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(place, b"x", partition=0)
    producer.flush(20)
    (found,) = region.read().open_transactions
    assert (found.topic, found.partition, found.offset) == (place, 0, 0)
    assert found.since_ms is not None
    assert 0 <= time.time() * 1000 - found.since_ms < 60_000
    producer.commit_transaction(20)
    assert region.read().open_transactions == ()


def test_the_brokers_clock_is_measured_by_what_is_written_between_the_looks(region: Region) -> None:
    region.produce(METRICS)
    assert region.read().clock is None
    time.sleep(0.01)  # the next message has another time
    clock = region.read(lambda: region.produce(METRICS)).clock
    assert clock is not None
    assert clock.at_least_ms <= 0 <= clock.at_most_ms


def test_positions_are_told_apart_by_what_is_unread(region: Region) -> None:
    for _ in range(3):
        region.produce(LEDGER)
    region.commit(f"sg-{region.name}-sink", LEDGER, 2)
    facts = region.read()
    (sink,) = [one for one in facts.groups if one.role == "sink"]
    found = {(one.topic, one.partition): one for one in sink.after}
    behind = found[LEDGER.name(region.name), 0]
    assert (behind.offset, behind.unread) == (2, True)
    assert abs(time.time() * 1000 - (behind.unread_since_ms or 0)) < 60_000
    fresh = found[ROLLUPS.name(region.name), 0]
    assert (fresh.offset, fresh.unread) == (None, False)
    assert (sink.state, sink.members) == ("empty", 0)


def test_what_was_aborted_is_not_unread(region: Region) -> None:
    producer = Producer({"bootstrap.servers": region.bootstrap, "transactional.id": region.name, "log_level": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(ROLLUPS.name(region.name), b"x", partition=0)
    producer.flush(20)
    producer.abort_transaction(20)
    (sink,) = [one for one in region.read().groups if one.role == "sink"]
    (place,) = [one for one in sink.after if (one.topic, one.partition) == (ROLLUPS.name(region.name), 0)]
    assert place.unread is False


def test_an_offset_below_the_start_of_the_log_is_found(region: Region) -> None:
    for _ in range(3):
        region.produce(LEDGER)
    name = LEDGER.name(region.name)
    region.commit(f"sg-{region.name}-sink", LEDGER, 0)
    settled(region.admin.delete_records([TopicPartition(name, 0, 2)]))
    (found,) = region.examined()
    assert (found.severity, found.where) == (Severity.ERROR, f"sink {name}/0")
    assert found.what.startswith("2 offsets are gone unread")
