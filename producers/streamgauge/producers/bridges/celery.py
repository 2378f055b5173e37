"""Celery: duration, outcome, queue wait and retries of tasks. `instrument(app)` in the module that makes the app.

| metric | OpenTelemetry | unit | labels |
|---|---|---|---|
| `celery_task_duration` (histogram; its count: runs) | `messaging.process.duration` | s | `operation`, `status`, `error_type` |
| `celery_task_queue_wait` (histogram) | none | s | `operation` |
| `celery_task_retries` (counter) | none | {retry} | `operation`, `error_type` |
| `celery_task_active` (gauge) | none | {task} | `operation` |
| `celery_tasks_unfinished` (counter) | none | {task} | `operation`, `status`, `error_type` |
| `celery_tasks_published` (counter) | `messaging.client.sent.messages` | {message} | `operation` |

`operation` is the task's name, `status` Celery's state (SUCCESS, FAILURE, RETRY …). What is remembered of a run lives in
its request and goes with it. The wait is that from publishing, or from the `eta`, until the start, by the clocks of two
machines; it needs `instrument` on the publishing side too. A run whose process is killed, by a hard time limit or by the
system, has no duration: the worker's main process counts it as unfinished, and tasks that are revoked or expired too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from streamgauge.producers import default, hosts
from streamgauge.producers.bridges.requirements import need
from streamgauge.producers.metrics import Counter, Gauge, Histogram
from streamgauge.producers.operations import error_name

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

_signals: Any = need("celery.signals", "celery")
PUBLISHED = "streamgauge_published"
"""Header of a task's message: when it was published, in seconds since the epoch."""
STARTED, ACTIVE, ERROR = "_streamgauge_started", "_streamgauge_active", "_streamgauge_error"
"""What a request remembers of its run."""
MAX_TOLD = 256
"""Tasks without an end whose second telling is recognised."""


class CeleryBridge:
    """Listens to Celery's signals, until `close()`. They are one for all apps of a process: `app` picks its own tasks."""

    def __init__(self, app: Any, producer: Producer | None) -> None:
        self._app = app
        self._producer = producer

        def labels(*names: str) -> tuple[str, ...]:
            return ("operation", *names)

        self._duration = Histogram(
            "celery_task_duration", "Runs of tasks", labels("status", "error_type"), unit="s", producer=producer
        )
        self._wait = Histogram(
            "celery_task_queue_wait", "Time a task was ready and did not run", labels(), unit="s", producer=producer
        )
        self._retries = Counter(
            "celery_task_retries", "Runs that ask for another", labels("error_type"), unit="{retry}", producer=producer
        )
        self._active = Gauge("celery_task_active", "Tasks that run", labels(), unit="{task}", producer=producer)
        self._unfinished = Counter(
            "celery_tasks_unfinished",
            "Tasks that did not run to an end",
            labels("status", "error_type"),
            unit="{task}",
            producer=producer,
        )
        self._published = Counter(
            "celery_tasks_published", "Tasks sent to the broker", labels(), unit="{message}", producer=producer
        )
        self._told: deque[Any] = deque(maxlen=MAX_TOLD)
        self._connected: list[tuple[Any, Callable[..., None]]] = [
            (_signals.before_task_publish, self._publish),
            (_signals.task_prerun, self._begin),
            (_signals.task_failure, self._failed),
            (_signals.task_retry, self._retried),
            (_signals.task_revoked, self._revoked),
            (_signals.task_postrun, self._end),
            (_signals.worker_process_shutdown, self._worker_ends),
        ]
        for signal, receiver in self._connected:
            signal.connect(receiver, weak=False, dispatch_uid=self._id(receiver))

    def close(self) -> None:
        """Listen no more."""
        for signal, receiver in self._connected:
            signal.disconnect(receiver, dispatch_uid=self._id(receiver))

    def _id(self, receiver: Callable[..., None]) -> str:
        """Whoever instruments an app twice must not count twice."""
        return f"streamgauge:{id(self._app)}:{receiver.__name__}"

    def _ours(self, task: Any) -> bool:
        return self._app is None or getattr(task, "app", None) is self._app

    def _publish(self, sender: Any = None, headers: Any = None, **_: Any) -> None:
        # who publishes by name has no task at hand: every app's messages are taken
        if isinstance(headers, dict):
            headers[PUBLISHED] = time.time()
        self._published.labels(sender).inc()

    def _begin(self, task: Any = None, **_: Any) -> None:
        if not self._ours(task):
            return
        request, active = task.request, self._active.labels(task.name)
        active.inc()
        setattr(request, ACTIVE, active)
        setattr(request, STARTED, time.perf_counter())
        since = ready_at(getattr(request, PUBLISHED, None), getattr(request, "eta", None))
        if since is not None:
            self._wait.labels(task.name).observe(max(0.0, time.time() - since))

    def _failed(self, sender: Any = None, task_id: Any = None, exception: Any = None, **_: Any) -> None:
        if not self._ours(sender) or exception is None:
            return
        request, name = sender.request, error_name(exception)
        if STARTED in vars(request):
            setattr(request, ERROR, name)
        # a hard time limit is told twice by the main process, a rejection once more after the run's own end
        elif name != "Reject" and task_id not in self._told:
            self._told.append(task_id)
            self._unfinished.labels(sender.name, "FAILURE", name).inc()

    def _revoked(self, sender: Any = None, terminated: bool = False, expired: bool = False, **_: Any) -> None:
        if self._ours(sender):
            reason = "terminated" if terminated else "expired" if expired else "revoked"
            self._unfinished.labels(sender.name, "REVOKED", reason).inc()

    def _retried(self, sender: Any = None, reason: Any = None, **_: Any) -> None:
        if self._ours(sender):
            cause = getattr(reason, "exc", None)
            name = error_name(cause) if isinstance(cause, BaseException) else ""
            setattr(sender.request, ERROR, name)
            self._retries.labels(sender.name, name).inc()

    def _end(self, task: Any = None, state: Any = None, **_: Any) -> None:
        started = task.request.__dict__.pop(STARTED, None)
        if started is None:
            return
        seconds = time.perf_counter() - started
        task.request.__dict__.pop(ACTIVE).dec()
        error = task.request.__dict__.pop(ERROR, "")
        self._duration.labels(task.name, state or "UNKNOWN", error).observe(seconds)

    def _worker_ends(self, **_: Any) -> None:
        # processes of the prefork pool end without atexit
        hosts.outlive_supervisor()
        (self._producer or default.get_default()).close()


def ready_at(published: Any, eta: Any) -> float | None:
    """When a task could have run, in seconds since the epoch; None when it does not say. `eta` is a time in ISO 8601."""
    if not isinstance(published, int | float):
        return None
    try:
        due = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    except ValueError:
        return published
    if not isinstance(due, datetime):
        return published
    return max(published, (due if due.tzinfo else due.replace(tzinfo=UTC)).timestamp())


def instrument(app: Any = None, *, producer: Producer | None = None) -> CeleryBridge:
    """Measure the tasks of `app` (None: of every app in this process) until the returned bridge is closed.

    A second call for the same app changes nothing.
    """
    return CeleryBridge(app, producer)
