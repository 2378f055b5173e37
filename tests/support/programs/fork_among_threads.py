"""Forks while other threads record, so that some of them hold locks at that moment."""

import os
import sys
import threading

from streamgauge.producers import Counter, Histogram

CALLS = Counter("calls", "", ["who"])
SECONDS = Histogram("seconds")
THREADS, EACH, CHILDREN = 4, 20_000, 8


def record() -> None:
    """Keep the locks busy."""
    for _ in range(EACH):
        CALLS.labels("thread").inc()
        SECONDS.observe(0.1)


threads = [threading.Thread(target=record) for _ in range(THREADS)]
for thread in threads:
    thread.start()
children: list[int] = []
for _ in range(CHILDREN):
    child = os.fork()
    if child == 0:
        CALLS.labels("child").inc()
        SECONDS.observe(0.2)
        sys.exit()
    children.append(child)
status = max(os.waitpid(child, 0)[1] for child in children)
for thread in threads:
    thread.join()
sys.exit(status)
