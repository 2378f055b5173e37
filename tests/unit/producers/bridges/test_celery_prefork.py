"""Celery's prefork pool: real worker processes, which send what they have when they end, and only once."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from streamgauge.producers.bridges.celery import instrument
from streamgauge.producers.testing import Captured
from tests.unit.producers.bridges.recorded import Recorded
from tests.unit.producers.decoded import Value, values

TASKS = 8
QUIET = ("-l", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat")
APP = """
import time
from pathlib import Path

from celery import Celery, signals
from streamgauge.producers.bridges.celery import instrument

app = Celery("shop", broker="filesystem://")
app.conf.update(broker_transport_options={options!r}, task_default_queue="shop")
bridge = instrument(app)


@app.task(name="touch")
def touch(number):
    Path({folder!r}, str(number)).touch()


@app.task(name="hang", time_limit=1)
def hang():
    time.sleep(600)


@signals.task_failure.connect(weak=False)
def failed(task_id, **_):
    Path({folder!r}, task_id).touch()


@signals.task_revoked.connect(weak=False)
def revoked(request, **_):
    Path({folder!r}, request.id).touch()
"""


def until(condition: Callable[[], object], worker: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert worker.poll() is None, worker.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def everything(address: str, topic: str) -> list[Captured]:
    """All messages of a topic."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "enable.partition.eof": True})
    partitions = list(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in partitions])
    found, ended = list[Captured](), 0
    while ended < len(partitions):
        message = consumer.poll(20)
        assert message is not None
        if message.error() is not None:
            ended += 1
        else:
            found.append(Captured(topic, message.key() or b"", message.value() or b""))
    consumer.close()
    return found


def test_runs_of_all_processes_of_a_pool_arrive_once_and_those_that_were_killed_are_told(tmp_path: Path) -> None:
    broker = Producer({"test.mock.num.brokers": 1})
    address = str(next(iter(broker.list_topics(timeout=20).brokers.values()))).split("/")[0]
    folder, queue = tmp_path / "done", tmp_path / "queue"
    folder.mkdir()
    queue.mkdir()
    options = {"data_folder_in": str(queue), "data_folder_out": str(queue), "control_folder": str(tmp_path / "control")}
    (tmp_path / "shop_app.py").write_text(APP.format(options=options, folder=str(folder)))
    sender: Any = importlib.import_module("celery").Celery("shop", broker="filesystem://", set_as_current=False)
    sender.conf.update(broker_transport_options=options, task_default_queue="shop")
    recorded = Recorded()
    bridge = instrument(sender, producer=recorded.producer)
    sender.send_task("hang")
    sender.send_task("hang", expires=0.001)
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "shop_app", "worker", "-P", "prefork", "-c", "2", *QUIET],
        cwd=tmp_path,
        # nothing is sent before the end: what arrives was sent by it
        env={**os.environ, "STREAMGAUGE_BROKERS": address, "STREAMGAUGE_FLUSH_INTERVAL": "10m"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # whoever is killed loses what it has not sent: first come those that are
        until(lambda: len(list(folder.iterdir())) == 2, worker)
        for number in range(TASKS):
            sender.send_task("touch", (number,))
        until(lambda: len(list(folder.iterdir())) == 2 + TASKS, worker)
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=60)
    finally:
        bridge.close()
        sender.close()
        worker.kill()
        worker.wait()
    found: dict[tuple[str, ...], Value] = values(everything(address, "sg.local.metrics.v1"))

    assert worker.returncode == 0, said
    assert recorded.sums("celery_tasks_published") == {("touch",): TASKS, ("hang",): 2.0}
    assert found["celery_task_duration", "touch", "SUCCESS", ""].count == TASKS
    assert found["celery_task_queue_wait", "touch"].count == TASKS
    assert found["celery_task_active", "touch"].last[1] == 0.0
    assert ("celery_task_duration", "hang", "FAILURE", "TimeLimitExceeded") not in found
    unfinished = {key[1:]: one.sum for key, one in found.items() if key[0] == "celery_tasks_unfinished"}
    assert unfinished == {("hang", "FAILURE", "TimeLimitExceeded"): 1.0, ("hang", "REVOKED", "expired"): 1.0}
