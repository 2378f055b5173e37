"""Threads that nobody has to wait for."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial

import pytest

from streamgauge.sinks.threads import Threads

HANGS = """
import threading, time
from streamgauge.sinks.threads import Threads
threads = Threads(1, "t")
begun = threading.Event()
threads.submit(lambda: (begun.set(), time.sleep(600)))
begun.wait(10)
threads.submit(lambda: print("never"))
threads.close()
print("over", flush=True)
"""


def share(of: int) -> int:
    return 10 // of


def test_results_and_errors_come_back() -> None:
    threads = Threads(2, "t")

    def tenth(number: int) -> int:
        return 10 // number

    futures = [threads.submit(partial(tenth, number)) for number in (1, 2, 0)]
    assert [one.result(10) for one in futures[:2]] == [10, 5]
    with pytest.raises(ZeroDivisionError):
        futures[2].result(10)
    threads.close()


def test_as_much_runs_at_once_as_there_are_threads() -> None:
    threads = Threads(2, "t")
    together = threading.Barrier(2)
    for one in [threads.submit(lambda: together.wait(10)) for _ in range(2)]:
        one.result(10)
    threads.close()


def test_what_waits_at_the_end_is_not_begun() -> None:
    threads = Threads(1, "over")
    hold, begun = threading.Event(), threading.Event()

    def held() -> bool:
        begun.set()
        return hold.wait(10)

    first = threads.submit(held)
    second = threads.submit(lambda: None)
    assert begun.wait(10)
    threads.close()
    hold.set()
    first.result(10)
    for one in [thread for thread in threading.enumerate() if thread.name.startswith("over-")]:
        one.join(10)
        assert not one.is_alive()
    assert not second.done()


def test_work_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "over\n"
