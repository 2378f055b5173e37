"""Threads of every sort: in a pool, one that leaves by sys.exit, and one that outlives the main thread."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from streamgauge.producers import Counter

CALLS = Counter("calls", "", ["who"])
KEPT = CALLS.labels("pool")


def record(_: int) -> None:
    """In a pool."""
    for _ in range(1_000):
        KEPT.inc()


def leave() -> None:
    """sys.exit in a thread ends that thread only."""
    CALLS.labels("leaver").inc()
    sys.exit(3)


def outlive() -> None:
    """The interpreter waits for it, and its calls count."""
    time.sleep(0.3)
    CALLS.labels("late").inc()


threading.Thread(target=outlive).start()
threading.Thread(target=leave).start()
with ThreadPoolExecutor(16) as pool:
    list(pool.map(record, range(16)))
CALLS.labels("main").inc()
