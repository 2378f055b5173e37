"""How processes end and fork when the moment is a bad one: a silent broker, a signal, a lock that somebody holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgauge.producers import flush_on_sigterm
from tests.unit.producers.test_process import AWAY, run

SECONDS = 20.0


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(50)
        yield f"127.0.0.1:{door.getsockname()[1]}"


@pytest.mark.parametrize("busy", [False, True], ids=["at once", "with batches on their way"])
@pytest.mark.parametrize("broker", ["absent", "silent"])
def test_a_process_ends_within_its_deadline_whatever_the_broker_does(
    tmp_path: Path, silent: str, broker: str, busy: bool
) -> None:
    program = f"""
        import time
        from streamgauge.producers import Counter, get_default
        calls = Counter("calls")
        calls.inc()
        while {busy} and not get_default().stats().batches_sent:
            time.sleep(0.01)
        calls.inc()
        print(time.time(), flush=True)
    """
    environ = AWAY | {"STREAMGAUGE_FLUSH_INTERVAL": "20ms"}
    done, _ = run(program, tmp_path, **environ | ({"STREAMGAUGE_BROKERS": silent} if broker == "silent" else {}))
    assert time.time() - float(done.stdout) < 3
    assert "2 points were not delivered when the producer closed" in done.stderr
    assert "sent again" not in done.stderr.splitlines()[-1]
    assert "Purged" not in done.stderr


def test_the_default_deadline_is_two_seconds(tmp_path: Path) -> None:
    done, _ = run(
        "from streamgauge.producers import ProducerSettings; print(ProducerSettings().exit_timeout)", tmp_path
    )
    assert done.stdout == "2000\n"


def test_a_closed_producer_leaves_no_thread(tmp_path: Path) -> None:
    program = """
        import threading
        from streamgauge.producers import Counter, close_all
        for _ in range(3):
            Counter("calls").inc()
        print(threading.active_count(), end=" ")
        close_all()
        print(threading.active_count())
    """
    assert run(program, tmp_path, **AWAY)[0].stdout == "2 1\n"


def start(program: str, folder: Path, **environ: str) -> subprocess.Popen[str]:
    """Start a program and wait until it says that it is ready."""
    started = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=folder,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def ended(program: subprocess.Popen[str]) -> tuple[int, str]:
    """How it ended, and what it said."""
    try:
        _, said = program.communicate(timeout=SECONDS)
    finally:
        program.kill()
    return program.returncode, said


WAITING = """
    import signal, threading
    from streamgauge.producers import Counter, flush_on_sigterm
    flush_on_sigterm()
    Counter("calls").inc()
    print("ready", flush=True)
    threading.Event().wait()
