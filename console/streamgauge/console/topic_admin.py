"""Topics of a region on a broker: what is missing is created, what differs is told and not changed.

What contracts ask of topics is in `topic_retention`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamgauge.console.sender import ANSWER_WITHIN_S, broker_unavailable
from streamgauge.schemas.errors import BrokerUnavailable, InputError, StreamgaugeError
from streamgauge.schemas.topics import TOPICS, Topic

SAFE_REPLICATION = 3
SAFE_IN_SYNC = 2
CREATE_WITHIN_S = 30.0
IN_PROCESS = "mockCluster"
"""How the cluster id of librdkafka's in-process broker begins."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is now. `outcome` is created, missing (on a dry run), exists or differs."""

    name: str
    outcome: str
    wanted: int
    found: int
    replication: int
    purpose: str

    def json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "topic": self.name,
            "outcome": self.outcome,
            "partitions": self.found,
            "wanted_partitions": self.wanted,
            "replication": self.replication,
            "purpose": self.purpose,
        }


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a broker says about its cluster: partitions and replication by topic."""

    brokers: int
    in_process: bool
    topics: Mapping[str, tuple[int, int]]


def look(admin: AdminClient, address: str = "the configured address") -> Cluster:
    """The cluster's topics. Raises BrokerUnavailable. Creates nothing."""
    try:
        found = admin.list_topics(timeout=ANSWER_WITHIN_S)
    except KafkaException as error:
        raise broker_unavailable(address, error) from error
    topics = {
        name: (len(one.partitions), len(one.partitions[0].replicas) if 0 in one.partitions else 0)
        for name, one in found.topics.items()
        if one.error is None
    }
    return Cluster(len(found.brokers), str(found.cluster_id or "").startswith(IN_PROCESS), topics)


def ensure_topics(
    admin: AdminClient,
    region: str,
    replication: int = 0,
    *,
    partitions: Mapping[str, int] | None = None,
    dry_run: bool = False,
    address: str = "the configured address",
) -> list[TopicState]:
    """Create the topics of `region` that are missing, and tell how each one stands.

    `replication` 0 means as many copies as there are brokers, at most 3. `partitions` overrides counts by topic kind.
    The in-process broker chooses partition counts itself, so there they never differ; nor do those of topics which work with
    any number, unless one was chosen. Raises BrokerUnavailable, and
    StreamgaugeError when the broker refuses to create a topic.
    """
    chosen = partitions or {}
    counts = wanted_partitions(TOPICS, chosen)
    cluster = look(admin, address)
    copies = replication or max(1, min(SAFE_REPLICATION, cluster.brokers))
    missing = [topic for topic in TOPICS if topic.name(region) not in cluster.topics]
    created: set[str] = set()
    if missing and not dry_run:
        if cluster.in_process:
            # it answers no request to create one, but asking for a topic by name brings it about
            for topic in missing:
                admin.list_topics(topic.name(region), timeout=ANSWER_WITHIN_S)
            created = {topic.name(region) for topic in missing}
        else:
            created = _create(admin, missing, region, copies, counts)
        cluster = _look_until(admin, address, {topic.name(region) for topic in TOPICS})
    free = {topic for topic in TOPICS if topic.any_count and topic.kind not in chosen}
    return [_state(topic, region, counts[topic.kind], copies, cluster, created, topic in free) for topic in TOPICS]


def _look_until(admin: AdminClient, address: str, names: set[str]) -> Cluster:
    """The cluster once it shows these topics: a broker learns of a new topic a little after it was created."""
    until = time.monotonic() + ANSWER_WITHIN_S
    while not names <= (cluster := look(admin, address)).topics.keys() and time.monotonic() < until:
        time.sleep(0.05)
    return cluster


def wanted_partitions(topics: Sequence[Topic], overrides: Mapping[str, int]) -> dict[str, int]:
    """Partitions by kind. Raises InputError for a kind that does not exist or a count below 1."""
    counts = {topic.kind: topic.partitions for topic in topics}
    if unknown := sorted(overrides.keys() - counts.keys()):
        raise InputError(f"no topic kind is called {', '.join(unknown)}; there are {', '.join(counts)}")
    if low := sorted(kind for kind, count in overrides.items() if count < 1):
        raise InputError(f"a topic has at least 1 partition: {', '.join(low)}")
    return counts | dict(overrides)


def created_with(topic: Topic, copies: int) -> dict[str, str]:
    """Settings of a topic that is made with so many copies: with three, no broker acknowledges anything alone.

    Otherwise what was acknowledged could be lost with one disk; with fewer copies every lost broker would stop all writing.
    """
    return topic.config() | ({"min.insync.replicas": str(SAFE_IN_SYNC)} if copies >= SAFE_REPLICATION else {})


def _create(
    admin: AdminClient, topics: Sequence[Topic], region: str, copies: int, counts: Mapping[str, int]
) -> set[str]:
    asked = [
        NewTopic(topic.name(region), counts[topic.kind], replication_factor=copies, config=created_with(topic, copies))
        for topic in topics
    ]
    answers = cast("dict[str, Future[None]]", admin.create_topics(asked, request_timeout=CREATE_WITHIN_S))  # pyright: ignore[reportUnknownMemberType]  # Future without its type
    created: set[str] = set()
    problems: list[str] = []
    for name, answer in answers.items():
        try:
            answer.result(CREATE_WITHIN_S + 5)
            created.add(name)
        except KafkaException as failed:
            error = cast("KafkaError", failed.args[0])
            # somebody else was faster, which is what we wanted
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                problems.append(f"{name}: {error.str()}")
        except TimeoutError as failed:
            raise BrokerUnavailable(f"the broker did not answer within {CREATE_WITHIN_S:g} s; try again") from failed
    if problems:
        raise StreamgaugeError("the broker refused to create topics:\n  " + "\n  ".join(problems))
    return created


def _state(
    topic: Topic, region: str, wanted: int, copies: int, cluster: Cluster, created: set[str], any_count: bool
) -> TopicState:
    name = topic.name(region)
    if name not in cluster.topics:
        # created, and even now not shown
        outcome, found, replication = ("created", wanted, copies) if name in created else ("missing", 0, 0)
    else:
        found, replication = cluster.topics[name]
        fits = found == wanted or cluster.in_process or any_count
        outcome = "differs" if not fits else "created" if name in created else "exists"
    return TopicState(name, outcome, wanted, found, replication, topic.purpose)
