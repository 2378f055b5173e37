"""A Celery worker: sends itself tasks over files, then becomes the worker that carries them out."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from streamgauge.producers import Counter

CALLS = Counter("calls", "", ["who"])
TASKS = 12

app: Any = import_module("celery").Celery("kinds", broker="filesystem://")
for folder in ("queue", "control"):
    Path(folder).mkdir(exist_ok=True)
app.conf.broker_transport_options = {
    "data_folder_in": "queue",
    "data_folder_out": "queue",
    "control_folder": "control",
    "polling_interval": 0.05,
}
app.conf.broker_connection_retry_on_startup = False
app.conf.worker_prefetch_multiplier = 1


def work() -> None:
    """One call."""
    CALLS.labels("task").inc()
    done = os.open("tasks.done", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(done, b".")
    os.close(done)


task: Any = app.task(name="work")(work)

if __name__ == "__main__":
    for _ in range(TASKS):
        task.delay()
    options = "--pool=prefork --concurrency=2 --max-tasks-per-child=3 --without-gossip --without-mingle"
    words = f"-m celery -A celery_app worker {options} --without-heartbeat --loglevel=WARNING"
    os.execv(sys.executable, [sys.executable, *words.split()])
else:
    CALLS.labels("boot").inc(7)
