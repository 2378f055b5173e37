"""The export check on a real broker: what is committed in a rollups topic is looked at, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streamgauge.console.cli import main
from streamgauge.schemas.topics import ROLLUPS
from tests.support import kafka as kafka_support
from tests.support.kafka import Broker
from tests.unit.console.test_region import CLEAN, changed

pytestmark = pytest.mark.kafka


def test_only_committed_messages_of_the_topic_are_looked_at_and_the_newest_ones(
    kafka: Broker, unique: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = ROLLUPS.name(unique)
    kafka_support.create_topic(kafka.bootstrap, topic)
    file = tmp_path / "mm2.properties"
    file.write_text(f"clusters = a, b\na->b.enabled = true\na->b.topics = {topic}\n")
    words = ["region", "check-export", str(file), "--region", unique, "--brokers", kafka.bootstrap, "--look", "--json"]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": unique})
    producer.init_transactions(20)

    def send(*values: bytes, commit: bool) -> None:
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value.replace(b'"region":"local"', f'"region":"{unique}"'.encode()), partition=0)
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)

    def looked() -> tuple[int, dict[str, int], int]:
        code = main(words)
        said = json.loads(capsys.readouterr().out)["topics"][topic]
        return code, said["found"], said["messages"]

    send(*CLEAN, commit=True)
    send(changed(country="jane@example.com"), commit=False)
    assert looked() == (0, {}, len(CLEAN))
    send(changed(country="jane@example.com"), commit=True)
    assert looked() == (1, {"email": 1}, len(CLEAN) + 1)
    words += ["--messages", "1"]
    send(*CLEAN[:1], commit=True)
    assert looked() == (0, {}, 1)
    assert main([*words[:3], "--region", "nowhere", *words[5:]]) == 2
