"""Recount: what a region's raw topics say was called, by service, label and instance. Repeated batches count once."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import cast

from confluent_kafka import Consumer, TopicPartition

from streamgauge.schemas import topics
from streamgauge.schemas.batches import Origin
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode

SECONDS = 30.0


@dataclass
class Found:
    """What one service has sent."""

    calls: Counter[str] = field(default_factory=Counter[str])
    """Sums of the metric `calls`, by its label."""
    instances: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Who sent them, by label."""
    points: Counter[str] = field(default_factory=Counter[str])
    """Metric points and events, by name."""
    holes: list[str] = field(default_factory=list[str])
    """Numbers that are missing in a stream."""


def recount(bootstrap: str, region: str) -> dict[str, Found]:
    """Read both topics from their start to where they end now."""
    found: dict[str, Found] = {}
    numbers: dict[tuple[str, str, str, int], set[int]] = {}
    for value in messages(bootstrap, [topics.METRICS.name(region), topics.EVENTS.name(region)]):
        batch = decode(value)
        origin = batch.origin
        kind = "events" if isinstance(batch, EventBatch) else "metrics"
        seen = numbers.setdefault((kind, origin.context["instance"], origin.stream, origin.epoch), set())
        if origin.seq in seen:
            continue
        seen.add(origin.seq)
        one = found.setdefault(origin.context["service"], Found())
        if isinstance(batch, EventBatch):
            one.points[batch.event] += len(batch.times)
        else:
            _add(one, batch, origin)
    for (kind, instance, stream, epoch), seen in numbers.items():
        if seen != set(range(len(seen))):
            service = next(
                name for name, one in found.items() if any(instance in who for who in one.instances.values())
            )
            found[service].holes.append(f"{kind} {instance} {stream} {epoch}: {sorted(seen)}")
    return found


def _add(one: Found, batch: MetricBatch, origin: Origin) -> None:
    for row, index in enumerate(batch.index):
        metric, *labels = cast("tuple[int, *tuple[str, ...]]", batch.series[int(index)])
        name = batch.metrics[metric].name
        one.points[name] += int(batch.count[row])
        if name == "calls":
            one.calls[labels[0]] += round(batch.sum[row])
            one.instances.setdefault(labels[0], set()).add(origin.context["instance"])


def messages(bootstrap: str, names: list[str]) -> list[bytes]:
    """Everything that these topics hold."""
    found: list[bytes] = []
    group = {"group.id": "recount", "enable.auto.commit": False, "enable.partition.eof": False}
    with closing(Consumer({"bootstrap.servers": bootstrap, **group})) as consumer:
        known = consumer.list_topics(timeout=SECONDS).topics
        ends: dict[tuple[str, int], int] = {}
        for name in names:
            for number in known[name].partitions:
                start, end = consumer.get_watermark_offsets(TopicPartition(name, number), timeout=SECONDS)
                if end > start:
                    ends[name, number] = end
        consumer.assign([TopicPartition(name, number, 0) for name, number in ends])
        deadline = time.monotonic() + SECONDS
        while ends:
            message = consumer.poll(0.2)
            assert time.monotonic() < deadline, f"not read to the end: {ends}"
            if message is None or message.error():
                continue
            found.append(message.value() or b"")
            place = (str(message.topic()), cast("int", message.partition()))
            if cast("int", message.offset()) + 1 >= ends[place]:
                del ends[place]
    return found