"""


def test_after_sigterm_a_process_ends_within_its_deadline_too(tmp_path: Path) -> None:
    program = start(WAITING, tmp_path, **AWAY)
    program.send_signal(signal.SIGTERM)
    code, said = ended(program)
    assert code == -signal.SIGTERM
    assert "1 points were not delivered" in said


def test_a_second_sigterm_does_not_wait(tmp_path: Path) -> None:
    program = start(WAITING, tmp_path, **AWAY | {"STREAMGAUGE_EXIT_TIMEOUT": "1h"})
    program.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + SECONDS
    while program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)  # it may not have taken notice of the first one
        program.send_signal(signal.SIGTERM)
    assert ended(program)[0] == -signal.SIGTERM


def test_sigterm_in_the_middle_of_a_flush_lets_that_go_on(tmp_path: Path) -> None:
    program = """
        import signal, time
        from streamgauge.producers import Counter, Producer, ProducerSettings, flush_on_sigterm
        from streamgauge.producers.testing import CapturedTransport
        class Interrupted(CapturedTransport):
            def send(self, *message):
                if not self.sent:
                    print("ready", flush=True)
                    signal.raise_signal(signal.SIGTERM)
                super().send(*message)
            def close(self, seconds):
                super().close(seconds)
                print(self.sums(), flush=True)
        flush_on_sigterm()
        producer = Producer(ProducerSettings(exit_timeout=500), Interrupted(), background=False)
        Counter("calls", producer=producer).inc()
        producer.flush(5)
        time.sleep(60)
    """
    started = start(program, tmp_path)
    try:
        said, _ = started.communicate(timeout=SECONDS)
    finally:
        started.kill()
    assert (started.returncode, said) == (-signal.SIGTERM, "{'calls': 1.0}\n")


def test_the_first_process_of_a_container_ends_although_the_signal_alone_would_not_do_it(tmp_path: Path) -> None:
    program = WAITING.replace("import signal", "import signal, os; os.kill = lambda *_: None; import signal")
    started = start(program, tmp_path, **AWAY)
    started.send_signal(signal.SIGTERM)
    assert ended(started)[0] == 128 + signal.SIGTERM


def test_who_handles_sigterm_already_keeps_it() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert not flush_on_sigterm()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        said: list[bool] = []
        elsewhere = threading.Thread(target=lambda: said.append(flush_on_sigterm()))
        elsewhere.start()
        elsewhere.join()
        assert said == [False]
        assert [flush_on_sigterm(), flush_on_sigterm()] == [True, True]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_importing_changes_no_signal_handler(tmp_path: Path) -> None:
    program = """
        import signal
        before = [signal.getsignal(one) for one in signal.valid_signals()]
        from streamgauge.producers import Counter
        Counter("calls").inc()
        print(before == [signal.getsignal(one) for one in signal.valid_signals()])
    """
    assert run(program, tmp_path, **AWAY)[0].stdout == "True\n"


def test_a_fork_waits_until_librdkafka_is_loaded(tmp_path: Path) -> None:
    program = """
        import os, sys, threading, time
        from streamgauge.producers import get_default
        from streamgauge.producers.lifecycle import undivided
        get_default()
        half = threading.Event()
        def load():
            with undivided():
                half.set()
                time.sleep(0.3)
                half.clear()
        thread = threading.Thread(target=load)
        thread.start()
        half.wait()
        child = os.fork()
        if child == 0:
            with undivided():
                os._exit(half.is_set())
        print(os.waitpid(child, 0)[1])
        thread.join()
        with undivided():
            pass
    """
    done, _ = run(program, tmp_path)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_child_does_not_wait_for_threads_that_it_does_not_have(tmp_path: Path) -> None:
    program = """
        import os, threading, time
        from streamgauge.producers import Counter, default, get_default
        Counter("first").inc()
        held = threading.Event()
        def hold():
            with default._default.lock, get_default()._working:
                held.set()
                time.sleep(60)
        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        child = os.fork()
        if child == 0:
            threading.Timer(10, os._exit, (9,)).start()
            calls = Counter("calls")
            calls.inc()
            os._exit(get_default().stats().emitted != {"calls": 1})
        print(os.waitpid(child, 0)[1], flush=True)
        os._exit(0)
    """
    done, _ = run(program, tmp_path, **AWAY)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_what_was_closed_before_a_fork_stays_closed_and_says_so(tmp_path: Path) -> None:
    program = """
        import os
        from streamgauge.producers import Event, Measure, Counter, Producer, ProducerSettings, unit
        from streamgauge.producers.testing import CapturedTransport
        class Paid(Event, owner="tests", purpose="tests"):
            "Somebody paid."
            amount: Measure[float, unit("{USD}")]
        producer = Producer(ProducerSettings(), CapturedTransport())
        calls = Counter("calls", producer=producer)
        calls.inc()
        producer.close()
        child = os.fork()
        if child == 0:
            calls.inc()
            producer.emit(Paid(amount=1.0))
            stats = producer.stats()
            os._exit(stats.dropped != {("calls", "closed"): 1, ("paid", "closed"): 2} or sum(stats.waiting.values()))
        print(os.waitpid(child, 0)[1])
    """
    assert run(program, tmp_path)[0].stdout == "0\n"


@pytest.mark.parametrize("patched", ["before", "after"])
def test_under_gevent_the_flusher_is_a_thread_and_a_flush_lets_greenlets_run(tmp_path: Path, patched: str) -> None:
    program = f"""
        import warnings
        from gevent import monkey
        if "{patched}" == "before":
            monkey.patch_all()
        from streamgauge.producers import Counter, Producer, ProducerSettings
        from streamgauge.producers.testing import CapturedTransport
        if "{patched}" == "after":
            warnings.simplefilter("ignore")
            monkey.patch_all()
        import gevent
        ident = monkey.get_original("_thread", "get_ident")
        class Noting(CapturedTransport):
            threads = set()
            def send(self, *message):
                self.threads.add(ident())
                super().send(*message)
        transport = Noting()
        producer = Producer(ProducerSettings(flush_interval=20), transport)
        calls = Counter("calls", producer=producer)
        calls.inc()
        while not transport.threads:
            gevent.sleep(0.01)
        print(transport.threads != {{ident()}})
        transport.outcome = None
        calls.inc()
        turns = []
        def turn():
            while True:
                turns.append(1)
                gevent.sleep(0)
        other = gevent.spawn(turn)
        producer.flush(0.3)
        print(len(turns) > 20)
        other.kill()
        transport.outcome = __import__("streamgauge.producers.outbox").producers.outbox.Outcome.ACKNOWLEDGED
        producer.close()
        print(transport.sums())
    """
    done, _ = run(program, tmp_path)
    assert done.stdout == "True\nTrue\n{'calls': 2.0}\n", done.stderr


def test_greenlets_and_the_flusher_contend_for_a_metric_and_lose_nothing(tmp_path: Path) -> None:
    program = """
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from streamgauge.producers import Counter, Producer, ProducerSettings
        from streamgauge.producers.testing import CapturedTransport
        transport = CapturedTransport()
        producer = Producer(ProducerSettings(flush_interval=1), transport)
        calls = Counter("calls", "", ["n"], producer=producer)
        def record():
            for number in range(3_000):
                calls.labels(number % 40).inc()
                if number % 50 == 0:
                    gevent.sleep(0)
        gevent.joinall([gevent.spawn(record) for _ in range(20)], raise_error=True)
        producer.close()
        print(transport.sums()["calls"])
    """
    done, _ = run(program, tmp_path)
    assert (done.stdout, done.stderr) == ("60000.0\n", "")


UWSGI = """
    import os, sys, threading, types
    from streamgauge.producers import Counter, Producer, ProducerSettings, lifecycle
    from streamgauge.producers.testing import CapturedTransport
    said = []
    uwsgi = sys.modules["uwsgi"] = types.ModuleType("uwsgi")
    uwsgi.worker_id = lambda: 0
    uwsgi.post_fork_hook = lambda: said.append("the application's own hook")
    transport = CapturedTransport()
    producer = Producer(ProducerSettings(), transport)
    calls = Counter("calls", "", ["who"], producer=producer)
    calls.labels("master").inc()
    master, threads = producer.instance, threading.active_count()
    lifecycle._process.pid = 0  # as after a fork that Python was not told of
