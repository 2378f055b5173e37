"""Lives: a topic is deleted and made anew, as operators and accidents do it; and the advice of workers is followed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.deployment import Deployment

RESET = re.compile(r"kafka-consumer-groups \S+ \S+ --group (\S+) --topic (\S+) --reset-offsets --to-earliest --execute")


def life_of(bootstrap: str, topic: str) -> str:
    """The id that the broker gave the topic."""
    admin: Any = AdminClient({"bootstrap.servers": bootstrap})
    return str(admin.describe_topics(TopicCollection([topic]))[topic].result(10).topic_id)[:22]


def make_anew(bootstrap: str, topic: str, deployment: Deployment) -> None:
    """Delete a topic; then make it with the same number of partitions, if no client has done so first."""
    admin: Any = AdminClient({"bootstrap.servers": bootstrap})
    before = life_of(bootstrap, topic)
    admin.delete_topics([topic])[topic].result(20)

    def made() -> bool:
        deployment.run("topics")
        return life_of(bootstrap, topic) != before

    insist(made, f"{topic} is made anew")


def follow(advice: str, bootstrap: str, partitions: int) -> None:
    """Do what a worker said: set its group to the beginning of the topic, as soon as nobody is in the group."""
    found = RESET.search(advice)
    assert found, advice
    group, topic = found.groups()
    admin: Any = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [TopicPartition(topic, partition, 0) for partition in range(partitions)]

    def done() -> bool:
        futures = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])
        return all(future.result(20) for future in futures.values())

    insist(done, f"the offsets of {group} are set")


def insist(what: Callable[[], bool], name: str, within: float = 60) -> None:
    """Until it is so; brokers may refuse meanwhile."""
    deadline = time.monotonic() + within
    error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if what():
                return
        except KafkaException as refused:
            error = refused
        time.sleep(0.1)
    raise AssertionError(f"not within {within} s: {name} ({error})")
