"""multiprocessing by one start method: a process, a pool, a pool that is terminated, and an executor."""

import multiprocessing
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from streamgauge.producers import Counter, flush_on_sigterm

CALLS = Counter("calls", "", ["who"])


def work(who: str) -> None:
    """One call."""
    CALLS.labels(who).inc()


def leave_a_thread() -> None:
    """A thread outlives the function that the process was made for."""

    def later() -> None:
        time.sleep(0.1)
        CALLS.labels("thread").inc()

    threading.Thread(target=later).start()


def main(method: str) -> None:
    """Ten calls in each kind of worker."""
    CALLS.labels("parent").inc(5)
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=leave_a_thread)
    process.start()
    pool = context.Pool(2)
    pool.map(work, ["pool"] * 10, 1)
    pool.close()
    pool.join()
    with context.Pool(1, initializer=flush_on_sigterm) as terminated:
        terminated.map(work, ["terminated"] * 10, 1)
    terminated.join()
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        list(executor.map(work, ["executor"] * 10))
    process.join()
    CALLS.labels("parent").inc(5)


if __name__ == "__main__":
    main(sys.argv[1])
