"""A producer in a real process: what importing costs, how it ends, how it forks, and no broker to be seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streamgauge.producers import Counter, FlushReport, Gauge, Histogram, Producer, ProducerSettings
from streamgauge.producers.lifecycle import Lifecycle, within
from streamgauge.producers.testing import CapturedTransport
from tests.unit.producers.decoded import metric_batches, values

AWAY = {"STREAMGAUGE_BROKERS": "127.0.0.1:9", "STREAMGAUGE_EXIT_TIMEOUT": "300ms"}
"""Nothing listens on this port."""


def run(program: str, folder: Path, **environ: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a program in a process of its own; returns what it said and how long it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, time.monotonic() - started


def test_importing_loads_nothing_heavy_and_starts_nothing(tmp_path: Path) -> None:
    program = """
        import sys, threading
        import streamgauge.producers
        from streamgauge.producers import Counter, emit
        Counter("requests", "", ["endpoint"])
        heavy = ["numpy", "faust", "aiokafka", "polars", "clickhouse_connect", "confluent_kafka", "asyncio"]
        print([name for name in heavy if name in sys.modules], threading.active_count())
    """
    done, _ = run(program, tmp_path)
    assert (done.stdout, done.stderr) == ("[] 1\n", "")


USER_PROGRAM = """
    from streamgauge.producers import Counter, Histogram, Event, Dimension, Measure, Unique, emit, unit

    REQUESTS = Counter("checkout_requests", "Requests served", ["endpoint", "status"])
    LATENCY = Histogram("checkout_latency_seconds", "Time to serve a request", ["endpoint"])

    class OrderPlaced(Event, owner="checkout", purpose="analytics"):
        \"\"\"A customer paid for a basket.\"\"\"
        country: Dimension[str]
        amount: Measure[float, unit("{USD}")]
        customer_id: Unique[str]

    with LATENCY.labels("/pay").time():
        REQUESTS.labels("/pay", "200").inc()
        emit(OrderPlaced(country="JP", amount=42.5, customer_id="c-981"))
