"""Collector: what is observed is called when it is due, whatever it does, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streamgauge.producers import Collector, Gauge, lifecycle
from streamgauge.producers.collector import Observation
from streamgauge.schemas.errors import DeclarationError
from tests.unit.producers.bridges.recorded import Recorded


class Scene:
    """A collector without a thread on a clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0
        self.recorded = Recorded()
        self.collector = Collector(self.recorded.producer, clock=lambda: self.now, background=False)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_each_function_is_called_at_once_and_then_at_its_own_interval() -> None:
    scene, calls = Scene(), list[str]()
    scene.collector.observe_every(10, lambda: calls.append("ten"))
    scene.collector.observe_every(3, lambda: calls.append("three"))

    assert scene.collector.step() == 3.0
    scene.now += 3
    assert scene.collector.step() == 3.0
    scene.now += 7.5
    assert scene.collector.step() == 3.0  # late by more than its interval: that is counted from now

    assert calls == ["ten", "three", "three", "ten", "three"]


def test_a_late_round_is_not_made_up_for() -> None:
    scene, calls = Scene(), list[float]()
    scene.collector.observe_every(1, lambda: calls.append(scene.now))
    for pause in (0.0, 50.0, 0.25, 0.75):
        scene.now += pause
        scene.collector.step()

    assert calls == [100.0, 150.0, 151.0]


def test_what_a_function_raises_is_counted_and_keeps_nobody_from_being_called() -> None:
    scene, calls = Scene(), list[str]()

    def broken() -> None:
        raise KeyError("pool")

    scene.collector.observe_every(1, broken)
    scene.collector.observe_every(1, lambda: calls.append("good"))
    scene.collector.step()
    scene.now += 1
    scene.collector.step()

    ((name, error),) = scene.recorded.sums("streamgauge_collector_errors")
    assert scene.recorded.sums("streamgauge_collector_errors")[name, error] == 2.0
    assert (name.endswith("broken"), error) == (True, "KeyError")
    assert calls == ["good", "good"]


def test_a_gauge_follows_a_function_until_it_is_stopped() -> None:
    scene, queue = Scene(), [1, 2, 3]
    waiting = Gauge("waiting", "Jobs", ["queue"], producer=scene.recorded.producer)
    observation = scene.collector.set_function(waiting.labels("mail"), lambda: len(queue))
    scene.collector.collect()
    assert scene.recorded.last("waiting") == {("mail",): 3.0}
    queue.pop()
    scene.collector.collect()
    assert scene.recorded.last("waiting") == {("mail",): 2.0}
    observation.stop()
    queue.clear()
    scene.collector.collect()

    assert scene.recorded.last("waiting") == {("mail",): 2.0}
    assert scene.collector.step() is None


def test_at_the_end_of_the_process_only_those_are_called_that_asked_for_it() -> None:
    scene, calls = Scene(), list[str]()
    scene.collector.observe_every(1, lambda: calls.append("often"))
    scene.collector.observe_every(1, lambda: calls.append("to the last"), last=True)
    scene.collector.finish()

    assert calls == ["to the last"]


PROGRAM = """
import atexit
import time

from streamgauge.producers import Counter, observe_every, set_default
from streamgauge.producers.testing import captured_producer

producer, transport, clock = captured_producer()
set_default(producer)
ended = Counter("ended", "Ends", ["pid"])
seen = []


def count():
    ended.labels("one").inc(100 if seen else 1)
    seen.append(1)


observe_every(3_600, count, last=True)
while not seen:
    time.sleep(0.001)
atexit._run_exitfuncs()
print(transport.sums()["ended"])
"""


def test_what_is_counted_at_the_end_of_a_program_is_sent() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "101.0\n"


def test_a_function_may_observe_and_stop_others_while_it_is_called() -> None:
    scene, calls = Scene(), list[str]()
    others = list[Observation]()

    def first() -> None:
        others.pop().stop()
        scene.collector.observe_every(1, lambda: calls.append("new"))

    scene.collector.observe_every(1_000, first)
    others.append(scene.collector.observe_every(1, lambda: calls.append("other")))
    scene.collector.step()
    calls.clear()
    scene.now += 0.5
    scene.collector.step()

    assert calls == ["new"]


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
def test_an_interval_that_is_none_is_refused(interval: float) -> None:
    with pytest.raises(DeclarationError, match="pass the seconds"):
        Scene().collector.observe_every(interval, lambda: None)


@pytest.fixture
def background() -> Iterator[Collector]:
    collector = Collector(Recorded().producer)
    yield collector
    collector.close()
    until(lambda: collector.idle)


def test_one_thread_calls_everything_and_ends_with_the_last_observation(background: Collector) -> None:
    threads = set[str]()
    observations = [
        background.observe_every(0.001, lambda: threads.add(threading.current_thread().name)) for _ in range(3)
    ]
    until(lambda: threads)
    for one in observations:
        one.stop()
    background.close()
    until(lambda: background.idle)
    seen = threading.Event()
    background.observe_every(0.001, seen.set)

    assert seen.wait(20)
    assert threads == {"streamgauge-collector"}


def test_a_process_that_only_exists_to_be_forked_gets_no_thread_but_its_children_do(
    background: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = threading.Event()
    monkeypatch.setattr(lifecycle, "may_start_threads", lambda: False)
    background.observe_every(0.001, called.set)
    assert background.idle
    monkeypatch.setattr(lifecycle, "may_start_threads", lambda: True)
    background.after_fork()

    assert called.wait(20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_goes_on_in_a_thread_of_its_own(background: Collector) -> None:
    pids, (read, write) = set[int](), os.pipe()

    def tell() -> None:
        pids.add(os.getpid())
        os.write(write, b"%d\n" % os.getpid())

    background.observe_every(0.01, tell)
    until(lambda: pids)
    child = os.fork()
    if not child:
        try:
            until(lambda: os.getpid() in pids)
        finally:
            os._exit(0 if os.getpid() in pids else 1)
    _, status = os.waitpid(child, 0)
    background.close()
    until(lambda: background.idle)
    os.close(write)
    with os.fdopen(read) as pipe:
        callers = {int(line) for line in pipe}

    assert status == 0
    assert callers == {os.getpid(), child}
