"""Topics: the live topics of a region against what they must be, and the brokers' own settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamgauge.console.doctor_facts import KafkaFacts, TopicFacts, Wanted
from streamgauge.console.doctor_findings import Finding, error, note, ok, span, warning
from streamgauge.console.topic_admin import SAFE_REPLICATION
from streamgauge.console.topic_retention import SHORT_MS, asked_by
from streamgauge.schemas.topics import RAW_TOPICS, TOPICS, Topic

AREA, TRANSACTIONS, OFFSETS = "topics", "transactions", "offsets"
WORKER_TRANSACTION_MS = 20_000
"""The transaction timeout that workers ask for; a broker that allows less refuses them."""
PRODUCER_BYTES, WORKER_BYTES = 1_000_000, 1 << 20
"""The largest messages that producers and workers send."""


def topics(facts: KafkaFacts, wanted: Wanted) -> Iterator[Finding]:
    """What differs, topic by topic; one finding for all that are in order."""
    live = {one.name: one for one in facts.topics}
    fine = 0
    single = False
    for topic in TOPICS:
        name = topic.name(wanted.region)
        found = live.get(name)
        if found is None:
            yield error(
                AREA,
                name,
                f"the topic is missing ({topic.purpose})",
                "make it",
                f"streamgauge topics --brokers {facts.address} --region {wanted.region}",
            )
            continue
        problems = list(_leaders(found))
        if not facts.in_process:
            problems += _partitions(topic, found, wanted)
            problems += _copies(found, facts)
            single = single or facts.brokers == 1
        if found.config is not None:
            problems += _config(topic, found, found.config, facts, wanted)
        yield from problems
        fine += not any(one.bad for one in problems)
    if facts.in_process:
        yield note(AREA, facts.address, "an in-process broker: it keeps its log in memory and tells no settings")
    if single:
        yield note(
            AREA,
            facts.address,
            "one broker, one copy of everything: its disk is the data",
            f"on servers run {SAFE_REPLICATION} brokers, and make the topics with --replication {SAFE_REPLICATION}",
        )
    if fine:
        yield ok(AREA, f"{fine} topics", "are there, with the partitions, retention and copies they should have")


def _partitions(topic: Topic, found: TopicFacts, wanted: Wanted) -> Iterator[Finding]:
    count = wanted.partitions.get(topic.kind, topic.partitions)
    if len(found.partitions) != count and not (topic.any_count and topic.kind not in wanted.partitions):
        yield warning(
            AREA,
            found.name,
            f"has {len(found.partitions)} partitions, not {count}",
            f"if that was chosen, say --partitions {topic.kind}={len(found.partitions)}; a count that grew later spreads "
            "streams anew, and workers and sinks must be restarted",
        )


def _leaders(found: TopicFacts) -> Iterator[Finding]:
    dead = [one.partition for one in found.partitions if one.leader < 0]
    behind = [one.partition for one in found.partitions if one.leader >= 0 and one.in_sync < one.copies]
    if dead:
        yield error(
            AREA,
            found.name,
            f"no leader for partitions {_list(dead)}: nothing is written or read there",
            "start its brokers",
        )
    if behind:
        yield warning(
            AREA,
            found.name,
            f"copies of partitions {_list(behind)} are not up to date: one more broker down may lose or stop them",
            "see which broker is down or slow: kafka-topics --describe --under-replicated-partitions",
        )


def _copies(found: TopicFacts, facts: KafkaFacts) -> Iterator[Finding]:
    copies = min((one.copies for one in found.partitions), default=0)
    if facts.brokers > 1 and copies < min(facts.brokers, SAFE_REPLICATION):
        yield warning(
            AREA,
            found.name,
            f"has {copies} copies on {facts.brokers} brokers: a lost disk is lost data",
            f"raise it to {min(facts.brokers, SAFE_REPLICATION)} with kafka-reassign-partitions",
        )
    least = _number((found.config or {}).get("min.insync.replicas"))
    if least is None:
        return
    if least > copies:
        yield error(
            AREA,
            found.name,
            f"wants {least} copies in sync and has {copies}: nothing can be written",
            "lower it",
            _alter(facts, found.name, "min.insync.replicas=1"),
        )
    elif copies >= SAFE_REPLICATION and least < 2:
        yield warning(
            AREA,
            found.name,
            "is acknowledged by one broker alone (min.insync.replicas is 1), and lost with it",
            "raise it",
            _alter(facts, found.name, "min.insync.replicas=2"),
        )


def _config(
    topic: Topic, found: TopicFacts, config: Mapping[str, str], facts: KafkaFacts, wanted: Wanted
) -> Iterator[Finding]:
    def differs(setting: str, what: str, severe: bool = True) -> Finding:
        value = topic.config().get(setting, "")
        return (error if severe else warning)(
            AREA, found.name, what, "set it back", _alter(facts, found.name, f"{setting}={value}")
        )

    policy = config.get("cleanup.policy", "")
    if topic.compacted and policy != "compact":
        yield differs(
            "cleanup.policy", f"is cleaned by {policy}, not compacted: what is older than its retention is gone"
        )
    if not topic.compacted and policy != "delete":
        yield differs("cleanup.policy", f"is cleaned by {policy}: of messages with one key all but the last vanish")
    if config.get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
        yield differs(
            "message.timestamp.type",
            "keeps the senders' times: a clock that is wrong makes messages vanish early",
            False,
        )
    if not topic.compacted:
        yield from _retention(topic, found, config, facts, wanted)
    if not topic.compacted and (_number(config.get("retention.bytes")) or -1) >= 0:
        yield warning(
            AREA,
            found.name,
            f"is cut at {config['retention.bytes']} bytes a partition, however young the messages are",
            "let time alone decide",
            _alter(facts, found.name, "retention.bytes=-1"),
        )
    largest = _number(config.get("max.message.bytes"))
    needed = PRODUCER_BYTES if topic in RAW_TOPICS else WORKER_BYTES
    if largest is not None and largest < needed:
        yield error(
            AREA,
            found.name,
            f"refuses messages above {largest:,} bytes; {'producers' if topic in RAW_TOPICS else 'workers'} send up to "
            f"{needed:,}",
            "raise it",
            _alter(facts, found.name, "max.message.bytes=1048588"),
        )
    if config.get("unclean.leader.election.enable") == "true":
        yield warning(
            AREA,
            found.name,
            "a broker that is behind may become leader (unclean.leader.election.enable), and acknowledged data is lost",
            "turn it off",
            _alter(facts, found.name, "unclean.leader.election.enable=false"),
        )


def _retention(
    topic: Topic, found: TopicFacts, config: Mapping[str, str], facts: KafkaFacts, wanted: Wanted
) -> Iterator[Finding]:
    """How long a topic keeps messages: long enough for an outage, and no longer than contracts declare."""
    asked = asked_by(wanted.contracts).get(topic.kind)
    usual = topic.retention_ms if asked is None else asked.retention_ms
    kept = _number(config.get("retention.ms"))
    back = _alter(facts, found.name, f"retention.ms={usual}")
    if kept is not None and kept >= 0:
        if kept < wanted.outage_ms and (asked is None or kept < usual):
            said = f"keeps messages for {span(kept)}, an outage of {span(wanted.outage_ms)} loses data"
            yield error(AREA, found.name, said, "set it back", back)
        elif kept < usual:
            said = f"keeps messages for {span(kept)}, not {span(usual)}"
            yield warning(AREA, found.name, said, "set it back", back)
    longer = kept is not None and (kept == -1 or kept > usual)
    held = "for ever" if kept == -1 else f"for {span(kept or 0)}"
    if asked is None:
        if longer:
            yield note(
                AREA,
                found.name,
                f"keeps messages {held}, longer than the usual {span(usual)}",
                "raw topics, distinct and events_scrubbed hold data of persons: check that this is allowed",
            )
        return
    declared = f"{asked.contract} declares {span(asked.declared_ms)}"
    segment = _number(config.get("segment.ms"))
    late = segment is not None and segment > asked.segment_ms
    if longer or late:
        said = (
            f"keeps messages {held}"
            if longer
            else f"closes a segment only after {span(segment or 0)}, and whole ones go"
        )
        changes = ",".join(f"{key}={value}" for key, value in asked.config().items())
        remedy = "shorten it (`streamgauge topics` does so too)"
        yield warning(AREA, found.name, f"{said}; {declared}", remedy, _alter(facts, found.name, changes))
    if asked.retention_ms <= wanted.outage_ms:
        yield warning(
            AREA,
            found.name,
            f"{declared}: an outage of {span(wanted.outage_ms)} loses data",
            "declare more, give tiers of the contract the shorter time instead, or give doctor a shorter --outage",
        )
    elif asked.retention_ms < SHORT_MS:
        yield warning(
            AREA,
            found.name,
            f"{declared}, and no outage may last longer than {span(asked.retention_ms)} then",
            "declare more than a day, or give tiers of the contract the shorter time instead (`retention_tiers`)",
        )
    if asked.declared_ms < asked.retention_ms:
        yield note(AREA, found.name, f"{declared}; topics keep {span(asked.retention_ms)} at least")


def brokers(facts: KafkaFacts, wanted: Wanted) -> Iterator[Finding]:
    """The brokers' own settings: transactions and the life of committed offsets."""
    if facts.config is None:
        return
    longest = _number(facts.config.get("transaction.max.timeout.ms"))
    if longest is not None and longest < WORKER_TRANSACTION_MS:
        yield error(
            TRANSACTIONS,
            facts.address,
            f"transactions may last {span(longest)}; workers ask for {span(WORKER_TRANSACTION_MS)}, and are refused",
            f"set transaction.max.timeout.ms to {WORKER_TRANSACTION_MS} or more in the brokers' properties",
        )
    kept = _number(facts.config.get("offsets.retention.minutes"))
    if kept is not None and 60_000 * kept < wanted.outage_ms:
        yield warning(
            OFFSETS,
            facts.address,
            f"the offsets of a group without members are deleted after {span(60_000 * kept)}",
            "raise offsets.retention.minutes in the brokers' properties (10080 is usual)",
        )
    for name in ("offsets.topic.replication.factor", "transaction.state.log.replication.factor"):
        copies = _number(facts.config.get(name))
        if copies is not None and copies < min(facts.brokers, SAFE_REPLICATION):
            yield warning(
                OFFSETS if name.startswith("offsets") else TRANSACTIONS,
                facts.address,
                f"{name} is {copies} on {facts.brokers} brokers: a lost disk loses positions",
                "raise it in the brokers' properties; topics that exist need kafka-reassign-partitions",
            )


def _alter(facts: KafkaFacts, topic: str, change: str) -> str:
    return (
        f"kafka-configs --bootstrap-server {facts.address} --alter --entity-type topics --entity-name {topic}"
        f" --add-config {change}"
    )


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