"""


def test_uwsgis_master_gets_no_thread_and_its_workers_begin_anew(tmp_path: Path) -> None:
    program = """
        uwsgi.post_fork_hook()
        calls.labels("worker").inc()
        print(threads, threading.active_count(), producer.instance != master, said)
        producer.close()
        print(transport.sums())
    """
    done, _ = run(textwrap.dedent(UWSGI) + textwrap.dedent(program), tmp_path)
    assert done.stdout == "1 2 True [\"the application's own hook\"]\n{'calls': 1.0}\n", done.stderr


def test_a_child_that_nobody_told_of_its_fork_never_speaks_as_its_parent(tmp_path: Path) -> None:
    program = """
        lifecycle._process.end()
        print(transport.sums())
    """
    done, _ = run(textwrap.dedent(UWSGI) + textwrap.dedent(program), tmp_path)
    assert done.stdout == "{}\n"
    assert "py-call-uwsgi-fork-hooks" in done.stderr


def test_a_subinterpreter_counts_for_itself(tmp_path: Path) -> None:
    program = """
        import _xxsubinterpreters as interpreters
        code = '''if True:
            from streamgauge.producers import Counter, Producer, ProducerSettings
            from streamgauge.producers.testing import CapturedTransport
            transport = CapturedTransport()
            producer = Producer(ProducerSettings(), transport)
            Counter("calls", producer=producer).inc(3)
            producer.close()
            print(transport.sums(), flush=True)
        '''
        for isolated in (True, False):
            one = interpreters.create(isolated=isolated)
            interpreters.run_string(one, code)
            interpreters.destroy(one)
    """
    if sys.version_info >= (3, 12):
        pytest.skip("subinterpreters with a lock of their own refuse the libraries that this package stands on")
    done, _ = run(program, tmp_path)
    assert (done.stdout, done.stderr) == ("{'calls': 3.0}\n" * 2, "")
