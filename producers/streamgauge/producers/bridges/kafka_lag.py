"""Kafka lag: how far a confluent-kafka consumer is behind the end of its partitions.

    lag = ConsumerLag("billing")
    consumer = Consumer({..., "group.id": "billing", "statistics.interval.ms": 10_000, "stats_cb": lag})

`messaging_kafka_consumer_lag` (gauge, {message}; the name that OpenTelemetry's conventions had) by `consumer_group`,
`topic` and `partition`. Where statistics are in other hands, `observe_consumer(consumer, "billing")` asks the consumer on
an interval: its position and the end of each partition as of the last fetch, without a request to the broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from streamgauge.producers.collector import DEFAULT_INTERVAL, Collector, Observation, default_collector
from streamgauge.producers.metrics import Gauge

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from streamgauge.producers.producer import Producer


class ConsumerLag:
    """Takes librdkafka's statistics, as `stats_cb` hands them over. What cannot be read is left out."""

    def __init__(self, group: str, *, producer: Producer | None = None) -> None:
        self._group = group
        self._lag = Gauge(
            "messaging_kafka_consumer_lag",
            "Messages a consumer has before it",
            ["consumer_group", "topic", "partition"],
            unit="{message}",
            producer=producer,
        )

    def __call__(self, statistics: str) -> None:
        """Record the lag of every partition in librdkafka's statistics."""
        try:
            topics: dict[str, Any] = orjson.loads(statistics).get("topics", {})
            found = [
                # behind what was committed; before the first commit, behind what was read
                (topic, partition, one["consumer_lag"] if one["consumer_lag"] >= 0 else one["consumer_lag_stored"])
                for topic, body in topics.items()
                for partition, one in body["partitions"].items()
                if partition != "-1"
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        for topic, partition, lag in found:
            if lag >= 0:
                self.record(topic, partition, lag)

    def record(self, topic: str, partition: int | str, lag: int) -> None:
        """The lag of one partition is `lag` now."""
        self._lag.labels(self._group, topic, partition).set(lag)

    def look(self, consumer: Consumer) -> None:
        """Record the lag of every partition that a consumer has and has read from."""
        for one in consumer.position(consumer.assignment()):
            _, end = consumer.get_watermark_offsets(one, cached=True)
            if one.offset >= 0 and end >= 0:
                self.record(str(one.topic), int(one.partition), max(0, end - one.offset))


def observe_consumer(
    consumer: Consumer,
    group: str,
    *,
    interval: float = DEFAULT_INTERVAL,
    producer: Producer | None = None,
    collector: Collector | None = None,
) -> Observation:
    """Look at a consumer every `interval` seconds. Stop it before the consumer is closed."""
    lag = ConsumerLag(group, producer=producer)
    return (collector or default_collector()).observe_every(interval, lambda: lag.look(consumer))
