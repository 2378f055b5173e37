"""A broker that goes away under processes of every fate: whatever was on disk or still counted is recounted exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter as Multiset
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from streamgauge.producers import Counter, Producer, ProducerSettings, emit
from streamgauge.producers.default import set_default
from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode
from tests.support.kafka import KafkaBroker, create_topic
from tests.support.outage_emitter import CALLS, Tick

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
LATEST = 1.6
"""An event is on disk at the latest so many seconds after it was emitted: 250 ms to its batch, a second of patience."""


@contextmanager
def emitter(who: str, environ: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    """A process that emits until it is told to end; it never outlives the test."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.outage_emitter", who],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def raw(bootstrap: str, topics: Iterable[str]) -> list[EventBatch | MetricBatch]:
    """Everything in these topics, as workers count it: each number of a stream once."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "recount", "enable.auto.commit": False})
    try:
        places = [TopicPartition(topic, 0, 0) for topic in topics]
        ends = {one.topic: consumer.get_watermark_offsets(one, timeout=20)[1] for one in places}
        consumer.assign(places)
        read: Multiset[str] = Multiset()
        known: dict[tuple[str, str, int, str, int], bytes] = {}
        while any(read[topic] < end for topic, end in ends.items()):
            message = consumer.poll(20)
            assert message is not None
            assert message.error() is None, message.error()
            topic, value = message.topic() or "", message.value() or b""
            read[topic] = (message.offset() or 0) + 1
            origin = decode(value).origin
            number = (topic, origin.context["instance"], origin.epoch, origin.stream, origin.seq)
            assert known.setdefault(number, value) == value
        return [decode(value) for value in known.values()]
    finally:
        consumer.close()


def texts(column: Strings | Numbers) -> list[str]:
    """The texts of a column, row by row."""
    assert isinstance(column, Strings)
    return [column.dictionary[place] or "" for place in column.index]


def ticks(batches: list[EventBatch | MetricBatch]) -> dict[str, list[int]]:
    """Numbers of the events of each emitter, in order; one that came twice would be there twice."""
    found: dict[str, list[int]] = {}
    for batch in batches:
        if isinstance(batch, EventBatch):
            who, number = (texts(batch.fields[name]) for name in ("who", "number"))
            for one, tick in zip(who, number, strict=True):
                found.setdefault(one, []).append(int(tick))
    return {who: sorted(numbers) for who, numbers in found.items()}


def calls(batches: list[EventBatch | MetricBatch]) -> Multiset[str]:
    """What the counter came to, by emitter."""
    found: Multiset[str] = Multiset()
    for batch in batches:
        if isinstance(batch, MetricBatch):
            for index, amount in zip(batch.index, batch.sum, strict=True):
                metric, *labels = batch.series[int(index)]
                if batch.metrics[int(metric)].name == CALLS.head.name:
                    found[str(labels[0])] += int(amount)
    return found


def test_events_and_counts_survive_an_outage_in_living_ended_and_killed_processes(
    private_kafka: KafkaBroker, unique: str, tmp_path: Path
) -> None:
    topics = [f"sg.{unique}.{kind}.v1" for kind in ("events", "metrics")]
    for topic in topics:
        create_topic(private_kafka.bootstrap, topic)
    environ = {
        "STREAMGAUGE_BROKERS": private_kafka.bootstrap,
        "STREAMGAUGE_REGION": unique,
        "STREAMGAUGE_SPOOL": str(tmp_path),
        "STREAMGAUGE_FLUSH_INTERVAL": "500ms",
        "STREAMGAUGE_EXIT_TIMEOUT": "1s",
    }
    settings = ProducerSettings(brokers=private_kafka.bootstrap, region=unique, spool=str(tmp_path), flush_interval=500)
    living = Producer(settings)
    living_calls = Counter(CALLS.head.name, "", CALLS.head.labels, producer=living)
    set_default(living)
    emitted = 0

    def live(seconds: float) -> None:
        nonlocal emitted
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            emitted += 1
            emit(Tick(who="living", number=str(emitted)))
            living_calls.labels("living").inc()
            time.sleep(0.005)

    try:
        with emitter("killed", environ) as killed, emitter("ended", environ) as ended:
            live(2.5)
            private_kafka.stop()
            live(4.0)
            assert killed.stdout is not None
            killed.send_signal(signal.SIGKILL)
            moment = time.time()
            said = [line.split() for line in killed.stdout.read().splitlines()]
            safe = max(int(number) for number, at in said if float(at) < moment - LATEST)
            out, _ = ended.communicate("end\n", timeout=20)
            told = int(out.splitlines()[-1].split()[0])
        live(0.5)
        assert len(list(tmp_path.rglob("*.seg"))) >= 3
        private_kafka.restart()
        successor = Producer(settings)
        Counter("started", producer=successor).inc()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (
            list(tmp_path.rglob("*.seg")) or living.stats().waiting or successor.stats().waiting
        ):
            time.sleep(0.1)
        live(0.3)
        assert living.flush(20).left == 0
        assert successor.close(10).left == 0
        stats = living.stats()
    finally:
        set_default(None)
        living.close(1)
    assert list(tmp_path.rglob("*.seg")) == []
    batches = raw(private_kafka.bootstrap, topics)
    seen, counted = ticks(batches), calls(batches)
    assert seen["living"] == list(range(1, emitted + 1))
    assert counted["living"] == emitted
    assert stats.dropped == {}
    assert seen["ended"] == list(range(1, told + 1))
    assert counted["ended"] == told
    assert seen["killed"] == list(range(1, len(seen["killed"]) + 1))
    assert len(seen["killed"]) >= safe
    assert 0 < counted["killed"] <= int(said[-1][0]) + 1  # what a killed process had counted in memory is gone
