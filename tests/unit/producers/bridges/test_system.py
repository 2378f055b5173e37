"""System: numbers of the process, the interpreter, its event loop and the host, as they are on this machine."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import threading
import time
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from streamgauge.producers import Collector, Counter
from streamgauge.producers.bridges.host import HostMetrics
from streamgauge.producers.bridges.process import ProcessMetrics, observe_process
from streamgauge.producers.bridges.readings import Readings
from streamgauge.producers.bridges.runtime import RuntimeMetrics, observe_runtime, watch_loop
from tests.unit.producers.bridges.recorded import Recorded


def test_totals_of_somebody_else_become_increments() -> None:
    recorded = Recorded()
    counter = Counter("bytes", "", ["card"], producer=recorded.producer)
    readings, fresh = Readings(), Readings(from_zero=True)
    for total in (1_000, 1_004, 1_004, 1_010, 3):  # the last one: begun anew
        readings.add(counter, ("eth0",), total)
    fresh.add(counter, ("eth1",), 7)
    fresh.add(counter, ("eth1",), 9)

    assert recorded.sums("bytes") == {("eth0",): 13.0, ("eth1",): 9.0}


def test_cpu_time_adds_up_to_that_of_the_process() -> None:
    recorded = Recorded()
    metrics = ProcessMetrics(recorded.producer)
    before = sum(os.times()[:2])
    for _ in range(3):
        sum(range(200_000))
        metrics()
    after = sum(os.times()[:2])
    found = recorded.sums("process_cpu_time")

    assert {mode for (mode,) in found} <= {"user", "system"}
    assert before - 0.05 <= sum(found.values()) <= after + 0.05


def test_the_process_is_described() -> None:
    recorded = Recorded()
    ready, end = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        end.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    ready.wait()
    try:
        ProcessMetrics(recorded.producer)()
        own = psutil.Process()
        threads, files = own.num_threads(), own.num_fds()
    finally:
        end.set()
        thread.join()

    assert recorded.last("process_thread_count")[()] == threads >= 2
    assert abs(recorded.last("process_open_file_descriptor_count")[()] - files) <= 2
    assert 1e6 < recorded.last("process_memory_usage")[()] < recorded.last("process_memory_virtual")[()]
    assert 0 <= recorded.last("process_uptime")[()] <= time.time() - own.create_time() + 1
    assert sum(recorded.sums("process_context_switches").values()) > 0


def test_what_a_system_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Any) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "num_fds", denied)
    monkeypatch.delattr(psutil.Process, "io_counters", raising=False)
    recorded = Recorded()
    ProcessMetrics(recorded.producer)()
    names = {key[0] for key in recorded.found()}

    assert "process_memory_usage" in names
    assert not names & {"process_open_file_descriptor_count", "process_disk_io"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_counts_its_own_cpu_time_and_nothing_of_its_parent() -> None:
    recorded = Recorded()
    metrics = ProcessMetrics(recorded.producer)
    while sum(os.times()[:2]) < 0.5:
        sum(range(10_000))
    metrics()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            while sum(os.times()[:2]) < 0.15:
                sum(range(10_000))
            metrics()
            seconds = sum(recorded.sums("process_cpu_time").values())
            os.write(write, f"{seconds} {sum(os.times()[:2])}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    counted, used = map(float, os.read(read, 100).split())
    os.close(read)
    os.close(write)

    assert used < 0.5
    assert counted == pytest.approx(used, abs=0.06)


def test_the_process_is_observed_at_intervals() -> None:
    recorded = Recorded()
    collector = Collector(recorded.producer, background=False)
    observe_process(producer=recorded.producer, collector=collector)
    collector.collect()
    collector.collect()

    assert recorded.counts("process_uptime") == {(): 2}


@pytest.fixture
def runtime_metrics() -> Iterator[tuple[Recorded, RuntimeMetrics]]:
    recorded = Recorded()
    metrics = RuntimeMetrics(recorded.producer)
    metrics.start()
    yield recorded, metrics
    metrics.stop()


def test_collections_are_counted_by_generation_with_their_pauses(
    runtime_metrics: tuple[Recorded, RuntimeMetrics],
) -> None:
    recorded, metrics = runtime_metrics

    class Node:
        pass

    gc.collect()
    metrics()
    before = recorded.sums("cpython_gc_collections").get(("2",), 0.0)
    nodes: list[Any] = [Node() for _ in range(50)]
    for node in nodes:
        node.itself = nodes
    nodes, node = [], None
    gc.collect()
    assert recorded.sums("cpython_gc_collections").get(("2",), 0.0) == before  # noted, recorded at the next call
    metrics()

    assert recorded.sums("cpython_gc_collections")["2",] >= before + 1
    assert sum(recorded.sums("cpython_gc_collected_objects").values()) >= 50
    pause = recorded.found()["cpython_gc_pause", "2"]
    assert pause.count == recorded.sums("cpython_gc_collections")["2",]
    assert 0 < pause.max < 60


def test_the_interpreter_is_described() -> None:
    recorded = Recorded()
    collector = Collector(recorded.producer, background=False)
    observation = observe_runtime(producer=recorded.producer, collector=collector)
    collector.collect()
    observation.stop()
    collector.collect()

    assert recorded.last("python_info") == {(platform.python_implementation(), platform.python_version()): 1.0}
    assert recorded.found()["python_thread_count",].count == 1
    assert not [one for one in gc.callbacks if getattr(one, "__self__", None).__class__ is RuntimeMetrics]


async def test_a_loop_that_is_held_up_shows_as_lag() -> None:
    recorded = Recorded()
    watch = watch_loop(0.01, producer=recorded.producer)
    await asyncio.sleep(0.03)
    time.sleep(0.2)  # noqa: ASYNC251  # holding up the loop is the case
    await asyncio.sleep(0.03)
    watch.stop()
    lag = recorded.found()["asyncio_loop_lag",]
    await asyncio.sleep(0.03)

    assert lag.max >= 0.15
    assert lag.count >= 2
    assert recorded.found()["asyncio_loop_lag",].count == lag.count


def test_the_host_is_described() -> None:
    recorded = Recorded()
    metrics = HostMetrics(["/", "/nowhere/at/all"], recorded.producer)
    metrics()
    first = {key[0] for key in recorded.found()}
    sum(range(3_000_000))
    metrics()

    assert "system_cpu_time" not in first  # what was before the first look is nobody's
    assert sum(recorded.sums("system_cpu_time").values()) > 0
    assert 0 <= recorded.last("system_cpu_utilization")[()] <= 1
    memory = recorded.last("system_memory_usage")
    assert memory["used",] + memory["available",] == psutil.virtual_memory().total
    assert set(recorded.last("system_filesystem_usage")) == {("/", "used"), ("/", "free")}


def test_bytes_of_the_network_are_those_of_all_interfaces_but_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded()
    metrics = HostMetrics([], recorded.producer)

    def counters(received: int) -> dict[str, Any]:
        card = SimpleNamespace(bytes_recv=received, bytes_sent=2 * received, errin=0, errout=received // 100)
        return {"lo": card, "eth0": card, "eth1": card}

    def looked(received: int, pernic: bool) -> dict[str, Any]:
        return counters(received)

    for received in (1_000, 1_500):
        monkeypatch.setattr(psutil, "net_io_counters", partial(looked, received))
        metrics()

    assert recorded.sums("system_network_io") == {("receive",): 1_000.0, ("transmit",): 2_000.0}
    assert recorded.sums("system_network_errors") == {("transmit",): 10.0}
