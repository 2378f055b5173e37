"""Celery: a real app with an in-memory broker and a real worker; what its tasks do is recorded."""

from __future__ import annotations

import gc
import importlib
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamgauge.producers.bridges.celery import ERROR, STARTED, CeleryBridge, instrument, ready_at
from streamgauge.producers.testing import captured_producer
from tests.unit.producers.bridges.recorded import Recorded

# without types of its own
celery: Any = importlib.import_module("celery")
signals: Any = importlib.import_module("celery.signals")
start_worker: Any = importlib.import_module("celery.contrib.testing.worker").start_worker

DURATION, ACTIVE = "celery_task_duration", "celery_task_active"


class Scene:
    """An app with tasks of every outcome, instrumented."""

    def __init__(self, unique: str) -> None:
        self.recorded = Recorded()
        self.app: Any = celery.Celery(unique, broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(task_default_queue=unique, worker_hijack_root_logger=False, worker_redirect_stdouts=False)

        self.add = self.task("add", add)
        self.fail = self.task("fail", fail)
        self.twice = self.task("twice", try_again, bind=True, max_retries=1, default_retry_delay=0)
        self.bridge: CeleryBridge = instrument(self.app, producer=self.recorded.producer)
        instrument(self.app, producer=self.recorded.producer)  # a second time changes nothing

    def task(self, name: str, function: Callable[..., Any], **options: Any) -> Any:
        """A task of this app only."""
        return self.app.task(name=name, shared=False, **options)(function)


def add(a: int, b: int) -> int:
    return a + b


def fail(key: str) -> None:
    raise KeyError(key)


def nothing() -> None:
    pass


def try_again(self: Any) -> str:
    if not self.request.retries:
        raise self.retry(exc=TimeoutError("slow"))
    return "at last"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A worker sets up the root logger of its process, which is everybody's here."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def scene(unique: str) -> Iterator[Scene]:
    made = Scene(unique)
    yield made
    made.bridge.close()
    made.app.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")
def test_a_worker_records_runs_by_state_waits_retries_and_nothing_in_progress(scene: Scene) -> None:
    results = [scene.add.delay(1, n) for n in range(3)] + [scene.fail.delay(1), scene.twice.delay()]
    with start_worker(scene.app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
        until(lambda: all(one.ready() for one in results))
        until(lambda: sum(scene.recorded.counts(DURATION).values()) == 6)
    recorded = scene.recorded

    assert recorded.counts(DURATION) == {
        ("add", "SUCCESS", ""): 3,
        ("fail", "FAILURE", "KeyError"): 1,
        ("twice", "RETRY", "TimeoutError"): 1,
        ("twice", "SUCCESS", ""): 1,
    }
    assert recorded.sums("celery_task_retries") == {("twice", "TimeoutError"): 1.0}
    assert recorded.counts("celery_task_queue_wait") == {("add",): 3, ("fail",): 1, ("twice",): 2}
    assert 0 < recorded.found()["celery_task_queue_wait", "add"].max < 20
    assert recorded.sums("celery_tasks_published") == {("add",): 3.0, ("fail",): 1.0, ("twice",): 2.0}
    assert set(recorded.last(ACTIVE).values()) == {0.0}
    assert {one.max for key, one in recorded.found().items() if key[0] == ACTIVE} == {1.0}


def test_a_task_that_is_called_in_place_counts_without_a_wait(scene: Scene) -> None:
    assert scene.add.apply((1, 2)).get() == 3
    assert scene.fail.apply((1,)).state == "FAILURE"

    assert scene.recorded.counts(DURATION) == {("add", "SUCCESS", ""): 1, ("fail", "FAILURE", "KeyError"): 1}
    assert scene.recorded.counts("celery_task_queue_wait") == {}


def test_nothing_is_remembered_of_a_run_that_is_over(scene: Scene) -> None:
    for _ in range(50):
        scene.add.apply((1, 2))
    gc.collect()
    request_type: Any = importlib.import_module("celery.app.task").Context
    # not isinstance: proxies of other libraries answer for objects that are gone
    kept = [one for one in gc.get_objects() if type(one) is request_type and STARTED in vars(one)]

    assert kept == []
    assert all(len(value) <= 7 for value in vars(scene.bridge).values() if hasattr(value, "__len__"))
    assert ERROR not in vars(scene.add.request)


def test_tasks_that_never_run_to_an_end_are_counted_by_why(scene: Scene) -> None:
    for reason in ({"terminated": True}, {"expired": True}, {}):
        signals.task_revoked.send(sender=scene.add, request=None, **reason)
    for _ in range(2):  # the main process tells of a time limit twice
        signals.task_failure.send(sender=scene.add, task_id="1", exception=MemoryError())
    signals.task_failure.send(sender=scene.add, task_id="2", exception=celery.exceptions.Reject())

    assert scene.recorded.sums("celery_tasks_unfinished") == {
        ("add", "REVOKED", "terminated"): 1.0,
        ("add", "REVOKED", "expired"): 1.0,
        ("add", "REVOKED", "revoked"): 1.0,
        ("add", "FAILURE", "MemoryError"): 1.0,
    }


def test_tasks_of_another_app_are_its_own_business(scene: Scene, unique: str) -> None:
    other = celery.Celery(f"{unique}-other", broker="memory://", set_as_current=False)

    other.task(name="foreign", shared=False)(nothing).apply()
    other.close()

    assert scene.recorded.found() == {}


def test_after_close_nothing_is_recorded(scene: Scene) -> None:
    scene.bridge.close()
    scene.add.apply((1, 2))

    assert scene.recorded.found() == {}


def test_a_process_of_the_prefork_pool_sends_what_it_has_before_it_ends(unique: str) -> None:
    producer, transport, _ = captured_producer()
    app = celery.Celery(unique, broker="memory://", set_as_current=False)

    bridge = instrument(app, producer=producer)
    app.task(name="last", shared=False)(nothing).apply()
    assert transport.delivered == []
    signals.worker_process_shutdown.send(sender=None, pid=1, exitcode=0)
    bridge.close()
    app.close()

    assert transport.closed
    assert "celery_task_duration" in transport.sums()


@pytest.mark.parametrize(
    ("published", "eta", "ready"),
    [
        (None, None, None),
        ("yesterday", None, None),
        (1_000.0, None, 1_000.0),
        (1_000.0, (datetime.fromtimestamp(1_000, UTC) + timedelta(seconds=30)).isoformat(), 1_030.0),
        (1_000.0, datetime.fromtimestamp(900, UTC).isoformat(), 1_000.0),
        (1_000.0, "soon", 1_000.0),
        (1_000.0, 12, 1_000.0),
    ],
)
def test_a_task_waits_from_its_publication_or_its_eta(published: Any, eta: Any, ready: float | None) -> None:
    assert ready_at(published, eta) == ready