"""


def test_the_program_of_the_docs_runs_without_a_broker_and_ends_within_its_deadline(tmp_path: Path) -> None:
    done, seconds = run(USER_PROGRAM, tmp_path, **AWAY)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "4 points were not delivered when the producer closed" in done.stderr
    assert seconds < 5


def test_calls_and_flushes_stay_in_time_when_nobody_answers(tmp_path: Path) -> None:
    program = """
        import json, time
        from streamgauge.producers import Counter, Producer, ProducerSettings
        producer = Producer(ProducerSettings(brokers="127.0.0.1:9", flush_interval=50))
        requests = Counter("requests", "", ["number"], producer=producer)
        slowest = 0.0
        until = time.monotonic() + 1.0
        calls = 0
        while time.monotonic() < until:
            before = time.perf_counter()
            requests.labels(calls % 50).inc()
            slowest = max(slowest, time.perf_counter() - before)
            calls += 1
        before = time.monotonic()
        report = producer.flush(0.3)
        flushed = time.monotonic() - before
        stats = producer.stats()
        before = time.monotonic()
        closed = producer.close(0.3)
        print(json.dumps({
            "calls": calls, "slowest": slowest, "flush": flushed, "close": time.monotonic() - before,
            "left": report.left, "dropped": closed.dropped, "waiting": stats.waiting["requests"],
            "books": producer.stats().dropped["requests", "closed"], "bytes": stats.bytes_waiting,
        }))
    """
    done, _ = run(program, tmp_path)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["left"] == said["waiting"] == said["dropped"] == said["books"] == said["calls"]
    assert said["slowest"] < 0.5
    assert said["flush"] < 1.5
    assert said["close"] < 2.5
    assert said["bytes"] <= 32 << 20


def test_several_producers_share_one_deadline_at_exit(tmp_path: Path) -> None:
    program = """
        import time
        from streamgauge.producers import Counter, Producer, ProducerSettings
        for number in range(5):
            producer = Producer(ProducerSettings(brokers="127.0.0.1:9", exit_timeout=1_000))
            Counter("requests", producer=producer).inc()
    """
    done, seconds = run(program, tmp_path)
    assert done.returncode == 0
    assert done.stderr.count("1 points were not delivered") == 5
    assert seconds < 5


class Ending:
    """Stands for a producer; notes how long it was given to close."""

    def __init__(self, exit_timeout: int, takes: float) -> None:
        self.settings = ProducerSettings(exit_timeout=exit_timeout)
        self.given: float | None = None
        self._takes = takes

    def flush(self, timeout: float | None = None) -> FlushReport:
        """Not asked here."""
        return FlushReport(0, 0, 0)

    def close(self, timeout: float | None = None) -> FlushReport:
        """Take a while."""
        self.given = timeout
        time.sleep(self._takes)
        return FlushReport(0, 0, 0)

    def after_fork(self) -> None:
        """Not asked here."""


def test_at_exit_no_producer_can_use_up_the_time_of_the_others() -> None:
    lifecycle = Lifecycle()
    producers = [Ending(2_000, 0.0), Ending(500, 0.0), Ending(500, 0.0), Ending(500, 0.0)]
    for one in producers:
        lifecycle.watched.add(one)
    lifecycle.close_all()
    given = sorted(one.given or 0.0 for one in producers)
    assert given[0] == pytest.approx(0.5, abs=0.1)
    assert given[3] == pytest.approx(2.0, abs=0.1)
    assert all(earlier < later for earlier, later in pairwise(given))


def test_a_forked_child_starts_anew_and_never_repeats_its_parents_points() -> None:
    transport = CapturedTransport()
    producer = Producer(ProducerSettings(instance="host"), transport)
    requests = Counter("requests", "", ["who"], producer=producer)
    queue = Gauge("queue", producer=producer)
    latency = Histogram("latency", producer=producer)
    kept = requests.labels("parent")
    kept.inc(5)
    queue.inc(3)
    latency.observe(1.0)
    inherited = (producer.instance, producer.epoch)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forking beside threads: our case
        child = os.fork()
    if child == 0:
        said: dict[str, Any] = {}
        try:
            said["before"] = sum(producer.stats().emitted.values())
            kept.inc(1)
            requests.labels("child").inc(2)
            queue.inc()
            report = producer.flush(5)
            found = values(transport.delivered)
            said |= {
                "sums": {"/".join(name): value.sum for name, value in found.items()},
                "delivered": report.delivered,
                "same": (producer.instance, producer.epoch) == inherited or producer.instance == inherited[0],
                "seq": [batch.origin.seq for batch in metric_batches(transport.delivered)][:1],
            }
            producer.close(1)
        except BaseException as error:  # reported through the pipe, then the child ends in every case
            said["error"] = repr(error)
        os.write(writing, json.dumps(said).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told: dict[str, Any] = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert told == {
        "before": 0,
        "sums": {"requests/parent": 1.0, "requests/child": 2.0, "queue": 1.0},
        "delivered": 3,
        "same": False,
        "seq": [0],
    }
    producer.flush()
    assert transport.sums() == {"requests": 5.0, "queue": 3.0, "latency": 1.0}
    assert (producer.instance, producer.epoch) == inherited
    producer.close()


@pytest.mark.parametrize("ending", ["sys.exit(0)", "os._exit(0)"])
def test_a_child_that_forked_with_an_open_connection_ends_at_once(tmp_path: Path, ending: str) -> None:
    program = f"""
        import os, sys, time
        from streamgauge.producers import Counter, Producer, ProducerSettings
        # without a flusher, whose copied frame in the child would keep the handle alive
        producer = Producer(ProducerSettings(brokers="127.0.0.1:9", exit_timeout=500), background=False)
        requests = Counter("requests", producer=producer)
        requests.inc()
        producer.flush(0.1)
        before = time.monotonic()
        child = os.fork()
        if child == 0:
            # destroying the inherited handle would take a second, or for ever
            print(time.monotonic() - before < 0.8, flush=True)
            requests.inc()
            producer.flush(0.1)
            {ending}
        _, status = os.waitpid(child, 0)
        print(status, time.monotonic() - before < 3)
    """
    done, _ = run(program, tmp_path)
    assert done.stdout == "True\n0 True\n", done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("made", ["in the parent", "in the child"])
def test_workers_of_multiprocessing_close_their_producers(tmp_path: Path, method: str, made: str) -> None:
    (tmp_path / "job.py").write_text(
        textwrap.dedent("""
            from streamgauge.producers import Counter
            REQUESTS = Counter("requests")
            def work():
                REQUESTS.inc(2)
        """)
    )
    (tmp_path / "main.py").write_text(
        textwrap.dedent(f"""
            import multiprocessing, warnings
            import job
            if __name__ == "__main__":
                if {made == "in the parent"}:
                    job.REQUESTS.inc()
                warnings.simplefilter("ignore", DeprecationWarning)
                worker = multiprocessing.get_context("{method}").Process(target=job.work)
                worker.start()
                worker.join()
                print(worker.exitcode)
        """)
    )
    done, _ = run("import runpy; runpy.run_path('main.py', run_name='__main__')", tmp_path, **AWAY)
    assert done.stdout == "0\n", done.stderr
    expected = 2 if made == "in the parent" else 1
    assert done.stderr.count("1 points were not delivered") == expected, done.stderr


def test_a_fork_waits_for_what_must_come_before_it_but_not_for_ever() -> None:
    done, never = threading.Event(), threading.Event()

    assert within(10, done.set)
    assert done.is_set()
    assert not within(0.01, never.wait)
    never.set()
